"""TCPRoute and TLSRoute: what they come to for callers and at gateways, who has a port, and what they are told."""

from __future__ import annotations

import pytest

from support.meshdocs import Compiled, documents, service, upstream, workload
from weft.mesh.routes.connections import Connections
from weft.mesh.views import GatewayPort

TCP = "  - {name: tcp, port: 5432}\n"
SERVICES = service("db", extra=TCP) + service("other", extra=TCP) + service("far", namespace="away", extra=TCP)
EDGE = """
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: edge}
spec:
  gatewayClassName: weft
  listeners:
    - {name: tcp, port: 5432, protocol: TCP}
    - {name: passed, port: 8443, protocol: TLS, hostname: "*.example.com", tls: {mode: Passthrough}}
    - {name: http, port: 80, protocol: HTTP}
"""
GRANT = """
---
apiVersion: gateway.networking.k8s.io/v1
kind: ReferenceGrant
metadata: {name: grant, namespace: away}
spec:
  from: [{group: gateway.networking.k8s.io, kind: TCPRoute, namespace: default}]
  to: [{group: "", kind: Service}]
"""
TO_SERVICE = '{group: "", kind: Service, name: db, port: 5432}'


def route(kind: str, parent: str, backends: str, *, name: str = "r", hostnames: str = "", version: str = "v1") -> str:
    """A route of a kind with one parent."""
    hosts = f"hostnames: [{hostnames}], " if hostnames else ""
    return f"""
---
apiVersion: gateway.networking.k8s.io/{version}
kind: {kind}
metadata: {{name: {name}}}
spec: {{parentRefs: [{parent}], {hosts}rules: [{{backendRefs: [{backends}]}}]}}
"""


def connections(mesh: Compiled) -> Connections:
    """Where a caller's connections to db go."""
    [found] = mesh.sidecar(workload("client", upstreams=(upstream("db", 5432, 1),))).upstreams
    return found.connections


def names(found: Connections) -> list[tuple[str, str]]:
    """Server name (``*``: all others) and first backend of each route."""
    return [
        (name or "*", each.host.split(".")[0] if (each := route.backends[0].backend) else "nowhere")
        for name, route in found.names_and_routes()
    ]


def port(mesh: Compiled, number: int) -> GatewayPort:
    """A port of the gateway."""
    return next(each for each in mesh.gateway("edge").ports if each.port == number)


def chains(mesh: Compiled, number: int) -> list[tuple[tuple[str, ...], list[str]]]:
    """The server names and backends of each chain of a port."""
    return [
        (each.hostnames, [key.host.split(".")[0] for key in each.route.used()]) for each in port(mesh, number).chains
    ]


@pytest.mark.parametrize("version", ["v1", "v1alpha2"])
def test_a_tcproute_divides_connections_of_a_service(version: str) -> None:
    backends = "{name: db, port: 5432, weight: 9}, {name: other, port: 5432}"
    decoded = Compiled(SERVICES, route("TCPRoute", TO_SERVICE, backends, version=version))
    found = connections(decoded).otherwise
    assert found is not None
    assert [(each.backend and each.backend.host.split(".")[0], each.weight) for each in found.backends] == [
        ("db", 9),
        ("other", 1),
    ]
    assert set(decoded.codes) <= {"deprecated-version"}


def test_another_namespace_needs_a_grant() -> None:
    text = route("TCPRoute", TO_SERVICE, "{name: far, namespace: away, port: 5432}")
    refused = Compiled(SERVICES, text)
    assert (refused.codes, names(connections(refused))) == (["reference-not-granted"], [("*", "nowhere")])
    assert names(connections(Compiled(SERVICES, text, GRANT))) == [("*", "far")]


def test_the_oldest_tcproute_has_a_port_and_a_tlsroute_takes_it_from_it() -> None:
    first = route("TCPRoute", TO_SERVICE, "{name: db, port: 5432}", name="a")
    second = route("TCPRoute", TO_SERVICE, "{name: other, port: 5432}", name="b")
    mesh = Compiled(SERVICES, second, first)
    assert (mesh.codes, names(connections(mesh))) == (["kind-conflict"], [("*", "db")])
    tls = route("TLSRoute", TO_SERVICE, "{name: other, port: 5432}", name="z", hostnames="x.example.com")
    assert names(connections(Compiled(SERVICES, first, tls))) == [("x.example.com", "other")]


def test_tlsroutes_share_a_port_by_server_name() -> None:
    one = route("TLSRoute", TO_SERVICE, "{name: db, port: 5432}", name="a", hostnames='"*.example.com", b.example.com')
    two = route("TLSRoute", TO_SERVICE, "{name: other, port: 5432}", name="b", hostnames="b.example.com, c.example.com")
    mesh = Compiled(SERVICES, two, one)
    assert names(connections(mesh)) == [("*.example.com", "db"), ("b.example.com", "db"), ("c.example.com", "other")]


def test_a_port_that_carries_http_takes_none() -> None:
    parent = '{group: "", kind: Service, name: db, port: 9080}'
    mesh = Compiled(SERVICES, route("TCPRoute", parent, "{name: db, port: 5432}"))
    assert mesh.codes == ["not-tcp"]
    [status] = [each for each in mesh.mesh.acceptance if each.route.kind == "TCPRoute"]
    assert [(one.type, one.status, one.reason) for one in status.parents[0].conditions] == [
        ("Accepted", False, "UnsupportedValue"),
        ("ResolvedRefs", True, "ResolvedRefs"),
    ]


def test_gateways_pass_connections_on_by_listener_and_server_name() -> None:
    tcp = route("TCPRoute", "{name: edge}", "{name: db, port: 5432}, {name: other, port: 5432}", name="a")
    tls = route(
        "TLSRoute", "{name: edge}", "{name: other, port: 5432}", hostnames="a.example.com, a.example.org, '*.com'"
    )
    mesh = Compiled(SERVICES, EDGE, tcp, tls)
    assert chains(mesh, 5432) == [((), ["db", "other"])]
    assert chains(mesh, 8443) == [(("*.example.com",), ["other"]), (("a.example.com",), ["other"])]
    assert port(mesh, 80).chains == ()
    assert mesh.codes == []


@pytest.mark.parametrize(("kind", "number", "hostnames"), [("TCPRoute", 5432, ""), ("TLSRoute", 8443, "a.example.com")])
def test_a_route_behind_an_older_one_of_its_kind_stays_attached(kind: str, number: int, hostnames: str) -> None:
    backends = ("{name: db, port: 5432}", "{name: other, port: 5432}")
    first, second = (
        route(kind, "{name: edge}", each, name=name, hostnames=hostnames)
        for name, each in zip("ab", backends, strict=True)
    )
    mesh = Compiled(SERVICES, EDGE, second, first)
    assert [backend for _, backend in chains(mesh, number)] == [["db"]]
    assert mesh.codes == ["kind-conflict"]
    taken = [[(one.type, one.status) for one in each.parents[0].conditions] for each in mesh.mesh.acceptance]
    assert taken == [
        [("Accepted", True), ("ResolvedRefs", True)],
        [("Accepted", True), ("PartiallyInvalid", True), ("ResolvedRefs", True)],
    ]
    [counts] = mesh.mesh.gateways.attached.values()
    assert counts[{5432: "tcp", 8443: "passed"}[number]] == 2


def test_a_listener_without_a_route_closes_every_connection() -> None:
    mesh = Compiled(SERVICES, EDGE)
    assert chains(mesh, 5432) == [((), [])]
    assert chains(mesh, 8443) == [(("*.example.com",), [])]


def test_a_listener_of_another_protocol_is_none_for_a_route() -> None:
    for kind, section in (("TCPRoute", "http"), ("TLSRoute", "tcp"), ("TCPRoute", "passed"), ("TLSRoute", "http")):
        parent = f"{{name: edge, sectionName: {section}}}"
        mesh = Compiled(SERVICES, EDGE, route(kind, parent, "{name: db, port: 5432}"))
        assert mesh.codes == ["wrong-protocol"], (kind, section)
        [status] = [each for each in mesh.mesh.acceptance if each.route.kind == kind]
        reasons = [one.reason for one in status.parents[0].conditions]
        assert reasons == ["NotAllowedByListeners", "ResolvedRefs"], "its kind is none of the listener's supportedKinds"


def test_a_virtualservice_goes_to_gateways_by_its_rules() -> None:
    text = """
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: vs}
spec:
  hosts: ["*.example.com"]
  gateways: [edge]
  tls:
    - match: [{sniHosts: [a.example.com], port: 8443}]
      route: [{destination: {host: db, port: {number: 5432}}}]
  tcp:
    - match: [{port: 5432, gateways: [edge]}]
      route: [{destination: {host: other, port: {number: 5432}}}]
"""
    mesh = Compiled(SERVICES, EDGE, text)
    assert (chains(mesh, 5432), chains(mesh, 8443)) == ([((), ["other"])], [(("a.example.com",), ["db"])])


def test_exactly_one_rule_and_no_addresses_among_the_names() -> None:
    two = route("TCPRoute", TO_SERVICE, "{name: db, port: 5432}").replace("rules: [", "rules: [{backendRefs: []}, ")
    with pytest.raises(AssertionError, match=r"spec.rules"):
        documents(two)
    with pytest.raises(AssertionError, match="address"):
        documents(route("TLSRoute", TO_SERVICE, "{name: db, port: 5432}", hostnames='"10.0.0.1"'))


def test_a_server_name_has_one_listener_of_a_port() -> None:
    shared = """
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: edge}
spec:
  gatewayClassName: weft
  listeners:
    - {name: wide, port: 8443, protocol: TLS, hostname: "*.example.com", tls: {mode: Passthrough}}
    - {name: one, port: 8443, protocol: TLS, hostname: a.example.com, tls: {mode: Passthrough}}
"""
    names = "a.example.com, b.example.com"
    wide = route("TLSRoute", "{name: edge, sectionName: wide}", "{name: db, port: 5432}", name="w", hostnames=names)
    one = route(
        "TLSRoute", "{name: edge, sectionName: one}", "{name: other, port: 5432}", name="o", hostnames='"*.com"'
    )
    virtual = """
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: vs}
spec:
  hosts: ["*.example.com"]
  gateways: [edge]
  tls: [{match: [{sniHosts: [a.example.com, c.example.com]}], route: [{destination: {host: db, port: {number: 5432}}}]}]
"""
    expected = [(("a.example.com",), ["other"]), (("b.example.com",), ["db"])]
    assert sorted(chains(Compiled(SERVICES, shared, wide, one), 8443)) == expected
    found = chains(Compiled(SERVICES, shared, one, virtual), 8443)
    assert sorted(found) == [(("a.example.com",), ["other"]), (("c.example.com",), ["db"])]


def test_an_address_range_has_one_chain_of_a_listener() -> None:
    """Envoy refuses the whole of a listener in which a range stands twice."""
    to = "route: [{destination: {host: %s, port: {number: 5432}}}]"
    virtual = f"""
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: vs}}
spec:
  hosts: [db]
  gateways: [edge]
  tcp:
    - match: [{{destinationSubnets: [10.0.0.0/8, 10.1.2.3/8]}}]
      {to % "db"}
    - match: [{{destinationSubnets: [10.0.0.0/8, 192.168.0.0/16]}}, {{destinationSubnets: [10.0.0.0/8]}}]
      {to % "other"}
"""
    found = port(Compiled(SERVICES, EDGE, virtual), 5432).chains
    hosts = [[key.host.split(".")[0] for key in each.route.used()] for each in found]
    assert [each.subnets for each in found] == [("10.0.0.0/8",), ("192.168.0.0/16",)]
    assert hosts == [["db"], ["other"]]
