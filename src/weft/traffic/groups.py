"""Groups of edges: by service, workload, rule, or caller and service; and those that somebody means by a name."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Literal

from weft.traffic.edges import Edge
from weft.traffic.latency import merge_bins

By = Literal["edge", "pair", "service", "workload", "route"]
BY: tuple[By, ...] = ("edge", "pair", "service", "workload", "route")
_Key = tuple[str, ...]


def grouped(edges: Iterable[Edge], by: By) -> tuple[Edge, ...]:
    """One edge for each group, with the sums of all that are in it; ordered by name. What differs within a group is
    empty. `pair`: by caller and service; `service`: all calls to one; `workload`: all calls that one answered; `route`:
    by the rule that led there (those without one are no group)."""
    groups: dict[_Key, list[Edge]] = {}
    key_of = _KEYS[by]
    for edge in edges:
        key = key_of(edge)
        if key is not None:
            groups.setdefault(key, []).append(edge)
    return tuple(_sum(groups[key]) for key in sorted(groups))


def chosen(edges: Iterable[Edge], names: Sequence[str], namespaces: Sequence[str]) -> tuple[Edge, ...]:
    """Edges that one of `names` is about (a service, a workload of either side, a route; with or without its namespace
    or kind), and of which one side is in one of `namespaces`. Without any: all."""
    found = []
    for edge in edges:
        told = _names(edge)
        if names and not any(name.lower() in told for name in names):
            continue
        if namespaces and not any(side.split("/")[0] in namespaces for side in _sides(edge)):
            continue
        found.append(edge)
    return tuple(found)


def known_names(edges: Iterable[Edge]) -> tuple[str, ...]:
    """The names that `chosen` would find, in order."""
    return tuple(sorted({name for edge in edges for name in _names(edge) if name}))


def _names(edge: Edge) -> set[str]:
    full = {edge.destination, edge.destination_workload, edge.source, edge.source_service, edge.route}
    found = {one.lower() for one in full if one}
    found |= {one.rpartition("/")[2] for one in found}
    return found | {edge.route.lower().partition(" ")[2]} - {""}


def _sides(edge: Edge) -> tuple[str, ...]:
    return tuple(one for one in (edge.source, edge.destination, edge.destination_workload) if "/" in one)


def _pair(edge: Edge) -> _Key:
    return edge.source, edge.source_service, edge.destination


_KEYS: dict[By, Callable[[Edge], _Key | None]] = {
    "edge": lambda edge: (*_pair(edge), edge.destination_workload, str(edge.port), edge.protocol, str(edge.mtls)),
    "pair": _pair,
    "service": lambda edge: (edge.destination,),
    "workload": lambda edge: (edge.destination_workload,) if edge.destination_workload else None,
    "route": lambda edge: (edge.route, edge.destination) if edge.route else None,
}


def _sum(edges: Sequence[Edge]) -> Edge:
    first = edges[0]
    if len(edges) == 1:
        return first

    def common(field: str) -> str:
        values = {getattr(edge, field) for edge in edges}
        return str(values.pop()) if len(values) == 1 else ""

    codes: Counter[str] = Counter()
    flags: Counter[str] = Counter()
    for edge in edges:
        codes.update(dict(edge.codes))
        flags.update(dict(edge.flags))
    known = [edge.mtls for edge in edges if edge.mtls is not None]
    ports = {edge.port for edge in edges}
    return dataclasses.replace(
        first,
        **{name: common(name) for name in ("source", "source_service", "destination", "protocol", "route")},
        destination_workload=common("destination_workload"),
        port=first.port if len(ports) == 1 else 0,
        mtls=all(known) if known else None,
        requests=sum(edge.requests for edge in edges),
        failures=sum(edge.failures for edge in edges),
        codes=tuple(sorted(codes.items())),
        flags=tuple(sorted(flags.items())),
        latency=merge_bins(edge.latency for edge in edges),
        bytes_sent=sum(edge.bytes_sent for edge in edges),
        bytes_received=sum(edge.bytes_received for edge in edges),
        connections_opened=sum(edge.connections_opened for edge in edges),
        connections_closed=sum(edge.connections_closed for edge in edges),
        last_seen=max(edge.last_seen for edge in edges),
    )
