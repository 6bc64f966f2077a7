"""A collector that takes OTLP over gRPC and forgets it: ``python -m bench.sink``, with PORT and BENCH_CORE."""

from __future__ import annotations

import asyncio
import os
from typing import Any

import grpc

from bench.machine import pin

SERVICES = ("collector.trace.v1.TraceService", "collector.logs.v1.LogsService")
EMPTY = b""
"""An answer that says that all was taken."""


async def take(_: bytes, __: grpc.aio.ServicerContext[Any, Any]) -> bytes:
    """One message."""
    return EMPTY


async def serve(port: int) -> None:
    """Until the process is ended."""
    server = grpc.aio.server()
    handlers: dict[str, Any] = {"Export": grpc.unary_unary_rpc_method_handler(take)}
    for name in SERVICES:
        service = f"opentelemetry.proto.{name}"
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, handlers),))
    server.add_insecure_port(f"127.0.0.1:{port}")
    await server.start()
    await server.wait_for_termination()


if __name__ == "__main__":
    pin(os.getpid(), int(os.environ.get("BENCH_CORE", "-1")))
    asyncio.run(serve(int(os.environ["PORT"])))
