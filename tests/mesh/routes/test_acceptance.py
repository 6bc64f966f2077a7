"""Acceptance: every reason of the Gateway API for which a parent does not take a route, and whose references fail."""

from __future__ import annotations

import pytest

from support.meshdocs import Compiled, documents, service, workload
from weft.mesh.routes.acceptance import ParentStatus, RouteStatus
from weft.mesh.routes.kind import THE_MESH
from weft.mesh.routes.status import parents_mapping
from weft.model.document import Document, ObjectKey

TCP = """
---
apiVersion: v1
kind: Service
metadata: {name: db, namespace: default}
spec: {selector: {app: db}, ports: [{name: tcp, port: 5432}, {name: http, port: 80}]}
"""
SERVICES = service("a") + service("b", 80, 81) + service("a", namespace="other") + TCP


def gateway(listeners: str, name: str = "edge", of: str = "weft") -> str:
    """A Gateway with HTTP listeners, given in flow style without what they share."""
    items = "".join(f"\n  - {{protocol: HTTP, {each}}}" for each in listeners.split(";"))
    return f"""
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {{name: {name}}}
spec:
  gatewayClassName: {of}
  listeners:{items}
"""


EDGE = gateway("name: http, port: 80; name: shop, port: 8080, hostname: shop.example.com")


def http_route(
    parents: str, more: str = "", to: str = "name: a, port: 9080", name: str = "r", space: str = "default"
) -> str:
    """An HTTPRoute."""
    return f"""
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {{name: {name}, namespace: {space}}}
spec:
  parentRefs: [{parents}]
  {more}
  rules: [{{backendRefs: [{{{to}}}]}}]
"""


def virtual_service(hosts: str, gateways: str = "mesh", to: str = "host: a", name: str = "r") -> str:
    """A VirtualService."""
    return f"""
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: {name}}}
spec: {{hosts: [{hosts}], gateways: [{gateways}], http: [{{route: [{{destination: {{{to}}}}}]}}]}}
"""


def of_service(name: str, more: str = "") -> str:
    """A parentRef to a Service."""
    return f'{{group: "", kind: Service, name: {name}{more}}}'


def status(*texts: str | tuple[Document[object], ...], name: str = "r") -> RouteStatus:
    """The status of the route called `name`."""
    mesh = Compiled(SERVICES, *texts, workloads=[workload("a")]).mesh
    return next(each for each in mesh.acceptance if each.route.name == name)


def words(parent: ParentStatus) -> str:
    """The conditions of a parent in one line; those that are as they should be are left out."""
    return " ".join(
        f"{each.type}={each.status}:{each.reason}"
        for each in parent.conditions
        if each.reason not in ("Accepted", "ResolvedRefs")
    )


def parents(*texts: str) -> list[str]:
    """The conditions of each parent of the route ``r``."""
    return [words(each) for each in status(*texts).parents]


NOT_ALLOWED = gateway(
    "name: http, port: 80, allowedRoutes: {namespaces: {from: Selector, selector: {matchLabels: {a: b}}}}"
)
KINDS = gateway("name: http, port: 80, allowedRoutes: {kinds: [{group: gateway.networking.k8s.io, kind: HTTPRoute}]}")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (EDGE + http_route("{name: edge}"), ""),
        (http_route("{name: edge}"), "Accepted=False:NoMatchingParent"),
        (EDGE + http_route("{name: edge, sectionName: nothing}"), "Accepted=False:NoMatchingParent"),
        (EDGE + http_route("{name: edge, port: 81}"), "Accepted=False:NoMatchingParent"),
        (EDGE + http_route("{name: edge, sectionName: http, port: 8080}"), "Accepted=False:NoMatchingParent"),
        (EDGE + http_route("{name: edge, sectionName: shop, port: 8080}"), ""),
        (NOT_ALLOWED + http_route("{name: edge}"), "Accepted=False:NotAllowedByListeners"),
        (KINDS + virtual_service("a", "edge"), "Accepted=False:NotAllowedByListeners"),
        (
            EDGE + http_route("{name: edge, sectionName: shop}", "hostnames: [other.example.com]"),
            "Accepted=False:NoMatchingListenerHostname",
        ),
        (http_route(of_service("a")), ""),
        (http_route(of_service("nobody")), "Accepted=False:NoMatchingParent"),
        (http_route(of_service("a", ", port: 81")), "Accepted=False:NoMatchingParent"),
        (http_route(of_service("db", ", port: 5432")), "Accepted=False:UnsupportedValue"),
        (http_route(of_service("db", ", port: 80")), ""),
        (virtual_service("a"), ""),
        (virtual_service("api.example.com"), ""),
        (virtual_service("nobody.default.svc.cluster.local"), "Accepted=False:NoMatchingParent"),
        (virtual_service("nobody.default.svc.cluster.local, a"), "PartiallyInvalid=True:NoMatchingParent"),
        (EDGE + virtual_service("a.example.com", "edge"), ""),
        (virtual_service("a.example.com", "edge"), "Accepted=False:NoMatchingParent"),
        (
            gateway("name: shop, port: 80, hostname: shop.example.com") + virtual_service("a.example.com", "edge"),
            "Accepted=False:NoMatchingListenerHostname",
        ),
    ],
)
def test_whether_a_parent_takes_a_route(text: str, expected: str) -> None:
    assert parents(text) == [expected]


GRANT = """
---
apiVersion: gateway.networking.k8s.io/v1
kind: ReferenceGrant
metadata: {name: g, namespace: other}
spec:
  from: [{group: gateway.networking.k8s.io, kind: HTTPRoute, namespace: default}]
  to: [{group: "", kind: Service}]
"""
SUBSETS = """
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: a}
spec: {host: a, subsets: [{name: v1, labels: {version: v1}}]}
"""
ELSEWHERE = "name: a, namespace: other, port: 9080"


@pytest.mark.parametrize("parent", ["{name: edge}", of_service("a")])
@pytest.mark.parametrize(
    ("to", "more", "expected"),
    [
        (ELSEWHERE, "", "ResolvedRefs=False:RefNotPermitted"),
        (ELSEWHERE, GRANT, ""),
        ("name: nobody, port: 80", "", "ResolvedRefs=False:BackendNotFound"),
        ("name: a, port: 81", "", "ResolvedRefs=False:BackendNotFound"),
    ],
)
def test_references_are_told_of_parents_that_took_the_route(parent: str, to: str, more: str, expected: str) -> None:
    assert parents(EDGE + http_route(parent, to=to) + more) == [expected]


@pytest.mark.parametrize("gateways", ["mesh", "edge"])
@pytest.mark.parametrize(
    ("to", "more", "expected"),
    [
        ("host: nobody", "", "ResolvedRefs=False:BackendNotFound"),
        ("host: a, subset: v1", "", "ResolvedRefs=False:BackendNotFound"),
        ("host: a, subset: v1", SUBSETS, ""),
        ("host: a, port: {number: 81}", "", "ResolvedRefs=False:BackendNotFound"),
    ],
)
def test_destinations_of_a_virtual_service_are_references(gateways: str, to: str, more: str, expected: str) -> None:
    assert parents(EDGE + virtual_service("a", gateways, to) + more) == [expected]


def test_references_are_told_of_parents_that_did_not_take_the_route() -> None:
    refused = "Accepted=False:NoMatchingParent ResolvedRefs=False:BackendNotFound"
    assert parents(http_route("{name: edge}", to="name: nobody, port: 80")) == [refused]
    assert parents(http_route(of_service("nobody"), to="name: nobody, port: 80")) == [refused]
    assert parents(virtual_service("nobody.default.svc.cluster.local", to="host: nobody")) == [refused]
    # Where no port is, a destination without one is not at fault.
    assert parents(virtual_service("nobody.default.svc.cluster.local", to="host: b")) == [
        "Accepted=False:NoMatchingParent"
    ]


def test_sides_have_references_of_their_own() -> None:
    """A Service may send its callers to itself; a Gateway needs the grant."""
    both = http_route("{name: edge}, " + of_service("a", ", namespace: other"), to=ELSEWHERE)
    assert parents(EDGE + both) == ["ResolvedRefs=False:RefNotPermitted", ""]


def test_every_parent_has_a_status_of_its_own_in_the_order_of_the_document() -> None:
    text = http_route(
        f"{{name: edge, sectionName: shop}}, {of_service('b', ', port: 81')}, {{name: none}}, {{name: edge, port: 80}}",
        "hostnames: [a.example.com]",
    )
    found = status(EDGE + text)
    assert [words(each) for each in found.parents] == [
        "Accepted=False:NoMatchingListenerHostname",
        "",
        "Accepted=False:NoMatchingParent",
        "",
    ]
    assert [(str(each.parent), each.section, each.port) for each in found.parents] == [
        ("Gateway default/edge", "shop", 0),
        ("Service default/b", "", 81),
        ("Gateway default/none", "", 0),
        ("Gateway default/edge", "", 80),
    ]
    assert [each.path for each in found.parents] == [("spec", "parentRefs", place) for place in range(4)]


def test_the_mesh_is_a_parent_of_a_virtual_service_and_stands_first() -> None:
    found = status(EDGE + virtual_service("a, b", "mesh, edge"))
    assert [each.parent for each in found.parents] == [
        THE_MESH,
        ObjectKey("gateway.networking.k8s.io", "Gateway", "default", "edge"),
    ]


OTHERS = """
---
apiVersion: gateway.networking.k8s.io/v1
kind: GatewayClass
metadata: {name: theirs}
spec: {controllerName: example.com/theirs}
"""


def test_gateways_of_other_controllers_are_left_to_them() -> None:
    theirs = OTHERS + gateway("name: http, port: 80", "theirs", "theirs")
    assert parents(EDGE + theirs + http_route("{name: theirs}, {name: edge, sectionName: nothing}")) == [
        "Accepted=False:NoMatchingParent"
    ]
    assert parents(theirs + http_route("{name: theirs}", to="name: nobody, port: 80")) == []


def test_who_gets_no_host_is_told_so() -> None:
    older = documents(virtual_service("a, a.example.com", "mesh, edge", name="first"))
    text = EDGE + virtual_service("a", name="r") + http_route(of_service("a"), name="s")
    assert [words(each) for each in status(older, text).parents] == ["Accepted=False:HostConflict"]
    assert [words(each) for each in status(older, text, name="s").parents] == ["Accepted=False:HostConflict"]
    partly = EDGE + virtual_service("b, a, a.example.com, b.example.com", "edge, mesh")
    found = status(older, partly).parents
    assert [words(each) for each in found] == ["PartiallyInvalid=True:HostConflict", ""]
    assert "VirtualService default/first (mesh.yaml:" in found[0].conditions[1].message
    none = EDGE + http_route("{name: edge}, " + of_service("a"), "hostnames: [a.example.com]")
    assert [words(each) for each in status(older, none).parents] == ["Accepted=False:HostConflict"] * 2


def test_a_host_lost_on_one_port_is_lost_in_part() -> None:
    older = http_route(of_service("b", ", port: 80"), name="first")
    found = status(older + virtual_service("b", name="r"))
    assert [words(each) for each in found.parents] == ["PartiallyInvalid=True:HostConflict"]
    vs = virtual_service("b", name="first")
    text = http_route(of_service("b", ", port: 80") + ", " + of_service("b", ", port: 81"))
    assert [words(each) for each in status(vs + text).parents] == ["Accepted=False:HostConflict"] * 2


def test_what_is_attached_to_each_listener_is_counted() -> None:
    texts = (
        http_route("{name: edge}", name="one"),
        http_route("{name: edge, sectionName: http}, {name: edge, sectionName: shop}", name="two"),
        http_route("{name: edge, sectionName: shop}", "hostnames: [other.example.com]", name="none"),
        virtual_service("shop.example.com", "edge", name="three"),
        virtual_service("shop.example.com", "edge", name="loses"),
    )
    mesh = Compiled(SERVICES, EDGE, *texts).mesh
    assert dict(mesh.gateways.attached[ObjectKey("gateway.networking.k8s.io", "Gateway", "default", "edge")]) == {
        "http": 4,
        "shop": 4,
    }
    assert dict(
        Compiled(EDGE).mesh.gateways.attached[ObjectKey("gateway.networking.k8s.io", "Gateway", "default", "edge")]
    ) == {"http": 0, "shop": 0}


def test_it_is_written_as_the_api_has_it() -> None:
    text = http_route("{name: edge, sectionName: nothing}, " + of_service("a", ", port: 9080"))
    refused, taken = parents_mapping(status(EDGE + text))
    assert refused["parentRef"] == {
        "group": "gateway.networking.k8s.io",
        "kind": "Gateway",
        "namespace": "default",
        "name": "edge",
        "sectionName": "nothing",
    }
    assert refused["controllerName"] == "weft.dev/gateway-controller"
    assert taken == {
        "parentRef": {"group": "", "kind": "Service", "namespace": "default", "name": "a", "port": 9080},
        "controllerName": "weft.dev/gateway-controller",
        "conditions": [
            {"type": "Accepted", "status": "True", "reason": "Accepted", "message": ""},
            {"type": "ResolvedRefs", "status": "True", "reason": "ResolvedRefs", "message": ""},
        ],
    }
    assert parents_mapping(status(virtual_service("a")))[0]["parentRef"] == {
        "group": "",
        "kind": "Mesh",
        "name": "mesh",
    }
