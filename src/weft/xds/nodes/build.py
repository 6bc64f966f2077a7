"""build_node_xds: the view of a node compiled to an XdsSnapshot."""

from __future__ import annotations

from types import MappingProxyType

from weft.mesh.memo import Memo
from weft.mesh.node import CarriedView, NodeView
from weft.model.problem import Problem
from weft.xds.build import build_layers
from weft.xds.check import check_layers
from weft.xds.nodes.carried import carry_layer
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
from weft.xds.nodes.names import carried_name
from weft.xds.nodes.namespaces import place_layer
from weft.xds.snapshot import CLUSTER, ENDPOINTS, LISTENER, Resource, ResourceSet, XdsSnapshot

_OUTBOUND = ("outbound", "upstream|", "http-tunnel")
"""What the names of listeners begin with through which a workload calls."""
_AS_TCP = "|tcp"
Layers = tuple[ResourceSet, ...]


def build_node_xds(view: NodeView, revision: int, memo: Memo) -> XdsSnapshot:
    """Everything the proxy of a node is entitled to: what its workloads' sidecars would be, under names of their own
    (`weft.xds.nodes.carried`), and calls between them in one step (`weft.xds.nodes.local`). In two layers: what is told
    at once, and what is told when it is asked for."""
    layers, problems = memo(_layers, memo, view)
    return XdsSnapshot(revision, layers, problems)


def _layers(memo: Memo, view: NodeView) -> tuple[Layers, tuple[Problem, ...]]:
    given = [(each, memo(_carried, memo, each)) for each in view.carried]
    if view.doors:
        opened = [(each, layers, memo(_doors, memo, each, layers)) for each, layers in given]
        known = [_door(memo, each, door) for each, _, doors in opened for door in doors]
        neighbours = memo.over(doors_of, known)
        given = [(each, memo(_calling, memo, each, layers, own, neighbours)) for each, layers, own in opened]
    found = [layer for _, layers in given for layer in layers]
    asked = memo.over(_union, [layer for layer in found if layer.on_demand], True)
    told = memo.over(_union, [layer for layer in found if not layer.on_demand], False)
    return (asked, told), check_layers(memo, (asked, told))


def _carried(memo: Memo, each: CarriedView) -> Layers:
    """The layers of a workload's sidecar, under its own names, and in its network namespace."""
    whose = carried_name(each.view.proxy)
    layers = memo(build_layers, memo, each.view)[0]
    carried = [memo(carry_layer, memo, layer, whose.name, whose.namespace) for layer in layers]
    if each.namespace is not None:
        carried = [memo(place_layer, memo, layer, whose.prefix, each.namespace) for layer in carried]
    return tuple(carried)


def _doors(memo: Memo, each: CarriedView, layers: Layers) -> tuple[OpenDoor, ...]:
    """The doors of a workload's ports, which are in the last of its layers."""
    whose, own = carried_name(each.view.proxy), layers[-1]
    caller = _caller(memo, each)
    found = [memo(open_door, port, own, whose.name, whose.namespace, caller) for port in each.view.inbound]
    return tuple([door for door in found if door is not None])


def _caller(memo: Memo, each: CarriedView) -> Caller:
    """Who a workload is to its neighbours: the same object for as long as it is the same, whatever it may call."""
    subject = f"OU={each.revision},O={each.service},CN={each.view.proxy}"
    return memo(Caller, str(each.view.identity), subject)


def _door(memo: Memo, each: CarriedView, opened: OpenDoor) -> Door:
    """A door as neighbours know it: the same object for as long as that is the same."""
    return memo(Door, opened.host, opened.port, opened.name, _caller(memo, each))


def _calling(memo: Memo, each: CarriedView, layers: Layers, own: tuple[OpenDoor, ...], doors: Doors) -> Layers:
    """A workload's layers, with its neighbours behind their doors, and its own doors."""
    whose, caller = carried_name(each.view.proxy), _caller(memo, each)
    as_tcp = {name.removesuffix(_AS_TCP) for layer in layers for name in layer.of_type(CLUSTER) if _AS_TCP in name}
    given = (whose.prefix, caller, doors, tuple(sorted(as_tcp)))
    changed = [memo(_calling_layer, memo, layer, *given) for layer in layers]
    inside = [resource for door in own for resource in door.resources]
    return (*changed, memo.over(_set, inside)) if inside else tuple(changed)


def _calling_layer(
    memo: Memo, layer: ResourceSet, prefix: str, caller: Caller, doors: Doors, as_tcp: tuple[str, ...]
) -> ResourceSet:
    """A layer as the caller's; endpoints of clusters that also carry connections `as_tcp` stay as they are."""
    clusters = layer.of_type(CLUSTER)
    by_type = dict(layer.by_type)
    by_type[LISTENER] = {
        name: memo(call_listener, one, caller.identity, caller.subject)
        if name.removeprefix(prefix).startswith(_OUTBOUND)
        else one
        for name, one in layer.of_type(LISTENER).items()
    }
    by_type[CLUSTER] = {name: memo(call_cluster, one) for name, one in clusters.items()}
    by_type[ENDPOINTS] = {
        name: memo(call_endpoints, one, memo(taken_by, clusters[name]), doors)
        if name in clusters and name not in as_tcp
        else one
        for name, one in layer.of_type(ENDPOINTS).items()
    }
    frozen = {type_url: MappingProxyType(dict(named)) for type_url, named in by_type.items() if named}
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
