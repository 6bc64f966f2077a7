"""Doors: by which neighbours call each other within one Envoy, where nothing is lost by it, and who they are there."""

from __future__ import annotations

from pathlib import Path

import pytest
from envoy.config.cluster.v3.cluster_pb2 import Cluster
from envoy.config.endpoint.v3.endpoint_pb2 import ClusterLoadAssignment
from envoy.config.listener.v3.listener_pb2 import Listener
from envoy.config.rbac.v3.rbac_pb2 import RBAC, Permission, Policy, Principal
from envoy.config.route.v3.route_pb2 import RouteConfiguration
from envoy.extensions.filters.common.set_filter_state.v3.value_pb2 import FilterStateValue
from envoy.extensions.filters.http.rbac.v3 import rbac_pb2 as http_rbac_pb2
from envoy.extensions.filters.network.set_filter_state.v3.set_filter_state_pb2 import Config as SetFilterState
from envoy.extensions.transport_sockets.internal_upstream.v3.internal_upstream_pb2 import InternalUpstreamTransport
from envoy.extensions.transport_sockets.raw_buffer.v3.raw_buffer_pb2 import RawBuffer
from envoy.extensions.transport_sockets.tls.v3.tls_pb2 import UpstreamTlsContext
from google.protobuf.message import Message

from support.corpus import INPUTS
from support.nodes import compiled, of_case
from weft.mesh.node import has_doors
from weft.xds.messages import packed
from weft.xds.nodes.local import CALLER, DOOR, HASHABLE, SUBJECT
from weft.xds.nodes.rules import told_rules
from weft.xds.snapshot import CLUSTER, ENDPOINTS, LISTENER, Resource, XdsSnapshot


def doors(node: XdsSnapshot) -> set[str]:
    return {each.name for each in node.of_type(LISTENER) if DOOR in each.name}


def read(kind: type[Message], resource: Resource | None) -> Message:
    assert resource is not None
    return kind.FromString(resource.body)


@pytest.mark.parametrize(
    ("case", "wanted"),
    [
        ("inbound-strict", True),
        ("inbound-permissive", True),
        ("rate-limits-inbound", False),
        ("overload-inbound", False),
        ("tokens-inbound", False),
        ("custom-authorization", False),
        ("inbound-distrusted", True),
        ("inbound-federation", False),
    ],
)
def test_a_port_has_a_door_where_nothing_is_lost_by_it(case: str, wanted: bool) -> None:
    """(What is distrusted is no document: in this case there is nobody.)"""
    node, _ = compiled(of_case(case), doors=True)
    assert ("reviews-v1~default~door|inbound|9080" in doors(node)) is wanted


def test_whoever_calls_says_so_by_the_factory_that_keeps_connections_apart() -> None:
    node, sidecars = compiled(of_case("outbound-listeners"), doors=True)
    for proxy in sidecars:
        name, _, namespace = proxy.partition(".")
        ways = [read(Listener, node.get(LISTENER, f"{name}~{namespace}~{way}")) for way in ("outbound", "http-tunnel")]
        for chain in [chain for way in ways for chain in way.filter_chains]:  # type: ignore[attr-defined]
            config = SetFilterState()
            assert chain.filters[0].typed_config.Unpack(config)
            said = {each.object_key: each for each in config.on_new_connection}
            assert said.keys() == {CALLER, SUBJECT}
            assert {each.factory_key for each in said.values()} == {HASHABLE}
            assert {each.shared_with_upstream for each in said.values()} == {FilterStateValue.ONCE}
            account = said[CALLER].format_string.text_format_source.inline_string
            assert account.startswith("spiffe://cluster.local/ns/")
            assert "%" not in account
            assert said[SUBJECT].format_string.text_format_source.inline_string.endswith(f"CN={proxy}")


@pytest.mark.parametrize("path", INPUTS, ids=lambda path: path.parent.name)
def test_no_cluster_falls_through_to_plaintext(path: Path) -> None:
    """Where an endpoint matches no socket, the cluster's own decides: for one that shows a certificate to anybody, that
    is never plaintext, and it shows that of the workload that the cluster is for."""
    node, _ = compiled(path, doors=True)
    for resource in node.of_type(CLUSTER):
        cluster = Cluster.FromString(resource.body)
        sockets = [(each.match, each.transport_socket) for each in cluster.transport_socket_matches]
        contexts = [UpstreamTlsContext() for _ in sockets]
        tls = [socket.typed_config.Unpack(found) for (_, socket), found in zip(sockets, contexts, strict=True)]
        own = UpstreamTlsContext()
        default = cluster.transport_socket.typed_config.Unpack(own)
        shown = [
            each.name
            for context in (own, *contexts)
            for each in context.common_tls_context.tls_certificate_sds_secret_configs
        ]
        assert all(name.startswith("~".join(resource.name.split("~")[:2]) + "~") for name in shown), resource.name
        local = [socket for match, socket in sockets if "local" in match.fields]
        if not local:
            continue
        assert local[0].typed_config.Unpack(InternalUpstreamTransport()), resource.name
        catches_all = [not match.fields and is_tls for (match, _), is_tls in zip(sockets, tls, strict=True)]
        assert default or any(catches_all), resource.name
        plaintext = [match for match, socket in sockets if socket.typed_config.Is(RawBuffer.DESCRIPTOR)]
        assert all("plaintext" in match.fields or "fallback" in match.fields for match in plaintext), resource.name


def test_neighbours_are_called_at_their_doors_and_nobody_else() -> None:
    node, _ = compiled(of_case("inbound-strict"), doors=True)
    [name] = [
        each.name
        for each in node.of_type(ENDPOINTS)
        if each.name == "productpage-v1~default~outbound|9080||reviews.default.svc.cluster.local"
    ]
    found = read(ClusterLoadAssignment, node.get(ENDPOINTS, name))
    each = [one for group in found.endpoints for one in group.lb_endpoints]  # type: ignore[attr-defined]
    led = {one.endpoint.address.envoy_internal_address.server_listener_name for one in each}
    assert led == {"reviews-v1~default~door|inbound|9080", "reviews-v2~default~door|inbound|9080"}
    said = {one.metadata.filter_metadata["weft"].fields["principal"].string_value for one in each}
    assert said == {"spiffe://cluster.local/ns/default/sa/bookinfo-reviews"}


def test_an_earlier_envoy_has_none() -> None:
    assert (has_doors(""), has_doors("1.40.0"), has_doors("1.41.2"), has_doors("1.39.3")) == (True, True, True, False)


def rules(*principals: Principal, permission: Permission | None = None) -> RouteConfiguration:
    policy = Policy(permissions=[permission or Permission(any=True)], principals=principals)
    config = http_rbac_pb2.RBACPerRoute(rbac=http_rbac_pb2.RBAC(rules=RBAC(policies={"one": policy})))
    routes = RouteConfiguration(name="inbound")
    routes.typed_per_filter_config["weft.access.allow"].CopyFrom(packed(config))
    return routes


def authenticated(name: str = "") -> Principal:
    found = Principal()
    found.authenticated.SetInParent()
    if name:
        found.authenticated.principal_name.exact = name
    return found


def test_a_rule_about_a_certificate_is_one_about_the_caller() -> None:
    inner = Principal(and_ids=Principal.Set(ids=[authenticated("spiffe://x/a"), Principal(not_id=authenticated())]))
    told = told_rules(rules(inner), CALLER)
    assert told is not None
    config = http_rbac_pb2.RBACPerRoute()
    assert told.typed_per_filter_config["weft.access.allow"].Unpack(config)
    [found] = config.rbac.rules.policies["one"].principals
    first, second = found.and_ids.ids
    assert (first.filter_state.key, first.filter_state.string_match.exact) == (CALLER, "spiffe://x/a")
    assert second.not_id.filter_state.string_match.prefix == "spiffe://"


def test_what_a_neighbour_does_not_have_is_asked_of_nobody() -> None:
    by_address, by_header = Principal(), Principal()
    by_address.direct_remote_ip.address_prefix = "10.0.0.0"
    by_header.header.name = "X-Forwarded-Client-Cert"
    by_name = Permission()
    by_name.requested_server_name.exact = "x"
    assert told_rules(rules(by_address), CALLER) is None
    assert told_rules(rules(Principal(or_ids=Principal.Set(ids=[authenticated("a"), by_address]))), CALLER) is None
    assert told_rules(rules(by_header), CALLER) is None
    assert told_rules(rules(Principal(any=True), permission=by_name), CALLER) is None
    other = RouteConfiguration()
    other.typed_per_filter_config["weft.anything"].CopyFrom(packed(RawBuffer()))
    assert told_rules(other, CALLER) is None
    assert told_rules(rules(Principal(any=True)), CALLER) is not None
