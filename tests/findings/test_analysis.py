"""The analysis: for each finding, documents that cause it, and documents that do not."""

from __future__ import annotations

from dataclasses import replace

import pytest

from findings.worlds import destination_rule, service, subject, virtual_service, workload
from weft.findings.analysis.analyze import ANALYSES, analyze
from weft.findings.analysis.subject import Subject
from weft.model.origin import Origin
from weft.model.problem import Severity
from weft.model.workload import GatewayBinding, WorkloadState

A, B, C = service("a"), service("b"), service("c")
EJECTS = "trafficPolicy: {outlierDetection: {consecutive5xxErrors: 3, MORE}}"
STRICT_5XX = "retries: {attempts: 2, retryOn: 5xx}"
PEERS = """
---
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {name: open}
spec: {mtls: {mode: PERMISSIVE}}
"""
SPLIT = "route: [{destination: {host: a, subset: v1}, weight: 90}, {destination: {host: a, subset: v2}, weight: 10}]"
SUBSETS = destination_rule("a", "subsets: [{name: v1, labels: {version: v1}}, {name: v2, labels: {version: v2}}]")


@pytest.mark.parametrize(
    ("code", "told", "world"),
    [
        (
            "timeout-below-tries",
            "timeout 2s is shorter than 3 tries of 1s each",
            subject(A + virtual_service("a", "timeout: 2s, retries: {attempts: 2, perTryTimeout: 1s}")),
        ),
        (
            "timeout-below-callee",
            "a is given 1s, and waits 10s for b itself (mesh.yaml:",
            subject(
                A + B + virtual_service("a", "timeout: 1s") + virtual_service("b", "timeout: 10s"),
                workload("a", uses=("b",)),
            ),
        ),
        (
            "retry-amplification",
            "one request at a may become 9 at c when it fails (3 x 3 tries along a > b > c)",
            subject(
                A + B + C + virtual_service("b", STRICT_5XX) + virtual_service("c", STRICT_5XX),
                workload("a", uses=("b",)),
                workload("b", uses=("c",)),
            ),
        ),
        (
            "unsafe-retry",
            "POST is retried on 5xx",
            subject(A + virtual_service("a", "match: [{method: {exact: POST}}], " + STRICT_5XX)),
        ),
        ("endless-timeout", "timeout 0s for a", subject(A + virtual_service("a", "timeout: 0s"))),
        (
            "fault-in-force",
            "of the requests to a 50% are delayed by 7s and 10% are answered 503, on purpose",
            subject(
                A
                + virtual_service(
                    "a",
                    "fault: {delay: {fixedDelay: 7s, percentage: {value: 50}}, "
                    "abort: {httpStatus: 503, percentage: {value: 10}}}",
                )
            ),
        ),
        (
            "weight-to-nothing",
            "10 of 100 go to subset v2 of a, which has no healthy endpoint",
            subject(
                A + SUBSETS + virtual_service("a", SPLIT),
                workload("a-v1", "a"),
                workload("a-v2", "a", "v2", state=WorkloadState.UNHEALTHY),
            ),
        ),
        (
            "subset-selects-nothing",
            "subset v2 of a selects no workload (labels: version=v2)",
            subject(A + SUBSETS, workload("a-v1", "a")),
        ),
        (
            "ejects-last-host",
            "maxEjectionPercent is 100: all of a may be taken out at once",
            subject(A + destination_rule("a", EJECTS.replace("MORE", "maxEjectionPercent: 100"))),
        ),
        (
            "ejects-last-host",
            "a has 1 endpoint, and outlier detection may take it out",
            subject(A + destination_rule("a", EJECTS.replace("MORE", "maxEjectionPercent: 50")), workload("a")),
        ),
        (
            "hash-with-one-endpoint",
            "a has 1 endpoint",
            subject(
                A + destination_rule("a", "trafficPolicy: {loadBalancer: {consistentHash: {httpHeaderName: x-user}}}"),
                workload("a"),
            ),
        ),
        (
            "tls-mismatch",
            "callers use plaintext towards a, which accepts mutual TLS only",
            subject(A + destination_rule("a", "trafficPolicy: {tls: {mode: DISABLE}}"), workload("a")),
        ),
        (
            "tls-mismatch",
            "callers use TLS without an identity of the mesh towards a, which accepts mutual TLS only",
            subject(A + destination_rule("a", "trafficPolicy: {tls: {mode: SIMPLE}}"), workload("a")),
        ),
        (
            "setting-without-effect",
            "a: proxyProtocol has no effect",
            subject(A + destination_rule("a", "trafficPolicy: {proxyProtocol: {version: V1}}"), workload("a")),
        ),
        (
            "setting-without-effect",
            "a: tunnel has no effect",
            subject(
                A + destination_rule("a", "trafficPolicy: {tunnel: {targetHost: b.example.com, targetPort: 80}}"),
                workload("a"),
            ),
        ),
        ("plaintext-accepted", "port 8080 of a: PERMISSIVE", subject(A + PEERS, workload("a"))),
        (
            "unused-document",
            "no caller uses it for a",
            subject(A + destination_rule("a.default.svc.cluster.local", "subsets: []", "elsewhere"), workload("a")),
        ),
        (
            "port-name-without-protocol",
            "port 80 is called 'web'",
            subject(service("a", "{name: web, port: 80}")),
        ),
        (
            "port-name-against-protocol",
            "port 80 is called 'tcp-x' and has appProtocol http, which counts",
            subject(service("a", "{name: tcp-x, port: 80, appProtocol: http}")),
        ),
        (
            "port-name-against-protocol",
            "port 5432 is said to speak http, and the number is PostgreSQL's",
            subject(service("a", "{name: http, port: 5432}")),
        ),
        (
            "ports-disagree",
            "port 8080 of a is http by Service default/a, tcp by Service default/z",
            subject(
                A + service("z", "{name: tcp, port: 81, targetPort: 8080}").replace("app: z", "app: a"),
                workload("a"),
            ),
        ),
        (
            "no-http-probe",
            "a has no HTTP health check",
            Subject(subject(A).mesh, unprobed=(("a", Origin("weft.yaml", 3)),)),
        ),
    ],
    ids=lambda value: value if isinstance(value, str) and " " not in value else "",
)
def test_what_is_found(code: str, told: str, world: Subject) -> None:
    found = [one for one in analyze(world) if one.code == code]
    assert len(found) == 1, analyze(world)
    assert told in found[0].message
    assert found[0].fix or code == "no-http-probe"


FINE = [
    subject(A + virtual_service("a", "timeout: 3s, retries: {attempts: 2, perTryTimeout: 1s}")),
    subject(
        A + B + virtual_service("a", "timeout: 10s") + virtual_service("b", "timeout: 1s"), workload("a", uses=("b",))
    ),
    subject(
        A + B + C + virtual_service("b", STRICT_5XX) + virtual_service("c", ""),
        workload("a", uses=("b",)),
        workload("b", uses=("c",)),
        workload("c"),
    ),
    subject(A + virtual_service("a", "match: [{method: {exact: GET}}], " + STRICT_5XX)),
    subject(A + SUBSETS + virtual_service("a", SPLIT), workload("a-v1", "a"), workload("a-v2", "a", "v2")),
    subject(
        A + destination_rule("a", EJECTS.replace("MORE", "maxEjectionPercent: 50")),
        workload("a-1", "a"),
        workload("a-2", "a"),
    ),
    subject(A + destination_rule("a", EJECTS.replace("MORE", "maxEjectionPercent: 100, minHealthPercent: 50"))),
    subject(
        A + destination_rule("a", "trafficPolicy: {tls: {mode: DISABLE}}") + PEERS.replace("PERMISSIVE", "DISABLE"),
    ),
    subject(service("a", "{name: db, port: 5432, appProtocol: tcp}")),
]


@pytest.mark.parametrize("world", FINE, ids=range(len(FINE)))
def test_what_is_not_found(world: Subject) -> None:
    assert [one for one in analyze(world) if one.severity is not Severity.NOTE] == []


def test_calls_in_a_circle_end() -> None:
    names = [f"s{index}" for index in range(12)]
    documents = "".join(service(name) + virtual_service(name, STRICT_5XX) for name in names)
    everything = [workload(name, uses=tuple(one for one in names if one != name)) for name in names]
    found = [one for one in analyze(subject(documents, *everything)) if one.code == "retry-amplification"]
    assert 1 <= len(found) <= len(names)
    assert all(one.severity is Severity.WARNING for one in found)


def test_every_analysis_is_run() -> None:
    assert len({one.__name__ for one in ANALYSES}) == len(ANALYSES)


LEFT_OUT = """
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: edge}
spec: {gatewayClassName: weft, listeners: [{name: http, port: 80, protocol: HTTP}]}
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: a}
spec: {parentRefs: [{name: edge}], rules: [{backendRefs: [{name: a, port: 80}]}]}
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: a}
spec:
  selector: {matchLabels: {app: a}}
  rules: [{from: [{source: {serviceAccounts: [ACCOUNT]}}], to: [{operation: {methods: [GET]}}]}]
"""


@pytest.mark.parametrize(("account", "told"), [("other", True), ("edge", False)])
def test_a_gateway_that_its_services_policies_leave_out(account: str, told: bool) -> None:
    edge = replace(workload("edge"), labels=(), ports=(), gateway=GatewayBinding("edge", "127.0.0.1"))
    text = service("a") + LEFT_OUT.replace("ACCOUNT", account)
    found = [one for one in analyze(subject(text, workload("a"), edge)) if one.code == "gateway-left-out"]
    assert bool(found) is told
    if told:
        assert found[0].object is not None and found[0].object.kind == "AuthorizationPolicy"
        assert "calls as service account default/edge" in found[0].message
