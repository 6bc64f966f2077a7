"""The graph: services and who calls them, as documents mean it and as proxies saw it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import msgspec

from weft.model.problem import Problem
from weft.traffic.edges import Edge, Window
from weft.traffic.intents import Intents, Place, Split
from weft.traffic.latency import merge_bins, percentiles
from weft.traffic.layout import Layout, extent, lay_out, position

UNKNOWN = "unknown"
"""The node of callers that nobody knows."""
_ORDER = {"gateway": 0, "namespace": 1, "workload": 2, "service": 3, "outside": 4}


class Version(msgspec.Struct, frozen=True):
    """The instances of one version, and their share of what the node answered (None: it answered nothing)."""

    name: str
    share: float | None
    workloads: tuple[str, ...]


class Weight(msgspec.Struct, frozen=True):
    """A part of a split: what the rule asks for and what was seen, 0 to 1 (None: nothing was)."""

    to: str
    asked: float
    seen: float | None
    rule: str


class Rates(msgspec.Struct, frozen=True):
    """Golden signals over the window; None where there is no data."""

    requests: int = 0
    requests_per_second: float = 0.0
    success_rate: float | None = None
    p50_ms: float | None = None
    p95_ms: float | None = None
    p99_ms: float | None = None
    codes: dict[str, int] = {}
    flags: dict[str, int] = {}
    bytes_sent: int = 0
    bytes_received: int = 0
    connections_opened: int = 0
    connections_closed: int = 0


class Node(msgspec.Struct, frozen=True):
    """A service, a caller without one, a gateway, a host outside, or a folded namespace (with its `members`). Its rates
    are of what it answered; of what it sent, if nobody calls it. `x` and `y` are of its middle."""

    id: str
    kind: str
    name: str
    namespace: str
    column: int
    x: float
    y: float
    versions: tuple[Version, ...]
    requests_per_second: float
    success_rate: float | None
    p99_ms: float | None
    problems: int
    members: tuple[str, ...] = ()


class Link(msgspec.Struct, frozen=True, rename={"caller": "from", "callee": "to"}):
    """All calls from one node to another. `mtls` None: not known; False: some were in plaintext. `intent`: documents
    lead there, and nobody went. `weights`, where a rule divides the calls."""

    caller: str
    callee: str
    ports: tuple[int, ...]
    protocols: tuple[str, ...]
    requests: int
    requests_per_second: float
    success_rate: float | None
    p50_ms: float | None
    p95_ms: float | None
    p99_ms: float | None
    codes: dict[str, int]
    flags: dict[str, int]
    bytes_sent: int
    bytes_received: int
    connections_opened: int
    connections_closed: int
    mtls: bool | None
    intent: bool
    weights: tuple[Weight, ...] = ()


class Graph(msgspec.Struct, frozen=True):
    """All of it, over a window of `seconds`. `complete`: the window is known as a whole."""

    seconds: float
    complete: bool
    nodes: tuple[Node, ...]
    edges: tuple[Link, ...]
    width: float
    height: float


@dataclass(frozen=True, slots=True)
class Shown:
    """What is to be seen: nodes of these namespaces and who they call or are called by (none: all), those of `folded`
    as one each (``*``: of all)."""

    namespaces: frozenset[str] = frozenset()
    folded: frozenset[str] = frozenset()

    def folds(self, namespace: str) -> bool:
        """Whether the nodes of a namespace are one."""
        return bool(namespace) and (namespace in self.folded or "*" in self.folded)


EVERYTHING = Shown()


@dataclass(slots=True)
class _Calls:
    """The edges between two nodes, and whether documents mean them; lives only within `build_graph`."""

    edges: list[Edge] = field(default_factory=list)
    intent: bool = False


def build_graph(
    intents: Intents,
    window: Window,
    problems: Iterable[Problem] = (),
    shown: Shown = EVERYTHING,
    former: Layout | None = None,
) -> tuple[Graph, Layout]:
    """The graph of a window of traffic, and its layout, which as `former` of the next keeps every node in its place."""
    home, calls = _gather(intents, window, shown)
    nodes = {place.id: place for place in home.values()}
    if shown.namespaces:
        nodes, calls = _within(shown.namespaces, nodes, calls)
    places = sorted(nodes.values(), key=_order)
    layout = lay_out([place.id for place in places], sorted(calls), former)
    counts = _problem_counts(problems, intents, home)
    answered: dict[str, list[Edge]] = {}
    sent: dict[str, list[Edge]] = {}
    for (caller, callee), found in calls.items():
        answered.setdefault(callee, []).extend(found.edges)
        sent.setdefault(caller, []).extend(found.edges)
    members: dict[str, list[str]] = {}
    for node, place in sorted(home.items()):
        if place.kind == "namespace":
            members.setdefault(place.id, []).append(node)
    width, height = extent(layout, nodes)
    told = [
        _node(place, layout, answered.get(place.id) or sent.get(place.id, []), window.seconds, counts[place.id])
        for place in places
    ]
    return Graph(
        seconds=window.seconds,
        complete=window.complete,
        nodes=tuple(msgspec.structs.replace(node, members=tuple(members.get(node.id, ()))) for node in told),
        edges=tuple(
            _link(pair, calls[pair], window.seconds, _weights(pair, sent[pair[0]], intents)) for pair in sorted(calls)
        ),
        width=width,
        height=height,
    ), layout


def _gather(intents: Intents, window: Window, shown: Shown) -> tuple[dict[str, Place], dict[tuple[str, str], _Calls]]:
    """The node that each node is shown as, and what goes on between those, seen and meant."""
    places = dict(intents.places)
    seen: dict[tuple[str, str], list[Edge]] = {}
    for edge in window.edges:
        if edge.requests or edge.connections_opened or edge.connections_closed:
            pair = (_caller(edge, intents, places), _callee(edge, places))
            seen.setdefault(pair, []).append(edge)
    home = {node: _fold(place, shown) for node, place in places.items()}
    calls: dict[tuple[str, str], _Calls] = {}
    for (caller, callee), edges in seen.items():
        if home[caller].id != home[callee].id or caller == callee:
            calls.setdefault((home[caller].id, home[callee].id), _Calls()).edges += edges
    for caller, callee in intents.calls:
        if callee in home and home[caller].id != home[callee].id:
            calls.setdefault((home[caller].id, home[callee].id), _Calls()).intent = True
    return home, calls


def _caller(edge: Edge, intents: Intents, places: dict[str, Place]) -> str:
    """The node of who called; one that the mesh does not know (any more) is made."""
    if not edge.source:
        places.setdefault(UNKNOWN, Place(UNKNOWN, "outside", "unknown callers", ""))
        return UNKNOWN
    if home := intents.homes.get(edge.source):
        return home
    if edge.source_service in places:
        return edge.source_service
    namespace, _, name = edge.source.rpartition("/")
    node = f"workload {edge.source}"
    places.setdefault(node, Place(node, "workload", name, namespace))
    return node


def _callee(edge: Edge, places: dict[str, Place]) -> str:
    node = edge.destination or UNKNOWN
    if node not in places:
        namespace, _, name = node.rpartition("/")
        places[node] = Place(node, "service" if namespace else "outside", name, namespace)
    return node


def _fold(place: Place, shown: Shown) -> Place:
    if not shown.folds(place.namespace):
        return place
    return Place(f"namespace {place.namespace}", "namespace", place.namespace, place.namespace)


def _order(place: Place) -> tuple[int, str]:
    return (_ORDER.get(place.kind, len(_ORDER)), place.id)


def _within(
    namespaces: frozenset[str], nodes: Mapping[str, Place], calls: Mapping[tuple[str, str], _Calls]
) -> tuple[dict[str, Place], dict[tuple[str, str], _Calls]]:
    """The nodes of these namespaces, and those that they call or are called by."""
    inside = {node for node, place in nodes.items() if place.namespace in namespaces}
    kept = {pair: found for pair, found in calls.items() if pair[0] in inside or pair[1] in inside}
    near = {node for pair in kept for node in pair}
    return {node: place for node, place in nodes.items() if node in inside or node in near}, kept


def _problem_counts(problems: Iterable[Problem], intents: Intents, home: Mapping[str, Place]) -> Counter[str]:
    """How many problems are about each node: about its service, gateway or workload, or a document that routes it."""
    counts: Counter[str] = Counter()
    for problem in problems:
        nodes = intents.objects.get(problem.object, frozenset()) if problem.object is not None else frozenset()
        workload = problem.origin.source.removeprefix("workload ")
        if workload in intents.homes:
            nodes = nodes | {intents.homes[workload]}
        counts.update({home[node].id for node in nodes if node in home})
    return counts


def _node(place: Place, layout: Layout, edges: list[Edge], seconds: float, problems: int) -> Node:
    x, y = position(layout.slots[place.id], layout)
    rates = rates_of(edges, seconds)
    by_workload: Counter[str] = Counter()
    for edge in edges:
        by_workload[edge.destination_workload] += edge.requests
    known = {workload for _, workloads in place.versions for workload in workloads}
    total = sum(by_workload[workload] for workload in known)
    return Node(
        id=place.id,
        kind=place.kind,
        name=place.name,
        namespace=place.namespace,
        column=layout.slots[place.id].column,
        x=x,
        y=y,
        versions=tuple(
            Version(name, sum(by_workload[one] for one in workloads) / total if total else None, workloads)
            for name, workloads in place.versions
        ),
        requests_per_second=rates.requests_per_second,
        success_rate=rates.success_rate,
        p99_ms=rates.p99_ms,
        problems=problems,
    )


def _link(pair: tuple[str, str], calls: _Calls, seconds: float, weights: tuple[Weight, ...]) -> Link:
    rates = rates_of(calls.edges, seconds)
    known = [edge.mtls for edge in calls.edges if edge.mtls is not None]
    return Link(
        caller=pair[0],
        callee=pair[1],
        ports=tuple(sorted({edge.port for edge in calls.edges})),
        protocols=tuple(sorted({edge.protocol for edge in calls.edges})),
        mtls=all(known) if known else None,
        intent=calls.intent and not calls.edges,
        weights=weights,
        **msgspec.structs.asdict(rates),
    )


def rates_of(edges: Iterable[Edge], seconds: float) -> Rates:
    """The sum of some edges, over a window of `seconds`."""
    listed = list(edges)
    requests = sum(edge.requests for edge in listed)
    failures = sum(edge.failures for edge in listed)
    codes: Counter[str] = Counter()
    flags: Counter[str] = Counter()
    for edge in listed:
        codes.update(dict(edge.codes))
        flags.update(dict(edge.flags))
    p50, p95, p99 = percentiles(merge_bins(edge.latency for edge in listed), (0.5, 0.95, 0.99))
    return Rates(
        requests=requests,
        requests_per_second=requests / seconds if seconds else 0.0,
        success_rate=1.0 - failures / requests if requests else None,
        p50_ms=p50,
        p95_ms=p95,
        p99_ms=p99,
        codes=dict(sorted(codes.items())),
        flags=dict(sorted(flags.items())),
        bytes_sent=sum(edge.bytes_sent for edge in listed),
        bytes_received=sum(edge.bytes_received for edge in listed),
        connections_opened=sum(edge.connections_opened for edge in listed),
        connections_closed=sum(edge.connections_closed for edge in listed),
    )


def _weights(pair: tuple[str, str], sent: Iterable[Edge], intents: Intents) -> tuple[Weight, ...]:
    """How a rule divides the calls from one node to another, and how those that the node `sent` were divided: what went
    to none of the parts is missing from their sum."""
    split = _split_of(pair, intents)
    if split is None:
        return ()
    requests: Counter[tuple[str, str]] = Counter()
    for edge in sent:
        requests[edge.destination, edge.destination_workload] += edge.requests
    of_share = [sum(requests[share.callee, workload] for workload in share.workloads) for share in split.shares]
    callees = {share.callee for share in split.shares}
    total = sum(count for (callee, _), count in requests.items() if callee in callees)
    return tuple(
        Weight(share.to, share.asked, count / total if total else None, split.object)
        for share, count in zip(split.shares, of_share, strict=True)
    )


def _split_of(pair: tuple[str, str], intents: Intents) -> Split | None:
    """The split in force for a caller: its own documents' before those of the host."""
    caller, callee = pair
    space = intents.spaces.get(caller, "")
    labels = intents.labels.get(caller, ())
    keys = intents.split_hosts.get(callee, ())
    for key in sorted(keys, key=lambda key: key[0] != space):
        split = intents.splits[key]
        own = key[0] == space
        hosts = not space.startswith("gateway ") and key[0] == callee.partition("/")[0]
        selectors = tuple(wanted for one in labels if (wanted := split.source.labels) and set(wanted) <= set(one))
        if (own or hosts) and split.source.covers(space, selectors):
            return split
    return None
