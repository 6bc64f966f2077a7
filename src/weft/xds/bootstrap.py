"""The bootstrap an agent starts its Envoy with: where the control plane is, who we are, what bounds the process."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass, field

from envoy.config.bootstrap.v3.bootstrap_pb2 import Admin, Bootstrap, LayeredRuntime, RuntimeLayer
from envoy.config.cluster.v3.cluster_pb2 import Cluster
from envoy.config.core.v3.address_pb2 import Address, Pipe
from envoy.config.core.v3.base_pb2 import Node
from envoy.config.core.v3.config_source_pb2 import V3, ApiConfigSource
from envoy.config.core.v3.extension_pb2 import TypedExtensionConfig
from envoy.config.core.v3.grpc_service_pb2 import GrpcService
from envoy.config.endpoint.v3.endpoint_components_pb2 import Endpoint as EnvoyEndpoint
from envoy.config.endpoint.v3.endpoint_components_pb2 import LbEndpoint, LocalityLbEndpoints
from envoy.config.endpoint.v3.endpoint_pb2 import ClusterLoadAssignment
from envoy.extensions.bootstrap.internal_listener.v3.internal_listener_pb2 import InternalListener
from envoy.service.discovery.v3.discovery_pb2 import DiscoveryResponse
from google.protobuf.json_format import MessageToJson
from google.protobuf.message import Message
from google.protobuf.struct_pb2 import Struct

from weft.model.workload import SocketAddress
from weft.xds.limits import CONNECT_SECONDS, EVICTION_SECONDS
from weft.xds.messages import duration, packed, tcp_address
from weft.xds.nodes.carried import carry_message
from weft.xds.nodes.names import CarriedName
from weft.xds.overload import overload_manager
from weft.xds.policies.tls import (
    ALPN_HTTP2,
    BUNDLE_FILE,
    CERTIFICATES_DIRECTORY,
    HOST_TRUST,
    HOST_TRUST_FILE,
    MESH_PLACE,
    REVOKED_FILE,
    CredentialPlace,
    ads_source,
    bundle_secret,
    identity_secret,
    mesh_client_socket,
)
from weft.xds.services.names import XDS_CLUSTER
from weft.xds.services.protocol_options import CLUSTER_EXTENSION, client_options
from weft.xds.signals.journal import JOURNAL_KEY
from weft.xds.stats import stats_config

_BACKOFF_BASE_SECONDS = 0.2
_BACKOFF_MAX_SECONDS = 5.0
_RE2_MAX_PROGRAM_SIZE = 32768
"""Envoy refuses patterns above 100 by default, which honest ones exceed; RE2 is linear whatever the size."""
_MAX_REQUESTS_PER_IO_CYCLE = 10
"""One client's burst of HTTP/2 streams must not hold up the others' turn."""
_SPANS_AT_ONCE = 100
_SPANS_WAIT_MILLISECONDS = 1000
"""Spans are sent when there are so many, or after that time. Envoy's own 5 and 5 s make many small messages of a busy
proxy's, and let those of an idle one wait."""
_TRACERS = ("opentelemetry", "zipkin")
_ANY_NUMBER = (1 << 31) - 1
_RESETS_OF_MANY_CALLERS: Mapping[str, float] = {"overload.premature_reset_total_stream_count": _ANY_NUMBER}
"""For proxies whose HTTP/2 peers are proxies of the mesh: a connection is not closed for the streams that are reset on
it (see `server_http2`). Where strangers connect, Envoy's limit stays (CVE-2023-44487)."""
_ENDS_WITHIN: Mapping[str, bool] = {"envoy.reloadable_features.enable_send_rst_on_user_space_socket": False}
"""Where connections are passed on within the proxy: their end is an end. Envoy takes each for a reset otherwise, and
drops what it has not written yet (tried on 1.40 with responses that close the connection)."""


@dataclass(frozen=True, slots=True)
class BootstrapParameters:
    """What differs between proxies.

    `node_id` is the proxy's name, `service` the service it is an instance of (Zipkin's spans have it); `xds`
    ``HOST:PORT`` of the control plane and `xds_identity` the SPIFFE URI it must prove; `admin` the path of Envoy's
    admin socket (made with mode 0600). `heap` bounds Envoy's memory, in bytes, and `connections` the connections it
    accepts in all. `edge`: strangers connect to it, so it closes a connection whose streams are reset too often.
    `place` is where the certificate is that it shows to the control plane. `capture` is where it takes connections
    that say where they were made to, from who knows `capture_secret`. `shared`: it
    carries several workloads.
    """

    node_id: str
    xds: str
    xds_identity: str
    admin: str
    trust_domain: str
    service: str = ""
    heap: int = 1 << 30
    connections: int = 20_000
    edge: bool = False
    place: CredentialPlace = MESH_PLACE
    capture: tuple[SocketAddress, ...] = ()
    capture_secret: str = field(default="", repr=False)
    shared: bool = False


def build_bootstrap(parameters: BootstrapParameters) -> str:
    """The bootstrap as JSON. Envoy is started in the workload's directory, to which file names are relative."""
    bootstrap = Bootstrap(
        node=Node(id=parameters.node_id, cluster=parameters.service or "weft"),
        admin=Admin(address=Address(pipe=Pipe(path=parameters.admin, mode=0o600))),
        static_resources=Bootstrap.StaticResources(clusters=[_control_plane(parameters)]),
        dynamic_resources=Bootstrap.DynamicResources(
            ads_config=_ads(), cds_config=ads_source(), lds_config=ads_source()
        ),
        layered_runtime=runtime(parameters.edge, capture=bool(parameters.capture)),
        overload_manager=overload_manager(parameters.heap, parameters.connections),
        stats_config=stats_config(shared=parameters.shared),
        stats_flush_on_admin=True,
        stats_eviction_interval=duration(EVICTION_SECONDS),
        bootstrap_extensions=[
            TypedExtensionConfig(name="envoy.bootstrap.internal_listener", typed_config=packed(InternalListener()))
        ],
    )
    if parameters.capture:
        from weft.xds.sidecars.capture_entry import build_capture_entry  # noqa: PLC0415 - few capture, and it has much

        listener, cluster = build_capture_entry(parameters.capture, parameters.capture_secret)
        bootstrap.static_resources.listeners.append(listener)
        bootstrap.static_resources.clusters.append(cluster)
    bootstrap.deferred_stat_options.enable_deferred_creation_stats = True
    return _json(bootstrap)


def build_secret_files(
    chain_file: str = f"{CERTIFICATES_DIRECTORY}/chain.pem",
    key_file: str = f"{CERTIFICATES_DIRECTORY}/key.pem",
    bundle_file: str = f"{CERTIFICATES_DIRECTORY}/bundle.pem",
    directory: str = CERTIFICATES_DIRECTORY,
    host_trust: str = "",
    revoked_file: str = REVOKED_FILE,
    place: CredentialPlace = MESH_PLACE,
    whose: CarriedName | None = None,
) -> dict[str, str]:
    """The SDS files an agent writes once, by relative path (JSON). The names in them are relative as well, but for
    `host_trust`: the file of the authorities that the machine trusts, for servers outside the mesh. Without one nobody
    outside is trusted. For an Envoy that carries others too, `whose` they are stands in names and paths. `revoked_file`
    must be there, and is empty where nothing is revoked. For the control plane's
    `place` there are the first two only.

    Envoy reads the PEM files again when something in `directory` is replaced by a rename: swap a symlink there.
    """
    secrets = {
        place.identity_file: identity_secret(chain_file, key_file, directory, place.identity),
        place.bundle_file: bundle_secret(bundle_file, directory, place.bundle),
    }
    if place is MESH_PLACE:
        secrets[BUNDLE_FILE] = bundle_secret(bundle_file, directory, revoked_file=revoked_file)
        secrets[HOST_TRUST_FILE] = bundle_secret(host_trust or bundle_file, directory, HOST_TRUST)
    if whose is not None:
        for secret in secrets.values():
            carry_message(secret, whose)
    return {path: _json(DiscoveryResponse(resources=[packed(secret)])) for path, secret in secrets.items()}


def _ads() -> ApiConfigSource:
    """Delta ADS on one stream. After a failure Envoy waits a random time below a bound that doubles up to the
    longest."""
    grpc = GrpcService.EnvoyGrpc(cluster_name=XDS_CLUSTER)
    grpc.retry_policy.retry_back_off.base_interval.CopyFrom(duration(_BACKOFF_BASE_SECONDS))
    grpc.retry_policy.retry_back_off.max_interval.CopyFrom(duration(_BACKOFF_MAX_SECONDS))
    return ApiConfigSource(
        api_type=ApiConfigSource.DELTA_GRPC,
        transport_api_version=V3,
        grpc_services=[GrpcService(envoy_grpc=grpc)],
        set_node_on_first_message_only=True,
    )


def _control_plane(parameters: BootstrapParameters) -> Cluster:
    """HTTP/2 over mutual TLS to exactly the control plane's identity."""
    host, _, port = parameters.xds.rpartition(":")
    host = host.strip("[]")
    endpoint = EnvoyEndpoint(address=tcp_address(SocketAddress(host, int(port))))
    cluster = Cluster(
        name=XDS_CLUSTER,
        type=Cluster.STATIC if _is_ip(host) else Cluster.STRICT_DNS,
        connect_timeout=duration(CONNECT_SECONDS),
        load_assignment=ClusterLoadAssignment(
            cluster_name=XDS_CLUSTER,
            endpoints=[LocalityLbEndpoints(lb_endpoints=[LbEndpoint(endpoint=endpoint)])],
        ),
        transport_socket=mesh_client_socket(
            (parameters.xds_identity,), parameters.trust_domain, ALPN_HTTP2, parameters.place
        ),
    )
    cluster.typed_extension_protocol_options[CLUSTER_EXTENSION].CopyFrom(
        client_options(http2=True, upgrades=False, keepalive=True, idle=None)
    )
    return cluster


def _is_ip(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def runtime(edge: bool, *, capture: bool = False) -> LayeredRuntime:
    """The switches that Envoy has no other setting for, and over them those that its agent sets (`weft.tap`). `edge`
    and `capture`: see BootstrapParameters."""
    values = Struct()
    values.update(
        {
            "re2.max_program_size.error_level": _RE2_MAX_PROGRAM_SIZE,
            "http.max_requests_per_io_cycle": _MAX_REQUESTS_PER_IO_CYCLE,
            JOURNAL_KEY: 100,
            **{f"tracing.{tracer}.min_flush_spans": _SPANS_AT_ONCE for tracer in _TRACERS},
            **{f"tracing.{tracer}.flush_interval_ms": _SPANS_WAIT_MILLISECONDS for tracer in _TRACERS},
            **({} if edge else _RESETS_OF_MANY_CALLERS),
            **(_ENDS_WITHIN if capture else {}),
        }
    )
    switches = RuntimeLayer(name="agent", admin_layer=RuntimeLayer.AdminLayer())
    return LayeredRuntime(layers=[RuntimeLayer(name="weft", static_layer=values), switches])


def _json(message: Message) -> str:
    return MessageToJson(message, preserving_proto_field_name=True, sort_keys=True) + "\n"
