"""A gRPC client for tests: calls TARGET as any application would (honouring http_proxy) and prints what came, as JSON."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator

import grpc


def main(target: str) -> None:
    """Unary, server streaming, and a conversation in which each answer is awaited before the next message."""
    with grpc.insecure_channel(target) as channel:
        unary, call = channel.unary_unary("/test.Echo/Unary").with_call(b"hello", timeout=10)
        counted = [message.decode() for message in channel.unary_stream("/test.Echo/Count")(b"100", timeout=10)]
        answers: list[str] = []

        def say() -> Iterator[bytes]:
            for number in range(5):
                while len(answers) < number:
                    pass
                yield str(number).encode()

        for answer in channel.stream_stream("/test.Echo/Chat")(say(), timeout=10):
            answers.append(answer.decode())
        trailers = {key: value for key, value in call.trailing_metadata()}
        result = {"unary": unary.decode(), "counted": len(counted), "chat": answers, "size": trailers.get("x-size")}
        sys.stdout.write(json.dumps(result))


if __name__ == "__main__":
    main(sys.argv[1])
