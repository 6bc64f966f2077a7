"""Signals: what a proxy says about the traffic it sees: metrics, access logs, spans. Nothing that nobody asked for."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from weft.mesh.services.service import BackendKey
from weft.model.telemetry import MetricOverride


@dataclass(frozen=True, slots=True)
class Metrics:
    """Istio's standard metrics. Where they are kept the agent reads them, for Prometheus and for the control plane;
    `overrides` are the agent's business, and change nothing in the proxy. `interval` is how often bytes of living
    connections are counted, in seconds (None: weft's default). `bounded`: the proxy can limit how many series it
    keeps."""

    overrides: tuple[MetricOverride, ...] = ()
    interval: float | None = None
    bounded: bool = True


@dataclass(frozen=True, slots=True)
class Collector:
    """Where spans or log lines are sent: the port of a Service of the mesh (`backend`), or a host outside."""

    backend: BackendKey | None = None
    host: str = ""
    port: int = 0


@dataclass(frozen=True, slots=True)
class CustomTag:
    """An attribute of every span. `value` is the text itself, or the name of a request header or of a variable in the
    proxy's environment (`default` where there is none), or a format string of command operators."""

    name: str
    kind: Literal["literal", "header", "environment", "formatter"]
    value: str
    default: str = ""


@dataclass(frozen=True, slots=True)
class Tracing:
    """Spans of the requests that are sampled. `sampling` is the percentage (0 to 100) of those that come without a
    decision: who sends a sampled `traceparent` (with Zipkin: B3 headers) is traced, who sends one that is not, is not.

    Strangers at a gateway decide nothing unless `strangers_decide`; their ids are kept. `path` is the collector's, for
    the HTTP providers; `headers` go with each message to it, which may take `timeout` seconds. `max_path_length`
    shortens the path in spans. `by_request_id`: whether an `x-request-id` chooses, so that its bearer is traced
    everywhere or nowhere; `by_route`: whether a route of the mesh has a share of its own. Both cost CPU. `short_ids`
    and `w3c` are Zipkin's: ids of 64 bits, `traceparent` beside B3.
    """

    provider: Literal["opentelemetry-grpc", "opentelemetry-http", "zipkin"]
    collector: Collector
    sampling: float = 1.0
    path: str = ""
    tags: tuple[CustomTag, ...] = ()
    strangers_decide: bool = False
    max_path_length: int = 256
    headers: tuple[tuple[str, str], ...] = ()
    timeout: float | None = None
    by_request_id: bool = False
    by_route: bool = False
    short_ids: bool = False
    w3c: bool = True


@dataclass(frozen=True, slots=True)
class FileSink:
    """Lines in a file of the proxy's directory, or on its standard output or error (``/dev/stdout``). `format` is a
    text with command operators, or with `json` a JSON object of such texts; empty for Istio's default of its kind."""

    path: str = "/dev/stdout"
    format: str = ""
    json: bool = False
    omit_empty: bool = False


@dataclass(frozen=True, slots=True)
class OtlpSink:
    """Records over OTLP, with a body and attributes of command operators; an empty body is Istio's default text."""

    collector: Collector
    name: str = ""
    body: str = ""
    attributes: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class GrpcSink:
    """Envoy's gRPC log service: of requests, or with `tcp` of connections, with further headers, trailers and objects
    of the filter state."""

    collector: Collector
    tcp: bool = False
    name: str = ""
    request_headers: tuple[str, ...] = ()
    response_headers: tuple[str, ...] = ()
    response_trailers: tuple[str, ...] = ()
    filter_state: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class AccessLog:
    """A line for each request or connection when it has ended, where `filter` (a CEL expression) is true.

    `sampling` percent (0 to 100) of them, and all that failed. Routes may have it otherwise for their requests: with
    `off_by_route` one that says so has no lines; with `on_by_route` one that says so has a line for every request.
    Without `by_default` no others are written.
    """

    sink: FileSink | OtlpSink | GrpcSink
    filter: str = ""
    sampling: float = 100.0
    off_by_route: bool = False
    on_by_route: bool = False
    by_default: bool = True


@dataclass(frozen=True, slots=True)
class Reporter:
    """Whose signals they are, in the names of the collector's side: the canonical service and revision, and the
    workload."""

    service: str
    revision: str
    workload: str
    namespace: str


@dataclass(frozen=True, slots=True)
class Signals:
    """What one side of a proxy says: of the calls that its application makes, or of those that come in. Without any,
    no logger stands in its listeners. `reporter` is given where what is sent has to say who sends it."""

    metrics: Metrics | None = None
    tracing: Tracing | None = None
    reporter: Reporter | None = None
    logs: tuple[AccessLog, ...] = ()

    @property
    def identified(self) -> bool:
        """Whether requests need ids, by which lines and spans of several proxies are brought together."""
        return bool(self.logs) or self.tracing is not None


_BOUNDS_SERIES = (1, 39)
"""The first Envoy whose stats access logger has a scope of its own."""


def for_envoy(signals: Signals, version: str) -> Signals:
    """`signals` as an Envoy of this version (MAJOR.MINOR.PATCH; empty: the one that weft brings) understands them."""
    major, _, rest = version.partition(".")
    number = (int(major), int(rest.partition(".")[0])) if version else _BOUNDS_SERIES
    if signals.metrics is None or number >= _BOUNDS_SERIES:
        return signals
    return replace(signals, metrics=replace(signals.metrics, bounded=False))


PlainKey = tuple[str, int, str]
"""A BackendKey as a plain tuple, which a memo compares by value."""


def collector_keys(*every: Signals) -> tuple[PlainKey, ...]:
    """The services of the mesh to which `every` signal goes, each once and sorted."""
    found = {collector.backend for signals in every for collector in collectors_of(signals)}
    return tuple(sorted((key.host, key.port, key.subset) for key in found if key is not None))


def unless_collector(signals: Signals, hosts: tuple[str, ...]) -> Signals:
    """`signals` of what comes in to a workload of these services, without those that would go to one of them: a message
    to a collector would make another one for ever."""

    def elsewhere(collector: Collector) -> bool:
        return collector.backend is None or collector.backend.host not in hosts

    logs = tuple([log for log in signals.logs if isinstance(log.sink, FileSink) or elsewhere(log.sink.collector)])
    tracing = signals.tracing if signals.tracing is None or elsewhere(signals.tracing.collector) else None
    if logs == signals.logs and tracing is signals.tracing:
        return signals
    return replace(signals, logs=logs, tracing=tracing)


def collectors_of(signals: Signals) -> tuple[Collector, ...]:
    """Where `signals` go over the network."""
    logs = [log.sink.collector for log in signals.logs if not isinstance(log.sink, FileSink)]
    return (*logs, signals.tracing.collector) if signals.tracing is not None else tuple(logs)


SILENT = Signals()
STANDARD = Signals(metrics=Metrics())
"""Where no document says otherwise."""
