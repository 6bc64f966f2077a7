"""Series under Istio's names and labels: https://istio.io/latest/docs/reference/config/metrics/."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from weft.agent.metrics.families import Family, Kind, Labels, Sample
from weft.agent.series import Reading
from weft.model.identity import DNS_SUFFIX
from weft.model.series import Bins, Peer, Series, SeriesKey
from weft.model.telemetry import UNCHANGED, MetricSettings, overridden

UNKNOWN = "unknown"
OTHER = "other"
"""In place of every label of what a proxy counted and did not keep apart."""
CLUSTER = "weft"
"""What the labels of clusters say: a mesh is one."""
PASSTHROUGH = "PassthroughCluster"
"""The name of the service of calls to hosts that no document names: Istio's."""
_SERVICE_SUFFIX = f".svc.{DNS_SUFFIX}"


@dataclass(frozen=True, slots=True)
class _Metric:
    """One of Istio's: its name, what Telemetry calls it, what it counts of a series, whether of connections."""

    name: str
    called: str
    help: str
    value: Callable[[Series], int | Bins]
    tcp: bool = False


METRICS = (
    _Metric("istio_requests_total", "REQUEST_COUNT", "Requests, by how they ended.", lambda one: one.count),
    _Metric(
        "istio_request_duration_milliseconds",
        "REQUEST_DURATION",
        "How long requests took, in milliseconds.",
        lambda one: one.duration,
    ),
    _Metric("istio_request_bytes", "REQUEST_SIZE", "Bytes of the bodies of requests.", lambda one: one.received),
    _Metric("istio_response_bytes", "RESPONSE_SIZE", "Bytes of the bodies of responses.", lambda one: one.sent),
    _Metric(
        "istio_tcp_connections_opened_total",
        "TCP_OPENED_CONNECTIONS",
        "TCP connections opened.",
        lambda one: one.opened,
        tcp=True,
    ),
    _Metric(
        "istio_tcp_connections_closed_total",
        "TCP_CLOSED_CONNECTIONS",
        "TCP connections closed.",
        lambda one: one.closed,
        tcp=True,
    ),
    _Metric(
        "istio_tcp_sent_bytes_total",
        "TCP_SENT_BYTES",
        "Bytes sent to clients of TCP.",
        lambda one: one.sent_bytes,
        tcp=True,
    ),
    _Metric(
        "istio_tcp_received_bytes_total",
        "TCP_RECEIVED_BYTES",
        "Bytes that came from clients of TCP.",
        lambda one: one.received_bytes,
        tcp=True,
    ),
)
_OTHERS = {"istio_requests_total": 0, "istio_tcp_connections_closed_total": 1}
"""Which metrics tell what was not kept apart, and which number of it."""


def istio_families(
    reading: Reading, own: Peer, folded: Mapping[str, tuple[int, int]], settings: MetricSettings = UNCHANGED
) -> Iterator[Family]:
    """The metrics of a proxy whose workload is `own`, as documents want them (`settings`). `folded` says how many
    requests and connections each reporter saw that are in none of the series."""
    labelled = [(series, _labels(series.key, own)) for series in reading.series]
    for metric in METRICS:
        ours = [(series, labels) for series, labels in labelled if (series.key.protocol == "tcp") is metric.tcp]
        groups = _grouped(metric, ours, settings)
        kind: Kind = "counter" if metric.name.endswith("_total") else "histogram"
        if kind == "histogram":
            samples = [Sample(labels, bins=added(values)) for labels, values in groups]
        else:
            samples = [Sample(labels, sum(values)) for labels, values in groups]
        if metric.name in _OTHERS:
            counts = [(reporter, counts[_OTHERS[metric.name]]) for reporter, counts in sorted(folded.items())]
            samples += [Sample(_other(reporter), count) for reporter, count in counts if count]
        yield Family(metric.name, kind, metric.help, tuple(samples))


def _grouped(
    metric: _Metric, series: Iterable[tuple[Series, Labels]], settings: MetricSettings
) -> Iterator[tuple[Labels, list[Any]]]:
    """The values of series that have the same labels, which a document may have made the same."""
    groups: dict[Labels, list[Any]] = {}
    for one, labels in series:
        overrides = settings.source if one.key.reporter == "source" else settings.destination
        wanted: Labels | None = labels
        if overrides:
            changed = overridden(overrides, metric.called, dict(labels), _attributes(one.key))
            wanted = tuple(changed.items()) if changed is not None else None
        if wanted is not None:
            groups.setdefault(wanted, []).append(metric.value(one))
    yield from sorted(groups.items())


def _attributes(key: SeriesKey) -> dict[str, str]:
    """What a document may make a label of."""
    cluster = f"outbound|{key.port}|{key.subset}|{key.service}"
    return {
        "destination.port": str(key.port or ""),
        "response.code": str(key.code or ""),
        "request.protocol": key.protocol,
        "response.grpc_status": key.grpc_status,
        "xds.cluster_name": cluster if key.reporter == "source" and key.service else "",
    }


def added(several: Iterable[Bins]) -> Bins:
    """Sketches added up."""
    sums: dict[tuple[float, float], int] = {}
    for bins in several:
        for lower, width, count in bins:
            sums[lower, width] = sums.get((lower, width), 0) + count
    return tuple((lower, width, count) for (lower, width), count in sorted(sums.items()))


def _labels(key: SeriesKey, own: Peer) -> Labels:
    source, destination = (own, key.peer) if key.reporter == "source" else (key.peer, own)
    service, name, namespace = _service(key)
    proven = "mutual_tls" if key.mtls else UNKNOWN if key.reporter == "source" else "none"
    labels = [
        ("reporter", key.reporter),
        *_side("source", source),
        *_side("destination", destination),
        ("destination_service", service),
        ("destination_service_name", name),
        ("destination_service_namespace", namespace),
        ("request_protocol", key.protocol),
        ("response_flags", key.flags),
        ("connection_security_policy", proven),
    ]
    if key.protocol != "tcp":
        labels.append(("response_code", str(key.code)))
    if key.grpc_status:
        labels.append(("grpc_response_status", key.grpc_status))
    return tuple(labels)


def _side(side: str, peer: Peer | None) -> Iterator[tuple[str, str]]:
    """Istio's labels `app` and `version` are those of the pod; a certificate tells the canonical ones, which follow the
    same labels."""
    known = peer or Peer(UNKNOWN, UNKNOWN, UNKNOWN, UNKNOWN, UNKNOWN)
    if not known.workload:  # of another trust domain: its principal is all that is proven to us
        known = Peer(UNKNOWN, UNKNOWN, UNKNOWN, UNKNOWN, known.principal)
    yield f"{side}_workload", known.owner or known.workload
    yield f"{side}_workload_namespace", known.namespace
    yield f"{side}_principal", known.principal.removeprefix("spiffe://")
    yield f"{side}_app", known.service
    yield f"{side}_version", known.revision or UNKNOWN
    yield f"{side}_canonical_service", known.service
    yield f"{side}_canonical_revision", known.revision or UNKNOWN
    yield f"{side}_cluster", CLUSTER if peer and peer.workload else UNKNOWN


def _service(key: SeriesKey) -> tuple[str, str, str]:
    """Full name, short name and namespace of the destination's service."""
    if not key.service:
        return UNKNOWN, PASSTHROUGH if key.reporter == "source" and key.port == 0 else UNKNOWN, UNKNOWN
    if key.service.endswith(_SERVICE_SUFFIX):
        name, _, namespace = key.service.removesuffix(_SERVICE_SUFFIX).partition(".")
        return key.service, name, namespace
    return key.service, key.service, UNKNOWN


def _other(reporter: str) -> Labels:
    names = ("destination_service", "destination_service_name", "destination_workload", "source_workload")
    return (("reporter", reporter), *((name, OTHER) for name in names), ("request_protocol", OTHER))
