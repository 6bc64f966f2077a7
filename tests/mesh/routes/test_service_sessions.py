"""Sessions with Services (XBackendTrafficPolicy): by whatever rule requests come there, and each told apart."""

from __future__ import annotations

from dataclasses import replace

import pytest

from support.evaluate import evaluate
from support.meshdocs import Compiled, documents, request, service, short, workload
from weft.mesh.memo import Memo
from weft.mesh.routes.rules import Forward, Session
from weft.mesh.routes.sessions import backend_sessions
from weft.model.workload import WorkloadState
from weft.xds.build import build_xds
from weft.xds.routes.route_configuration import clusters_of
from weft.xds.snapshot import CLUSTER, LISTENER

SERVICES = service("web") + service("a") + service("b")
BOTH = [workload("a"), workload("b", number=1)]


def policy(session: str, *targets: str, name: str = "p") -> str:
    return f"""
---
apiVersion: gateway.networking.x-k8s.io/v1alpha1
kind: XBackendTrafficPolicy
metadata: {{name: {name}}}
spec: {{targetRefs: [{", ".join(f"{{name: {each}}}" for each in targets)}], sessionPersistence: {session}}}
"""


def route(*backends: str, session: str = "", parent: str = '{group: "", kind: Service, name: web}') -> str:
    refs = ", ".join(f"{{name: {each}, port: 9080}}" for each in backends)
    own = f", sessionPersistence: {session}" if session else ""
    return f"""
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {{name: r}}
spec: {{parentRefs: [{parent}], rules: [{{backendRefs: [{refs}]{own}}}]}}
"""


def sessions(mesh: Compiled, url: str) -> tuple[Session | None, ...]:
    rule = mesh.ask(url).rule
    assert rule is not None
    assert isinstance(rule.action, Forward)
    return backend_sessions(rule.action)


def test_requests_without_a_route_have_it_and_others_do_not() -> None:
    mesh = Compiled(SERVICES, policy("{sessionName: s}", "a"), workloads=BOTH)
    assert not mesh.codes
    assert sessions(mesh, "a:9080/") == (Session("cookie", "s"),)
    assert sessions(mesh, "b:9080/") == (None,)


def test_rules_that_lead_there_have_it_unless_they_have_their_own() -> None:
    permanent = "{sessionName: s, absoluteTimeout: 1h, cookieConfig: {lifetimeType: Permanent}}"
    mesh = Compiled(SERVICES, policy(permanent, "a"), route("a"), workloads=BOTH)
    assert sessions(mesh, "web:9080/") == (Session("cookie", "s", 3600.0),)
    mesh = Compiled(SERVICES, policy("{sessionName: s}", "a"), route("a", session="{sessionName: r}"), workloads=BOTH)
    assert sessions(mesh, "web:9080/") == (Session("cookie", "r"),)


def test_a_virtual_service_and_a_gateway_lead_there_too() -> None:
    split = """
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: a}
spec: {host: a, subsets: [{name: v1, labels: {version: v1}}, {name: v2, labels: {version: v2}}]}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: a}
spec:
  hosts: [a]
  http:
    - route:
        - {destination: {host: a, subset: v1}, weight: 50}
        - {destination: {host: a, subset: v2}, weight: 50}
"""
    mesh = Compiled(SERVICES, policy("{}", "a"), split, workloads=BOTH)
    first, second = sessions(mesh, "a:9080/")
    assert first is not None
    assert second is not None
    assert second.name.startswith(f"{first.name}-")
    edge = """
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: edge}
spec: {gatewayClassName: weft, listeners: [{name: http, port: 80, protocol: HTTP}]}
"""
    mesh = Compiled(SERVICES, edge, policy("{sessionName: s}", "a"), route("a", parent="{name: edge}"), workloads=BOTH)
    rule = mesh.knock("edge", "any/").rule
    assert rule is not None
    assert isinstance(rule.action, Forward)
    assert backend_sessions(rule.action) == (Session("cookie", "s"),)


def test_each_service_has_a_name_of_its_own() -> None:
    mesh = Compiled(SERVICES, policy("{sessionName: s}", "a", "b"), route("a", "b"), workloads=BOTH)
    names = [session.name for session in sessions(mesh, "web:9080/") if session is not None]
    assert names[0] == "s"
    assert names[1].startswith("s-")
    same = policy("{sessionName: s}", "a") + policy("{sessionName: s}", "b", name="q")
    names = [each.name for each in sessions(Compiled(SERVICES, same, route("a", "b")), "web:9080/") if each is not None]
    assert len(set(names)) == 2
    unnamed = Compiled(SERVICES, policy("{}", "a", "b"), workloads=BOTH)
    [one], [other] = (sessions(unnamed, f"{name}:9080/") for name in "ab")
    assert one is not None
    assert other is not None
    assert one.name != other.name


def test_who_has_a_session_stays_at_its_service_and_others_are_divided() -> None:
    mesh = Compiled(SERVICES, policy("{sessionName: s}", "b"), route("a", "b"), workloads=BOTH)
    assert sessions(mesh, "web:9080/") == (None, Session("cookie", "s"))
    there = [short(mesh.ask("web:9080/", headers={"cookie": f"{name}=x"}, random=0.1)) for name in ("s", "none")]
    assert there == ["b:9080", "a:9080"]
    gone = Compiled(
        SERVICES,
        policy("{sessionName: s}", "b"),
        route("a", "b"),
        workloads=[BOTH[0], replace(BOTH[1], state=WorkloadState.UNHEALTHY)],
    )
    assert short(evaluate(gone.sidecar(), request("web:9080/", headers={"cookie": "s=x"}, random=0.1))) == "a:9080"


def test_the_oldest_policy_of_a_service_is_in_force() -> None:
    old = documents(policy("{sessionName: old}", "a", name="z"), "old.yaml", created=1.0)
    new = documents(policy("{sessionName: new}", "a"), "new.yaml", created=2.0)
    mesh = Compiled(SERVICES, new, old, workloads=BOTH)
    assert (mesh.codes, sessions(mesh, "a:9080/")) == (["policy-conflict"], (Session("cookie", "old"),))


@pytest.mark.parametrize("kind", [CLUSTER, LISTENER])
def test_no_cluster_and_no_listener_changes(kind: str) -> None:
    memo = Memo()
    before = build_xds(Compiled(SERVICES, workloads=BOTH, memo=memo).sidecar(), 1, memo)
    after = build_xds(Compiled(SERVICES, policy("{}", "a"), workloads=BOTH, memo=memo).sidecar(), 2, memo)
    assert [each.body for each in after.of_type(kind)] == [each.body for each in before.of_type(kind)]


def test_a_service_whose_weight_is_0_is_needed_by_those_who_have_a_session_there() -> None:
    text = route("a", "b").replace("{name: b, port: 9080}", "{name: b, port: 9080, weight: 0}")
    mesh = Compiled(SERVICES, policy("{sessionName: s}", "b"), text, workloads=BOTH)
    [host] = [each for each in mesh.sidecar().outbound.virtual_hosts if each.name.startswith("web.")]
    assert clusters_of((host,)) == tuple(f"outbound|9080||{name}.default.svc.cluster.local" for name in "ab")
    assert short(mesh.ask("web:9080/", headers={"cookie": "s=x"})) == "b:9080"


def test_one_service_more_leaves_the_rules_of_the_others_alone() -> None:
    memo = Memo()
    before = Compiled(texts := documents(SERVICES + policy("{sessionName: s}", "a")), memo=memo).sidecar()
    after = Compiled((*texts, *documents(service("more"), "more.yaml")), memo=memo).sidecar()
    hosts = {host.name: host for host in after.outbound.virtual_hosts}
    assert len(hosts) == len(before.outbound.virtual_hosts) + 1
    assert all(hosts[host.name] is host for host in before.outbound.virtual_hosts)


def test_a_service_that_a_rule_names_three_times_has_three_names() -> None:
    thrice = ", ".join(["{destination: {host: a}, weight: 1}"] * 3)
    split = f"""
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: web}}
spec: {{hosts: [web], http: [{{route: [{thrice}]}}]}}
"""
    names = {each.name for each in sessions(Compiled(SERVICES, policy("{}", "a"), split), "web:9080/") if each}
    assert len(names) == 3


def test_a_service_without_http_has_no_sessions_and_it_is_told() -> None:
    tcp = service("db", 5432).replace("http-5432", "tcp-5432")
    [problem] = Compiled(SERVICES, tcp, policy("{}", "a", "db")).mesh.problems
    assert (problem.code, problem.path) == ("not-http", ("spec", "targetRefs", 1, "name"))
    assert "Service default/db" in problem.message
