"""A snapshot as one static bootstrap, so that a real Envoy can judge or run it without a control plane."""

from __future__ import annotations

from envoy.config.bootstrap.v3.bootstrap_pb2 import Admin, Bootstrap
from envoy.config.cluster.v3.cluster_pb2 import Cluster
from envoy.config.core.v3.address_pb2 import Address, Pipe
from envoy.config.core.v3.extension_pb2 import TypedExtensionConfig
from envoy.config.endpoint.v3.endpoint_pb2 import ClusterLoadAssignment
from envoy.config.listener.v3.listener_pb2 import Listener
from envoy.config.route.v3.route_pb2 import RouteConfiguration
from envoy.extensions.bootstrap.internal_listener.v3.internal_listener_pb2 import InternalListener
from envoy.extensions.filters.network.http_connection_manager.v3.http_connection_manager_pb2 import (
    HttpConnectionManager,
)
from envoy.extensions.transport_sockets.tls.v3.secret_pb2 import Secret
from envoy.extensions.transport_sockets.tls.v3.tls_pb2 import DownstreamTlsContext
from google.protobuf.json_format import MessageToJson

from weft.xds.bootstrap import runtime
from weft.xds.snapshot import CLUSTER, ENDPOINTS, LISTENER, ROUTES, SECRET, XdsSnapshot


def static_bootstrap(snapshot: XdsSnapshot, *, admin: str = "admin.sock", edge: bool = False) -> str:
    """All resources of `snapshot` as JSON for ``--config-path``, with routes, endpoints and certificates in place;
    `edge` as in BootstrapParameters."""
    bootstrap = Bootstrap(
        admin=Admin(address=Address(pipe=Pipe(path=admin, mode=0o600))),
        layered_runtime=runtime(edge),
        bootstrap_extensions=[TypedExtensionConfig(name="envoy.bootstrap.internal_listener")],
    )
    bootstrap.node.id = bootstrap.node.cluster = "test"
    bootstrap.bootstrap_extensions[0].typed_config.Pack(InternalListener())
    static = bootstrap.static_resources
    for resource in snapshot.of_type(CLUSTER):
        static.clusters.append(_cluster(Cluster.FromString(resource.body), snapshot))
    for resource in snapshot.of_type(LISTENER):
        static.listeners.append(_listener(Listener.FromString(resource.body), snapshot))
    for resource in snapshot.of_type(SECRET):
        static.secrets.append(Secret.FromString(resource.body))
    return MessageToJson(bootstrap, preserving_proto_field_name=True)


def _cluster(cluster: Cluster, snapshot: XdsSnapshot) -> Cluster:
    if cluster.type == Cluster.EDS:
        name = cluster.eds_cluster_config.service_name or cluster.name
        endpoints = snapshot.get(ENDPOINTS, name)
        assert endpoints is not None, f"no endpoints for {cluster.name}"
        cluster.ClearField("eds_cluster_config")
        cluster.type = Cluster.STATIC
        cluster.load_assignment.CopyFrom(ClusterLoadAssignment.FromString(endpoints.body))
    return cluster


def _listener(listener: Listener, snapshot: XdsSnapshot) -> Listener:
    for chain in listener.filter_chains:
        for network_filter in chain.filters:
            manager = HttpConnectionManager()
            if network_filter.typed_config.Unpack(manager) and manager.HasField("rds"):
                routes = snapshot.get(ROUTES, manager.rds.route_config_name)
                assert routes is not None, f"no routes for {listener.name}"
                manager.route_config.CopyFrom(RouteConfiguration.FromString(routes.body))
                network_filter.typed_config.Pack(manager)
        context = DownstreamTlsContext()
        if chain.transport_socket.typed_config.Unpack(context):
            for secret in context.common_tls_context.tls_certificate_sds_secret_configs:
                if secret.sds_config.HasField("ads"):
                    secret.ClearField("sds_config")
            chain.transport_socket.typed_config.Pack(context)
    return listener
