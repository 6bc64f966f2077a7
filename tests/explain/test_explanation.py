"""What an explanation says of requests that are described: the rule that decides, the answer, the causes with lines."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from support.meshdocs import Compiled, documents, gateway_workload, service, workload
from weft.explain.answer import Cause, Change, Explanation
from weft.explain.explanation import explain
from weft.explain.facts import Facts, ProxyFacts, Question
from weft.explain.matching import Request
from weft.mesh.memo import Memo
from weft.mesh.view import build_view
from weft.model.document import ObjectKey
from weft.model.origin import Origin
from weft.model.problem import Problem, Severity
from weft.model.workload import Workload, WorkloadPort, WorkloadState

VIRTUAL_SERVICE = """
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: reviews}
spec:
  hosts: [reviews]
  http:
    - match: [{headers: {end-user: {exact: jason}}, uri: {prefix: /reviews}}]
      route: [{destination: {host: reviews, subset: v2}}]
    - match: [{uri: {prefix: /slow}}]
      fault: {delay: {fixedDelay: 2s, percentage: {value: 100}}}
      route: [{destination: {host: reviews}}]
    - match: [{uri: {prefix: /gone}}]
      fault: {abort: {httpStatus: 418, percentage: {value: 100}}}
      route: [{destination: {host: reviews}}]
    - match: [{uri: {prefix: /lost}}]
      route: [{destination: {host: reviews, subset: v9}}]
    - match: [{uri: {prefix: /reviews}}]
      timeout: 3s
      retries: {attempts: 4}
      route:
        - {destination: {host: reviews, subset: v1}, weight: 90}
        - {destination: {host: reviews, subset: v2}, weight: 10}
"""
DESTINATION_RULE = """
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: reviews}
spec:
  host: reviews
  trafficPolicy: {connectionPool: {http: {http1MaxPendingRequests: 7}}}
  subsets:
    - {name: v1, labels: {version: v1}}
    - {name: v2, labels: {version: v2}}
"""
MESH = service("reviews") + service("page") + VIRTUAL_SERVICE + DESTINATION_RULE
REVIEWS = (workload("reviews"), workload("reviews", "v2", number=1))
PAGE = workload("page", number=2)


def asked(
    text: str,
    request: Request,
    *,
    workloads: tuple[Workload, ...] = (*REVIEWS, PAGE),
    caller: Workload = PAGE,
    problems: tuple[Problem, ...] = (),
    proxies: Mapping[str, ProxyFacts] | None = None,
    **facts: Any,
) -> Explanation:
    found = documents(text)
    compiled = Compiled(found, workloads=workloads)
    known = Facts(
        compiled.mesh,
        1000.0,
        {document.key: document for document in found},
        (*compiled.mesh.problems, *problems),
        proxies,
        **facts,
    )
    return explain(known, Question(caller, build_view(compiled.mesh, caller, Memo()), request))


def to(path: str = "/", host: str = "reviews", port: int = 9080, **more: Any) -> Request:
    return Request(host, path, port=port, **more)


def cause(found: Explanation, code: str) -> Cause:
    return next(one for one in found.causes if one.code == code)


def line_of(text: str, words: str) -> str:
    number = next(index for index, line in enumerate(text.splitlines(), 1) if words in line)
    return f"mesh.yaml:{number}"


def test_the_rule_that_decides_is_named_with_its_line_and_those_before_it_with_what_they_miss() -> None:
    found = asked(MESH, to("/reviews/0"))
    assert found.answer.outcome == "forwarded"
    assert found.answer.status is None
    hop = found.hops[0]
    assert hop.rule is not None
    assert (hop.rule.object, hop.rule.source) == (
        "VirtualService default/reviews",
        line_of(MESH, "- match: [{uri: {prefix: /reviews}}]"),
    )
    first = hop.tried[0]
    assert first.rule is not None
    assert first.rule.source == line_of(MESH, "end-user")
    assert first.why == ("header end-user is 'jason', but there is none",)
    assert [one.why for one in hop.tried][-1] == ()
    assert [(one.subset, one.share) for one in hop.split] == [("v1", 0.9), ("v2", 0.1)]
    assert hop.cluster == "outbound|9080|v1|reviews.default.svc.cluster.local"
    assert "gives up after 3 s (504)" in hop.does
    assert "at most 7 requests that wait for a connection to all endpoints; more get 503 (UO)" in hop.does
    assert [(one.workload, one.health) for one in hop.endpoints if one.address] == [
        ("reviews-v1.default", "healthy"),
        ("reviews-v2.default", "healthy"),
    ]
    assert cause(found, "retry-amplification").severity == "note"
    assert (found.hops[1].proxy, found.hops[1].side) == ("reviews-v1.default", "inbound")
    assert found.hops[1].transport == "mutual TLS only"


def test_a_header_of_the_request_chooses_another_rule() -> None:
    found = asked(MESH, to("/reviews/0", headers={"end-user": "jason"}))
    assert [one.subset for one in found.hops[0].split] == ["v2"]
    assert found.hops[0].match == "path begins with '/reviews' and header end-user is 'jason'"


def test_faults_are_causes_at_their_line() -> None:
    slow = asked(MESH, to("/slow"))
    assert slow.answer.text.startswith("the application behind reviews.default answers, after 2 s")
    assert cause(slow, "fault-in-force").source == line_of(MESH, "fault: {delay")
    name = "VirtualService default/reviews"
    assert cause(slow, "fault-in-force").fix == f"remove the fault from {name}"
    for who, action, fix in (
        ("admin token", "created", f"remove the fault from {name}: weft undo 6"),
        ("admin token", "changed", f"remove the fault from {name}"),
        ("mesh.yaml", "created", f"remove the fault from {name}"),
    ):
        change = Change(6, "", who, action, name, "mesh.yaml:3")
        assert cause(asked(MESH, to("/slow"), changes=(change,)), "fault-in-force").fix == fix
    gone = asked(MESH, to("/gone"))
    assert (gone.answer.outcome, gone.answer.status) == ("answered", 418)


def test_a_subset_that_nobody_defines() -> None:
    found = asked(MESH, to("/lost"))
    assert (found.answer.outcome, found.answer.status) == ("unavailable", 503)
    why = cause(found, "unknown-subset")
    assert why.object == "VirtualService default/reviews"
    assert "'v9'" in why.text
    assert found.hops[0].endpoints[0].note == "its labels are not those of subset 'v9'"


def test_no_rule_matches_and_the_nearest_is_named() -> None:
    found = asked(MESH, to("/other"))
    assert (found.answer.outcome, found.answer.status) == ("refused", 404)
    why = cause(found, "no-route-for-calls")
    assert "nearest is one that asks for path begins with" in why.text
    assert why.object == "VirtualService default/reviews"


@pytest.mark.parametrize(
    ("request_", "code", "fix"),
    [
        (to(host="revews"), "unknown-host", "did you mean 'reviews'?"),
        (to(host="ratings"), "unknown-host", "ratings is a service of namespace shop: ratings.shop"),
        (to(port=81), "unknown-port", "http://reviews:9080"),
        (to(host="db", port=5432), "not-http", "name the port http, or http-SOMETHING, or set appProtocol: http"),
    ],
)
def test_hosts_and_ports_that_lead_nowhere(request_: Request, code: str, fix: str) -> None:
    text = (
        MESH
        + service("ratings", namespace="shop")
        + """
---
apiVersion: v1
kind: Service
metadata: {name: db}
spec:
  selector: {app: db}
  ports:
    - name: tcp-db
      port: 5432
"""
    )
    found = asked(text, request_)
    assert cause(found, code).fix == fix
    assert found.hops[0].rule is None
    if code == "not-http":
        assert cause(found, code).source == line_of(text, "tcp-db")


def test_nobody_is_there_or_nobody_is_well() -> None:
    nobody = asked(MESH, to("/reviews/0"), workloads=(PAGE,))
    assert (nobody.answer.outcome, nobody.answer.status) == ("unavailable", 503)
    assert cause(nobody, "no-endpoint-for-calls").source == line_of(MESH, "selector: {app: reviews}")
    ill = tuple(workload("reviews", number=one, state=WorkloadState.UNHEALTHY, name=f"r{one}") for one in (0, 1))
    text = service("reviews") + service("page")
    found = asked(text, to(), workloads=(*ill, PAGE))
    assert found.answer.status == 503
    assert cause(found, "no-healthy-endpoint").object == "Service default/reviews"
    starting = workload("reviews", state=WorkloadState.STARTING)
    assert asked(text, to(), workloads=(starting, PAGE)).hops[0].endpoints[0].note == "it has not been healthy yet"


def test_a_target_port_that_no_workload_has_is_said_at_the_endpoint() -> None:
    text = """
apiVersion: v1
kind: Service
metadata: {name: reviews}
spec: {selector: {app: reviews}, ports: [{name: http, port: 80, targetPort: web}]}
"""
    ports = tuple(WorkloadPort(one.port, one.application, one.inbound, "main") for one in REVIEWS[0].ports)
    found = asked(text, to(port=80), workloads=(workload("reviews", ports=ports), PAGE))
    assert found.answer.status == 503
    assert found.hops[0].endpoints[0].note == "it has no port 'web'; it has 9080 'main'"


def test_plaintext_to_a_port_that_wants_mutual_tls() -> None:
    text = (
        service("reviews")
        + service("page")
        + """
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: reviews}
spec: {host: reviews, trafficPolicy: {tls: {mode: DISABLE}}}
"""
    )
    found = asked(text, to())
    why = cause(found, "tls-mismatch")
    assert "callers send plaintext" in why.text
    assert why.source == line_of(text, "apiVersion: networking.istio.io/v1")
    assert found.answer.status == 503


def test_how_proxies_are() -> None:
    ours = {one.proxy: ProxyFacts(2000.0) for one in (*REVIEWS, PAGE)}
    expired = ours | {REVIEWS[0].proxy: ProxyFacts(999.0)}
    found = asked(MESH, to("/reviews/0"), proxies=expired)
    assert cause(found, "certificate-expired").source == "proxy reviews-v1.default"
    assert any("expired" in one.note for one in found.hops[0].endpoints)
    refusing = ours | {PAGE.proxy: ProxyFacts(2000.0, "RouteConfiguration outbound: bad", "routes.yaml:7")}
    assert cause(asked(MESH, to("/reviews/0"), proxies=refusing), "nack").source == "routes.yaml:7"
    away = asked(MESH, to("/reviews/0"), proxies={PAGE.proxy: ProxyFacts(2000.0)})
    assert cause(away, "proxy-not-connected").severity == "warning"


def test_an_application_that_does_not_use_its_proxy() -> None:
    loner = workload("page", number=2, unused_proxy=True)
    found = asked(MESH, to("/reviews/0"), workloads=(*REVIEWS, loner), caller=loner)
    assert cause(found, "proxy-unused").source == "workload default/page-v1"


def test_a_service_that_is_not_among_those_that_a_workload_uses() -> None:
    narrow = workload("page", number=2, uses=("reviews",))
    text = service("reviews") + service("page") + service("ratings")
    found = asked(text, to(host="ratings"), workloads=(*REVIEWS, narrow), caller=narrow)
    assert cause(found, "not-among-uses").fix == "add ratings to uses, or take uses away"
    assert asked(text, to(), workloads=(*REVIEWS, narrow), caller=narrow).answer.outcome == "forwarded"


def test_a_document_that_is_refused_is_named() -> None:
    key = ObjectKey("networking.istio.io", "VirtualService", "default", "reviews-canary")
    bad = Problem(Severity.ERROR, "unknown-field", "spec.htpp: unknown field", Origin("canary.yaml", 7), key)
    found = asked(service("reviews") + service("page"), to(), problems=(bad,))
    why = cause(found, "refused-document")
    assert (why.object, why.source) == ("VirtualService default/reviews-canary", "canary.yaml:7")
    assert found.answer.outcome == "forwarded"


def test_a_service_outside_whose_name_dns_does_not_have() -> None:
    text = (
        service("page")
        + """
---
apiVersion: v1
kind: Service
metadata: {name: pay}
spec: {type: ExternalName, externalName: pay.invalid, ports: [{name: http, port: 80}]}
"""
    )
    found = asked(text, to(host="pay", port=80), unresolved=frozenset({"pay.invalid"}))
    assert "'pay.invalid'" in cause(found, "dns-fails").text
    assert found.answer.status == 503


def test_a_gateway_names_the_hosts_it_serves() -> None:
    text = (
        MESH
        + """
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: front}
spec: {gatewayClassName: weft, listeners: [{name: http, port: 80, protocol: HTTP}]}
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: shop}
spec:
  parentRefs: [{name: front}]
  hostnames: [shop.example.com]
  rules: [{backendRefs: [{name: reviews, port: 9080}]}]
"""
    )
    front = gateway_workload("front")
    ours = (*REVIEWS, PAGE, front)
    found = asked(text, Request("shop.example.com"), workloads=ours, caller=front)
    assert found.hops[0].side == "gateway"
    assert found.hops[0].rule is not None
    assert found.hops[0].rule.object == "HTTPRoute default/shop"
    wrong = asked(text, Request("shop.example.org"), workloads=ours, caller=front)
    assert (wrong.answer.outcome, wrong.answer.status) == ("refused", 404)
    assert cause(wrong, "no-route-for-calls").fix == "did you mean 'shop.example.com'?"


def test_text_of_the_request_is_made_printable() -> None:
    found = asked(MESH, to("/reviews/\x1b[31m\r\nx", headers={"end-user": "a\x00\x1b"}))
    shown = str(found)
    assert "\x1b" not in shown
    assert "\r" not in shown
    assert "\x00" not in shown
