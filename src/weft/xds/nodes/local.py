"""Calls between workloads of one node: from the caller's cluster straight into the callee's filters, without a
connection over loopback and without a hand-shake.

Behind each port that takes mutual TLS stands an internal listener with the same filters and rules: its *door*. Only
clusters of this Envoy lead there. Who calls is filter state that the caller's own listeners set on every connection;
it is made by the hashable factory, so that connections of different callers are different ones, and nothing that a
client sends comes near it. What the rules, headers, logs and metrics of the callee say of the caller's certificate is
said of that.

A port has a door only where nothing is lost by it: rules that ask for addresses, tokens, other services' opinions,
limits and bounds that count, connections that are no requests, and other trust domains go by mutual TLS, as they would
from another host. So there is one bucket, and one way to ask for everything that is asked.
https://www.envoyproxy.io/docs/envoy/latest/configuration/other_features/internal_listener
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from envoy.config.cluster.v3.cluster_pb2 import Cluster
from envoy.config.core.v3.base_pb2 import HeaderValue, HeaderValueOption, TransportSocket
from envoy.config.core.v3.substitution_format_string_pb2 import SubstitutionFormatString
from envoy.config.endpoint.v3.endpoint_components_pb2 import LbEndpoint
from envoy.config.endpoint.v3.endpoint_pb2 import ClusterLoadAssignment
from envoy.config.listener.v3.listener_components_pb2 import Filter, FilterChain
from envoy.config.listener.v3.listener_pb2 import Listener
from envoy.config.rbac.v3.rbac_pb2 import RBAC, Permission, Policy, Principal
from envoy.config.route.v3.route_pb2 import RouteConfiguration
from envoy.extensions.filters.common.set_filter_state.v3.value_pb2 import FilterStateValue
from envoy.extensions.filters.network.http_connection_manager.v3.http_connection_manager_pb2 import (
    HttpConnectionManager,
)
from envoy.extensions.filters.network.rbac.v3 import rbac_pb2 as network_rbac_pb2
from envoy.extensions.filters.network.set_filter_state.v3.set_filter_state_pb2 import Config as SetFilterState
from envoy.extensions.transport_sockets.internal_upstream.v3.internal_upstream_pb2 import InternalUpstreamTransport
from envoy.extensions.transport_sockets.tls.v3.tls_pb2 import UpstreamTlsContext
from envoy.type.matcher.v3.filter_state_pb2 import FilterStateMatcher
from envoy.type.matcher.v3.string_pb2 import StringMatcher

from weft.mesh.views import InboundPort
from weft.model.workload import SocketAddress
from weft.xds.filters import router
from weft.xds.messages import PROVENANCE, packed
from weft.xds.nodes.names import CarriedName
from weft.xds.nodes.rules import told_rules
from weft.xds.nodes.texts import replace_texts
from weft.xds.policies.tls import plaintext_socket
from weft.xds.resource import encode_resource
from weft.xds.services.endpoints import SOCKET_MATCH
from weft.xds.services.names import inbound_cluster_name
from weft.xds.snapshot import CLUSTER, EXTENSION, LISTENER, ROUTES, Resource, ResourceSet
from weft.xds.stats import STATS_PREFIX

CALLER, SUBJECT = "weft.caller", "weft.caller.subject"
"""The keys of the filter state: the caller's SPIFFE identity, and what the subject of its certificate says."""
HASHABLE = "envoy.hashable_string"
"""The factory by which connections of different callers are told apart. With ``envoy.string`` they are shared."""
DOOR = "door|"
_MATCH = "local"
_CHAIN = "mutual-tls"
_XFCC = "x-forwarded-client-cert"
_ABOUT_CALLERS = {
    "%DOWNSTREAM_PEER_URI_SAN%": f"%FILTER_STATE({CALLER}:PLAIN)%",
    "%DOWNSTREAM_PEER_SUBJECT%": f"%FILTER_STATE({SUBJECT}:PLAIN)%",
}
_PRINCIPAL, _PEER = "principal", "subject"


def _or_local(word: str, key: str) -> str:
    """What a peer's certificate says; of a neighbour, who has shown none, what its endpoint does."""
    neighbour = f'{{"command":"UPSTREAM_METADATA","param":"{PROVENANCE}:{key}"}}'
    return f'%COALESCE({{"operators":["{word}",{neighbour}]}})%'


_ABOUT_CALLEES = {
    "%UPSTREAM_PEER_URI_SAN%": _or_local("UPSTREAM_PEER_URI_SAN", _PRINCIPAL),
    "%UPSTREAM_PEER_SUBJECT%": _or_local("UPSTREAM_PEER_SUBJECT", _PEER),
}


@dataclass(frozen=True, slots=True)
class Caller:
    """Who a workload is to its neighbours: its SPIFFE identity, and the subject of its certificate."""

    identity: str
    subject: str


@dataclass(frozen=True, slots=True, eq=False)
class Door:
    """The internal listener `name` behind the port at `host` and `port`, of a workload that is `whose` to others.
    Compared by identity."""

    host: str
    port: int
    name: str
    whose: Caller


@dataclass(frozen=True, slots=True, eq=False)
class OpenDoor:
    """What is behind the port at `host` and `port`: the resources of the door called `name`. Callers know the door
    alone, so none of their endpoints is made anew when its rules change. Compared by identity."""

    host: str
    port: int
    name: str
    resources: tuple[Resource, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Doors:
    """Those of a node, by address. Compared by identity."""

    by_address: Mapping[tuple[str, int], Door]


@dataclass(frozen=True, slots=True, eq=False)
class Taken:
    """The identities that a cluster takes. Compared by identity."""

    names: frozenset[str]


def doors_of(doors: tuple[Door, ...]) -> Doors:
    """The doors by the address that callers of other hosts use."""
    return Doors({(door.host, door.port): door for door in doors})


def open_door(port: InboundPort, layer: ResourceSet, name: str, namespace: str, whose: Caller) -> OpenDoor | None:
    """The door of a port of the workload `name`, whose resources in the node `layer` holds; None where it has none."""
    at = CarriedName(name, namespace).prefix + inbound_cluster_name(port.port)
    listener, routes = layer.of_type(LISTENER).get(at), layer.of_type(ROUTES).get(at)
    if listener is None or routes is None:
        return None
    called = CarriedName(name, namespace).prefix + DOOR + inbound_cluster_name(port.port)
    message = _inside(Listener.FromString(listener.body), called, layer, whose)
    rules = told_rules(RouteConfiguration.FromString(routes.body), CALLER)
    if message is None or rules is None:
        return None
    rules.name = called
    by = f"By={whose.identity};URI=%FILTER_STATE({CALLER}:PLAIN)%"
    rules.request_headers_to_add.append(
        HeaderValueOption(
            header=HeaderValue(key=_XFCC, value=by), append_action=HeaderValueOption.OVERWRITE_IF_EXISTS_OR_ADD
        )
    )
    replace_texts(rules, _ABOUT_CALLERS)
    required = tuple(each for each in listener.requires if each[0] == CLUSTER)
    made = (
        encode_resource(message, called, listener.origins, ((ROUTES, called), *required)),
        encode_resource(rules, called, routes.origins, tuple(each for each in routes.requires if each[0] == CLUSTER)),
    )
    return OpenDoor(port.listen.host, port.listen.port, called, made)


def _inside(listener: Listener, name: str, layer: ResourceSet, whose: Caller) -> Listener | None:
    """The listener of a port as one of this Envoy only, or None if that could not say all that the port's does."""
    chain = next((each for each in listener.filter_chains if each.name == _CHAIN), None)
    manager = HttpConnectionManager()
    if chain is None or len(chain.filters) != 1 or not chain.filters[0].typed_config.Unpack(manager):
        return None
    kept = []
    for each in manager.http_filters:
        if each.HasField("config_discovery"):
            if each.name in layer.of_type(EXTENSION) or _head(each.name).startswith(f"{STATS_PREFIX}.limit"):
                return None
        elif not each.disabled and each.name != router.NAME:
            return None
        else:
            kept.append(each)
    del manager.http_filters[:]
    manager.http_filters.extend(kept)
    manager.rds.route_config_name = name
    manager.forward_client_cert_details = HttpConnectionManager.SANITIZE
    manager.ClearField("set_current_client_cert_details")
    replace_texts(manager, _ABOUT_CALLERS)
    found = Listener(name=name, stat_prefix=name, internal_listener=Listener.InternalListenerConfig())
    found.per_connection_buffer_limit_bytes.CopyFrom(listener.per_connection_buffer_limit_bytes)
    found.traffic_direction = listener.traffic_direction
    known = whose.identity.rpartition("/ns/")[0] + "/"
    found.filter_chains.append(
        FilterChain(
            name=_CHAIN,
            filters=[
                _only_known(known, name.partition(DOOR)[0]),
                Filter(name=chain.filters[0].name, typed_config=packed(manager)),
            ],
            metadata=chain.metadata,
        )
    )
    return found


def _head(name: str) -> str:
    """The name of a filter, without whose and where it is."""
    return name.partition("|")[0].rpartition("~")[2]


def _only_known(prefix: str, owner: str) -> Filter:
    """Connections of nobody, or of nobody of this mesh, are closed: a port that takes mutual TLS takes no less here."""
    someone = Principal(filter_state=FilterStateMatcher(key=CALLER, string_match=StringMatcher(prefix=prefix)))
    policy = Policy(permissions=[Permission(any=True)], principals=[someone])
    config = network_rbac_pb2.RBAC(
        rules=RBAC(action=RBAC.ALLOW, policies={"known": policy}), stat_prefix=f"{owner}door."
    )
    return Filter(name="envoy.filters.network.rbac", typed_config=packed(config))


def call_listener(resource: Resource, identity: str, subject: str) -> Resource:
    """A listener on the way out of a workload, which says whose connections are that come to it."""
    listener = Listener.FromString(resource.body)
    for chain in listener.filter_chains:
        chain.filters.insert(0, _say_caller(identity, subject))
    replace_texts(listener, _ABOUT_CALLEES)
    return encode_resource(listener, resource.name, resource.origins, resource.requires)


def _say_caller(identity: str, subject: str) -> Filter:
    """Set before anything of a connection is read, and passed on to a door, no further. What comes out of a CONNECT has
    a listener of the workload's own, which says it again."""
    values = [
        FilterStateValue(
            object_key=key,
            factory_key=HASHABLE,
            format_string=SubstitutionFormatString(text_format_source={"inline_string": value}),  # type: ignore[arg-type]
            shared_with_upstream=FilterStateValue.ONCE,
        )
        for key, value in ((CALLER, identity), (SUBJECT, subject))
    ]
    config = SetFilterState(on_new_connection=values)
    return Filter(name="envoy.filters.network.set_filter_state", typed_config=packed(config))


def call_cluster(resource: Resource) -> Resource:
    """A cluster, which reaches neighbours through their doors and everybody else as before. All clusters with mutual
    TLS say so, whether there are neighbours or not, so that none is replaced when one comes."""
    cluster = Cluster.FromString(resource.body)
    if cluster.type != Cluster.EDS or not _mutual_tls(cluster):
        return resource
    local = Cluster.TransportSocketMatch(name=_MATCH, transport_socket=_internal_socket())
    local.match.fields[_MATCH].bool_value = True
    matches = [local, *cluster.transport_socket_matches]
    del cluster.transport_socket_matches[:]
    cluster.transport_socket_matches.extend(matches)
    return encode_resource(cluster, resource.name, resource.origins, resource.requires)


def taken_by(cluster: Resource) -> Taken:
    """Whom a cluster's mutual TLS takes. Nobody is called at a door where endpoints are actively checked."""
    asked = Cluster.FromString(cluster.body)
    return Taken(frozenset() if asked.health_checks else _mutual_tls(asked))


def call_endpoints(resource: Resource, taken: Taken, doors: Doors) -> Resource:
    """The endpoints of a cluster, with neighbours at their doors: those that the cluster's own TLS would take."""
    if not taken.names:
        return resource
    assignment = ClusterLoadAssignment.FromString(resource.body)
    changed = False
    for group in assignment.endpoints:
        for each in group.lb_endpoints:
            where = each.endpoint.address.socket_address
            door = doors.by_address.get((where.address, where.port_value))
            if door is not None and door.whose.identity in taken.names and not _is_marked(each):
                _lead_to(each, door)
                changed = True
    return encode_resource(assignment, resource.name, resource.origins) if changed else resource


def led_inside(resource: Resource) -> frozenset[str]:
    """The addresses (``HOST:PORT``) of the endpoints that are reached at doors."""
    assignment = ClusterLoadAssignment.FromString(resource.body)
    addresses = [each.endpoint.address for group in assignment.endpoints for each in group.lb_endpoints]
    inner = [each.envoy_internal_address for each in addresses if each.HasField("envoy_internal_address")]
    return frozenset([each.endpoint_id for each in inner])


def _is_marked(endpoint: LbEndpoint) -> bool:
    """Whether it is reached otherwise than the cluster's others: in plaintext, or as one that stands in."""
    return SOCKET_MATCH in endpoint.metadata.filter_metadata or endpoint.endpoint.HasField("health_check_config")


def _lead_to(endpoint: LbEndpoint, door: Door) -> None:
    where = endpoint.endpoint.address
    where.Clear()
    where.envoy_internal_address.server_listener_name = door.name
    where.envoy_internal_address.endpoint_id = str(SocketAddress(door.host, door.port))
    endpoint.metadata.filter_metadata[SOCKET_MATCH].fields[_MATCH].bool_value = True
    said = endpoint.metadata.filter_metadata[PROVENANCE].fields
    said[_PRINCIPAL].string_value, said[_PEER].string_value = door.whose.identity, door.whose.subject


def _mutual_tls(cluster: Cluster) -> frozenset[str]:
    """Whom the cluster's mutual TLS takes; nobody if it has none."""
    sockets = [each.transport_socket for each in cluster.transport_socket_matches if each.name == _CHAIN]
    for socket in (cluster.transport_socket, *sockets):
        context = UpstreamTlsContext()
        if socket.typed_config.Unpack(context) and context.common_tls_context.tls_certificate_sds_secret_configs:
            default = context.common_tls_context.combined_validation_context.default_validation_context
            return frozenset(each.matcher.exact for each in default.match_typed_subject_alt_names) - {""}
    return frozenset()


def _internal_socket() -> TransportSocket:
    """Into an internal listener, filter state with it."""
    inside = InternalUpstreamTransport(transport_socket=plaintext_socket())
    return TransportSocket(name="envoy.transport_sockets.internal_upstream", typed_config=packed(inside))
