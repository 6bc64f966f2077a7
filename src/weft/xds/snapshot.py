"""An XdsSnapshot: encoded resources with content-hash versions, shared between proxies layer by layer."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from weft.model.origin import Origin
from weft.model.problem import Problem

CLUSTER = "type.googleapis.com/envoy.config.cluster.v3.Cluster"
ENDPOINTS = "type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment"
LISTENER = "type.googleapis.com/envoy.config.listener.v3.Listener"
ROUTES = "type.googleapis.com/envoy.config.route.v3.RouteConfiguration"
SECRET = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret"  # noqa: S105
TYPES = (CLUSTER, ENDPOINTS, LISTENER, ROUTES, SECRET)
"""In make-before-break order of additions; removals go the other way, last of all."""


@dataclass(frozen=True, slots=True, eq=False)
class Resource:
    """One encoded resource.

    `version` is a hash of `body`. `any_bytes` is the encoded google.protobuf.Any (for state-of-the-world responses),
    `delta_bytes` the encoded envoy.service.discovery.v3.Resource (for delta responses). `origins` are the documents
    that shaped it, for the report of a NACK. `requires` names resources that a proxy must hold first, as (type, name).
    """

    type_url: str
    name: str
    version: str
    body: bytes = field(repr=False)
    any_bytes: bytes = field(repr=False)
    delta_bytes: bytes = field(repr=False)
    origins: tuple[Origin, ...] = ()
    requires: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class ResourceSet:
    """A layer: resources by type and name. Compared by identity; equal layers of two builds are the same object."""

    by_type: Mapping[str, Mapping[str, Resource]] = field(default_factory=lambda: MappingProxyType({}))

    def of_type(self, type_url: str) -> Mapping[str, Resource]:
        """The layer's resources of one type, by name."""
        return self.by_type.get(type_url, MappingProxyType({}))


@dataclass(frozen=True, slots=True, eq=False)
class XdsSnapshot:
    """All resources one proxy is entitled to: the union of its layers, whose names do not overlap.

    `revision` is that of the ConfigSnapshot it was built from.
    """

    revision: int
    layers: tuple[ResourceSet, ...]
    problems: tuple[Problem, ...] = ()

    def get(self, type_url: str, name: str) -> Resource | None:
        """One resource, or None if the proxy is not entitled to it or it does not exist."""
        for layer in self.layers:
            named = layer.by_type.get(type_url)
            if named is not None and (resource := named.get(name)) is not None:
                return resource
        return None

    def of_type(self, type_url: str) -> Iterator[Resource]:
        """All resources of one type."""
        for layer in self.layers:
            yield from layer.of_type(type_url).values()
