"""Which listeners offer HTTP/3, and what is said of those that were asked to and do not."""

from __future__ import annotations

import json

import pytest

from support.certificates import TestAuthority
from support.meshdocs import Compiled, documents, gateway_workload, service

AUTHORITY = TestAuthority()
LEAF = AUTHORITY.issue(dns=("x.example",))
DATA = {"tls.crt": LEAF.chain.decode(), "tls.key": LEAF.key.decode(), "ca.crt": AUTHORITY.bundle.decode()}
SECRET = "\n---\n" + json.dumps({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "c"}, "stringData": DATA})
CLIENTS = "\n---\n" + json.dumps(
    {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c"}, "data": {"ca.crt": DATA["ca.crt"]}}
)
FRONTEND = 'tls: {frontend: {default: {validation: {caCertificateRefs: [{group: "", kind: ConfigMap, name: c}]}}}}'
SECURE = "{name: one, port: 443, protocol: HTTPS, tls: {certificateRefs: [{name: c}]}}"


def standard(said: str, listeners: str = SECURE, more: str = "") -> str:
    return f"""
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {{name: front, annotations: {{weft.dev/http3: "{said}"}}}}
spec: {{gatewayClassName: weft, listeners: [{listeners}], {more}}}
"""


def istio(*servers: str, said: str = "true") -> str:
    return f"""
---
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {{name: ours, annotations: {{weft.dev/http3: "{said}"}}}}
spec: {{selector: {{istio: ingress}}, servers: [{", ".join(servers)}]}}
"""


def server(host: str, tls: str, protocol: str = "HTTPS", number: int = 443) -> str:
    name = host.partition(".")[0]
    return f"{{port: {{number: {number}, name: {name}, protocol: {protocol}}}, hosts: [{host}], tls: {tls}}}"


def compiled(*texts: str) -> Compiled:
    ingress = gateway_workload("front", offset=8000, labels=(("istio", "ingress"),))
    return Compiled(service("a"), SECRET, *texts, workloads=[ingress])


def offered(mesh: Compiled) -> dict[str, int]:
    """The UDP port of each host's listener, where it offers any."""
    ports = mesh.gateway("front", offset=8000).ports
    return {host: one.http3 for port in ports for one in port.servers for host in one.hostnames if one.http3}


@pytest.mark.parametrize(("said", "found"), [("true", {"*": 8443}), ("false", {})])
def test_a_gateway_of_the_gateway_api_asks_for_it(said: str, found: dict[str, int]) -> None:
    mesh = compiled(standard(said))
    assert (mesh.codes, offered(mesh)) == ([], found)


def test_servers_of_istio_offer_it_each_by_itself() -> None:
    mesh = compiled(
        istio(
            server("shop.example", "{mode: SIMPLE, credentialName: c}"),
            server("old.example", "{mode: SIMPLE, credentialName: c, maxProtocolVersion: TLSV1_2}"),
            server("some.example", "{mode: MUTUAL, credentialName: c}"),
            server("may.example", "{mode: OPTIONAL_MUTUAL, credentialName: c}"),
            server("mesh.example", "{mode: ISTIO_MUTUAL}"),
            server("passed.example", "{mode: PASSTHROUGH}", protocol="TLS"),
        )
    )
    assert offered(mesh) == {"shop.example": 8443}
    places = [each.path for each in mesh.mesh.problems if each.code == "http3-not-offered"]
    assert places == [("spec", "servers", index) for index in (1, 2, 3, 4)]


def test_listeners_that_ask_clients_for_certificates_do_not_offer_it() -> None:
    mesh = compiled(CLIENTS, standard("true", more=FRONTEND))
    assert (mesh.codes, offered(mesh)) == (["http3-not-offered"], {})


@pytest.mark.parametrize(
    "gateway",
    [standard("true", "{name: one, port: 80, protocol: HTTP}"), istio(server("'*'", "{}", "HTTP", 80))],
)
def test_a_gateway_without_https_has_nothing_to_offer(gateway: str) -> None:
    mesh = compiled(gateway)
    assert mesh.codes == ["http3-not-offered"]
    assert mesh.mesh.problems[0].path == ("metadata", "annotations", "weft.dev/http3")


def test_another_word_is_refused() -> None:
    with pytest.raises(AssertionError, match=r"weft.dev/http3.*found"):
        documents(standard("yes"))


def test_a_listener_for_udp_does_not_have_the_port_too() -> None:
    beside = "{name: udp, port: 443, protocol: UDP}, {name: other, port: 444, protocol: UDP}"
    mesh = Compiled(standard("true", f"{beside}, {SECURE}"), SECRET)
    view = mesh.gateway("front")
    assert [port.port for port in view.datagrams] == [444]
    assert [(port.port, port.servers[0].http3 > 0) for port in view.ports] == [(443, True)]
    assert mesh.codes == ["server-conflict"]
