"""A collector of spans on loopback: OTLP over gRPC and over HTTP, and Zipkin's JSON, as one kind of value."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import grpc
import msgspec
from aiohttp import web
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)

from support.envoy import free_port

_EXPORT = "/opentelemetry.proto.collector.trace.v1.TraceService/Export"
_KINDS = {2: "server", 3: "client"}


@dataclass(frozen=True)
class Span:
    """One span. `resource` are the attributes of who made it; `failed` is its status."""

    trace: str
    id: str
    parent: str
    name: str
    kind: str
    attributes: Mapping[str, str]
    resource: Mapping[str, str] = field(default_factory=dict)
    failed: bool = False


@dataclass
class Spans:
    """What came so far, in the order of arrival; `metadata` are the headers of the last message."""

    port: int
    found: list[Span] = field(default_factory=list)
    metadata: Mapping[str, str] = field(default_factory=dict)

    def of(self, trace: str) -> list[Span]:
        """The spans of one trace."""
        return [span for span in self.found if span.trace == trace]

    async def until(self, count: int, trace: str = "") -> list[Span]:
        """Wait until so many spans (of one trace) have come, and give them."""
        deadline = time.monotonic() + 60
        while len(found := self.of(trace) if trace else list(self.found)) < count:
            assert time.monotonic() < deadline, f"{len(found)} of {count} spans came: {found}"
            await asyncio.sleep(0.02)
        return found


@contextlib.asynccontextmanager
async def grpc_spans() -> AsyncIterator[Spans]:
    """A collector that takes OTLP over gRPC."""
    spans = Spans(free_port())

    async def export(body: bytes, context: grpc.aio.ServicerContext[Any, Any]) -> bytes:
        spans.metadata = {key: str(value) for key, value in context.invocation_metadata() or ()}
        spans.found += _from_otlp(body)
        return ExportTraceServiceResponse().SerializeToString()

    server = grpc.aio.server()
    handlers: dict[str, Any] = {"Export": grpc.unary_unary_rpc_method_handler(export)}
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(_EXPORT.split("/")[1], handlers),))
    server.add_insecure_port(f"127.0.0.1:{spans.port}")
    await server.start()
    try:
        yield spans
    finally:
        await server.stop(0)


@contextlib.asynccontextmanager
async def http_spans() -> AsyncIterator[Spans]:
    """A collector that takes OTLP over HTTP below /v1/traces, and Zipkin's JSON below /api/v2/spans."""
    spans = Spans(free_port())

    async def otlp(request: web.Request) -> web.Response:
        spans.metadata = {key.lower(): value for key, value in request.headers.items()}
        spans.found += _from_otlp(await request.read())
        return web.Response(body=b"")

    async def zipkin(request: web.Request) -> web.Response:
        spans.metadata = {key.lower(): value for key, value in request.headers.items()}
        spans.found += _from_zipkin(msgspec.json.decode(await request.read()))
        return web.Response(status=202)

    application = web.Application()
    application.router.add_post("/v1/traces", otlp)
    application.router.add_post("/api/v2/spans", zipkin)
    runner = web.AppRunner(application)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", spans.port).start()
    try:
        yield spans
    finally:
        await runner.cleanup()


def _from_otlp(body: bytes) -> Iterable[Span]:
    """The installed classes are of a time when scopes were called instrumentation libraries."""
    for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
        about = {each.key: each.value.string_value for each in resource.resource.attributes}
        for scope in resource.instrumentation_library_spans:
            for span in scope.spans:
                yield Span(
                    trace=span.trace_id.hex(),
                    id=span.span_id.hex(),
                    parent=span.parent_span_id.hex(),
                    name=span.name,
                    kind=_KINDS.get(span.kind, str(span.kind)),
                    attributes={each.key: each.value.string_value for each in span.attributes},
                    resource=about,
                    failed=span.status.code == 2,
                )


def _from_zipkin(spans: list[dict[str, Any]]) -> Iterable[Span]:
    for span in spans:
        yield Span(
            trace=span["traceId"],
            id=span["id"],
            parent=span.get("parentId", ""),
            name=span.get("name", ""),
            kind=span.get("kind", "").lower(),
            attributes=span.get("tags", {}),
            resource={"service.name": span["localEndpoint"].get("serviceName", "")},
            failed="error" in span.get("tags", {}),
        )
