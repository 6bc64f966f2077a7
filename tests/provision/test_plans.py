"""What process a Gateway document of a cluster asks for."""

from __future__ import annotations

from dataclasses import replace

import pytest

from support.meshdocs import documents
from weft.mesh.build import build_mesh
from weft.mesh.memo import Memo
from weft.model.document import Document
from weft.model.origin import FieldLines
from weft.model.snapshot import ConfigSnapshot
from weft.provision.manifests import GatewayPods, objects_of, retired_of
from weft.provision.plan import Plans, plans_of

CLASS = """
apiVersion: gateway.networking.k8s.io/v1
kind: GatewayClass
metadata: {name: NAME}
spec: {controllerName: weft.dev/gateway-controller}
"""
GATEWAY = """
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: web, namespace: edge, annotations: {ANNOTATIONS}}
spec:
  gatewayClassName: weft
  INFRASTRUCTURE
  listeners:
  - {name: http, port: 80, protocol: HTTP}
  - {name: other, port: 80, protocol: HTTP, hostname: a.example}
  - {name: udp, port: 53, protocol: UDP}
  - {name: tcp, port: 53, protocol: TCP}
"""


def planned(text: str, *, of_cluster: bool = True) -> Plans:
    found = documents(text)
    if of_cluster:
        found = tuple(map(_of_cluster, found))
    snapshot = ConfigSnapshot(1, tuple(sorted(found, key=lambda each: each.key)))
    return plans_of(build_mesh(snapshot, Memo()).gateways, snapshot.documents)


def _of_cluster(document: Document[object]) -> Document[object]:
    key = document.key
    return replace(document, lines=FieldLines(f"kubernetes:{key.kind}/{key.namespace}/{key.name}/the-uid@7"))


def text(annotations: str = "", infrastructure: str = "", *, of_class: str = "weft") -> str:
    gateway = GATEWAY.replace("ANNOTATIONS", annotations).replace("INFRASTRUCTURE", infrastructure)
    return CLASS.replace("NAME", of_class) + gateway


def test_each_port_and_transport_once() -> None:
    [plan] = planned(text()).plans
    assert [(port.number, port.transport, port.name) for port in plan.ports] == [
        (53, "TCP", "tcp-53"),
        (53, "UDP", "udp-53"),
        (80, "TCP", "http-80"),
    ]
    assert (plan.name, plan.uid, plan.service_type) == ("web-weft", "the-uid", "")


def test_a_gateway_that_no_api_server_has_is_left_alone() -> None:
    assert planned(text(), of_cluster=False) == Plans()


def test_a_name_alone_makes_no_class_ours() -> None:
    """weft serves documents of the class `weft` without a GatewayClass, but makes no objects for another controller."""
    assert planned(text(of_class="another")) == Plans()


def test_labels_and_annotations_are_on_everything() -> None:
    asked = "infrastructure: {labels: {team: shop}, annotations: {cost: low}}"
    [plan] = planned(text(infrastructure=asked)).plans
    made = objects_of(plan, GatewayPods({"containers": []}))
    assert [each.body["kind"] for each in made] == [
        "ServiceAccount",
        "Deployment",
        "PodDisruptionBudget",
        "HorizontalPodAutoscaler",
        "Service",
    ]
    for each in made:
        metadata = each.body["metadata"]
        assert metadata["labels"]["team"] == "shop"
        assert metadata["labels"]["gateway.networking.k8s.io/gateway-name"] == "web"
        assert metadata["annotations"] == {"cost": "low"}
        assert [owner["uid"] for owner in metadata["ownerReferences"]] == ["the-uid"]
    template = made[1].body["spec"]["template"]
    assert template["metadata"]["labels"]["team"] == "shop"
    assert template["spec"]["serviceAccountName"] == "web-weft"
    assert "replicas" not in made[1].body["spec"], "it is the autoscaler's"


def test_a_label_of_the_document_does_not_lead_the_service_elsewhere() -> None:
    asked = "infrastructure: {labels: {gateway.networking.k8s.io/gateway-name: other}}"
    [plan] = planned(text(infrastructure=asked)).plans
    service = objects_of(plan, GatewayPods({}))[-1].body
    assert service["metadata"]["labels"]["gateway.networking.k8s.io/gateway-name"] == "web"
    assert service["spec"]["selector"] == {
        "gateway.networking.k8s.io/gateway-class-name": "weft",
        "gateway.networking.k8s.io/gateway-name": "web",
    }


def test_the_type_of_the_service() -> None:
    [plan] = planned(text()).plans
    assert objects_of(plan, GatewayPods({}))[-1].body["spec"]["type"] == "LoadBalancer"
    assert objects_of(plan, GatewayPods({}, service_type="NodePort"))[-1].body["spec"]["type"] == "NodePort"
    [plan] = planned(text("networking.istio.io/service-type: ClusterIP")).plans
    assert objects_of(plan, GatewayPods({}))[-1].body["spec"]["type"] == "ClusterIP"
    asked = "infrastructure: {annotations: {networking.istio.io/service-type: clusterip}}"
    wrong = planned(text(infrastructure=asked))
    assert not wrong.plans
    [problem] = wrong.problems
    assert problem.code == "invalid-parameters"
    assert "clusterip" in problem.message
    assert "ClusterIP" in problem.expected


def test_a_certificate_that_is_missing_takes_no_port_away() -> None:
    """Clients know the address: it does not come and go with a Secret."""
    https = "{name: http, port: 443, protocol: HTTPS, tls: {certificateRefs: [{name: none}]}}"
    [plan] = planned(text().replace("{name: http, port: 80, protocol: HTTP}", https)).plans
    assert "https-443" in {port.name for port in plan.ports}


def test_ports_of_the_agent_are_no_listeners() -> None:
    found = planned(text().replace("port: 80, protocol: HTTP}", "port: 15020, protocol: HTTP}"))
    [plan] = found.plans
    assert 15020 not in {port.number for port in plan.ports}
    [problem] = found.problems
    assert "port 15020 is the agent's own" in problem.message


@pytest.mark.parametrize("name", ["1web", "a.b", "w" * 64])
def test_a_name_that_no_service_can_have_makes_nothing(name: str) -> None:
    found = planned(text().replace("name: web", f"name: {name}"))
    assert not found.plans
    assert [problem.path for problem in found.problems] == [("metadata", "name")]


def test_a_gateway_of_istio_opens_no_port_of_anothers_service() -> None:
    istio = """
---
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: more, namespace: other}
spec:
  selector: {gateway.networking.k8s.io/gateway-name: web}
  servers:
  - {port: {number: 9000, name: http, protocol: HTTP}, hosts: ["*"]}
"""
    [plan] = planned(text() + istio).plans
    assert 9000 not in {port.number for port in plan.ports}


def test_who_is_anothers_now_and_who_only_has_no_class() -> None:
    left = planned(text(of_class="another")).left
    assert not left, "its class is not there: perhaps it is only being made anew"
    foreign = CLASS.replace("NAME", "weft").replace("weft.dev/", "example.com/")
    found = planned(foreign + "---" + text(of_class="another"))
    assert [key.name for key in found.left] == ["web"]


def test_another_number_of_pods_takes_the_autoscaler_away() -> None:
    [plan] = planned(text()).plans
    assert [each.body["kind"] for each in retired_of(plan, GatewayPods({}, most=0))] == ["HorizontalPodAutoscaler"]
    assert not retired_of(plan, GatewayPods({}))


def test_a_long_name_is_cut_and_stays_one() -> None:
    [plan] = planned(text().replace("name: web", f"name: {'w' * 63}")).plans
    assert len(plan.name) == 63
    assert plan.name != "w" * 63


def test_without_an_autoscaler_there_is_none() -> None:
    [plan] = planned(text()).plans
    kinds = [each.body["kind"] for each in objects_of(plan, GatewayPods({}, most=0))]
    assert "HorizontalPodAutoscaler" not in kinds


@pytest.mark.parametrize(
    ("usual", "address", "expected"),
    [
        ("LoadBalancer", "203.0.113.7", {"loadBalancerIP": "203.0.113.7"}),
        ("ClusterIP", "203.0.113.7", {"clusterIP": "203.0.113.7", "clusterIPs": ["203.0.113.7"]}),
        ("ClusterIP", "2001:db8::7", {"clusterIP": "2001:db8::7", "ipFamilies": ["IPv6"]}),
    ],
)
def test_the_service_is_asked_for_the_address(usual: str, address: str, expected: dict[str, object]) -> None:
    [plan] = planned(asking(f"{{value: '{address}'}}")).plans
    spec = objects_of(plan, GatewayPods({"containers": []}, service_type=usual))[-1].body["spec"]
    assert {name: spec[name] for name in expected} == expected


def asking(addresses: str) -> str:
    return text().replace("  listeners:", f"  addresses: [{addresses}]\n  listeners:", 1)


def test_a_type_alone_asks_for_any_address() -> None:
    [plan] = planned(asking("{type: IPAddress}")).plans
    assert plan.address == ""


def test_a_service_has_one_address_of_a_known_type() -> None:
    both = planned(asking("{value: 203.0.113.7}, {value: 203.0.113.8}"))
    assert (both.plans, [each.code for each in both.problems]) == ((), ["address-not-usable"])
    assert planned(asking("{value: 203.0.113.7}, {type: Hostname, value: a.example}")) == Plans()
