"""An XdsSnapshot: encoded resources with content-hash versions, shared between proxies layer by layer."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from weft.model.origin import Origin
from weft.model.problem import Problem
from weft.xds.names import EncodedNames

CLUSTER = "type.googleapis.com/envoy.config.cluster.v3.Cluster"
ENDPOINTS = "type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment"
LISTENER = "type.googleapis.com/envoy.config.listener.v3.Listener"
ROUTES = "type.googleapis.com/envoy.config.route.v3.RouteConfiguration"
SECRET = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret"  # noqa: S105
EXTENSION = "type.googleapis.com/envoy.config.core.v3.TypedExtensionConfig"
TYPES = (CLUSTER, ENDPOINTS, LISTENER, EXTENSION, ROUTES, SECRET)
"""In the order in which responses are written. What refers to others stands after them."""
_NOTHING: Mapping[str, Any] = MappingProxyType({})


@dataclass(frozen=True, slots=True, eq=False)
class Resource:
    """One encoded resource. Made by `weft.xds.resource`.

    `version` is a hash of `body`. `delta_bytes` is the encoded envoy.service.discovery.v3.Resource (for delta
    responses); the other forms lie inside it, from `any_start` and `body_start`, both up to `end`. `origins` are the
    documents that shaped it, for the report of a NACK. `requires` names resources that a proxy must hold first, as
    (type, name).
    """

    type_url: str
    name: str
    version: str
    delta_bytes: bytes = field(repr=False)
    any_start: int = field(repr=False)
    body_start: int = field(repr=False)
    end: int = field(repr=False)
    origins: tuple[Origin, ...] = ()
    requires: tuple[tuple[str, str], ...] = ()

    @property
    def any_bytes(self) -> memoryview:
        """The encoded google.protobuf.Any (for state-of-the-world responses), without a copy."""
        return memoryview(self.delta_bytes)[self.any_start : self.end]

    @property
    def body(self) -> bytes:
        """A copy of the encoded message itself."""
        return self.delta_bytes[self.body_start : self.end]


@dataclass(frozen=True, slots=True, eq=False)
class ResourceSet:
    """A layer: resources by type and name. Compared by identity; equal layers of two builds are the same object.

    What is `on_demand` goes to a delta client only under the names it asks for. State-of-the-world clients know no
    such thing: to them it is a layer like any other.
    """

    by_type: Mapping[str, Mapping[str, Resource]] = field(default_factory=lambda: _NOTHING)
    on_demand: bool = False

    def of_type(self, type_url: str) -> Mapping[str, Resource]:
        """The layer's resources of one type, by name."""
        return self.by_type.get(type_url, _NOTHING)


@dataclass(frozen=True, slots=True, eq=False)
class XdsSnapshot:
    """All resources one proxy is entitled to: the union of its layers.

    Names of layers do not overlap, but for those of an on-demand layer: they may stand in another one too, with the
    identical Resource. `revision` is that of the ConfigSnapshot it was built from. `names` are for the proxy's agent.
    """

    revision: int
    layers: tuple[ResourceSet, ...]
    problems: tuple[Problem, ...] = ()
    names: EncodedNames | None = None

    def get(self, type_url: str, name: str) -> Resource | None:
        """One resource, or None if the proxy is not entitled to it or it does not exist."""
        for layer in self.layers:
            named = layer.by_type.get(type_url)
            if named is not None and (resource := named.get(name)) is not None:
                return resource
        return None

    def eager(self, type_url: str, name: str) -> Resource | None:
        """One resource of those that a client is given without asking for them by name."""
        for layer in self.layers:
            named = layer.by_type.get(type_url)
            if named is not None and not layer.on_demand and (resource := named.get(name)) is not None:
                return resource
        return None

    def of_type(self, type_url: str) -> Iterator[Resource]:
        """All resources of one type, each once."""
        found: dict[str, Resource] = {}
        for layer in self.layers:
            found.update(layer.of_type(type_url))
        yield from found.values()


def with_secrets_of(before: XdsSnapshot, after: XdsSnapshot) -> XdsSnapshot:
    """`after` with the secrets of `before`: none that is new or was changed since."""
    known = {secret.name: secret for secret in before.of_type(SECRET)}
    if all(known.get(secret.name) is secret for secret in after.of_type(SECRET)):
        return after
    layers = tuple(_with_secrets(layer, known) for layer in after.layers)
    return XdsSnapshot(after.revision, layers, after.problems, after.names)


def _with_secrets(layer: ResourceSet, known: Mapping[str, Resource]) -> ResourceSet:
    named = layer.of_type(SECRET)
    if not named:
        return layer
    kept = {name: known[name] for name in named if name in known}
    return ResourceSet(MappingProxyType({**layer.by_type, SECRET: MappingProxyType(kept)}), layer.on_demand)
