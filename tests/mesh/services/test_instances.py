"""Instances that a cluster tells of behind Services, beside workloads."""

from __future__ import annotations

from support.meshdocs import Compiled, backends, workload
from weft.mesh.memo import Memo
from weft.mesh.services.service import Endpoint, Health, Plaintext
from weft.model.document import ObjectKey
from weft.model.instance import Instance
from weft.model.locality import Locality
from weft.model.origin import Origin
from weft.model.workload import WorkloadState

SERVICES = """
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec:
  selector: {app: web}
  ports:
  - {name: http, port: 80, targetPort: main}
  - {name: tcp-db, port: 5432, targetPort: 5433}
  - {name: dns, port: 53, protocol: UDP, targetPort: dns}
---
apiVersion: v1
kind: Service
metadata: {name: kubernetes}
spec:
  ports:
  - {name: https, port: 443, targetPort: 6443}
  - {name: other, port: 444}
---
apiVersion: v1
kind: Service
metadata: {name: db}
spec:
  ports:
  - {name: http, port: 80}
"""


def instance(name: str, address: str, service: str = "", **changes: object) -> Instance:
    key = ObjectKey("discovery.k8s.io", "EndpointSlice", "default", name)
    if not service:
        key = ObjectKey("", "Pod", "default", name)
        changes = {"labels": (("app", "web"),), **changes}
    return Instance(key, Origin("kubernetes:test"), address, service=service, **changes)  # type: ignore[arg-type]


def served(mesh: Compiled, name: str) -> dict[int, tuple[Endpoint, ...]]:
    return {
        port.number: found for port, found in mesh.mesh.services.by_host[f"{name}.default.svc.cluster.local"].ports()
    }


def where(endpoints: tuple[Endpoint, ...]) -> list[str]:
    return [str(each.address) for each in endpoints]


def test_pods_without_a_proxy_stand_beside_workloads() -> None:
    """A name of a targetPort means the port of that name of each Pod, and nothing where there is none."""
    pods = [
        instance("a", "10.0.0.1", ports=(("main", 8080), ("dns", 5353)), locality=Locality("eu", "eu-1")),
        instance("b", "10.0.0.2", ports=(("main", 9090),), state=WorkloadState.UNHEALTHY),
        instance("c", "10.0.0.3", ports=(("http", 1),), state=WorkloadState.DRAINING),
        instance("other", "10.0.0.4", labels=(("app", "other"),)),
    ]
    mesh = Compiled(SERVICES, workloads=[workload("web", port=80)], instances=pods)
    found = served(mesh, "web")
    [of_mesh, first, second] = found[80]
    assert (of_mesh.identity is not None, of_mesh.mutual_tls) == (True, True)
    assert [str(first.address), str(second.address)] == ["10.0.0.1:8080", "10.0.0.2:9090"]
    assert (first.identity, first.mutual_tls, first.workload) == (None, False, "a.default")
    assert str(first.locality) == "eu/eu-1"
    assert where(found[5432]) == ["10.0.0.1:5433", "10.0.0.2:5433", "10.0.0.3:5433"]
    assert [each.health for each in found[5432]] == [Health.HEALTHY, Health.UNHEALTHY, Health.DRAINING]
    [(number, datagrams)] = mesh.mesh.services.by_host["web.default.svc.cluster.local"].datagrams
    assert (number, where(datagrams)) == (53, ["10.0.0.1:5353"])
    assert not [problem for problem in mesh.mesh.idle if problem.code == "selects-nothing"]


def test_who_is_not_ready_is_called_where_the_service_says_so() -> None:
    """But for who ends. Elsewhere callers are not told of who was never ready, and do not call the others."""
    states = (WorkloadState.STARTING, WorkloadState.UNHEALTHY, WorkloadState.DRAINING)
    pods = [
        instance(f"i{number}", f"10.0.0.{number}", ports=(("http", 80),), state=state)
        for number, state in enumerate(states)
    ]
    workloads = [workload("web", f"v{number}", port=80, state=state) for number, state in enumerate(states)]

    def health(text: str) -> list[Health]:
        return [each.health for each in served(Compiled(text, workloads=workloads, instances=pods), "web")[80]]

    usual = """
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {selector: {app: web}, ports: [{name: http, port: 80}]}
"""
    assert health(usual) == [Health.UNHEALTHY, Health.DRAINING] * 2
    anyhow = usual.replace("spec: {", "spec: {publishNotReadyAddresses: true, ")
    assert health(anyhow) == [Health.HEALTHY, Health.HEALTHY, Health.DRAINING] * 2


def test_a_service_without_a_selector_is_backed_by_its_slices() -> None:
    slices = [
        instance("kubernetes", "10.0.0.9", "kubernetes", ports=(("https", 16443),)),
        instance("db-1", "10.0.0.1", "db", ports=(("http", 8080),), account="seller"),
        instance("web-1", "10.0.0.8", "web", ports=(("http", 8080),)),
    ]
    mesh = Compiled(SERVICES, instances=slices)
    assert {port: where(found) for port, found in served(mesh, "kubernetes").items()} == {
        443: ["10.0.0.9:16443"],
        444: [],
    }
    [meshed] = served(mesh, "db")[80]
    assert (str(meshed.identity), meshed.mutual_tls) == ("spiffe://cluster.local/ns/default/sa/seller", True)
    assert not where(served(mesh, "web")[80]), "what has a selector is backed by what it selects"
    backend = backends(mesh.sidecar())["outbound|443||kubernetes.default.svc.cluster.local"]
    assert isinstance(backend.transport, Plaintext), "the TLS of its callers is carried as it is"


def test_an_instance_that_changes_costs_its_service() -> None:
    memo = Memo()
    pods = [instance("a", "10.0.0.1"), instance("k", "10.0.0.9", "kubernetes", ports=(("https", 1),))]
    first = Compiled(SERVICES, memo=memo, instances=pods)
    changed = [instance("a", "10.0.0.1", state=WorkloadState.DRAINING), pods[1]]
    second = Compiled(first.documents, memo=memo, instances=changed)
    before, after = first.mesh.services.by_host, second.mesh.services.by_host
    assert {host for host in after if after[host] is not before[host]} == {"web.default.svc.cluster.local"}
