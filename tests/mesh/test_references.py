"""References between documents: every one that leads nowhere or is not allowed is told, with the nearest name."""

from __future__ import annotations

import base64

import pytest

from support.certificates import TestAuthority
from support.meshdocs import Compiled, documents, service
from weft.mesh.build import build_mesh
from weft.mesh.gateways.gateway_api import admission_from_api
from weft.mesh.memo import Memo
from weft.mesh.policies.selector import selector_from_api
from weft.model.document import Document
from weft.model.labels import Labels
from weft.model.origin import path_text
from weft.model.problem import Problem, Severity
from weft.model.snapshot import ConfigSnapshot
from weft.schema.decode import decode_documents
from weft.schema.hosts import intersection, service_of_host
from weft.schema.kinds.gateway import AllowedRoutes, LabelExpression, LabelSelector, ListenerSpec, RouteNamespaces

LEAF = TestAuthority().issue(dns=("x.example",))
PEM, KEY = (base64.b64encode(part).decode() for part in (LEAF.chain, LEAF.key))
BASE = """
apiVersion: v1
kind: Service
metadata: {name: reviews}
spec: {ports: [{port: 9080, name: http}]}
---
apiVersion: v1
kind: Service
metadata: {name: payments, namespace: shop}
spec: {ports: [{port: 80, name: http}]}
---
apiVersion: v1
kind: Service
metadata: {name: outside}
spec: {type: ExternalName, externalName: example.com}
---
apiVersion: v1
kind: Secret
metadata: {name: cert}
data: PAIR
---
apiVersion: v1
kind: Secret
metadata: {name: cert, namespace: shop}
data: PAIR
---
apiVersion: v1
kind: Secret
metadata: {name: password}
stringData: {a: x}
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: reviews}
spec: {host: reviews.default.svc.cluster.local, subsets: [{name: v1}, {name: v2}]}
---
apiVersion: v1
kind: Namespace
metadata: {name: team, labels: {routes: "yes"}}
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: gw}
spec:
  gatewayClassName: weft
  listeners:
  - {name: http, port: 80, protocol: HTTP}
  - {name: shop, port: 81, protocol: HTTP, hostname: "*.shop.example", allowedRoutes: {namespaces: {from: All}}}
  - name: team
    port: 82
    protocol: HTTP
    allowedRoutes: {namespaces: {from: Selector, selector: {matchLabels: {routes: "yes"}}}}
---
""".replace("PAIR", f"{{tls.crt: {PEM}, tls.key: {KEY}}}")
GRANT = """
apiVersion: gateway.networking.k8s.io/v1
kind: ReferenceGrant
metadata: {name: g, namespace: shop}
spec:
  from:
  - {group: gateway.networking.k8s.io, kind: %s, namespace: %s}
  to:
  - {group: "", kind: %s%s}
---
"""


def virtual_service(http: str, more: str = "hosts: [reviews]") -> str:
    return (
        "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: x}\n"
        f"spec:\n  {more}\n  http: [{{{http}}}]\n"
    )


def http_route(spec: str, namespace: str = "default") -> str:
    return (
        "apiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\n"
        f"metadata: {{name: x, namespace: {namespace}}}\nspec: {{{spec}}}\n"
    )


def gateway(ref: str, gateway_class: str = "weft") -> str:
    return (
        "apiVersion: gateway.networking.k8s.io/v1\nkind: Gateway\nmetadata: {name: y}\n"
        f"spec: {{gatewayClassName: {gateway_class}, listeners: [{{name: a, port: 443, protocol: HTTPS, "
        f"tls: {{certificateRefs: [{ref}]}}}}]}}\n"
    )


REFERENCE_CODES = (
    "unknown-service", "unknown-host", "unknown-port", "unknown-subset", "unknown-gateway", "unknown-secret",
    "unknown-class", "foreign-class", "bad-certificate", "reference-not-granted", "not-allowed",
    "no-matching-listener", "no-matching-host",
)  # fmt: skip


def problems_of(documents: tuple[Document[object], ...]) -> tuple[Problem, ...]:
    """What the build says of these documents."""
    return build_mesh(ConfigSnapshot(1, documents), Memo()).problems


def found(text: str) -> list[tuple[str, str, str]]:
    decoded = decode_documents(BASE + text, "f")
    assert not decoded.failed, [str(problem) for problem in decoded.problems]
    problems = problems_of(decoded.documents)
    told = [problem for problem in problems if problem.code in REFERENCE_CODES]
    return [(problem.code, path_text(problem.path), problem.nearest) for problem in told]


def test_rules_for_a_service_that_is_not_there_name_it_as_documents_do() -> None:
    text = BASE + virtual_service("route: [{destination: {host: reviews}}]", "hosts: [revews]")
    (told,) = [one for one in problems_of(decode_documents(text, "f").documents) if one.code == "unknown-host"]
    assert told.message == "there is no Service 'revews' in namespace 'default', so these rules route nothing for it"
    assert told.nearest == "reviews"


ROUTE = "spec.http[0].route[0].destination"
BACKEND = "spec.rules[0].backendRefs[0]"
CERTIFICATE = "spec.listeners[0].tls.certificateRefs[0]"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (virtual_service("route: [{destination: {host: reviews, subset: v1, port: {number: 9080}}}]"), []),
        (virtual_service("route: [{destination: {host: reviews.default}}]"), []),
        (virtual_service("route: [{destination: {host: payments.shop.svc.cluster.local}}]"), []),
        (
            virtual_service("route: [{destination: {host: outside, port: {number: 443}}}]"),
            [("unknown-port", f"{ROUTE}.port.number", "")],
        ),
        (
            virtual_service("route: [{destination: {host: reviws}}]"),
            [("unknown-host", f"{ROUTE}.host", "reviews")],
        ),
        (virtual_service("route: [{destination: {host: payments}}]"), [("unknown-host", f"{ROUTE}.host", "")]),
        (
            virtual_service("route: [{destination: {host: a.b.example.com}}]"),
            [("unknown-host", f"{ROUTE}.host", "")],
        ),
        (
            virtual_service("route: [{destination: {host: reviews, subset: v11, port: {number: 80}}}]"),
            [("unknown-port", f"{ROUTE}.port.number", ""), ("unknown-subset", f"{ROUTE}.subset", "v1")],
        ),
        (
            virtual_service("route: [{destination: {host: reviews}}], mirror: {host: x}"),
            [("unknown-host", "spec.http[0].mirror.host", "")],
        ),
        (
            virtual_service("route: [{destination: {host: reviews}}], mirrors: [{destination: {host: x}}]"),
            [("unknown-host", "spec.http[0].mirrors[0].destination.host", "")],
        ),
        (
            virtual_service(
                "match: [{gateways: [gwx]}], redirect: {uri: /}",
                "hosts: [a.com]\n  gateways: [mesh, gw, shop/gw]",
            ),
            [
                ("unknown-gateway", "spec.gateways[2]", ""),
                ("unknown-gateway", "spec.http[0].match[0].gateways[0]", "gw"),
            ],
        ),
        (http_route("parentRefs: [{name: gw, sectionName: http, port: 80}]"), []),
        (http_route("parentRefs: [{name: gv}]"), [("unknown-gateway", "spec.parentRefs[0]", "")]),
        (
            http_route("parentRefs: [{name: gw, sectionName: htp}]"),
            [("no-matching-listener", "spec.parentRefs[0]", "http")],
        ),
        (
            http_route("parentRefs: [{name: gw, sectionName: http, port: 81}]"),
            [("no-matching-listener", "spec.parentRefs[0]", "")],
        ),
        (http_route("parentRefs: [{name: gw, namespace: default}]", "shop"), []),
        (
            http_route("parentRefs: [{name: gw, namespace: default, sectionName: http}]", "shop"),
            [("not-allowed", "spec.parentRefs[0]", "")],
        ),
        (http_route("parentRefs: [{name: gw, namespace: default, sectionName: team}]", "team"), []),
        (
            http_route("parentRefs: [{name: gw, sectionName: shop}], hostnames: [a.other.example]"),
            [("no-matching-host", "spec.parentRefs[0]", "")],
        ),
        (http_route("parentRefs: [{name: gw, sectionName: shop}], hostnames: [a.shop.example]"), []),
        (http_route('parentRefs: [{group: "", kind: Service, name: reviews, port: 9080}]'), []),
        (
            http_route('parentRefs: [{group: "", kind: Service, name: review}]'),
            [("unknown-service", "spec.parentRefs[0].name", "reviews")],
        ),
        (
            http_route('parentRefs: [{group: "", kind: Service, name: reviews, port: 80}]'),
            [("unknown-port", "spec.parentRefs[0].port", "")],
        ),
        (
            http_route("parentRefs: [{name: gw}], rules: [{backendRefs: [{name: reviews, port: 80}]}]"),
            [("unknown-port", f"{BACKEND}.port", "")],
        ),
        (
            http_route(
                "parentRefs: [{name: gw}], rules: [{filters: [{type: RequestMirror, "
                "requestMirror: {backendRef: {name: x, port: 80}}}]}]"
            ),
            [("unknown-service", "spec.rules[0].filters[0].requestMirror.backendRef.name", "")],
        ),
        (
            http_route(
                "parentRefs: [{name: gw}], rules: [{backendRefs: [{name: payments, namespace: shop, port: 80}]}]"
            ),
            [("reference-not-granted", f"{BACKEND}.namespace", "")],
        ),
        *(
            (
                grant
                + http_route(
                    "parentRefs: [{name: gw}], rules: [{backendRefs: [{name: payments, namespace: shop, port: 80}]}]"
                ),
                [] if allowed else [("reference-not-granted", f"{BACKEND}.namespace", "")],
            )
            for grant, allowed in (
                (GRANT % ("HTTPRoute", "default", "Service", ""), True),
                (GRANT % ("HTTPRoute", "default", "Service", ", name: payments"), True),
                (GRANT % ("HTTPRoute", "default", "Service", ", name: other"), False),
                (GRANT % ("HTTPRoute", "team", "Service", ""), False),
                (GRANT % ("Gateway", "default", "Service", ""), False),
                (GRANT % ("HTTPRoute", "default", "Secret", ""), False),
            )
        ),
        (gateway("{name: cert}"), []),
        (gateway("{name: cert}", "istio"), []),
        (gateway("{name: cert}", "wefd"), [("unknown-class", "spec.gatewayClassName", "weft")]),
        (gateway("{name: crt}"), [("unknown-secret", f"{CERTIFICATE}.name", "cert")]),
        (gateway("{name: password}"), [("bad-certificate", CERTIFICATE, "")]),
        (gateway("{name: cert, namespace: shop}"), [("reference-not-granted", f"{CERTIFICATE}.namespace", "")]),
        (GRANT % ("Gateway", "default", "Secret", "") + gateway("{name: cert, namespace: shop}"), []),
        (
            "apiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {name: z}\n"
            "spec: {host: rewiews, subsets: [{name: v1}]}\n",
            [("unknown-host", "spec.host", "reviews")],
        ),
        (
            "apiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {name: z}\n"
            "spec: {host: payments.shop, trafficPolicy: {portLevelSettings: [{port: {number: 1}}]}}\n",
            [("unknown-port", "spec.trafficPolicy.portLevelSettings[0].port.number", "")],
        ),
        (
            "apiVersion: gateway.networking.k8s.io/v1\nkind: GatewayClass\nmetadata: {name: z}\n"
            "spec: {controllerName: example.com/other}\n",
            [("foreign-class", "spec.controllerName", "")],
        ),
    ],
)
def test_references(text: str, expected: list[tuple[str, str, str]]) -> None:
    assert found(text) == expected


def test_a_problem_names_line_object_and_severity() -> None:
    text = virtual_service("route: [{destination: {host: reviws}}]")
    documents = (*decode_documents(BASE, "base.yaml").documents, *decode_documents(text, "routes.yaml").documents)
    (problem,) = (each for each in problems_of(documents) if "reviws" in each.message)
    assert str(problem) == (
        "routes.yaml:6: error: spec.http[0].route[0].destination.host: there is no Service 'reviws' in namespace "
        "'default'; requests sent there get 503; expected the name of a Service; did you mean 'reviews'?"
    )
    assert str(problem.object) == "VirtualService default/x"


@pytest.mark.parametrize(
    ("host", "service"),
    [
        ("a", "Service n/a"),
        ("a.b", "Service b/a"),
        ("a.b.svc", "Service b/a"),
        ("a.b.svc.cluster.local", "Service b/a"),
        ("A.b.svc.cluster.local.", "Service b/a"),
        ("a.b.c", "None"),
        ("a.b.cluster.local", "None"),
        ("*.b", "None"),
        ("*", "None"),
        ("a.b.c.d.svc.cluster.local", "None"),
    ],
)
def test_hosts_name_services(host: str, service: str) -> None:
    assert str(service_of_host(host, "n")) == service


@pytest.mark.parametrize(
    ("one", "other", "meet"),
    [
        ("", "a.com", True),
        ("a.com", "a.com", True),
        ("a.com", "b.com", False),
        ("*.a.com", "b.a.com", True),
        ("*.a.com", "a.com", False),
        ("*.a.com", "xa.com", False),
        ("*.a.com", "c.b.a.com", True),
        ("*.a.com", "*.b.a.com", True),
        ("*.a.com", "*.b.com", False),
    ],
)
def test_hosts_intersect_both_ways(one: str, other: str, meet: bool) -> None:
    assert bool(intersection(one, other)) is meet
    assert bool(intersection(other, one)) is meet


@pytest.mark.parametrize(
    ("operator", "values", "labels", "holds"),
    [
        ("In", ("x",), (("a", "x"),), True),
        ("In", ("x",), (), False),
        ("NotIn", ("x",), (), True),
        ("NotIn", ("x",), (("a", "x"),), False),
        ("Exists", (), (("a", ""),), True),
        ("Exists", (), (), False),
        ("DoesNotExist", (), (), True),
        ("DoesNotExist", (), (("a", ""),), False),
    ],
)
def test_selectors(operator: str, values: tuple[str, ...], labels: Labels, holds: bool) -> None:
    expression = LabelExpression(key="a", operator=operator, values=values)  # type: ignore[arg-type]
    assert selector_from_api(LabelSelector(match_expressions=(expression,))).matches(dict(labels)) is holds


def test_namespaces_can_be_selected_by_name() -> None:
    selector = LabelSelector(match_labels={"kubernetes.io/metadata.name": "team"})
    allowed = AllowedRoutes(namespaces=RouteNamespaces(from_="Selector", selector=selector))
    spec = ListenerSpec(name="http", port=80, protocol="HTTP", allowed_routes=allowed)
    admission = admission_from_api(spec, "infra")
    assert admission.admits("HTTPRoute", "team", {})
    assert not admission.admits("HTTPRoute", "other", {})


def test_a_wildcard_destination_rule_gives_subsets_to_services_without_a_rule_of_their_own() -> None:
    wide = """
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: all}
spec: {host: "*.local", subsets: [{name: wide}]}
---
"""
    route = virtual_service("route: [{destination: {host: payments.shop, subset: wide}}]")
    assert found(route) == [("unknown-subset", f"{ROUTE}.subset", "")]
    assert found(wide + route) == []
    own = virtual_service("route: [{destination: {host: reviews, subset: wide}}]")
    assert found(wide + own) == [("unknown-subset", f"{ROUTE}.subset", "")]


def test_a_host_outside_the_mesh_is_told_what_it_needs() -> None:
    outside = "is outside the mesh: no ServiceEntry names it"
    for host, told in (
        ("httpbin.dev", "'httpbin.dev' is no Service ('httpbin' in namespace 'dev'); requests sent there get 503"),
        ("httpbin.org", f"'httpbin.org' {outside}; requests sent there get 503"),
        ("www.example.com", f"'www.example.com' {outside}; requests sent there get 503"),
        ("nobody", "there is no Service 'nobody' in namespace 'default'; requests sent there get 503"),
        ("aa.default", "there is no Service 'aa' in namespace 'default'; requests sent there get 503"),
    ):
        text = f"""
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: v}}
spec: {{hosts: [a], http: [{{route: [{{destination: {{host: {host}}}}}]}}]}}
"""
        (problem,) = Compiled(service("a"), text).mesh.problems
        assert problem.message == told
        assert ("needs a ServiceEntry" in problem.expected) is (host == "httpbin.dev")


def test_a_gateway_that_was_refused_is_no_second_error() -> None:
    texts = (
        "apiVersion: gateway.networking.k8s.io/v1\nkind: Gateway\nmetadata: {name: edge}\nspec: {listeners: []}\n",
        "apiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata: {name: r}\nspec:\n"
        "  parentRefs: [{name: edge}]\n  rules: [{backendRefs: [{name: a, port: 9080}]}]\n",
    )
    refused = decode_documents(texts[0], "gateway.yaml")
    assert refused.failed
    found = (*documents(service("a")), *documents(texts[1]))
    memo = Memo()
    memo.begin()
    mesh = build_mesh(ConfigSnapshot(1, found, problems=refused.problems), memo)
    (problem,) = mesh.problems
    assert (problem.severity, problem.code) == (Severity.WARNING, "unknown-gateway")
    assert problem.message.startswith("Gateway 'edge' (gateway.yaml:")
    assert mesh.acceptance[0].parents[0].conditions[0].reason == "NoMatchingParent"
