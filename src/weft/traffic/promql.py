"""Traffic in Prometheus: the queries over Istio's standard metrics, and what their answers come to. No I/O.

https://istio.io/latest/docs/reference/config/metrics/
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from math import inf, isfinite
from typing import Any

from weft.traffic.edges import ALL, Asked, Edge, Point
from weft.traffic.latency import Bins, merge_bins
from weft.traffic.names import service_name
from weft.traffic.verdict import CONNECTION, flag_bits, has_failed

UNKNOWN = "unknown"
_ENDS = (
    "reporter",
    "source_workload",
    "source_workload_namespace",
    "source_canonical_service",
    "destination_workload",
    "destination_workload_namespace",
    "destination_service",
    "request_protocol",
    "connection_security_policy",
)
_OUTCOME = ("response_code", "response_flags", "grpc_response_status")
_ANONYMOUS = f'source_workload="{UNKNOWN}"'
_MUTUAL = "mutual_tls"
_CONNECTIONS = {
    "opened": "istio_tcp_connections_opened_total",
    "closed": "istio_tcp_connections_closed_total",
    "received": "istio_tcp_received_bytes_total",
    "sent": "istio_tcp_sent_bytes_total",
}
_BODIES = {"received": "istio_request_bytes", "sent": "istio_response_bytes"}
_DURATION = "istio_request_duration_milliseconds"

Sample = tuple[Mapping[str, str], float]
"""Labels and a value."""


def edge_queries(seconds: float, asked: Asked = ALL) -> dict[str, str]:
    """A query for each part of the edges of the last `seconds`."""
    chosen, ends = f"{_matchers(asked)}[{max(1, round(seconds))}s]", ", ".join(_ENDS)
    queries = {"requests": _increase("istio_requests_total", chosen, ", ".join((*_ENDS, *_OUTCOME)))}
    queries["buckets"] = _increase(f"{_DURATION}_bucket", chosen, f"{ends}, le")
    queries["native"] = _increase(_DURATION, chosen, ends)
    queries |= {f"body_{name}": _sum_of(metric, chosen, ends) for name, metric in _BODIES.items()}
    return queries | {f"tcp_{name}": _increase(metric, chosen, ends) for name, metric in _CONNECTIONS.items()}


def series_queries(step: int, asked: Asked = ALL) -> dict[str, str]:
    """A query for each part of a series with a point every `step` seconds, and for each side that tells: the callers,
    and callees of whose callers nobody knows anything."""
    queries = {}
    for side, more in (("caller", ('reporter="source"',)), ("callee", ('reporter="destination"', _ANONYMOUS))):
        chosen = f"{_matchers(asked, *more)}[{step}s]"
        queries[f"requests {side}"] = _increase("istio_requests_total", chosen, ", ".join(_OUTCOME))
        queries[f"buckets {side}"] = _increase(f"{_DURATION}_bucket", chosen, "le")
        queries[f"native {side}"] = _increase(_DURATION, chosen, "")
        queries |= {f"{name} {side}": _sum_of(metric, chosen, "") for name, metric in _BODIES.items()}
    return queries


def _increase(metric: str, chosen: str, by: str) -> str:
    return f"sum by ({by}) (increase({metric}{chosen}))"


def _sum_of(metric: str, chosen: str, by: str) -> str:
    """The sum of what a histogram counted, whether Prometheus keeps it in classic buckets or natively."""
    native = f"sum by ({by}) (histogram_sum(increase({metric}{chosen})))"
    return f"({_increase(f'{metric}_sum', chosen, by)}) or ({native})"


def edges_from_answers(answers: Mapping[str, Sequence[Mapping[str, Any]]], now: float) -> tuple[Edge, ...]:
    """The edges that answers to `edge_queries` (Prometheus' result vectors) come to, each call once."""
    sums: dict[_Ends, _Sum] = defaultdict(_Sum)
    for name, rows in answers.items():
        for labels, value in _samples(rows):
            sums[_ends(labels)].add(name, labels, value)
    for row in answers.get("native", ()):
        if "histogram" in row:
            sums[_ends(row["metric"])].add_native(row["histogram"][1])
    told = {ends.pair for ends in sums if ends.reporter == "source" and ends.destination_workload}
    return tuple(
        edge
        for ends, found in sums.items()
        if ends.reporter == "source" or not ends.source or ends.pair not in told
        if (edge := found.edge(ends, now)) is not None
    )


def points_from_answers(
    answers: Mapping[str, Sequence[Mapping[str, Any]]], times: Sequence[int], step: int
) -> tuple[Point, ...]:
    """The points that answers to `series_queries` (Prometheus' result matrices) come to. `times` are the ends of the
    steps, in seconds since the epoch."""
    sums: dict[int, _Sum] = {time: _Sum() for time in times}
    for query, rows in answers.items():
        name = query.partition(" ")[0]
        for row in rows:
            for time, value in _values(row):
                if time in sums:
                    sums[time].add(name, row["metric"], value)
            for time, histogram in row.get("histograms", ()):
                if round(time) in sums:
                    sums[round(time)].add_native(histogram)
    return tuple(found.point(float(time - step)) for time, found in sums.items())


@dataclass(frozen=True, slots=True)
class _Ends:
    """What an edge is, and who told of it."""

    reporter: str
    source: str
    source_service: str
    destination: str
    destination_workload: str
    protocol: str
    mtls: bool | None

    @property
    def pair(self) -> tuple[str, str]:
        return self.source, self.destination_workload


def _zero() -> defaultdict[Any, float]:
    return defaultdict(float)


@dataclass(slots=True)
class _Sum:
    """What was found of one edge, or of one step."""

    outcomes: defaultdict[tuple[str, str, str], float] = field(default_factory=_zero)
    cumulative: defaultdict[float, float] = field(default_factory=_zero)
    native: Bins = ()
    numbers: defaultdict[str, float] = field(default_factory=_zero)

    def add(self, name: str, labels: Mapping[str, str], value: float) -> None:
        """Add a sample of the answer to the query `name`."""
        match name:
            case "requests":
                code, flags, grpc = (labels.get(one, "") for one in _OUTCOME)
                self.outcomes[code or "0", flags or "-", grpc] += value
            case "buckets":
                self.cumulative[_bound(labels.get("le", ""))] += value
            case _:
                self.numbers[name.partition("_")[2] or name] += value

    def add_native(self, histogram: Mapping[str, Any]) -> None:
        """Add latencies as a native histogram has them."""
        self.native = merge_bins((self.native, _native(histogram)))

    def edge(self, ends: _Ends, now: float) -> Edge | None:
        """As an edge; None where nothing happened."""
        requests, failures = self._requests()
        codes: defaultdict[str, int] = defaultdict(int)
        flags: defaultdict[str, int] = defaultdict(int)
        for (code, flag, grpc), value in self.outcomes.items():
            if count := round(value):
                codes[f"grpc {grpc}" if ends.protocol == "grpc" and grpc else code] += count
                for one in flag.split(",") if flag != "-" else ():
                    flags[one] += count
        numbers = {name: round(value) for name, value in self.numbers.items()}
        if not (requests or any(numbers.values())):
            return None
        return Edge(
            source=ends.source,
            source_service=ends.source_service,
            destination=ends.destination,
            destination_workload=ends.destination_workload,
            port=0,
            protocol=ends.protocol,
            mtls=ends.mtls,
            requests=requests,
            failures=failures,
            codes=tuple(sorted(codes.items())),
            flags=tuple(sorted(flags.items())),
            latency=self._latency(),
            bytes_sent=numbers.get("received", 0),
            bytes_received=numbers.get("sent", 0),
            connections_opened=numbers.get("opened", 0),
            connections_closed=numbers.get("closed", 0),
            last_seen=now,
        )

    def point(self, time: float) -> Point:
        """As a point."""
        sent, received = (round(self.numbers.get(name, 0)) for name in ("received", "sent"))
        return Point(time, *self._requests(), self._latency(), sent, received)

    def _requests(self) -> tuple[int, int]:
        failed = (value for key, value in self.outcomes.items() if has_failed(_verdict(*key)))
        return round(sum(self.outcomes.values())), round(sum(failed))

    def _latency(self) -> Bins:
        if self.native:
            return self.native
        found, lower, before = [], 0.0, 0.0
        for bound in sorted(self.cumulative):
            count = round(self.cumulative[bound] - before)
            if count > 0:
                found.append((lower, bound - lower if isfinite(bound) else 0.0, count))
            lower, before = bound, max(before, self.cumulative[bound])
        return tuple(found)


def _verdict(code: str, flags: str, grpc: str) -> tuple[int, int, int]:
    status = int(code) if code.isdecimal() else 0
    return min(status, CONNECTION - 1), flag_bits(flags), int(grpc) if grpc.isdecimal() else -1


def _ends(labels: Mapping[str, str]) -> _Ends:
    policy = labels.get("connection_security_policy", UNKNOWN)
    return _Ends(
        reporter=labels.get("reporter", ""),
        source=_workload(labels, "source"),
        source_service=_named(labels, "source_workload_namespace", "source_canonical_service"),
        destination=service_name(_known(labels.get("destination_service", ""))),
        destination_workload=_workload(labels, "destination"),
        protocol=_known(labels.get("request_protocol", "")) or "tcp",
        mtls=None if policy in ("", UNKNOWN) else policy == _MUTUAL,
    )


def _workload(labels: Mapping[str, str], side: str) -> str:
    return _named(labels, f"{side}_workload_namespace", f"{side}_workload")


def _named(labels: Mapping[str, str], namespace: str, name: str) -> str:
    found = _known(labels.get(name, ""))
    return f"{_known(labels.get(namespace, ''))}/{found}" if found else ""


def _known(text: str) -> str:
    return "" if text == UNKNOWN else text


def _samples(rows: Iterable[Mapping[str, Any]]) -> Iterable[Sample]:
    for row in rows:
        if "value" in row:
            value = float(row["value"][1])
            if isfinite(value):
                yield row["metric"], value


def _values(row: Mapping[str, Any]) -> Iterable[tuple[int, float]]:
    for time, text in row.get("values", ()):
        value = float(text)
        if isfinite(value):
            yield round(time), value


def _bound(text: str) -> float:
    return inf if text in ("", "+Inf") else float(text)


def _native(histogram: Mapping[str, Any]) -> Bins:
    """Buckets of a native histogram: rule of the bounds, lower, upper, count."""
    rows = (
        (float(lower), float(upper), round(float(count))) for _, lower, upper, count in histogram.get("buckets", ())
    )
    return tuple((max(0.0, lower), upper - max(0.0, lower), count) for lower, upper, count in sorted(rows) if count)


def _matchers(asked: Asked, *more: str) -> str:
    found = list(more)
    if asked.source:
        found += _workload_matcher("source", asked.source)
    if asked.destination:
        namespace, _, name = asked.destination.rpartition("/")
        host = f"{name}.{namespace}.svc.cluster.local" if namespace else asked.destination
        found.append(f"destination_service={_quoted(host)}")
    return f"{{{', '.join(found)}}}" if found else ""


def _workload_matcher(side: str, text: str) -> list[str]:
    namespace, _, name = text.rpartition("/")
    return [f"{side}_workload={_quoted(name)}", f"{side}_workload_namespace={_quoted(namespace)}"]


def _quoted(text: str) -> str:
    """A string of PromQL."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'
