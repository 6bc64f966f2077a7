"""build_node_xds: the view of a node compiled to an XdsSnapshot."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from weft.mesh.memo import Memo
from weft.mesh.node import CarriedView, NodeView
from weft.model.problem import Problem
from weft.xds.build import build_layers
from weft.xds.check import check_layer, check_layers
from weft.xds.nodes.blank import Blank, blank_resource, filled_blank
from weft.xds.nodes.carried import carry_resource
from weft.xds.nodes.local import (
    Caller,
    Door,
    Doors,
    OpenDoor,
    call_cluster,
    call_endpoints,
    call_listener,
    doors_of,
    open_door,
    taken_by,
)
from weft.xds.nodes.names import CarriedName, carried_name
from weft.xds.nodes.namespaces import place_layer
from weft.xds.snapshot import (
    CLUSTER,
    ENDPOINTS,
    EXTENSION,
    LISTENER,
    ROUTES,
    Resource,
    ResourceSet,
    XdsSnapshot,
)

_OUTBOUND = ("outbound", "upstream|", "http-tunnel")
"""What the names of listeners begin with through which a workload calls."""
_AS_TCP = "|tcp"
Layers = tuple[ResourceSet, ...]
Part = tuple[Layers, tuple[Problem, ...]]


@dataclass(frozen=True, slots=True, eq=False)
class Blanks:
    """Those of a layer, by type, in the order of its resources. Compared by identity."""

    by_type: Mapping[str, tuple[Blank | None, ...]]


def build_node_xds(view: NodeView, revision: int, memo: Memo) -> XdsSnapshot:
    """Everything the proxy of a node is entitled to: what its workloads' sidecars would be, under names of their own
    (`weft.xds.nodes.carried`), and calls between them in one step (`weft.xds.nodes.local`). In two layers: what is told
    at once, and what is told when it is asked for."""
    layers, problems = memo(_layers, memo, view)
    return XdsSnapshot(revision, layers, problems)


def node_steps(view: NodeView, memo: Memo) -> Iterator[None]:
    """Make the parts of which `build_node_xds` consists, a little at a time: it finds them made."""
    for _ in _parts(memo, view):
        yield


def _layers(memo: Memo, view: NodeView) -> tuple[Layers, tuple[Problem, ...]]:
    parts = list(_parts(memo, view))
    found = [layer for layers, _ in parts for layer in layers]
    asked = memo.over(_union, [layer for layer in found if layer.on_demand], True)
    told = memo.over(_union, [layer for layer in found if not layer.on_demand], False)
    return (asked, told), tuple([problem for _, problems in parts for problem in problems])


def _parts(memo: Memo, view: NodeView) -> Iterator[Part]:
    """The layers of each workload, and the problems of what they refer to, in several parts: some are empty, where only
    something is made that others need."""
    opened: dict[CarriedView, tuple[OpenDoor, ...]] = {}
    for each in view.carried:
        layers, _ = memo(build_layers, memo, each.view)
        opened[each] = _doors(memo, each, layers) if view.doors else ()
        yield (), ()
    known = [_door(memo, each, door) for each, own in opened.items() for door in own]
    neighbours = memo.over(doors_of, known) if view.doors else None
    for each in view.carried:
        layers, problems = memo(build_layers, memo, each.view)
        whose, caller = carried_name(each.view.proxy), _caller(memo, each) if view.doors else None
        carried = []
        for number, layer in enumerate(layers):
            called = memo(_called, memo, layer, neighbours, _as_tcp(memo, layers, layer))
            blanks = memo(_blanks, memo, called, number < len(layers) - 1)
            named = memo(_carried_layer, memo, called, blanks, number, whose.name, whose.namespace, caller)
            where = each.namespace
            carried.append(named if where is None else memo(place_layer, memo, named, whose.prefix, where))
            yield (carried[-1],), ()
        doors = memo.over(_set, [resource for door in opened[each] for resource in door.resources])
        # What a sidecar's resources refer to, they refer to here: it need not be looked up again under other names.
        unmet = check_layers(memo, (*carried, doors)) if problems else check_layer(memo, doors, (doors, *carried[::-1]))
        yield (doors,), unmet


def _blanks(memo: Memo, layer: ResourceSet, shared: bool) -> Blanks:
    """What the resources of a layer are for all workloads that have them, if it is `shared`."""
    return Blanks(
        {
            type_url: tuple([memo(blank_resource, one) if shared else None for one in named.values()])
            for type_url, named in layer.by_type.items()
        }
    )


def _carried_layer(
    memo: Memo, layer: ResourceSet, blanks: Blanks, which: int, name: str, namespace: str, caller: Caller | None
) -> ResourceSet:
    """A layer of the workload `name` under its own names, and as the `caller`'s, if neighbours have doors. `which` of
    its layers it is."""
    whose = CarriedName(name, namespace)
    found: dict[str, Mapping[str, Resource]] = {}
    for type_url, named in layer.by_type.items():
        columns = (tuple(named.values()), blanks.by_type[type_url])
        rows = memo.rows(_carried, columns, memo, name, namespace, name=f"{whose.prefix}{which}{type_url}")
        if type_url == LISTENER and caller is not None:
            said = (caller.identity, caller.subject)
            leads = [each.startswith(_OUTBOUND) for each in named]
            rows = tuple(
                [memo(call_listener, one, *said) if leading else one for one, leading in zip(rows, leads, strict=True)]
            )
        found[type_url] = MappingProxyType({one.name: one for one in rows})
    return ResourceSet(MappingProxyType(found), layer.on_demand)


def _carried(_: Memo, resource: Resource, blank: Blank | None, memo: Memo, name: str, namespace: str) -> Resource:
    return carry_resource(resource, name, namespace) if blank is None else filled_blank(memo, blank, name, namespace)


def _doors(memo: Memo, each: CarriedView, layers: Layers) -> tuple[OpenDoor, ...]:
    """The doors of a workload's ports, which are in the last of its layers."""
    whose, caller, which = carried_name(each.view.proxy), _caller(memo, each), len(layers) - 1
    entrance = memo(_entrance, layers[-1])
    blanks = memo(_blanks, memo, entrance, False)
    entered = memo(_carried_layer, memo, entrance, blanks, which, whose.name, whose.namespace, None)
    found = [memo(open_door, port, entered, whose.name, whose.namespace, caller) for port in each.view.inbound]
    return tuple([door for door in found if door is not None])


def _entrance(own: ResourceSet) -> ResourceSet:
    """What of a layer doors are made of."""
    return ResourceSet(MappingProxyType({kind: own.of_type(kind) for kind in (LISTENER, ROUTES, EXTENSION)}))


def _caller(memo: Memo, each: CarriedView) -> Caller:
    """Who a workload is to its neighbours: the same object for as long as it is the same, whatever it may call."""
    subject = f"OU={each.revision},O={each.service},CN={each.view.proxy}"
    return memo(Caller, str(each.view.identity), subject)


def _door(memo: Memo, each: CarriedView, opened: OpenDoor) -> Door:
    """A door as neighbours know it: the same object for as long as that is the same."""
    return memo(Door, opened.host, opened.port, opened.name, _caller(memo, each))


def _as_tcp(memo: Memo, layers: Layers, layer: ResourceSet) -> tuple[str, ...]:
    """The endpoints in a layer whose clusters also carry connections."""
    found = frozenset().union(*(memo(_carrying, each) for each in layers))
    return tuple(sorted(found.intersection(layer.of_type(ENDPOINTS)))) if found else ()


def _carrying(layer: ResourceSet) -> frozenset[str]:
    return frozenset([name.removesuffix(_AS_TCP) for name in layer.of_type(CLUSTER) if _AS_TCP in name])


def _called(memo: Memo, layer: ResourceSet, doors: Doors | None, as_tcp: tuple[str, ...]) -> ResourceSet:
    """A layer with neighbours behind their `doors`; endpoints of clusters that also carry connections `as_tcp` stay as
    they are. All workloads of the node that share the layer share this one."""
    clusters, endpoints = layer.of_type(CLUSTER), layer.of_type(ENDPOINTS)
    if doors is None or not (clusters or endpoints):
        return layer
    by_type = dict(layer.by_type)
    by_type[CLUSTER] = MappingProxyType({name: memo(call_cluster, one) for name, one in clusters.items()})
    by_type[ENDPOINTS] = MappingProxyType(
        {
            name: memo(call_endpoints, one, memo(taken_by, clusters[name]), doors)
            if name in clusters and name not in as_tcp
            else one
            for name, one in endpoints.items()
        }
    )
    frozen = {type_url: named for type_url, named in by_type.items() if named}
    return ResourceSet(MappingProxyType(frozen), layer.on_demand)


def _set(resources: tuple[Resource, ...]) -> ResourceSet:
    """A layer of these."""
    found: dict[str, dict[str, Resource]] = {}
    for each in resources:
        found.setdefault(each.type_url, {})[each.name] = each
    return ResourceSet(MappingProxyType({type_url: MappingProxyType(named) for type_url, named in found.items()}))


def _union(layers: Layers, on_demand: bool) -> ResourceSet:
    """All resources of layers whose names do not overlap."""
    found: dict[str, dict[str, Resource]] = {}
    for layer in layers:
        for type_url, named in layer.by_type.items():
            found.setdefault(type_url, {}).update(named)
    by_type = {type_url: MappingProxyType(named) for type_url, named in found.items()}
    return ResourceSet(MappingProxyType(by_type), on_demand)
