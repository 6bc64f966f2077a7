"""The graph: what documents mean and what proxies saw, in one picture."""

from __future__ import annotations

from typing import Any

import msgspec

from support.meshdocs import Compiled, documents, service, workload
from weft.model.origin import Origin
from weft.model.problem import Problem, Severity
from weft.model.workload import GatewayBinding
from weft.traffic.edges import Edge, Window
from weft.traffic.graph import EVERYTHING, Graph, Link, Node, Shown, build_graph
from weft.traffic.intents import build_intents
from weft.traffic.latency import merge_bins, percentile, percentiles

SERVICES = service("page") + service("reviews") + service("ratings")
GATEWAY = """
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: edge}
spec:
  gatewayClassName: weft
  listeners: [{name: http, port: 80, protocol: HTTP}]
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: page}
spec:
  parentRefs: [{name: edge}]
  rules: [{backendRefs: [{name: page, port: 9080}]}]
"""
SPLIT = """
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: reviews}
spec:
  host: reviews
  subsets: [{name: v1, labels: {version: v1}}, {name: v2, labels: {version: v2}}]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: reviews}
spec:
  hosts: [reviews]
  http:
    - route:
        - {destination: {host: reviews, subset: v1}, weight: 80}
        - {destination: {host: reviews, subset: v2}, weight: 20}
"""
WORKLOADS = (
    workload("page"),
    workload("reviews", "v1", number=1),
    workload("reviews", "v2", number=2),
    workload("ratings", number=3),
    workload("edge", number=4, ports=(), gateway=GatewayBinding("edge", "127.0.0.1", 8000)),
    workload("shell", number=5, ports=(), uses=("ratings",)),
)


def edge(source: str, destination: str, workload: str = "", requests: int = 10, **more: Any) -> Edge:
    fields: dict[str, Any] = {"port": 9080, "protocol": "http", "mtls": True, "requests": requests}
    ends = ("default/" + source if source else "", "", "default/" + destination, "default/" + workload)
    return Edge(*ends, **fields | more)


def graph(
    *edges: Edge, text: str = SERVICES + GATEWAY + SPLIT, problems: tuple[Problem, ...] = (), shown: Shown = EVERYTHING
) -> Graph:
    intents = build_intents(Compiled(documents(text), workloads=WORKLOADS).mesh)
    return build_graph(intents, Window(0.0, 10.0, edges), problems, shown)[0]


def node(found: Graph, name: str) -> Node:
    return next(one for one in found.nodes if one.id == name)


def link(found: Graph, caller: str, callee: str) -> Link:
    return next(one for one in found.edges if (one.caller, one.callee) == (caller, callee))


def test_without_traffic_the_documents_and_what_workloads_declare_are_shown_as_intent() -> None:
    found = graph()
    assert {(one.caller, one.callee, one.intent) for one in found.edges} == {
        ("workload default/edge-v1", "default/page", True),
        ("workload default/shell-v1", "default/ratings", True),
    }
    assert {one.id: one.kind for one in found.nodes} == {
        "workload default/edge-v1": "gateway",
        "workload default/shell-v1": "workload",
        "default/page": "service",
        "default/ratings": "service",
        "default/reviews": "service",
    }
    reviews = node(found, "default/reviews")
    assert [(one.name, one.share, one.workloads) for one in reviews.versions] == [
        ("v1", None, ("default/reviews-v1",)),
        ("v2", None, ("default/reviews-v2",)),
    ]
    assert reviews.success_rate is None


def test_calls_have_rates_and_their_split_shows_asked_and_seen() -> None:
    bins = ((1.0, 1.0, 29), (100.0, 10.0, 1))
    found = graph(
        edge("page-v1", "reviews", "reviews-v1", 30, failures=3, codes=(("200", 27), ("503", 3)), latency=bins),
        edge("page-v1", "reviews", "reviews-v2", 10, codes=(("200", 10),), flags=(("UF", 1),)),
    )
    calls = link(found, "default/page", "default/reviews")
    assert (calls.requests, calls.requests_per_second, calls.success_rate) == (40, 4.0, 1 - 3 / 40)
    assert (calls.codes, calls.flags, calls.mtls, calls.intent) == ({"200": 37, "503": 3}, {"UF": 1}, True, False)
    assert calls.p50_ms is not None
    assert 1 <= calls.p50_ms <= 2
    assert [(one.to, one.asked, one.seen, one.rule) for one in calls.weights] == [
        ("default/reviews v1", 0.8, 0.75, "VirtualService default/reviews"),
        ("default/reviews v2", 0.2, 0.25, "VirtualService default/reviews"),
    ]
    reviews = node(found, "default/reviews")
    assert [(one.name, one.share) for one in reviews.versions] == [("v1", 0.75), ("v2", 0.25)]
    assert node(found, "default/page").requests_per_second == 4.0
    assert node(found, "default/page").column < reviews.column


def test_what_went_beside_a_split_is_missing_from_its_sum() -> None:
    text = SERVICES + SPLIT.replace("        - {destination: {host: reviews, subset: v2}, weight: 20}\n", "")
    seen = (edge("page-v1", "reviews", "reviews-v1", 30), edge("page-v1", "reviews", "reviews-v2", 10))
    weights = link(graph(*seen, text=text), "default/page", "default/reviews").weights
    assert [(one.to, one.asked, one.seen) for one in weights] == [("default/reviews v1", 1.0, 0.75)]


def test_plaintext_shows_on_the_whole_edge_and_unknown_callers_and_hosts_have_nodes() -> None:
    outside = Edge("default/page-v1", "", "api.example.com", "", 443, "tcp", connections_opened=2)
    found = graph(
        edge("page-v1", "reviews", "reviews-v1"),
        edge("page-v1", "reviews", "reviews-v2", mtls=False),
        edge("", "ratings", "ratings-v1", mtls=None),
        edge("gone-v1", "ratings", "ratings-v1"),
        outside,
    )
    assert link(found, "default/page", "default/reviews").mtls is False
    assert link(found, "unknown", "default/ratings").mtls is None
    assert node(found, "workload default/gone-v1").kind == "workload"
    assert node(found, "api.example.com").kind == "outside"
    assert link(found, "default/page", "api.example.com").success_rate is None


def test_a_rule_that_leads_to_other_services_divides_the_calls_to_each() -> None:
    text = (
        SERVICES
        + service("reviews-new", selector="app: none")
        + """
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: reviews}
spec:
  parentRefs: [{group: "", kind: Service, name: reviews}]
  rules:
    - backendRefs: [{name: reviews, port: 9080, weight: 3}, {name: reviews-new, port: 9080, weight: 1}]
"""
    )
    found = graph(edge("page-v1", "reviews", "reviews-v1", 10), text=text)
    assert link(found, "default/reviews", "default/reviews-new").intent
    weights = link(found, "default/page", "default/reviews").weights
    assert [(one.to, one.asked, one.seen) for one in weights] == [
        ("default/reviews", 0.75, 1.0),
        ("default/reviews-new", 0.25, 0.0),
    ]


def test_problems_count_at_what_they_are_about() -> None:
    (rule,) = (one.key for one in documents(SPLIT) if one.key.kind == "VirtualService")
    wrong = Problem(Severity.ERROR, "unknown-host", "no", Origin("mesh.yaml", 3), rule)
    silent = Problem(Severity.WARNING, "agent-silent", "no", Origin("workload default/ratings-v1"))
    found = graph(problems=(wrong, silent))
    assert {one.id: one.problems for one in found.nodes if one.problems} == {"default/reviews": 1, "default/ratings": 1}


def test_namespaces_fold_and_are_chosen_with_their_neighbours() -> None:
    text = SERVICES + service("bank", namespace="money") + service("vault", namespace="money")
    edges = (
        Edge("default/page-v1", "default/page", "money/bank", "", 9080, "http", requests=5),
        Edge("money/bank-v1", "money/bank", "money/vault", "", 9080, "http", requests=5),
        edge("page-v1", "reviews", "reviews-v1"),
    )
    found = graph(*edges, text=text, shown=Shown(folded=frozenset({"money"})))
    assert node(found, "namespace money").members == ("money/bank", "money/vault")
    assert link(found, "default/page", "namespace money").requests == 5
    assert not [one for one in found.edges if one.caller == "namespace money"]
    near = graph(*edges, text=text, shown=Shown(namespaces=frozenset({"money"})))
    assert {one.id for one in near.nodes} == {"default/page", "money/bank", "money/vault"}


def test_as_json_it_speaks_of_from_and_to() -> None:
    found = msgspec.json.decode(msgspec.json.encode(graph(edge("page-v1", "reviews", "reviews-v1"))))
    assert {"from", "to", "mtls", "weights", "intent"} <= found["edges"][0].keys()
    assert msgspec.convert(found, Graph) == graph(edge("page-v1", "reviews", "reviews-v1"))


def test_percentiles_come_from_merged_bins() -> None:
    bins = merge_bins([((0.0, 1.0, 50),), ((0.0, 1.0, 40), (10.0, 1.0, 10))])
    assert bins == ((0.0, 1.0, 90), (10.0, 1.0, 10))
    assert percentile(bins, 0.45) == 0.5
    assert percentile(bins, 0.95) == 10.5
    assert percentile(bins, 1.0) == 11.0
    assert percentile((), 0.5) is None
    assert percentiles(bins, (0.0, 0.45, 0.95, 1.0)) == (0.0, 0.5, 10.5, 11.0)
    assert percentiles((), (0.5, 0.9)) == (None, None)
