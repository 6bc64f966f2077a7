"""ProxyConfigs: which is in force for a workload, field by field, and what is told of proxies that run otherwise."""

from __future__ import annotations

import pytest

from support.meshdocs import Compiled, documents, service, upstream, workload
from weft.mesh.memo import Memo
from weft.mesh.policies.proxyconfig import ProxySettings
from weft.model.origin import path_text
from weft.model.problem import Problem
from weft.model.workload import Workload
from weft.xds.build import build_xds
from weft.xds.snapshot import CLUSTER, ENDPOINTS, LISTENER, ROUTES, XdsSnapshot

SERVICES = service("reviews") + service("client") + service("client", namespace="istio-system")
HTTP10 = "environmentVariables: {ISTIO_META_HTTP10: '%d'}"


def config(rest: str, name: str = "default", namespace: str = "default", app: str = "") -> str:
    selector = f"selector: {{matchLabels: {{app: {app}}}}}, " if app else ""
    return f"""
---
apiVersion: networking.istio.io/v1beta1
kind: ProxyConfig
metadata: {{name: {name}, namespace: {namespace}}}
spec: {{{selector}{rest}}}
"""


def mesh_config(rest: str) -> str:
    return f"""
---
apiVersion: weft.dev/v1alpha1
kind: MeshConfig
metadata: {{name: default, namespace: istio-system}}
spec: {{defaultConfig: {{{rest}}}}}
"""


def settings(mesh: Compiled, caller: Workload) -> ProxySettings:
    return mesh.mesh.proxies.of(caller)


def waiting(mesh: Compiled) -> list[Problem]:
    return [problem for problem in mesh.mesh.idle if problem.code == "starts-later"]


@pytest.mark.parametrize(
    ("texts", "expected"),
    [
        ([], (1, False)),
        ([mesh_config("concurrency: 3, proxyMetadata: {ISTIO_META_HTTP10: '1'}")], (3, True)),
        ([mesh_config("concurrency: 3"), config("concurrency: 4", namespace="istio-system")], (4, False)),
        ([config("concurrency: 4", namespace="istio-system"), config("concurrency: 5")], (5, False)),
        ([config("concurrency: 5"), config("concurrency: 0", "own", app="client")], (0, False)),
        ([config("concurrency: 5"), config(HTTP10 % 1, "own", app="client")], (5, True)),
        ([config(HTTP10 % 1, namespace="istio-system"), config(HTTP10 % 0, "own", app="client")], (1, False)),
        ([config("concurrency: 5", "own", app="other")], (1, False)),
        ([config("concurrency: 5", "own", "other", app="client")], (1, False)),
        ([config("concurrency: 5", "own", "istio-system", app="client")], (1, False)),
    ],
)
def test_narrower_goes_over_wider_field_by_field(texts: list[str], expected: tuple[int, bool]) -> None:
    found = settings(Compiled(SERVICES, *texts), workload("client"))
    assert (found.workers, found.http10) == expected


def test_a_selector_of_the_root_namespace_is_for_its_own_workloads() -> None:
    mesh = Compiled(SERVICES, config("concurrency: 5", "own", "istio-system", app="client"))
    assert settings(mesh, workload("client", namespace="istio-system")).workers == 5


def test_of_two_for_the_same_workloads_the_oldest_is_in_force() -> None:
    old = documents(config("concurrency: 2", "z", app="client"), "old.yaml", created=1.0)
    new = documents(config("concurrency: 3", "a", app="client"), "new.yaml", created=2.0)
    mesh = Compiled(SERVICES, new, old)
    assert settings(mesh, workload("client")).workers == 2
    (problem,) = mesh.mesh.problems
    assert (problem.code, problem.origin.source) == ("policy-conflict", "new.yaml")
    assert "ProxyConfig default/z (old.yaml:3) is older" in problem.message


def test_different_selectors_that_fit_one_workload_are_told() -> None:
    old = documents(config("concurrency: 2", "z", app="client"), "old.yaml", created=1.0)
    other = config("concurrency: 3", "a").replace("spec: {", "spec: {selector: {matchLabels: {version: v1}}, ")
    new = documents(other, "new.yaml", created=2.0)
    both, single = workload("client"), workload("reviews", number=1)
    mesh = Compiled(SERVICES, new, old, workloads=[both, single])
    assert (settings(mesh, both).workers, settings(mesh, single).workers) == (2, 3)
    (problem,) = mesh.mesh.problems
    assert (problem.code, problem.severity, problem.origin.source) == ("selectors-meet", "warning", "new.yaml")
    assert "selects workload default/client-v1 too" in problem.message


def test_a_selector_that_fits_nobody_is_told_after_a_while() -> None:
    mesh = Compiled(SERVICES, config("concurrency: 2", app="clinet"), workloads=[workload("client")])
    assert [problem.code for problem in mesh.mesh.idle if problem.object and problem.object.kind == "ProxyConfig"] == [
        "selects-nothing"
    ]


def test_who_runs_with_another_number_is_named_at_the_field_that_says_it() -> None:
    running = [workload("client", version=f"v{number}", number=number) for number in range(7)]
    changed = workload("reviews", number=8, workers=2)
    mesh = Compiled(SERVICES, config("concurrency: 2"), workloads=[*running, changed])
    (problem,) = waiting(mesh)
    assert (path_text(problem.path), problem.severity) == ("spec.concurrency", "warning")
    assert "default/client-v0" in problem.message
    assert problem.message.endswith("and 2 more run with another number of worker threads until started again")
    assert "reviews" not in problem.message
    (problem,) = waiting(Compiled(SERVICES, mesh_config("concurrency: 2"), workloads=running[:1]))
    assert path_text(problem.path) == "spec.defaultConfig.concurrency"
    assert not waiting(Compiled(SERVICES, config("concurrency: 2"), workloads=[changed]))


def test_who_runs_with_a_number_that_nobody_asks_for_any_more_is_told() -> None:
    mesh = Compiled(SERVICES, workloads=[workload("client", workers=4), workload("reviews", number=1)])
    (problem,) = waiting(mesh)
    assert problem.origin.source == "workload client-v1.default"
    assert "4 worker threads" in problem.message


def resources(snapshot: XdsSnapshot) -> dict[tuple[str, str], bytes]:
    """All resources of a proxy."""
    kinds = (LISTENER, ROUTES, CLUSTER, ENDPOINTS)
    return {(kind, each.name): each.body for kind in kinds for each in snapshot.of_type(kind)}


def test_every_listener_of_a_proxy_takes_http_1_0_and_no_other_resource_changes() -> None:
    caller, memo = workload("client", upstreams=(upstream("reviews", 9080),)), Memo()
    before = resources(build_xds(Compiled(SERVICES, memo=memo).sidecar(caller), 1, memo))
    mesh = Compiled(SERVICES, config(HTTP10 % 1, app="client"), memo=memo)
    after = resources(build_xds(mesh.sidecar(caller), 2, memo))
    assert after.keys() == before.keys()
    changed = {key for key in after if after[key] != before[key]}
    assert changed == {key for key in after if key[0] == LISTENER}
    assert len(changed) == 4
    other = workload("reviews", number=1)
    untouched = resources(build_xds(Compiled(SERVICES).sidecar(other), 1, Memo()))
    assert resources(build_xds(mesh.sidecar(other), 2, memo)) == untouched
