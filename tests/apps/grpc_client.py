"""A gRPC client for tests: calls TARGET as an application would (honouring http_proxy), prints what came as JSON."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator

import grpc


def main(target: str) -> None:
    """Unary, server streaming, and a conversation in which each answer is awaited before the next message."""
    with grpc.insecure_channel(target) as channel:
        ask: grpc.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary("/test.Echo/Unary")
        unary, call = ask.with_call(b"hello", timeout=10)
        count: grpc.UnaryStreamMultiCallable[bytes, bytes] = channel.unary_stream("/test.Echo/Count")
        counted = [message.decode() for message in count(b"100", timeout=10)]
        chat: grpc.StreamStreamMultiCallable[bytes, bytes] = channel.stream_stream("/test.Echo/Chat")
        answers: list[str] = []

        def say() -> Iterator[bytes]:
            for number in range(5):
                while len(answers) < number:
                    time.sleep(0.001)
                yield str(number).encode()

        for answer in chat(say(), timeout=10):
            answers.append(answer.decode())
        trailers = dict(call.trailing_metadata())
        result = {"unary": unary.decode(), "counted": len(counted), "chat": answers, "size": trailers.get("x-size")}
        sys.stdout.write(json.dumps(result))


if __name__ == "__main__":
    main(sys.argv[1])
