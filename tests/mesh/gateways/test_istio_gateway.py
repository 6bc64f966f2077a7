"""Istio's Gateways: who serves them, what merges at one process and what does not, whose routes they take, TLS."""

from __future__ import annotations

import base64

import pytest

from support.certificates import TestAuthority
from support.meshdocs import Compiled, gateway_workload, service, short
from weft.mesh.views import ClientCheck, EdgeTls, GatewayPort

SERVICES = service("a") + service("b") + service("c", namespace="other")
AUTHORITY = TestAuthority()
LEAF = AUTHORITY.issue(dns=("x.example",))
DATA = {
    **dict.fromkeys(("tls.crt", "cert"), LEAF.chain),
    **dict.fromkeys(("tls.key", "key"), LEAF.key),
    **dict.fromkeys(("ca.crt", "cacert"), AUTHORITY.bundle),
    "ca.crl": AUTHORITY.crl(LEAF),
}
INGRESS = (("istio", "ingressgateway"),)


def gateway(
    servers: str, name: str = "front", *, namespace: str = "default", selector: str = "istio: ingressgateway"
) -> str:
    return f"""
---
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {{name: {name}, namespace: {namespace}}}
spec:
  selector: {{{selector}}}
  servers: [{servers}]
"""


def server(hosts: str = "'*'", number: int = 80, protocol: str = "HTTP", more: str = "", name: str = "") -> str:
    port = f"{{number: {number}, protocol: {protocol}, name: {name or f'{protocol.lower()}-{number}'}}}"
    return f"{{port: {port}, hosts: [{hosts}]{more}}}"


def secret(name: str, *keys: str, namespace: str = "default") -> str:
    data = ", ".join(f"{key}: {base64.b64encode(DATA[key]).decode()}" for key in keys)
    return (
        f"\n---\napiVersion: v1\nkind: Secret\nmetadata: {{name: {name}, namespace: {namespace}}}\ndata: {{{data}}}\n"
    )


def virtual(
    to: str, hosts: str = "'*'", gateways: str = "front", *, name: str = "", namespace: str = "default", more: str = ""
) -> str:
    return f"""
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: {name or to}, namespace: {namespace}}}
spec:
  hosts: [{hosts}]
  gateways: [{gateways}]
  http: [{{{more}route: [{{destination: {{host: {to}.default.svc.cluster.local}}}}]}}]
"""


def compiled(*texts: str, namespace: str = "default", labels: tuple[tuple[str, str], ...] = INGRESS) -> Compiled:
    """A mesh with the process ``ingress``."""
    return Compiled(SERVICES, *texts, workloads=[gateway_workload("ingress", namespace, labels=labels)])


def served(mesh: Compiled, url: str, name: str = "ingress", **asked: object) -> str:
    return short(mesh.knock(name, url, **asked))


def port_of(mesh: Compiled, number: int, namespace: str = "default") -> GatewayPort:
    return next(port for port in mesh.gateway("ingress", namespace).ports if port.port == number)


def tls_of(mesh: Compiled, number: int, namespace: str = "default") -> list[EdgeTls]:
    return [server.tls for server in port_of(mesh, number, namespace).servers if server.tls is not None]


def test_labels_say_who_serves_it() -> None:
    mesh = compiled(gateway(server()), virtual("a"))
    assert (mesh.codes, served(mesh, "any.example/")) == ([], "a:9080")
    far = compiled(gateway(server(), namespace="other"), virtual("a", gateways="other/front"))
    assert (far.codes, served(far, "any.example/")) == ([], "a:9080")
    other = compiled(gateway(server(), selector="istio: egressgateway"), virtual("a"))
    [unserved] = [each for each in other.mesh.idle if each.code == "not-served"]
    assert "weft gateway front --labels istio=egressgateway" in unserved.expected


def test_protocols_may_be_in_lower_case_and_all_of_requests_are_alike() -> None:
    for protocol in ("http", "HTTP2", "grpc", "GRPC-Web"):
        assert served(compiled(gateway(server(protocol=protocol)), virtual("a")), "any.example/") == "a:9080"


@pytest.mark.parametrize(
    ("hosts", "found"),
    [
        ("'*/x.example'", "a:9080"),
        ("default/x.example", "a:9080"),
        ("./x.example", "a:9080"),
        ("'./*'", "a:9080"),
        ("'other/x.example'", "404"),
        ("other/x.example, default/y.example", "404"),
        ("y.example", "404"),
    ],
)
def test_hosts_say_whose_routes_they_take(hosts: str, found: str) -> None:
    mesh = compiled(gateway(server(hosts)), virtual("a", "x.example"))
    assert served(mesh, "x.example/") == found
    assert bool(mesh.codes) is (found == "404")


def test_servers_of_several_documents_merge_on_a_port_without_tls() -> None:
    mesh = compiled(
        gateway(server("x.example"), "one"),
        gateway(server("'*.example'"), "two", namespace="other"),
        virtual("a", "x.example", "one"),
        virtual("b", "y.example", "other/two"),
    )
    assert (mesh.codes, served(mesh, "x.example/"), served(mesh, "y.example/")) == ([], "a:9080", "b:9080")
    assert len(mesh.gateway("ingress").ports) == 1


def test_virtual_services_of_one_host_merge_whichever_gateway_they_are_attached_by() -> None:
    mesh = compiled(
        gateway(server(), "one"),
        gateway(server(), "two"),
        virtual("a", "x.example", "one", more="match: [{uri: {prefix: /a}}], "),
        virtual("b", "x.example", "two"),
    )
    assert (mesh.codes, served(mesh, "x.example/a"), served(mesh, "x.example/")) == ([], "a:9080", "b:9080")


def test_a_match_may_be_for_one_of_the_gateways_only() -> None:
    both = "match: [{gateways: [two], uri: {prefix: /a}}], "
    one, two = gateway(server(number=80), "one"), gateway(server(number=81), "two")
    mesh = compiled(one, two, virtual("a", gateways="one, two", more=both))
    assert [served(mesh, "x.example/a", listener=port) for port in (80, 81)] == ["404", "a:9080"]


TLS = ", tls: {mode: SIMPLE, credentialName: c}"


def test_what_does_not_go_together_is_told_with_both_lines_and_the_first_stands() -> None:
    first = gateway(server("x.example", 443, "HTTPS", TLS), "one")
    mesh = compiled(
        first,
        gateway(server("x.example", 443, "HTTPS", TLS), "two"),
        secret("c", "tls.crt", "tls.key"),
        virtual("a", gateways="one"),
    )
    [problem] = mesh.mesh.problems
    assert (problem.code, problem.path) == ("server-conflict", ("spec", "servers", 0))
    assert "Gateway default/one (" in problem.message
    assert "has the host 'x.example' there already" in problem.message
    mixed = compiled(first, gateway(server("y.example", 443), "two"), secret("c", "tls.crt", "tls.key"))
    assert mixed.codes == ["server-conflict"]
    assert port_of(mixed, 443).protocol == "HTTPS"


def test_credentials_are_looked_for_where_the_process_is() -> None:
    documents = (gateway(server("x.example", 443, "HTTPS", TLS)), virtual("a"))
    good = compiled(*documents, secret("c", "cert", "key", namespace="istio-system"), namespace="istio-system")
    assert (good.codes, tls_of(good, 443, "istio-system")[0].certificates) == ([], ("istio-system/c",))
    elsewhere = compiled(*documents, secret("c", "cert", "key", namespace="istio-system"))
    [problem] = elsewhere.mesh.problems
    assert (problem.code, elsewhere.gateway("ingress").ports) == ("unknown-secret", ())
    assert "namespace 'istio-system' has one" in problem.message
    bad = compiled(*documents, secret("c", "cert"))
    assert bad.codes == ["bad-certificate"]
    assert Compiled(SERVICES, *documents).codes == ["unknown-secret"]
    assert Compiled(SERVICES, *documents, secret("c", "cert", "key", namespace="far")).codes == []


@pytest.mark.parametrize(
    ("keys", "beside", "roots"),
    [
        (("tls.crt", "tls.key", "ca.crt"), (), "default/c|clients"),
        (("cert", "key", "cacert"), (), "default/c|clients"),
        (("cert", "key"), ("cacert",), "default/c-cacert|clients"),
        (("tls.crt", "tls.key", "ca.crt"), ("ca.crt", "ca.crl"), "default/c-cacert|clients"),
        (("tls.crt", "tls.key"), (), ""),
    ],
)
def test_who_vouches_for_clients(keys: tuple[str, ...], beside: tuple[str, ...], roots: str) -> None:
    tls = ", tls: {mode: MUTUAL, credentialName: c, subjectAltNames: [me.example]}"
    other = (secret("c-cacert", *beside),) if beside else ()
    mesh = compiled(gateway(server("x.example", 443, "HTTPS", tls)), secret("c", *keys), *other)
    if not roots:
        assert (mesh.codes, mesh.gateway("ingress").ports) == (["bad-certificate"], ())
        return
    assert tls_of(mesh, 443)[0].clients == ClientCheck(roots, names=("me.example",))
    [found] = mesh.gateway("ingress").roots
    assert (found.roots, bool(found.crl)) == (AUTHORITY.bundle, "ca.crl" in beside)


@pytest.mark.parametrize("held", [(), ("tls.crt", "tls.key")])
def test_no_wider_server_has_the_hosts_of_one_that_cannot_ask_its_clients(held: tuple[str, ...]) -> None:
    wide = server("'*.example'", 443, "HTTPS", ", tls: {mode: SIMPLE, credentialName: c}", "wide")
    shut = server("x.example", 443, "HTTPS", ", tls: {mode: MUTUAL, credentialName: d}", "shut")
    secrets = secret("c", "tls.crt", "tls.key") + (secret("d", *held) if held else "")
    mesh = compiled(gateway(f"{wide}, {shut}"), secrets, virtual("a", "x.example, y.example"))
    assert mesh.codes == ["bad-certificate" if held else "unknown-secret"]
    port = port_of(mesh, 443)
    assert [(each.hostnames, each.misdirected) for each in port.servers] == [(("*.example",), ("x.example",))]
    assert [(each.hostnames, each.tls, each.route.backends) for each in port.chains] == [(("x.example",), None, ())]


def test_modes_and_versions() -> None:
    tls = (
        ", tls: {mode: OPTIONAL_MUTUAL, credentialNames: [c, d], caCertCredentialName: e, minProtocolVersion: TLSV1_3}"
    )
    names = ("tls.crt", "tls.key")
    mutual = server("y.example", 443, "HTTPS", ", tls: {mode: ISTIO_MUTUAL}", "mesh")
    mesh = compiled(
        gateway(f"{server('x.example', 443, 'HTTPS', tls)}, {mutual}"),
        *(secret(name, *names) for name in ("c", "d")),
        secret("e", "ca.crt"),
    )
    one, two = tls_of(mesh, 443)
    assert (one.certificates, one.lowest, one.clients) == (
        ("default/c", "default/d"),
        "1.3",
        ClientCheck("default/e|clients", required=False),
    )
    assert two.mesh
    plain = compiled(gateway(server("x.example", 443, "HTTPS", TLS)), secret("c", *names))
    assert (tls_of(plain, 443)[0].lowest, tls_of(plain, 443)[0].highest) == ("1.2", "1.3")


def test_https_redirect_sends_every_request_on_to_where_tls_is() -> None:
    servers = f"{server('x.example', more=', tls: {httpsRedirect: true}')}, {server('x.example', 443, 'HTTPS', TLS)}"
    mesh = compiled(gateway(f"{servers}, {server('y.example', name='more')}"), secret("c", "cert", "key"), virtual("a"))
    assert mesh.codes == []
    found = mesh.knock("ingress", "x.example/a?b")
    assert (found.status, found.location) == (301, "https://x.example/a?b")
    assert served(mesh, "y.example/") == "a:9080"
    alone = compiled(gateway(server("x.example", more=", tls: {httpsRedirect: true}")))
    assert alone.knock("ingress", "x.example/").location == "https://x.example/"


def test_a_document_narrows_where_the_process_listens_and_never_widens_it() -> None:
    mesh = compiled(gateway(server(more=", bind: 127.0.0.1")))
    assert mesh.codes == []
    wide = compiled(gateway(server(more=", bind: 0.0.0.0")))
    assert (wide.codes, wide.gateway("ingress").ports) == (["bind-not-served"], ())


def test_a_virtual_service_means_istios_gateway_and_an_http_route_the_other() -> None:
    api = """
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: front}
spec: {gatewayClassName: weft, listeners: [{name: http, port: 80, protocol: HTTP}]}
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: r}
spec: {parentRefs: [{name: front}], rules: [{backendRefs: [{name: b, port: 9080}]}]}
"""
    mesh = Compiled(
        SERVICES, api, gateway(server(number=81)), virtual("a"),
        workloads=[gateway_workload("front", labels=INGRESS)],
    )  # fmt: skip
    assert mesh.codes == []
    assert [served(mesh, "x.example/", "front", listener=port) for port in (80, 81)] == ["b:9080", "a:9080"]
    route = api[api.rindex("---") :]
    alone = Compiled(SERVICES, route, gateway(server()))
    assert alone.codes == ["unknown-gateway"]
    assert "is of networking.istio.io" in alone.mesh.problems[0].message


@pytest.mark.parametrize("data", ["{tls.crt: a, tls.key: b}", "{ca.crt: a}"])
def test_what_a_proxy_could_not_read_is_never_sent(data: str) -> None:
    """It would refuse the secret, with all that came beside it."""
    clients = ", tls: {mode: MUTUAL, credentialName: c, caCertCredentialName: bad}" if "ca" in data else TLS
    name = "bad" if "ca" in data else "c"
    bad = f"\n---\napiVersion: v1\nkind: Secret\nmetadata: {{name: {name}}}\nstringData: {data}\n"
    good = secret("c", "cert", "key") if name == "bad" else ""
    mesh = compiled(gateway(server("x.example", 443, "HTTPS", clients)), bad + good)
    assert (mesh.codes, mesh.gateway("ingress").ports) == (["bad-certificate"], ())
