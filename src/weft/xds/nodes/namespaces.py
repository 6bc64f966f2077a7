"""A workload's resources where its application lives in a network namespace of its own: what the application connects
to listens inside of it, and what connects to the application does so from inside. Callers and services stay outside.

Envoy enters the namespace by the path of its file, for listeners once and for connections each time, which takes
CAP_SYS_ADMIN. See `network_namespace_filepath` of
https://www.envoyproxy.io/docs/envoy/latest/api-v3/config/core/v3/address.proto
"""

from __future__ import annotations

from types import MappingProxyType

from envoy.config.cluster.v3.cluster_pb2 import Cluster
from envoy.config.core.v3.address_pb2 import BindConfig
from envoy.config.core.v3.address_pb2 import SocketAddress as EnvoySocketAddress
from envoy.config.listener.v3.listener_pb2 import Listener

from weft.mesh.memo import Memo
from weft.model.network_namespace import NetworkNamespace
from weft.xds.nodes.names import generation_mark
from weft.xds.resource import encode_resource
from weft.xds.services.cluster import FORWARD_PROXY
from weft.xds.snapshot import CLUSTER, LISTENER, Resource, ResourceSet

_APPLICATION = "inbound|"
_ANY = "0.0.0.0"  # noqa: S104 - the source of a connection, not where anything listens


def place_layer(memo: Memo, layer: ResourceSet, prefix: str, where: NetworkNamespace) -> ResourceSet:
    """A layer of the workload whose names begin with `prefix`, in its namespace."""
    by_type = dict(layer.by_type)
    listeners = [memo(place_listener, each, prefix, where) for each in layer.of_type(LISTENER).values()]
    by_type[LISTENER] = MappingProxyType({each.name: each for each in listeners})
    by_type[CLUSTER] = MappingProxyType({
        name: memo(place_cluster, each, where) if _is_inside(name.removeprefix(prefix)) else each
        for name, each in layer.of_type(CLUSTER).items()
    })  # fmt: skip
    found = {type_url: named for type_url, named in by_type.items() if named}
    return ResourceSet(MappingProxyType(found), layer.on_demand)


def _is_inside(name: str) -> bool:
    """Whether a cluster leads to where the application could go without a proxy: to itself, and to hosts that nobody in
    the mesh has named. So its proxy is no way out of the namespace but to what documents name."""
    return name.startswith(_APPLICATION) or name == FORWARD_PROXY


def place_listener(resource: Resource, prefix: str, where: NetworkNamespace) -> Resource:
    """A listener for the application, within the namespace; those for callers stay at the host's address."""
    listener = Listener.FromString(resource.body)
    if resource.name.removeprefix(prefix).startswith(_APPLICATION) or not listener.HasField("address"):
        return resource
    listener.name += generation_mark(where.generation)
    listener.address.socket_address.network_namespace_filepath = where.path
    return encode_resource(listener, listener.name, resource.origins, resource.requires)


def place_cluster(resource: Resource, where: NetworkNamespace) -> Resource:
    """A cluster whose connections are made within the namespace. Over IPv4: with another source for IPv6, which has to
    be from there, Envoy would refuse the cluster where the host has no IPv6; without one it fails to connect."""
    cluster = Cluster.FromString(resource.body)
    source = EnvoySocketAddress(address=_ANY, port_value=0, network_namespace_filepath=where.path)
    cluster.upstream_bind_config.CopyFrom(BindConfig(source_address=source))
    return encode_resource(cluster, resource.name, resource.origins, resource.requires)
