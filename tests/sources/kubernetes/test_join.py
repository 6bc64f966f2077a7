"""Pods, EndpointSlices and Nodes joined to workloads and instances: by values, without a server."""

from __future__ import annotations

import json
from typing import Any, TypeVar

import pytest

from weft.model.instance import Instance
from weft.model.locality import Locality
from weft.model.workload import GatewayBinding, SocketAddress, Workload, WorkloadPort, WorkloadState
from weft.sources.kubernetes.join import Join
from weft.sources.kubernetes.objects import Pod, Slice, read_node, read_pod, read_slice
from weft.sources.kubernetes.reflection import Changes, Name, Told

ValueT = TypeVar("ValueT")
NATIVE = {"name": "weft-proxy", "restartPolicy": "Always", "ports": [{"containerPort": 15021}]}
APP = {"name": "app", "ports": [{"containerPort": 8080, "name": "http"}, {"containerPort": 53, "protocol": "UDP"}]}


def told(name: str, text: dict[str, Any], uid: str = "") -> Told:
    return Told("shop", name, uid or f"uid-{name}", "7", json.dumps(text))


def pod(name: str, before: Pod | None = None, **given: Any) -> Pod:
    """A Pod that is ready at 10.0.0.1 on the node ``one``."""
    metadata: dict[str, Any] = {"name": name, "labels": given.get("labels", {"app": name})}
    if given.get("owner"):
        kind, _, of = given["owner"].partition("/")
        metadata["ownerReferences"] = [{"kind": "Batch", "name": "all"}, {"kind": kind, "name": of, "controller": True}]
    if given.get("ending"):
        metadata["deletionTimestamp"] = "2026-11-28T00:00:00Z"
    spec = {
        "nodeName": given.get("node", "one"),
        "serviceAccountName": given.get("account", "default"),
        "hostNetwork": given.get("host_network", False),
        "containers": given.get("containers", [APP]),
        "initContainers": [NATIVE] if given.get("meshed") else None,
    }
    ready = "True" if given.get("ready", True) else "False"
    status = {"phase": given.get("phase", "Running"), "conditions": [{"type": "Ready", "status": ready}]}
    if "init" in given:
        status["initContainerStatuses"] = [{"name": "weft-init", "ready": False, **given["init"]}]
    if given.get("ip", "10.0.0.1"):
        addresses = given.get("ip", "10.0.0.1").split(",")
        status |= {"podIP": addresses[0], "podIPs": [{"ip": each} for each in addresses]}
    found = read_pod(told(name, {"metadata": metadata, "spec": spec, "status": status}, given.get("uid", "")), before)
    assert found is not None
    return found


def slice_of(service: str, *endpoints: dict[str, Any], controlled: bool = True, **given: Any) -> Slice:
    labels = {"kubernetes.io/service-name": service}
    if controlled:
        labels["endpointslice.kubernetes.io/managed-by"] = "endpointslice-controller.k8s.io"
    ports = given.get("ports", [{"name": "", "port": 8080, "protocol": "TCP"}])
    text = {
        "metadata": {"labels": labels},
        "addressType": given.get("type", "IPv4"),
        "endpoints": endpoints,
        "ports": ports,
    }
    found = read_slice(told(service, text), None)
    assert found is not None
    return found


def at(address: str, of: str = "", **conditions: bool) -> dict[str, Any]:
    reference = {"targetRef": {"kind": "Pod", "name": of, "uid": f"uid-{of}"}} if of else {}
    return {"addresses": [address], "conditions": conditions, "nodeName": "one", **reference}


def come(**values: ValueT) -> Changes[ValueT]:
    return Changes({("shop", name): value for name, value in values.items()})


def gone(**values: ValueT) -> Changes[ValueT]:
    return Changes(gone={("shop", name): value for name, value in values.items()})


def node(region: str = "eu", zone: str = "eu-1") -> Changes[Locality | None]:
    labels = {"topology.kubernetes.io/region": region, "topology.kubernetes.io/zone": zone}
    found = read_node(told("one", {"metadata": {"labels": labels}}), None)
    name: Name = ("", "one")
    return Changes({name: found})


def joined(*pods: Pod, slices: tuple[Slice, ...] = ()) -> Join:
    join = Join()
    join.take_pods(Changes({(each.namespace, each.name): each for each in pods}))
    join.take_slices(Changes({("shop", f"{each.service}-{index}"): each for index, each in enumerate(slices)}))
    join.settle()
    return join


def test_a_pod_with_a_proxy_is_a_workload() -> None:
    join = Join()
    join.take_pods(come(web=pod("web", meshed=True, account="seller")))
    join.take_nodes(node())
    join.settle()
    [workload] = join.workloads
    assert workload == Workload(
        name="web",
        namespace="shop",
        service_account="seller",
        labels=(("app", "web"),),
        ports=(WorkloadPort(8080, SocketAddress("127.0.0.1", 8080), SocketAddress("10.0.0.1", 8080), "http"),),
        state=WorkloadState.HEALTHY,
        metrics=SocketAddress("10.0.0.1", 15020),
        locality=Locality("eu", "eu-1"),
        capture=(SocketAddress("127.0.0.1", 15001),),
        inbound_capture=(SocketAddress("0.0.0.0", 15006),),
        pod="uid-web",
    )
    assert not join.instances
    assert not join.problems


@pytest.mark.parametrize(
    ("owner", "labels", "found"),
    [
        ("", {}, ""),
        ("ReplicaSet/web-5d8f9c7b4", {"pod-template-hash": "5d8f9c7b4"}, "web"),
        ("ReplicaSet/web-5d8f9c7b4", {"rollouts-pod-template-hash": "5d8f9c7b4"}, "web"),
        ("ReplicaSet/web-v1", {"app": "web"}, "web-v1"),
        ("StatefulSet/db", {}, "db"),
        ("Job/import-2026", {}, "import-2026"),
        ("Job/report-29735041", {}, "report"),
        ("ReplicaSet/" + 60 * "a" + "-5d8f9c7b4", {"pod-template-hash": "5d8f9c7b4"}, 60 * "a"),
        ("Robot/made.of.steel", {}, ""),
        ("Robot/" + 64 * "a", {}, ""),
    ],
)
def test_metrics_call_a_pod_by_what_people_made(owner: str, labels: dict[str, str], found: str) -> None:
    [workload] = joined(pod("web-5d8f9c7b4-x2x9z", meshed=True, owner=owner, labels=labels)).workloads
    assert workload.owner == found


def test_a_pod_whose_proxy_is_an_ordinary_container_is_one_too() -> None:
    [workload] = joined(pod("web", containers=[APP, {"name": "weft-proxy"}])).workloads
    assert workload.pod == "uid-web"


def test_ports_of_services_are_ports_of_a_workload() -> None:
    """A container need not declare its ports. Those of the proxy itself are not the application's."""
    ports = [{"name": "a", "port": 9090}, {"name": "m", "port": 15020}, {"name": "u", "port": 7, "protocol": "UDP"}]
    join = joined(pod("web", meshed=True), slices=(slice_of("web", at("10.0.0.1", "web"), ports=ports),))
    assert [(port.port, port.name) for port in join.workloads[0].ports] == [(8080, "http"), (9090, "")]
    assert not join.instances, "a pod behind a slice is no instance beside itself"


def test_a_pod_without_a_proxy_is_an_instance() -> None:
    join = Join()
    join.take_nodes(node())
    join.take_pods(come(web=pod("web")))
    join.settle()
    [instance] = join.instances
    assert (instance.address, instance.account, instance.service) == ("10.0.0.1", "", "")
    assert instance.labels == (("app", "web"),)
    assert dict(instance.ports)["http"] == 8080
    assert instance.locality == Locality("eu", "eu-1")
    assert str(instance.origin) == "kubernetes:Pod/shop/web/uid-web"


@pytest.mark.parametrize(
    ("given", "state"),
    [
        ({}, WorkloadState.HEALTHY),
        ({"ready": False}, WorkloadState.STARTING),
        ({"ready": False, "ending": True}, WorkloadState.DRAINING),
        ({"ready": True, "ending": True}, WorkloadState.DRAINING),
        ({"phase": "Pending", "ready": False, "ip": ""}, WorkloadState.STARTING),
        ({"phase": "Pending", "ready": False, "node": ""}, None),
        ({"phase": "Succeeded", "ready": False}, None),
        ({"phase": "Failed", "ending": True}, None),
    ],
)
def test_states(given: dict[str, Any], state: WorkloadState | None) -> None:
    workloads = joined(pod("web", meshed=True, **given)).workloads
    assert [each.state for each in workloads] == ([state] if state else [])
    instances = joined(pod("web", **given)).instances
    there = state is not None and given.get("ip") != ""
    assert [each.state for each in instances] == ([state] if there else [])


def test_who_was_ready_once_is_unhealthy_and_not_starting() -> None:
    first = pod("web", meshed=True)
    second = pod("web", first, meshed=True, ready=False)
    assert joined(second).workloads[0].state is WorkloadState.UNHEALTHY
    assert pod("web", second, meshed=True, ready=False) is second, "who says the same is the same object"
    assert pod("web", second, meshed=True, ready=False, uid="another").state is WorkloadState.STARTING


def test_a_pod_without_an_address_is_known_and_serves_nothing() -> None:
    """Its proxy asks for its certificate before the API server knows the address."""
    [workload] = joined(pod("web", meshed=True, ready=False, ip="")).workloads
    assert (workload.ports, workload.metrics) == ((), None)


@pytest.mark.parametrize(
    ("ip", "capture"),
    [
        ("", ["127.0.0.1:15001"]),
        ("10.0.0.1", ["127.0.0.1:15001"]),
        ("fd00::1", ["[::1]:15001"]),
        ("fd00::1,10.0.0.1", ["127.0.0.1:15001", "[::1]:15001"]),
    ],
)
def test_what_is_captured_is_of_the_families_that_the_pod_has(ip: str, capture: list[str]) -> None:
    """Envoy refuses a listener of several addresses if one of them cannot be bound."""
    [workload] = joined(pod("web", meshed=True, ip=ip)).workloads
    assert [str(each) for each in workload.capture] == capture
    assert len(workload.inbound_capture) == len(capture)


@pytest.mark.parametrize(
    ("name", "given", "text"),
    [
        ("web.1", {}, "its proxy cannot be called so"),
        ("w" * 64, {}, "its proxy cannot be called so"),
        ("web", {"account": "web.seller"}, "no certificate can be made for its service account 'web.seller'"),
        ("web", {"host_network": True}, "it shares the network of its node (hostNetwork)"),
    ],
)
def test_what_cannot_be_in_the_mesh_is_left_out_and_told(name: str, given: dict[str, Any], text: str) -> None:
    join = joined(pod(name, meshed=True, **given), slices=(slice_of("db", at("10.0.0.1", name), controlled=False),))
    assert not join.workloads
    assert not join.instances, "its proxy takes no plaintext"
    [problem] = join.problems
    assert (problem.code, str(problem.severity)) == ("pod-unusable", "error")
    assert problem.message.endswith(text)
    join.take_pods(gone(**{name: None}))
    join.settle()
    assert not join.problems


def test_a_pod_that_is_not_captured_is_told_of_until_it_is() -> None:
    failed, done = {"terminated": {"exitCode": 1}}, {"terminated": {"exitCode": 0, "reason": "Completed"}}
    waiting = {"waiting": {"reason": "CrashLoopBackOff"}}
    for init in (
        {"state": failed},
        {"state": waiting, "lastState": failed},
        {"state": {"running": {}}, "lastState": failed},
    ):
        join = joined(pod("web", meshed=True, ready=False, init=init))
        [problem] = join.problems
        assert (problem.code, problem.expected) == (
            "pod-not-captured",
            "on its node one what that container's log asks for",
        )
        assert [each.name for each in join.workloads] == ["web"], "it will come"
    goods: tuple[dict[str, Any], ...] = (
        {"state": {"running": {}}},
        {"state": done},
        {"state": done, "lastState": failed},
    )
    for good in goods:
        join.take_pods(come(web=pod("web", meshed=True, init=good)))
        join.settle()
        assert not join.problems


def test_a_pod_in_the_network_of_its_node_is_an_instance() -> None:
    [instance] = joined(pod("web", host_network=True)).instances
    assert instance.address == "10.0.0.1"


def test_addresses_of_a_slice_that_nobody_keeps() -> None:
    ports = [{"name": "https", "port": 6443}]
    endpoints = (at("10.9.0.1"), at("10.9.0.2", ready=False), at("10.9.0.3", terminating=True, ready=False))
    join = Join()
    join.take_nodes(node())
    join.take_slices(come(db=slice_of("db", *endpoints, controlled=False, ports=ports)))
    join.settle()
    assert [(each.address, each.state) for each in join.instances] == [
        ("10.9.0.1", WorkloadState.HEALTHY),
        ("10.9.0.2", WorkloadState.UNHEALTHY),
        ("10.9.0.3", WorkloadState.DRAINING),
    ]
    first = join.instances[0]
    assert (first.service, first.ports, first.locality) == ("db", (("https", 6443),), Locality("eu", "eu-1"))
    join.take_slices(come(db=slice_of("db", at("10.9.0.1"), controlled=False, ports=ports)))
    join.settle()
    assert join.instances == (first,)
    assert join.instances[0] is first
    join.take_slices(gone(db=None))
    join.settle()
    assert not join.instances


def test_pods_of_a_slice_that_nobody_keeps() -> None:
    """What is known of the Pod counts: its state, and whether it has a proxy of the mesh."""
    endpoints = (at("10.0.0.1", "web"), at("10.0.0.2", "plain"), at("10.0.0.3", "gone"))
    pods = (pod("web", meshed=True, account="seller", ready=False, ending=True), pod("plain", ip="10.0.0.2"))
    found = joined(*pods, slices=(slice_of("db", *endpoints, controlled=False),)).instances
    behind = [(each.key.name, each.address, each.account, each.state) for each in found if each.service == "db"]
    assert behind == [
        ("plain", "10.0.0.2", "", WorkloadState.HEALTHY),
        ("web", "10.0.0.1", "seller", WorkloadState.DRAINING),
    ]


@pytest.mark.parametrize("given", [{"type": "FQDN"}, {"ports": [{"name": "all", "port": None}]}])
def test_a_slice_of_names_or_without_ports_is_told(given: dict[str, Any]) -> None:
    join = joined(slices=(slice_of("db", at("db.example"), controlled=False, **given),))
    assert not join.instances
    assert [problem.code for problem in join.problems] == ["slice-unusable"]


def test_a_change_costs_what_it_is_about() -> None:
    pods = {f"p{number}": pod(f"p{number}", meshed=bool(number % 2)) for number in range(10)}
    join = Join()
    join.take_pods(come(**pods))
    join.take_nodes(node())
    join.take_slices(come(web=slice_of("web", *(at("10.0.0.1", name) for name in pods))))
    join.settle()
    workloads, instances = join.workloads, join.instances
    assert (len(workloads), len(instances)) == (5, 5)
    join.take_pods(come(p1=pods["p1"]))
    join.take_slices(come(web=slice_of("web", *(at("10.0.0.1", name, ready=False) for name in pods))))
    join.take_nodes(node())
    join.settle()
    assert join.workloads is workloads, "nothing that counts has changed"
    assert join.instances is instances
    join.take_pods(come(p1=pod("p1", pods["p1"], meshed=True, ready=False)))
    join.settle()
    assert join.instances is instances
    same = [new is old for new, old in zip(join.workloads, workloads, strict=True)]
    assert same.count(False) == 1
    join.take_nodes(node(zone="eu-2"))
    join.settle()
    places: list[Workload | Instance] = [*join.workloads, *join.instances]
    assert {each.locality.zone for each in places} == {"eu-2"}


def test_a_pod_that_is_replaced_under_its_name() -> None:
    join = joined(pod("web"))
    join.take_pods(come(web=pod("web", meshed=True, uid="another")))
    join.settle()
    assert ([each.pod for each in join.workloads], join.instances) == (["another"], ())
    join.take_pods(come(web=pod("web", ip="10.0.0.9")))
    join.settle()
    assert (join.workloads, [each.address for each in join.instances]) == ((), ["10.0.0.9"])
    join.take_pods(come(web=pod("web", ip="10.0.0.8")))
    join.settle()
    assert [each.address for each in join.instances] == ["10.0.0.8"]
    join.take_pods(gone(web=None))
    join.settle()
    assert not join.instances


def test_what_cannot_be_read_is_told() -> None:
    broken = read_pod(Told("shop", "web", "1", "7", '{"metadata": {}, "spec": {"containers": 1}}'), None)
    assert broken is None
    join = Join()
    join.take_pods(come(web=broken))
    join.settle()
    assert [problem.code for problem in join.problems] == ["internal-error"]
    good = pod("web")
    assert read_pod(Told("shop", "web", "1", "8", "[]"), good) is good, "what was read last stays"


def gateway_pod(account: str = "web-weft", ip: str = "10.0.0.9") -> Workload:
    """The process of a Gateway called ``web``, of the class ``weft``."""
    labels = {
        "gateway.networking.k8s.io/gateway-name": "web",
        "gateway.networking.k8s.io/gateway-class-name": "weft",
    }
    join = Join()
    proxy = {"name": "weft-proxy"}
    join.take_pods(come(web=pod("web", labels=labels, account=account, containers=[proxy], ip=ip)))
    join.settle()
    [found] = join.workloads
    return found


def test_the_process_of_a_gateway_listens_at_the_ports_of_its_document() -> None:
    found = gateway_pod()
    assert found.gateway == GatewayBinding("web", "0.0.0.0")
    assert found.gateway.bind(80) == SocketAddress("0.0.0.0", 80)
    assert not found.captures
    assert not found.inbound_capture
    assert gateway_pod(ip="fd00::9").gateway == GatewayBinding("web", "::")


def test_labels_alone_make_no_gateway() -> None:
    """Whoever has another service account is not given the Gateway's secrets."""
    found = gateway_pod(account="web")
    assert found.gateway is None
    assert found.captures
