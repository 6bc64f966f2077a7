"""What an explanation says of zones, health checks, fallbacks, comparisons, and limits of an application."""

from __future__ import annotations

from support.meshdocs import Compiled, documents, service, workload
from weft.explain.answer import Explanation
from weft.explain.explanation import explain
from weft.explain.facts import Facts, Question
from weft.explain.matching import Request
from weft.mesh.memo import Memo
from weft.mesh.view import build_view
from weft.model.locality import Locality

POLICIES = """
---
apiVersion: weft.dev/v1alpha1
kind: HealthCheckPolicy
metadata: {name: p}
spec: {targetRefs: [{name: reviews}], http: {path: /ok}}
---
apiVersion: weft.dev/v1alpha1
kind: FallbackPolicy
metadata: {name: p}
spec: {targetRefs: [{name: reviews}], fallbackRefs: [{name: page}]}
---
apiVersion: weft.dev/v1alpha1
kind: EjectionPolicy
metadata: {name: p}
spec: {targetRefs: [{name: reviews}], successRate: {}, failurePercentage: {}}
---
apiVersion: weft.dev/v1alpha1
kind: OverloadPolicy
metadata: {name: p}
spec: {targetRefs: [{name: reviews}], adaptiveConcurrency: {}, admissionControl: {}}
"""
CLOSE = "  trafficDistribution: PreferClose\n"
PAGE = workload("page", locality=Locality("eu", "a"))
FAR = workload("reviews", "v1", number=1, locality=Locality("eu", "b"))
NEAR = workload("reviews", "v2", number=2, locality=Locality("eu", "a"))


def asked(text: str) -> Explanation:
    found = documents(text)
    mesh = Compiled(found, workloads=(PAGE, FAR, NEAR)).mesh
    facts = Facts(mesh, 1000.0, {each.key: each for each in found}, mesh.problems, None)
    return explain(facts, Question(PAGE, build_view(mesh, PAGE, Memo()), Request("reviews", "/", port=9080)))


def test_policies_are_told_where_they_have_a_say() -> None:
    first, second = asked(service("reviews") + service("page") + POLICIES).hops
    assert "checks each endpoint every 10 s (http /ok); 3 failures, and it is left alone" in first.does
    assert "an endpoint that succeeds much less often than the others is left alone" in first.does
    assert "an endpoint that fails 85 % of its calls is left alone" in first.does
    assert "calls page.default.svc.cluster.local instead when no endpoint is healthy" in first.does
    assert first.endpoints[-1].note.startswith("of page.default.svc.cluster.local, called when none")
    assert "refuses what would make the application slower (503)" in second.does
    assert "refuses some requests (503) when less than 95 % of the others succeed" in second.does


def test_the_near_instance_is_the_next_hop_and_the_far_one_says_when_it_is_called() -> None:
    first, second = asked(service("reviews", extra=CLOSE) + service("page")).hops
    notes = {one.workload: one.note for one in first.endpoints}
    assert notes == {"reviews-v1.default": "called when too few that are nearer are healthy", "reviews-v2.default": ""}
    assert second.proxy == "reviews-v2.default"
