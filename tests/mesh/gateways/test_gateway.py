"""Gateways: classes, listeners, attachment of routes, certificates, views."""

from __future__ import annotations

import base64

import pytest

from support.certificates import TestAuthority
from support.meshdocs import Compiled, backends, documents, endpoints, gateway_workload, service, short, workload
from weft.mesh.views import GatewayView

SERVICES = service("a") + service("b") + service("c", namespace="other")
LEAF = TestAuthority().issue(dns=("x.example",))
PEM, KEY = (base64.b64encode(part).decode() for part in (LEAF.chain, LEAF.key))


def gateway(listeners: str, name: str = "front", of: str = "weft") -> str:
    """A Gateway in namespace default."""
    return f"""
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {{name: {name}, namespace: default}}
spec:
  gatewayClassName: {of}
  listeners:
{listeners}"""


def listener(name: str, host: str = "", port: int = 80, more: str = "") -> str:
    """An HTTP listener."""
    hostname = f", hostname: '{host}'" if host else ""
    return f"  - {{name: {name}, port: {port}, protocol: HTTP{hostname}{more}}}\n"


def route(
    to: str, hosts: str = "", *, path: str = "/", namespace: str = "default", name: str = "", parent: str = ""
) -> str:
    """An HTTPRoute for Gateway front."""
    return f"""
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {{name: {name or to}, namespace: {namespace}}}
spec:
  parentRefs: [{{name: front, namespace: default{parent}}}]
  hostnames: [{hosts}]
  rules:
  - matches: [{{path: {{value: {path}}}}}]
    backendRefs: [{{name: {to}, port: 9080}}]
"""


def virtual(
    to: str, hosts: str, *, namespace: str = "default", name: str = "vs", gateways: str = "default/front"
) -> str:
    """A VirtualService on Gateway front."""
    return f"""
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: {name}, namespace: {namespace}}}
spec:
  hosts: [{hosts}]
  gateways: [{gateways}]
  http: [{{route: [{{destination: {{host: {to}}}}}]}}]
"""


ANY = gateway(listener("http"))
OPEN = gateway(listener("http", more=", allowedRoutes: {namespaces: {from: All}}"))


def test_a_route_attaches_and_only_what_it_uses_is_in_the_view() -> None:
    mesh = Compiled(SERVICES, ANY, route("a"), workloads=[workload("a")])
    view = mesh.gateway("front", offset=8000)
    assert list(backends(view)) == ["outbound|9080||a.default.svc.cluster.local"]
    assert [len(item.endpoints) for item in endpoints(view).values()] == [1]
    assert (view.ports[0].port, view.ports[0].listen.port, view.ports[0].protocol) == (80, 8080, "HTTP")
    assert short(mesh.knock("front", "any.example/x")) == "a:9080"
    assert mesh.codes == []


def test_the_route_of_a_gateway_does_not_touch_the_mesh() -> None:
    mesh = Compiled(SERVICES, ANY, route("b", name="r"))
    assert short(mesh.ask("a/")) == "a:9080"


@pytest.mark.parametrize(
    ("listening", "asked", "good", "bad"),
    [
        ("", "x.example", "x.example", "y.example"),
        ("*.example", "", "x.example", "example"),
        ("*.example", "x.example", "x.example", "y.example"),
        ("x.example", "'*.example'", "x.example", "y.example"),
        ("*.example", "'*.a.example'", "x.a.example", "a.example"),
    ],
)
def test_hosts_are_the_intersection_of_listener_and_route(listening: str, asked: str, good: str, bad: str) -> None:
    mesh = Compiled(SERVICES, gateway(listener("http", listening)), route("a", asked))
    assert (short(mesh.knock("front", f"{good}/")), short(mesh.knock("front", f"{bad}/"))) == ("a:9080", "404")


def test_hosts_are_blind_to_case_port_and_final_dot() -> None:
    mesh = Compiled(SERVICES, ANY, route("a", "x.example"))
    assert [short(mesh.knock("front", url)) for url in ("X.Example/", "x.example:8080/", "x.example./")] == [
        "a:9080"
    ] * 3


def test_no_common_host_no_such_listener_and_no_gateway_are_told() -> None:
    assert Compiled(SERVICES, gateway(listener("http", "*.com")), route("a", "x.example")).codes == ["no-matching-host"]
    assert Compiled(SERVICES, ANY, route("a", parent=", sectionName: https")).codes == ["no-matching-listener"]
    assert Compiled(SERVICES, ANY, route("a", parent=", port: 81")).codes == ["no-matching-listener"]
    mesh = Compiled(SERVICES, gateway(listener("http"), name="fromt"), route("a"))
    assert (mesh.codes, mesh.mesh.problems[0].nearest) == (["unknown-gateway"], "fromt")


def test_section_and_port_choose_listeners() -> None:
    two = gateway(listener("one", port=80) + listener("two", port=81))
    for parent in (", sectionName: two", ", port: 81"):
        mesh = Compiled(SERVICES, two, route("a", parent=parent))
        assert short(mesh.knock("front", "x/", listener=81)) == "a:9080"
        assert short(mesh.knock("front", "x/", listener=80)) == "404"


def test_the_most_specific_listener_takes_the_host_even_without_a_route_there() -> None:
    both = gateway(listener("wide", "*.example") + listener("narrow", "x.example"))
    mesh = Compiled(
        SERVICES, both, route("a", parent=", sectionName: wide"), route("b", "x.example", parent=", sectionName: wide")
    )
    assert short(mesh.knock("front", "y.example/")) == "a:9080"
    assert short(mesh.knock("front", "x.example/")) == "404"


def test_rules_of_the_longer_host_come_first_and_those_of_wider_hosts_after() -> None:
    mesh = Compiled(SERVICES, ANY, route("a", "x.example", path="/a"), route("b", "'*.example'"))
    assert [short(mesh.knock("front", f"x.example{path}")) for path in ("/a/1", "/b")] == ["a:9080", "b:9080"]
    assert short(mesh.knock("front", "example/b")) == "404"


SELECTOR = ", allowedRoutes: {namespaces: {from: Selector, selector: {matchLabels: {team: blue}}}}"
BLUE = "---\napiVersion: v1\nkind: Namespace\nmetadata: {name: other, labels: {team: blue}}\n"
NAMED = ", allowedRoutes: {namespaces: {from: Selector, selector: {matchLabels: {kubernetes.io/metadata.name: other}}}}"


@pytest.mark.parametrize(
    ("texts", "outcome"),
    [
        ((ANY,), "404"),
        ((OPEN,), "c.other:9080"),
        ((gateway(listener("http", more=SELECTOR)),), "404"),
        ((gateway(listener("http", more=SELECTOR)), BLUE), "c.other:9080"),
        ((gateway(listener("http", more=NAMED)),), "c.other:9080"),
    ],
)
@pytest.mark.parametrize("attached", [route("c", namespace="other"), virtual("c", "x.example", namespace="other")])
def test_namespaces_that_may_attach(texts: tuple[str, ...], outcome: str, attached: str) -> None:
    mesh = Compiled(SERVICES, *texts, attached)
    assert short(mesh.knock("front", "x.example/")) == outcome
    assert mesh.codes == (["not-allowed"] if outcome == "404" else [])


def test_classes() -> None:
    for built_in in ("weft", "istio"):
        assert Compiled(SERVICES, gateway(listener("http"), of=built_in)).codes == []
    foreign = """
---
apiVersion: gateway.networking.k8s.io/v1
kind: GatewayClass
metadata: {name: nginx}
spec: {controllerName: nginx.org/gateway}
"""
    mesh = Compiled(SERVICES, foreign, gateway(listener("http"), of="nginx"), route("a"))
    assert [(item.code, str(item.severity)) for item in mesh.mesh.problems] == [("foreign-class", "warning")] * 2
    assert mesh.gateway("front").ports == ()
    own = foreign.replace("nginx.org/gateway", "weft.dev/gateway-controller").replace("nginx", "mine")
    assert Compiled(SERVICES, own, gateway(listener("http"), of="mine")).codes == []
    assert Compiled(SERVICES, gateway(listener("http"), of="wefd")).mesh.problems[0].nearest == "weft"


def secret(namespace: str = "default") -> str:
    """A TLS Secret."""
    return f"""
---
apiVersion: v1
kind: Secret
metadata: {{name: cert, namespace: {namespace}}}
type: kubernetes.io/tls
data: {{tls.crt: {PEM}, tls.key: {KEY}}}
"""


HTTPS = "  - {name: s, port: 443, protocol: HTTPS, hostname: x.example, tls: {certificateRefs: [{name: cert}]}}\n"
FAR = HTTPS.replace("name: cert}", "name: cert, namespace: other}")
GRANT = """
---
apiVersion: gateway.networking.k8s.io/v1beta1
kind: ReferenceGrant
metadata: {name: g, namespace: other}
spec:
  from: [{group: gateway.networking.k8s.io, kind: Gateway, namespace: default}]
  to: [{group: "", kind: Secret}]
"""


def test_an_https_listener_has_its_certificate_and_never_shows_the_key() -> None:
    view = Compiled(SERVICES, gateway(HTTPS), secret(), route("a")).gateway("front")
    (port,) = view.ports
    assert port.servers[0].tls
    assert (port.protocol, port.servers[0].hostnames, port.servers[0].tls.certificates) == (
        "HTTPS",
        ("x.example",),
        ("default/cert",),
    )
    assert b"PRIVATE" in view.certificates[0].key
    assert "PRIVATE" not in repr(view)


MIXED = (
    HTTPS
    + "  - {name: w, port: 443, protocol: HTTPS, hostname: '*.example', tls: {certificateRefs: [{name: cert}]}}\n"
    + "  - {name: o, port: 443, protocol: HTTPS, hostname: other.com, tls: {certificateRefs: [{name: cert}]}}\n"
)


@pytest.mark.parametrize(
    ("name", "host", "expected"),
    [
        ("x.example", "x.example", "a:9080"),
        ("x.example", "y.example", "421"),
        ("x.example", "other.com", "421"),
        ("x.example", "elsewhere.com", "404"),
        ("y.example", "y.example", "b:9080"),
        ("y.example", "z.example", "b:9080"),
        ("y.example", "x.example", "421"),
        ("other.com", "other.com", "404"),
    ],
)
def test_each_https_listener_serves_its_own_hosts_only(name: str, host: str, expected: str) -> None:
    routes = route("a", parent=", sectionName: s") + route("b", parent=", sectionName: w")
    mesh = Compiled(SERVICES, gateway(MIXED), secret(), routes)
    assert mesh.codes == []
    assert short(mesh.knock("front", f"{host}/", listener=443, server_name=name)) == expected


def test_a_listener_that_takes_every_host_sends_those_of_another_to_it() -> None:
    every = "  - {name: e, port: 443, protocol: HTTPS, tls: {certificateRefs: [{name: cert}]}}\n"
    mesh = Compiled(SERVICES, gateway(HTTPS + every), secret(), route("a"))
    asked = [("any.com", "other.com"), ("any.com", "x.example"), ("x.example", "any.com")]
    answers = [short(mesh.knock("front", f"{host}/", listener=443, server_name=name)) for name, host in asked]
    assert answers == ["a:9080", "421", "421"]


@pytest.mark.parametrize(("option", "lowest"), [("", "1.3"), ("'1.3'", "1.3"), ("'1.2'", "1.2")])
def test_a_listener_may_let_clients_speak_tls_1_2(option: str, lowest: str) -> None:
    options = f", options: {{weft.dev/min-tls-version: {option}}}}}" if option else "}"
    one = HTTPS.replace("{name: cert}]}", "{name: cert}]" + options)
    (port,) = Compiled(SERVICES, gateway(one), secret()).gateway("front").ports
    assert [server.tls.lowest for server in port.servers if server.tls] == [lowest]


@pytest.mark.parametrize(
    ("texts", "codes"),
    [
        ((gateway(HTTPS),), ["unknown-secret"]),
        ((gateway(FAR), secret("other")), ["reference-not-granted"]),
        ((gateway(FAR), secret("other"), GRANT), []),
    ],
)
def test_a_listener_without_a_usable_certificate_is_not_in_force(texts: tuple[str, ...], codes: list[str]) -> None:
    mesh = Compiled(SERVICES, *texts)
    assert mesh.codes == codes
    assert bool(mesh.gateway("front").ports) is not bool(codes)


def test_virtual_services_own_hosts_and_resolve_names_where_they_are_written() -> None:
    mesh = Compiled(SERVICES, OPEN, virtual("c", "x.example, '*.w.example'", namespace="other"))
    assert [short(mesh.knock("front", f"{host}/")) for host in ("x.example", "q.w.example", "y.example")] == [
        "c.other:9080",
        "c.other:9080",
        "404",
    ]
    short_name = Compiled(SERVICES, ANY, virtual("a", "x.example", gateways="front"))
    assert short(short_name.knock("front", "x.example/")) == "a:9080"
    assert Compiled(SERVICES, ANY, virtual("a", "x.example", gateways="nope/front")).codes == ["unknown-gateway"]


def test_a_subset_that_only_a_gateway_sends_to_has_endpoints() -> None:
    text = (
        virtual("a, subset: v1", "'*'")
        + """
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: a, namespace: default}
spec: {host: a, subsets: [{name: v1, labels: {version: v1}}, {name: v2, labels: {version: v2}}]}
"""
    )
    mesh = Compiled(SERVICES, ANY, text, workloads=[workload("a", version="v1"), workload("a", version="v2")])
    view = mesh.gateway("front")
    assert list(backends(view)) == ["outbound|9080|v1|a.default.svc.cluster.local"]
    assert [len(item.endpoints) for item in endpoints(view).values()] == [1]


def test_a_virtual_service_and_a_route_compete_for_a_host() -> None:
    old = documents(virtual("a", "x.example"), "old.yaml", created=1.0)
    new = documents(route("b", "x.example"), "new.yaml", created=2.0)
    mesh = Compiled(SERVICES, ANY, new, old)
    assert (short(mesh.knock("front", "x.example/")), mesh.codes) == ("a:9080", ["host-conflict"])
    assert "VirtualService default/vs (old.yaml:" in mesh.mesh.problems[0].message


def test_of_routes_of_one_age_the_first_by_the_text_of_namespace_and_name_comes_first() -> None:
    everywhere = gateway(listener("http", more=", allowedRoutes: {namespaces: {from: All}}"))
    texts = [service("a", namespace=space) + route("a", namespace=space) for space in ("team", "team-b")]
    assert short(Compiled(everywhere, *texts).knock("front", "h.example/")) == "a.team-b:9080"


def test_a_redirect_to_another_host_keeps_the_listeners_port_as_clients_reach_it() -> None:
    text = route("a").replace(
        "    backendRefs: [{name: a, port: 9080}]\n",
        "    filters: [{type: RequestRedirect, requestRedirect: {hostname: new.example}}]\n",
    )
    mesh = Compiled(SERVICES, ANY, text)
    assert mesh.knock("front", "x.example/p").location == "http://new.example/p"
    view = mesh.gateway("front", offset=8000)
    assert getattr(view.ports[0].servers[0].virtual_hosts[0].rules[0].action, "port", None) == 8080


@pytest.mark.parametrize(
    ("redirect", "port"),
    [
        ("{authority: new.example}", 0),
        ("{authority: new.example, scheme: https}", 0),
        ("{authority: new.example, derivePort: FROM_REQUEST_PORT}", 8080),
        ("{authority: new.example, scheme: https, derivePort: FROM_REQUEST_PORT}", 0),
    ],
)
def test_a_virtual_service_redirects_to_another_authority_as_it_is_written(redirect: str, port: int) -> None:
    text = virtual("vs", "h.example").partition("  http:")[0] + f"  http: [{{redirect: {redirect}}}]\n"
    view = Compiled(SERVICES, ANY, text).gateway("front", offset=8000)
    assert getattr(view.ports[0].servers[0].virtual_hosts[-1].rules[0].action, "port", None) == port


def test_a_gateway_that_does_not_exist_gives_an_empty_view_and_a_problem() -> None:
    mesh = Compiled(SERVICES, workloads=[gateway_workload("front")])
    assert mesh.codes == ["unknown-gateway"]
    view = mesh.gateway("front")
    assert isinstance(view, GatewayView)
    assert (view.ports, backends(view)) == ((), {})


def test_a_virtual_service_of_a_gateway_alone_brings_its_subsets() -> None:
    subsets = """
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: a}
spec: {host: a, subsets: [{name: v2, labels: {version: v2}}]}
"""
    virtual = """
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: shop}
spec: {hosts: [shop.example], gateways: [front], http: [{route: [{destination: {host: a, subset: v2}}]}]}
"""
    mesh = Compiled(SERVICES, ANY, subsets, virtual, workloads=[workload("a", "v1"), workload("a", "v2", number=1)])
    found = endpoints(mesh.gateway("front"))["outbound|9080|v2|a.default.svc.cluster.local"]
    assert [each.workload for each in found.endpoints] == ["a-v2.default"]


CLOSED = ", allowedRoutes: {namespaces: {from: Same}}"
TAKING = ", allowedRoutes: {namespaces: {from: All}}"


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("section", ["", ", sectionName: all"])
def test_a_listener_open_to_all_does_not_give_away_a_host_of_one_that_is_not(section: str, *, reverse: bool) -> None:
    listeners = (listener("all", more=TAKING), listener("own", "www.example", more=CLOSED))
    text = gateway("".join(reversed(listeners) if reverse else listeners))
    mesh = Compiled(SERVICES, text, route("c", "www.example, free.example", namespace="other", parent=section))
    hosts = [host.domains for server in mesh.gateway("front").ports[0].servers for host in server.virtual_hosts]
    assert len(hosts) == len(set(hosts))
    assert short(mesh.knock("front", "free.example/")) == "c.other:9080"
    assert short(mesh.knock("front", "www.example/")) == "404"


def test_the_rules_of_a_virtual_service_are_not_followed_by_those_of_wider_hosts() -> None:
    own = virtual("a", "x.example").replace("http: [{", "http: [{match: [{uri: {prefix: /own}}], ")
    mesh = Compiled(SERVICES, ANY, own, route("b", "'*.example'"))
    assert short(mesh.knock("front", "x.example/own")) == "a:9080"
    assert short(mesh.knock("front", "x.example/")) == "404"
    assert short(mesh.knock("front", "y.example/")) == "b:9080"
