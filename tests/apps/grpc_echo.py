"""A gRPC echo for tests, without generated code: unary, server streaming and bidirectional streaming of bytes."""

from __future__ import annotations

import json
import os
import signal
import threading
from collections.abc import Iterator
from concurrent import futures

import grpc

NAME = os.environ.get("WORKLOAD", "grpc")
LOCK = threading.Lock()
CALLS: dict[str, int] = {}
"""How often each key of `fail` was called."""


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


def metadata(request: bytes, context: grpc.ServicerContext) -> bytes:
    """The metadata of the call and the name, as JSON."""
    found = {key: value for key, value in context.invocation_metadata() if isinstance(value, str)}
    return json.dumps({"workload": NAME, "metadata": found}).encode()


def fail(request: bytes, context: grpc.ServicerContext) -> bytes:
    """``STATUS TIMES KEY``: the first calls with a key end with the status, the next is answered with their number."""
    status, times, key = request.decode().split()
    with LOCK:
        CALLS[key] = CALLS.get(key, 0) + 1
        number = CALLS[key]
    if number <= int(times):
        context.abort(grpc.StatusCode[status], "as asked")
    return f"{NAME}:{number}".encode()


def check(request: bytes, context: grpc.ServicerContext) -> bytes:
    """grpc.health.v1: the service ``down`` is not serving, all others are."""
    return b"\x08\x02" if request == b"\x0a\x04down" else b"\x08\x01"


def main() -> None:
    """Serve until SIGTERM."""
    server = grpc.server(futures.ThreadPoolExecutor(max_workers=16))
    methods: dict[str, grpc.RpcMethodHandler[bytes, bytes]] = {
        "Unary": grpc.unary_unary_rpc_method_handler(unary),
        "Metadata": grpc.unary_unary_rpc_method_handler(metadata),
        "Fail": grpc.unary_unary_rpc_method_handler(fail),
        "Count": grpc.unary_stream_rpc_method_handler(count),
        "Chat": grpc.stream_stream_rpc_method_handler(chat),
    }
    for service in ("test.Echo", "test.Other"):
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, methods),))
    health: dict[str, grpc.RpcMethodHandler[bytes, bytes]] = {"Check": grpc.unary_unary_rpc_method_handler(check)}
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("grpc.health.v1.Health", health),))
    server.add_insecure_port(f"{os.environ.get('WEFT_HOST', '127.0.0.1')}:{os.environ.get('PORT', '50051')}")
    server.start()
    ended = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: ended.set())
    ended.wait()
    server.stop(2).wait()


if __name__ == "__main__":
    main()
