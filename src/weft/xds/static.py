"""A snapshot as one static bootstrap, so that a real Envoy can judge or run it without a control plane.

https://www.envoyproxy.io/docs/envoy/latest/operations/cli#cmdoption-mode
"""

from __future__ import annotations

import json
from typing import Any

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
    HttpFilter,
)
from envoy.extensions.transport_sockets.tls.v3.secret_pb2 import Secret
from envoy.extensions.transport_sockets.tls.v3.tls_pb2 import DownstreamTlsContext
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.json_format import MessageToJson

from weft.xds.bootstrap import runtime
from weft.xds.snapshot import CLUSTER, ENDPOINTS, EXTENSION, LISTENER, ROUTES, SECRET, XdsSnapshot


def static_bootstrap(
    snapshot: XdsSnapshot,
    *,
    admin: str = "admin.sock",
    edge: bool = False,
    stand_in: tuple[str, str] | None = None,
) -> str:
    """All resources of `snapshot` as JSON for ``--config-path``, with routes, endpoints and certificates in place;
    `edge` as in BootstrapParameters. In place of certificates with keys stands `stand_in` (chain and key, PEM), if it
    is given, and other secrets say nothing."""
    bootstrap = Bootstrap(
        admin=Admin(address=Address(pipe=Pipe(path=admin, mode=0o600))),
        layered_runtime=runtime(edge),
        stats_flush_on_admin=True,
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
        secret = Secret.FromString(resource.body)
        static.secrets.append(secret if stand_in is None else _without_keys(secret, stand_in))
    return json.dumps(_given(json.loads(MessageToJson(bootstrap, preserving_proto_field_name=True))))


def _without_keys(secret: Secret, stand_in: tuple[str, str]) -> Secret:
    if secret.HasField("tls_certificate"):
        found = Secret(name=secret.name)
        pair = found.tls_certificate
        pair.certificate_chain.inline_string, pair.private_key.inline_string = stand_in
        return found
    if secret.HasField("generic_secret"):
        secret.generic_secret.secret.inline_string = "x"
    return secret


def _given(value: Any) -> Any:
    """`value` without where secrets would come from: they are given in place, under the same names."""
    if isinstance(value, dict):
        found = {name: _given(each) for name, each in value.items()}
        return {name: each for name, each in found.items() if name != "sds_config" or "ads" not in each}
    return [_given(each) for each in value] if isinstance(value, list) else value


def _cluster(cluster: Cluster, snapshot: XdsSnapshot) -> Cluster:
    if cluster.type == Cluster.EDS:
        name = cluster.eds_cluster_config.service_name or cluster.name
        endpoints = snapshot.get(ENDPOINTS, name)
        cluster.ClearField("eds_cluster_config")
        cluster.type = Cluster.STATIC
        if endpoints is not None:
            cluster.load_assignment.CopyFrom(ClusterLoadAssignment.FromString(endpoints.body))
    return cluster


def _listener(listener: Listener, snapshot: XdsSnapshot) -> Listener:
    for chain in listener.filter_chains:
        for network_filter in chain.filters:
            manager = HttpConnectionManager()
            if network_filter.typed_config.Unpack(manager) and manager.HasField("rds"):
                routes = snapshot.get(ROUTES, manager.rds.route_config_name)
                if routes is None:
                    continue
                manager.route_config.CopyFrom(RouteConfiguration.FromString(routes.body))
                for entry in manager.http_filters:
                    if entry.HasField("config_discovery"):
                        entry.typed_config.CopyFrom(_slot(entry, snapshot))
                network_filter.typed_config.Pack(manager)
        context = DownstreamTlsContext()
        if chain.transport_socket.typed_config.Unpack(context):
            for secret in context.common_tls_context.tls_certificate_sds_secret_configs:
                if secret.sds_config.HasField("ads"):
                    secret.ClearField("sds_config")
            trust = context.common_tls_context.validation_context_sds_secret_config
            if trust.sds_config.HasField("ads"):
                trust.ClearField("sds_config")
            chain.transport_socket.typed_config.Pack(context)
    return listener


def _slot(entry: HttpFilter, snapshot: XdsSnapshot) -> AnyMessage:
    """What a slot holds, or its default."""
    held = snapshot.get(EXTENSION, entry.name)
    default = entry.config_discovery.default_config
    return default if held is None else TypedExtensionConfig.FromString(held.body).typed_config
