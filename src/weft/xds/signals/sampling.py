"""Sampling: which requests OpenTelemetry's tracer makes spans of.

https://www.envoyproxy.io/docs/envoy/latest/api-v3/extensions/tracers/opentelemetry/samplers/v3/parent_based_sampler.proto

Envoy has two decisions and samples what both want: its own, which knows the route but not the caller's, and that of the
tracer's sampler. So its own is always yes (`weft.xds.signals.tracing`), and this sampler decides: as the caller's
`traceparent` says, and otherwise by the new trace's id, which is random and costs nothing to look at.

A CEL expression over the request's id costs 10 µs a request, the trace's id nearly nothing. The expression stands where
it is needed: at gateways, whose strangers could choose a trace's id but not the request's; where a document wants
requests chosen by their ids; and on an application's way out where a route of the mesh has a share of its own, in its
metadata.
"""

from __future__ import annotations

import functools

from cel.expr.syntax_pb2 import Constant, Expr
from envoy.config.core.v3.extension_pb2 import TypedExtensionConfig
from envoy.extensions.tracers.opentelemetry.samplers.v3.cel_sampler_pb2 import CELSamplerConfig
from envoy.extensions.tracers.opentelemetry.samplers.v3.parent_based_sampler_pb2 import ParentBasedSamplerConfig
from envoy.extensions.tracers.opentelemetry.samplers.v3.trace_id_ratio_based_sampler_pb2 import (
    TraceIdRatioBasedSamplerConfig,
)
from google.protobuf.message import Message

from weft.mesh.signals import Tracing
from weft.xds.filters.place import Place
from weft.xds.messages import PROVENANCE, packed, share

SAMPLING = "sampling"
"""What a route's metadata calls its own threshold."""
_DIGITS = 8
_EVERY_ID = "~"
"""Above every id: no digit comes after it."""


def sampling_threshold(percent: float) -> str:
    """The text below which lies `percent` (0 to 100) of all request ids, which begin with eight random digits of base
    16."""
    part = round(min(max(percent, 0.0), 100.0) / 100 * 16**_DIGITS)
    return _EVERY_ID if part >= 16**_DIGITS else f"{part:0{_DIGITS}x}"


def sampler(tracing: Tracing, place: Place) -> TypedExtensionConfig:
    """That of a connection manager that stands at `place`."""
    by_route = tracing.by_route and place is Place.OUTBOUND
    if tracing.by_request_id or by_route or place is Place.GATEWAY:
        ours = _named("cel", _by_request_id(tracing.sampling, place))
    else:
        percentage = share(tracing.sampling)
        ours = _named("trace_id_ratio_based", TraceIdRatioBasedSamplerConfig(sampling_percentage=percentage))
    if place is Place.GATEWAY and not tracing.strangers_decide:
        return ours
    return _named("parent_based", ParentBasedSamplerConfig(wrapped_sampler=ours))


def _named(what: str, config: Message) -> TypedExtensionConfig:
    return TypedExtensionConfig(name=f"envoy.tracers.opentelemetry.samplers.{what}", typed_config=packed(config))


def _by_request_id(percent: float, place: Place) -> CELSamplerConfig:
    """``request.id < LIMIT``, where the limit is the route's own if it has one. An application's port has no routes."""
    limit = _text(sampling_threshold(percent))
    if place is not Place.INBOUND:
        metadata = _field(_name("xds"), "route_metadata")
        every = _field(metadata, "filter_metadata")
        ours = _call("_[_]", every, _text(PROVENANCE))
        found = Expr(select_expr=Expr.Select(operand=_name("xds"), field="route_metadata", test_only=True))
        given = _all(found, _call("@in", _text(PROVENANCE), every), _call("@in", _text(SAMPLING), ours))
        limit = _call("_?_:_", given, _call("_[_]", ours, _text(SAMPLING)), limit)
    config = CELSamplerConfig()
    config.expression.cel_expr_parsed.expr.CopyFrom(_call("_<_", _field(_name("request"), "id"), limit))
    return config


def _name(text: str) -> Expr:
    return Expr(ident_expr=Expr.Ident(name=text))


def _text(value: str) -> Expr:
    return Expr(const_expr=Constant(string_value=value))


def _field(operand: Expr, name: str) -> Expr:
    return Expr(select_expr=Expr.Select(operand=operand, field=name))


def _all(first: Expr, *others: Expr) -> Expr:
    return functools.reduce(lambda left, right: _call("_&&_", left, right), others, first)


def _call(function: str, *arguments: Expr) -> Expr:
    return Expr(call_expr=Expr.Call(function=function, args=arguments))
