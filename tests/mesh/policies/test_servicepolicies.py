"""Policies for Services: which is in force for a port or a subset, what it comes to, and what is wrong with it."""

from __future__ import annotations

from typing import Any

import pytest

from support.meshdocs import Compiled, backends, endpoints, service, workload
from weft.admin.acceptance import Acceptance
from weft.mesh.services.service import Backend
from weft.model.problem import Severity
from weft.model.workload import SocketAddress, Workload, WorkloadPort

REVIEWS = service("reviews", 80, 9080)
RATINGS = service("ratings", 80, 9080)
WORKLOADS = (workload("reviews", "v1", number=1), workload("reviews", "v2", number=2), workload("ratings", number=3))
SUBSETS = """
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: reviews}
spec: {host: reviews, subsets: [{name: v1, labels: {version: v1}}]}
"""
OUTSIDE = """
---
apiVersion: v1
kind: Service
metadata: {name: outside}
spec: {type: ExternalName, externalName: a.example, ports: [{name: http, port: 80}]}
"""
LIMIT = "adaptiveConcurrency: {}"


def policy(kind: str, spec: str, name: str = "p", target: str = "name: reviews", namespace: str = "default") -> str:
    return f"""
---
apiVersion: weft.dev/v1alpha1
kind: {kind}
metadata: {{name: {name}, namespace: {namespace}}}
spec: {{targetRefs: [{{{target}}}], {spec}}}
"""


def check(path: str, name: str, target: str = "name: reviews") -> str:
    return policy("HealthCheckPolicy", f"http: {{path: {path}}}", name, target)


def backend(mesh: Compiled, port: int, subset: str = "", host: str = "reviews") -> Backend:
    return backends(mesh.sidecar())[f"outbound|{port}|{subset}|{host}.default.svc.cluster.local"]


def path(mesh: Compiled, port: int, subset: str = "") -> str:
    health = backend(mesh, port, subset).resilience.health
    return health.path if health else ""


def test_the_narrowest_policy_is_in_force_and_nothing_of_the_wider_is_added() -> None:
    mesh = Compiled(
        REVIEWS,
        SUBSETS,
        check("/all", "a"),
        check("/port", "b", "name: reviews, sectionName: http-80"),
        check("/number", "c", 'name: reviews, sectionName: "9080"'),
        check("/subset", "d", "name: reviews, sectionName: v1"),
        policy("EjectionPolicy", "failurePercentage: {}", "e"),
    )
    assert mesh.codes == []
    assert [path(mesh, 80), path(mesh, 9080), path(mesh, 80, "v1"), path(mesh, 9080, "v1")] == [
        "/port",
        "/number",
        "/subset",
        "/subset",
    ]
    assert backend(mesh, 80, "v1").resilience.comparison is not None
    mesh = Compiled(REVIEWS, check("/all", "a"), check("/port", "b", "name: reviews, sectionName: http-80"))
    assert (path(mesh, 80), path(mesh, 9080)) == ("/port", "/all")


def test_without_a_policy_a_backend_is_the_same_object_whatever_others_have() -> None:
    mesh = Compiled(REVIEWS, RATINGS, check("/all", "a"), workloads=WORKLOADS)
    assert backend(mesh, 80, host="ratings").resilience == Backend.__dataclass_fields__["resilience"].default
    assert backend(mesh, 80).origins != backend(mesh, 80, host="ratings").origins


def test_the_older_of_two_for_one_target_is_in_force() -> None:
    mesh = Compiled(REVIEWS, check("/a", "a"), check("/b", "b"))
    assert path(mesh, 80) == "/a"
    assert mesh.codes == ["policy-conflict"]


@pytest.mark.parametrize(
    ("text", "code", "nearest"),
    [
        (policy("EjectionPolicy", "successRate: {}", target="name: revews"), "unknown-target", "reviews"),
        (policy("EjectionPolicy", "successRate: {}", target="name: reviews, sectionName: v9"), "unknown-section", ""),
        (policy("OverloadPolicy", LIMIT, target="name: reviews, sectionName: v1"), "unknown-section", ""),
        (policy("HealthCheckPolicy", "tcp: {}, port: 81"), "unknown-port", ""),
        (policy("HealthCheckPolicy", "grpc: {}"), "other-protocol", ""),
        (policy("OverloadPolicy", LIMIT, target="name: db"), "other-protocol", ""),
        (policy("HealthCheckPolicy", "http: {}", target="name: db"), "other-protocol", ""),
        (policy("FallbackPolicy", "fallbackRefs: [{name: ratngs}]"), "unknown-service", "ratings"),
        (policy("FallbackPolicy", "fallbackRefs: [{name: reviews}]"), "no-fallback", ""),
        (policy("FallbackPolicy", "fallbackRefs: [{name: outside, port: 80}]"), "no-fallback", ""),
        (policy("FallbackPolicy", "fallbackRefs: [{name: db, port: 5432}]"), "no-fallback", ""),
        (policy("FallbackPolicy", "fallbackRefs: [{name: ratings, port: 1}]"), "unknown-port", ""),
        (policy("FallbackPolicy", "fallbackRefs: [{name: far, namespace: other}]"), "reference-not-granted", ""),
    ],
)  # fmt: skip
def test_what_is_wrong_is_told_at_its_field(text: str, code: str, nearest: str) -> None:
    others = service("db", 5432).replace("http-5432", "tcp-sql") + service("far", 80, 9080, namespace="other")
    mesh = Compiled(REVIEWS, RATINGS, SUBSETS, others, OUTSIDE, text, workloads=WORKLOADS)
    told = [one for one in mesh.mesh.problems if one.object and one.object.name == "p"]
    assert {one.code for one in told} == {code}
    assert told[0].nearest == nearest
    assert told[0].origin.line > 0
    assert all((one.severity is Severity.WARNING) == (code == "other-protocol") for one in told)


def test_a_fallback_stands_in_with_its_own_identity() -> None:
    mesh = Compiled(REVIEWS, RATINGS, policy("FallbackPolicy", "fallbackRefs: [{name: ratings}]"), workloads=WORKLOADS)
    found = backend(mesh, 9080)
    assert found.resilience.fallbacks == (("ratings.default.svc.cluster.local", 9080, ""),)
    assert found.fallbacks == (backend(mesh, 9080, host="ratings").transport,)
    assert found.transport != found.fallbacks[0]
    members = endpoints(mesh.sidecar())["outbound|9080||reviews.default.svc.cluster.local"]
    assert [[each.workload for each in others] for others in members.fallbacks] == [["ratings-v1.default"]]
    assert [each.workload for each in members.endpoints] == ["reviews-v1.default", "reviews-v2.default"]


def test_a_fallback_in_another_namespace_is_granted() -> None:
    grant = """
---
apiVersion: gateway.networking.k8s.io/v1beta1
kind: ReferenceGrant
metadata: {name: g, namespace: other}
spec:
  from: [{group: weft.dev, kind: FallbackPolicy, namespace: default}]
  to: [{group: "", kind: Service}]
"""
    far = service("far", 80, 9080, namespace="other")
    text = policy("FallbackPolicy", "fallbackRefs: [{name: far, namespace: other, port: 80}]")
    assert backend(Compiled(REVIEWS, far, text), 80).resilience.fallbacks == ()
    mesh = Compiled(REVIEWS, far, text, grant)
    assert mesh.codes == []
    assert backend(mesh, 80).resilience.fallbacks == (("far.other.svc.cluster.local", 80, ""),)


def test_callers_with_a_rule_of_their_own_have_the_policies_too() -> None:
    own = SUBSETS.replace("{name: reviews}", "{name: own, namespace: shop}").replace(
        "host: reviews", "host: reviews.default"
    )
    text = policy("FallbackPolicy", "fallbackRefs: [{name: ratings}]") + check("/all", "a")
    mesh = Compiled(REVIEWS, RATINGS, own, text, workloads=WORKLOADS)
    view = mesh.sidecar(namespace="shop")
    found = backends(view)["outbound|80|v1|reviews.default.svc.cluster.local"]
    assert found.resilience.health is not None
    assert len(endpoints(view)["outbound|80|v1|reviews.default.svc.cluster.local"].fallbacks) == 1


def test_health_is_checked_at_another_port_of_the_same_workload() -> None:
    def two(name: str, number: int) -> Workload:
        ports = tuple(
            WorkloadPort(port, SocketAddress("127.0.0.1", port), SocketAddress("127.0.0.1", 20000 + number + offset))
            for offset, port in enumerate((80, 9080))
        )
        return workload("reviews", name, ports=ports)

    text = policy("HealthCheckPolicy", "http: {}, port: 9080", target="name: reviews, sectionName: http-80")
    mesh = Compiled(REVIEWS, text, workloads=(two("v1", 10), two("v2", 20)))
    members = endpoints(mesh.sidecar())["outbound|80||reviews.default.svc.cluster.local"]
    assert [(each.address.port, each.health_port) for each in members.endpoints] == [(20010, 20011), (20020, 20021)]


def test_an_application_is_limited_by_the_policy_of_its_service() -> None:
    text = policy(
        "OverloadPolicy", "adaptiveConcurrency: {maxConcurrency: 7}", target='name: reviews, sectionName: "9080"'
    )
    mesh = Compiled(REVIEWS, text, workloads=WORKLOADS)
    port = mesh.sidecar(WORKLOADS[0]).inbound[0]
    assert port.overload is not None
    assert port.overload.concurrency is not None
    assert port.overload.concurrency.most == 7
    assert mesh.sidecar(WORKLOADS[2]).inbound[0].overload is None


def status(mesh: Compiled, name: str) -> list[Any]:
    document = next(each for each in mesh.documents if each.key.name == name and each.key.group == "weft.dev")
    ancestors: Any = Acceptance(mesh.mesh).of(document)["ancestors"]
    return [
        (each["ancestorRef"]["name"], [(one["type"], one["reason"]) for one in each["conditions"]])
        for each in ancestors
    ]


def test_the_status_says_where_a_policy_is_in_force() -> None:
    two = "targetRefs: [{name: reviews}, {name: nobody}], http: {}"
    first = policy("HealthCheckPolicy", "X", "a").replace("targetRefs: [{name: reviews}], X", two)
    fallback = policy("FallbackPolicy", "fallbackRefs: [{name: nobody}]", "c")
    mesh = Compiled(REVIEWS, RATINGS, first, check("/b", "b"), fallback)
    assert status(mesh, "a") == [
        ("reviews", [("Accepted", "Accepted")]),
        ("nobody", [("Accepted", "TargetNotFound")]),
    ]
    assert status(mesh, "b") == [("reviews", [("Accepted", "Conflicted")])]
    assert status(mesh, "c") == [("reviews", [("Accepted", "Accepted"), ("ResolvedRefs", "BackendNotFound")])]


def test_who_stands_in_is_called_as_the_callers_own_documents_say() -> None:
    def rule(namespace: str, mode: str) -> str:
        return f"""
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {{name: b, namespace: {namespace}}}
spec: {{host: b.default.svc.cluster.local, trafficPolicy: {{tls: {{mode: {mode}}}}}}}
"""

    fallback = """
---
apiVersion: weft.dev/v1alpha1
kind: FallbackPolicy
metadata: {name: f}
spec: {targetRefs: [{kind: Service, name: a}], fallbackRefs: [{name: b}]}
"""
    documents = (service("a") + service("b"), fallback, rule("default", "DISABLE"), rule("other", "ISTIO_MUTUAL"))
    mesh = Compiled(*documents, workloads=[workload("a"), workload("b")])

    def transports(namespace: str) -> list[str]:
        view = mesh.sidecar(workload("client", namespace=namespace))
        [own] = [each.backend for each in view.targets.targets() if each.backend.key.host.startswith("a.")]
        return [type(each).__name__ for each in own.fallbacks]

    assert (transports("default"), transports("other")) == (["Plaintext"], ["MutualTls"])
