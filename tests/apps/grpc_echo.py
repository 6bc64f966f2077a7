"""A gRPC echo for tests, without generated code: unary, server streaming and bidirectional streaming of bytes."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from concurrent import futures

import grpc

NAME = os.environ.get("WORKLOAD", "grpc")


def unary(request: bytes, context: grpc.ServicerContext) -> bytes:
    """The request behind the name; a trailer tells its size."""
    context.set_trailing_metadata((("x-size", str(len(request))),))
    return NAME.encode() + b":" + request


def count(request: bytes, context: grpc.ServicerContext) -> Iterator[bytes]:
    """As many messages as the request says."""
    for number in range(int(request)):
        yield str(number).encode()


def chat(requests: Iterator[bytes], context: grpc.ServicerContext) -> Iterator[bytes]:
    """Each message at once, behind the name."""
    for request in requests:
        yield NAME.encode() + b":" + request


def main() -> None:
    """Serve until SIGTERM."""
    server = grpc.server(futures.ThreadPoolExecutor(max_workers=16))
    methods: dict[str, grpc.RpcMethodHandler[bytes, bytes]] = {
        "Unary": grpc.unary_unary_rpc_method_handler(unary),
        "Count": grpc.unary_stream_rpc_method_handler(count),
        "Chat": grpc.stream_stream_rpc_method_handler(chat),
    }
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("test.Echo", methods),))
    server.add_insecure_port(f"{os.environ.get('WEFT_HOST', '127.0.0.1')}:{os.environ.get('PORT', '50051')}")
    server.start()
    ended = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: ended.set())
    ended.wait()
    server.stop(2).wait()


if __name__ == "__main__":
    main()
