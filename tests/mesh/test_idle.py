"""Documents that wait for a workload: told apart from what is wrong, and only as long as it is so."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from support.meshdocs import Compiled, documents, gateway_workload, service, workload
from weft.mesh import idle as idle_module
from weft.mesh.memo import Memo
from weft.mesh.routes import compiled
from weft.model.workload import Workload, WorkloadState

GATEWAY = """
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: front, namespace: edge}
spec: {gatewayClassName: weft, listeners: [{name: http, port: 80, protocol: HTTP}]}
"""
POLICY = """
---
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {name: policy}
spec:
  selector: {matchLabels: {app: web, version: v1}}
  portLevelMtls: {9080: {mode: DISABLE}, 80: {mode: DISABLE}}
"""
VIRTUAL = """
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: vs}
spec:
  hosts: [web]
  http:
  - match: [{sourceLabels: {app: client, version: v9}}, {uri: {prefix: /x}}]
    route: [{destination: {host: web}}]
  - route: [{destination: {host: web}}]
"""
SERVICE = service("web")


def idle(text: str, *workloads: Workload) -> list[str]:
    """Which documents wait, without where it is written."""
    found = Compiled(text, workloads=workloads).mesh.idle
    return [str(problem).partition("warning: ")[2] for problem in found if problem.object is not None]


@pytest.mark.parametrize(
    ("text", "workloads", "expected"),
    [
        (SERVICE, [workload("web")], []),
        (
            SERVICE,
            [workload("other")],
            [
                "spec.selector: no workload in namespace 'default' has the labels app=web, so nothing is behind the "
                "service; expected a workload run with --labels app=web"
            ],
        ),
        (GATEWAY, [gateway_workload("front", "edge")], []),
        (
            GATEWAY,
            [gateway_workload("front")],
            [
                "no process serves this Gateway, so nothing listens; expected a process started with: "
                "weft gateway front -n edge"
            ],
        ),
        (POLICY, [workload("web", "v2")], ["spec.selector: it selects no workload in namespace 'default'"]),
        (
            POLICY,
            [workload("web"), workload("web", "v2", port=80)],
            [
                "spec.portLevelMtls.80: no workload that it selects has port 80 (these are workloads' ports, not those "
                "of Services); expected one of 9080"
            ],
        ),
        (
            SERVICE + VIRTUAL,
            [workload("web"), workload("client")],
            ["spec.http[0].match[0]: no caller has the sourceLabels app=client,version=v9"],
        ),
        (SERVICE + VIRTUAL, [workload("web"), workload("client", "v9")], []),
        (
            SERVICE + GATEWAY + VIRTUAL.replace("spec:", "spec:\n  gateways: [edge/front]"),
            [workload("web"), workload("client", "v9"), gateway_workload("front", "edge")],
            [
                "spec.http[0].match[0]: no caller has the sourceLabels app=client,version=v9; expected labels of the "
                "Gateway's own process, which is the caller there"
            ],
        ),
    ],
)
def test_what_waits_for_a_workload(text: str, workloads: list[Workload], expected: list[str]) -> None:
    assert idle(text, *workloads) == expected


def test_nothing_of_it_is_wrong() -> None:
    assert Compiled(SERVICE + GATEWAY + POLICY + VIRTUAL).codes == []


def test_a_service_without_selector_is_told_unless_a_route_leads_elsewhere() -> None:
    bare = service("bare").replace("selector: {app: bare}", "selector: {}")
    [problem] = Compiled(bare).mesh.problems
    assert (problem.code, problem.path) == ("no-selector", ("spec", "selector"))
    route = """
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: r}
spec: {parentRefs: [{group: "", kind: Service, name: bare}], rules: [{backendRefs: [{name: web, port: 9080}]}]}
"""
    assert Compiled(bare + SERVICE + route).codes == []


def test_the_same_answer_is_the_same_object_whatever_else_changes() -> None:
    memo, waiting = Memo(), workload("client")
    text = list(Compiled(SERVICE + GATEWAY + POLICY + VIRTUAL).mesh.catalog.documents)
    first = Compiled(text, workloads=[waiting], memo=memo).mesh.idle
    second = Compiled(text, workloads=[replace(waiting, service_account="another")], memo=memo).mesh.idle
    assert len(first) == 2
    assert first is second


def test_a_workload_that_changes_costs_what_it_may_be_behind_and_no_rule(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[str] = []
    for module, name in (
        (idle_module, "_idle_policy"),
        (idle_module, "_idle_rules"),
        (compiled, "unreachable_problems"),
    ):
        called = getattr(module, name)

        def counted(*arguments: object, name: str = name, called: Callable[..., object] = called) -> object:
            seen.append(name)
            return called(*arguments)

        monkeypatch.setattr(module, name, counted)
    other = POLICY.replace("name: policy", "name: other").replace("app: web", "app: other")
    text = documents(SERVICE + GATEWAY + POLICY + other + VIRTUAL)
    memo, workloads = Memo(), [workload("web"), workload("client"), workload("other")]
    Compiled(text, workloads=workloads, memo=memo)
    assert sorted(seen) == ["_idle_policy", "_idle_policy", "_idle_rules", "unreachable_problems"]
    seen.clear()
    workloads[2] = replace(workloads[2], state=WorkloadState.DRAINING)
    Compiled(text, workloads=workloads, memo=memo)
    assert seen == ["_idle_policy"]
