"""Applying patches to what a proxy is given: resource by resource, so that those that no patch is about stay as they
are, and those that are shared are changed once for all proxies with the same patches."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from envoy.config.cluster.v3.cluster_pb2 import Cluster
from envoy.config.listener.v3.listener_pb2 import Listener
from envoy.config.route.v3.route_pb2 import RouteConfiguration
from google.protobuf.message import Message

from weft.mesh.memo import Memo
from weft.mesh.patches import Patch, Patches
from weft.xds.patches.listeners import patch_listener
from weft.xds.patches.messages import BadValueError, merged, message_from_json
from weft.xds.patches.places import concerns, place_of
from weft.xds.patches.routes import patch_routes
from weft.xds.resource import encode_resource
from weft.xds.snapshot import CLUSTER, LISTENER, ROUTES, Resource, ResourceSet

_TYPES: Mapping[str, str] = {
    "LISTENER": LISTENER,
    "FILTER_CHAIN": LISTENER,
    "NETWORK_FILTER": LISTENER,
    "HTTP_FILTER": LISTENER,
    "ROUTE_CONFIGURATION": ROUTES,
    "VIRTUAL_HOST": ROUTES,
    "HTTP_ROUTE": ROUTES,
    "CLUSTER": CLUSTER,
}
_MESSAGES: Mapping[str, type[Message]] = {LISTENER: Listener, ROUTES: RouteConfiguration, CLUSTER: Cluster}


@dataclass(frozen=True, slots=True, eq=False)
class Changed:
    """A resource as it is after the patches (None: removed), those that changed it, and those whose value is no message
    of Envoy's API, with what is wrong."""

    resource: Resource | None
    by: tuple[Patch, ...] = ()
    wrong: tuple[tuple[Patch, str], ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class Patched:
    """All layers after the patches."""

    layers: tuple[ResourceSet, ...]
    by: tuple[Patch, ...] = ()
    wrong: tuple[tuple[Patch, str], ...] = ()


def apply_patches(memo: Memo, layers: tuple[ResourceSet, ...], patches: Patches, gateway: str = "") -> Patched:
    """The layers of a proxy with its patches applied; it serves `gateway` (``namespace/name``), or is a sidecar."""
    found = [memo(patch_layer, memo, layer, patches, gateway) for layer in layers]
    added, by, wrong = _added(patches, gateway)
    more = (memo.over(_layer_of, [*added])) if added else None
    return Patched(
        tuple(each.layers[0] for each in found) + ((more,) if more is not None else ()),
        tuple(dict.fromkeys((*(patch for each in found for patch in each.by), *by))),
        tuple(dict.fromkeys((*(one for each in found for one in each.wrong), *wrong))),
    )


def patch_layer(memo: Memo, layer: ResourceSet, patches: Patches, gateway: str) -> Patched:
    """One layer; the same object where no patch changes anything in it."""
    kinds = {_TYPES[patch.applies_to] for patch in patches.all}
    by_type = dict(layer.by_type)
    by: dict[Patch, None] = {}
    wrong: dict[tuple[Patch, str], None] = {}
    changed = False
    for kind in kinds & by_type.keys():
        named: dict[str, Resource] = {}
        for name, resource in by_type[kind].items():
            result = memo(patch_resource, resource, patches, gateway)
            by.update(dict.fromkeys(result.by))
            wrong.update(dict.fromkeys(result.wrong))
            changed |= result.resource is not resource
            if result.resource is not None:
                named[name] = result.resource
        by_type[kind] = MappingProxyType(named)
    found = ResourceSet(MappingProxyType(by_type), layer.on_demand) if changed else layer
    return Patched((found,), tuple(by), tuple(wrong))


def patch_resource(resource: Resource, patches: Patches, gateway: str) -> Changed:
    """A resource after the patches that are about it."""
    place = place_of(resource, gateway=bool(gateway))
    mine = [
        patch
        for patch in patches.all
        if _TYPES[patch.applies_to] == resource.type_url
        and concerns(patch, resource, place, gateway)
        and not (patch.applies_to == "CLUSTER" and patch.operation == "ADD")
    ]
    if not mine:
        return Changed(resource)
    message = _MESSAGES[resource.type_url].FromString(resource.body)
    by, wrong = [], []
    for patch in mine:
        if patch.operation == "REMOVE" and patch.applies_to in ("LISTENER", "CLUSTER"):
            return Changed(None, (patch,))
        try:
            if _CHANGES[resource.type_url](patch, message):
                by.append(patch)
        except BadValueError as error:
            wrong.append((patch, str(error)))
    if not by:
        return Changed(resource, (), tuple(wrong))
    origins = tuple(dict.fromkeys((*resource.origins, *(patch.origin for patch in by))))
    return Changed(encode_resource(message, resource.name, origins, resource.requires), tuple(by), tuple(wrong))


def _patch_cluster(patch: Patch, cluster: Cluster) -> bool:
    change = message_from_json(patch.value, Cluster())
    if change.name:
        raise BadValueError("Cluster: its name is the mesh's")
    merged(cluster, change)
    return True


_CHANGES: Mapping[str, Callable[[Patch, Any], bool]] = {
    LISTENER: patch_listener,
    ROUTES: patch_routes,
    CLUSTER: _patch_cluster,
}


def _added(patches: Patches, gateway: str) -> tuple[list[Resource], list[Patch], list[tuple[Patch, str]]]:
    """Clusters that patches add."""
    found: dict[str, Resource] = {}
    by, wrong = [], []
    contexts = ("ANY", "GATEWAY") if gateway else ("ANY", "SIDECAR_OUTBOUND", "SIDECAR_INBOUND")
    for patch in patches.all:
        if patch.applies_to != "CLUSTER" or patch.operation != "ADD" or patch.match.context not in contexts:
            continue
        try:
            cluster = message_from_json(patch.value, Cluster())
            if not cluster.name or cluster.name.split("|")[0] in ("inbound", "outbound"):
                raise BadValueError("Cluster: it needs a name that is none of the mesh's (inbound|…, outbound|…)")
        except BadValueError as error:
            wrong.append((patch, str(error)))
            continue
        found[cluster.name] = encode_resource(cluster, cluster.name, (patch.origin,))
        by.append(patch)
    return list(found.values()), by, wrong


def _layer_of(resources: tuple[Resource, ...]) -> ResourceSet:
    return ResourceSet(MappingProxyType({CLUSTER: MappingProxyType({each.name: each for each in resources})}))
