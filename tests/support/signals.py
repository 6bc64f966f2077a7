"""Signals that say all they can, for tests of what becomes of them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, TypeVar

from weft.mesh.memo import Memo
from weft.mesh.services.service import BackendKey
from weft.mesh.signals import Collector, CustomTag, Metrics, Reporter, Signals, Tracing
from weft.mesh.views import GatewayView, ProxyView
from weft.xds.build import build_xds
from weft.xds.snapshot import XdsSnapshot

REPORTER = Reporter(service="reviews", revision="v1", workload="reviews-v1", namespace="default")
OUTSIDE = Collector(host="127.0.0.1", port=4317)
TAGS = (
    CustomTag("team", "literal", "books"),
    CustomTag("user", "header", "end-user", default="nobody"),
    CustomTag("zone", "environment", "ZONE", default="unknown"),
    CustomTag("protocol", "formatter", "%PROTOCOL%"),
)
TRACED = (
    Tracing("opentelemetry-grpc", OUTSIDE, 100.0, tags=TAGS, headers=(("x-tenant", "books"),), timeout=1.0),
    Tracing("opentelemetry-http", Collector(host="traces.example.com", port=4318), path="/v1/traces"),
    Tracing("zipkin", Collector(host="::1", port=9411), path="/api/v2/spans", w3c=False, short_ids=True),
    Tracing("opentelemetry-grpc", Collector(BackendKey("ratings.default.svc.cluster.local", 9080))),
)
"""Of every provider, to collectors of every kind."""


ViewT = TypeVar("ViewT", bound=ProxyView)


def with_signals(view: ViewT, signals: Signals) -> ViewT:
    """`view` that says `signals` of everything."""
    sides = ("signals",) if isinstance(view, GatewayView) else ("outgoing", "incoming")
    changes: dict[str, Any] = dict.fromkeys(sides, signals)
    return replace(view, **changes)


def with_tracing(view: ViewT, tracing: Tracing) -> ViewT:
    """`view` with metrics and traces."""
    return with_signals(view, Signals(metrics=Metrics(), tracing=tracing, reporter=REPORTER))


def encoded(view: ProxyView) -> XdsSnapshot:
    """What the proxy of `view` is sent, by a build of its own."""
    memo = Memo()
    memo.begin()
    return build_xds(view, 1, memo)
