"""A collector of access logs on loopback: OTLP and Envoy's gRPC log service, as texts that a test can look at."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import grpc
from envoy.service.accesslog.v3.als_pb2 import StreamAccessLogsMessage, StreamAccessLogsResponse
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest, ExportLogsServiceResponse

from support.envoy import free_port


@dataclass
class Collected:
    """What came so far: OTLP `records` (body, attributes, and those of who sent it), and `requests` and `connections`
    of the gRPC log service by the name of the log."""

    port: int
    records: list[tuple[str, dict[str, str], dict[str, str]]] = field(default_factory=list)
    requests: list[tuple[str, Any]] = field(default_factory=list)
    connections: list[tuple[str, Any]] = field(default_factory=list)

    async def until(self, met: Callable[[Collected], bool]) -> None:
        """Wait until `met`."""
        deadline = time.monotonic() + 60
        while not met(self):
            assert time.monotonic() < deadline, self
            await asyncio.sleep(0.02)


@contextlib.asynccontextmanager
async def log_collector(port: int = 0) -> AsyncIterator[Collected]:
    """A collector that takes both, on `port` or a free one."""
    found = Collected(port or free_port())

    async def export(body: bytes, _context: object) -> bytes:
        message: Any = ExportLogsServiceRequest.FromString(body)
        for resource in message.resource_logs:
            about = {each.key: each.value.string_value for each in resource.resource.attributes}
            for record in _records(resource):
                attributes = {each.key: each.value.string_value for each in record.attributes}
                found.records.append((record.body.string_value, attributes, about))
        return ExportLogsServiceResponse().SerializeToString()

    async def stream(messages: AsyncIterator[bytes], _context: object) -> bytes:
        name = ""
        async for body in messages:
            message = StreamAccessLogsMessage.FromString(body)
            name = message.identifier.log_name or name
            found.requests += [(name, entry) for entry in message.http_logs.log_entry]
            found.connections += [(name, entry) for entry in message.tcp_logs.log_entry]
        return StreamAccessLogsResponse().SerializeToString()

    server = grpc.aio.server()
    otlp: dict[str, Any] = {"Export": grpc.unary_unary_rpc_method_handler(export)}
    als: dict[str, Any] = {"StreamAccessLogs": grpc.stream_unary_rpc_method_handler(stream)}
    server.add_generic_rpc_handlers(
        (
            grpc.method_handlers_generic_handler("opentelemetry.proto.collector.logs.v1.LogsService", otlp),
            grpc.method_handlers_generic_handler("envoy.service.accesslog.v3.AccessLogService", als),
        )
    )
    server.add_insecure_port(f"127.0.0.1:{found.port}")
    await server.start()
    try:
        yield found
    finally:
        await server.stop(0)


def _records(resource: Any) -> Iterator[Any]:
    """Its records. Older classes call the scopes instrumentation libraries."""
    for scope in getattr(resource, "scope_logs", None) or resource.instrumentation_library_logs:
        yield from getattr(scope, "log_records", None) or scope.logs
