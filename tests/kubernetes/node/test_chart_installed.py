"""The chart on a real node: the control plane is ready with the least rights, and another pod goes on as the same."""

from __future__ import annotations

import json
from typing import Any

from tools.kubernetes_mesh import NAMESPACE, helm
from tools.kubernetes_node import NodeCluster

from support.mesh import until

POD = ("-n", NAMESPACE, "deployment/weft")


def weft(cluster: NodeCluster, *words: str) -> Any:
    """What `weft` in the control plane's pod says."""
    return json.loads(cluster.kubectl("exec", *POD, "--", "weft", *words, "-o", "json"))


def of_kubernetes(cluster: NodeCluster) -> list[str]:
    """What is wrong between the control plane and the cluster. Other problems may be there, of other tests."""
    said = cluster.kubectl("exec", *POD, "--", "sh", "-c", "weft problems -o json || true")
    return [one["message"] for one in json.loads(said) if one["code"].startswith(("kubernetes", "webhook"))]


def test_helm_test_passes(weft_node: NodeCluster) -> None:
    helm(weft_node, "test", "weft", "--timeout", "120s")


def test_a_gateway_is_made_with_the_rights_of_the_chart(weft_node: NodeCluster) -> None:
    listeners = [{"name": "http", "port": 80, "protocol": "HTTP"}]
    about = {"name": "edge", "namespace": "default"}
    spec = {"gatewayClassName": "weft", "listeners": listeners}
    gateway = {"apiVersion": "gateway.networking.k8s.io/v1", "kind": "Gateway", "metadata": about, "spec": spec}
    weft_node.kubectl("apply", "-f", "-", given=gateway)
    try:
        wanted = ("get", "deployment,service,hpa,pdb,serviceaccount", "-n", "default", "-o", "name")
        until("its objects are there", lambda: weft_node.kubectl(*wanted).count("/edge") == 5)
        until("nothing is wrong", lambda: of_kubernetes(weft_node) == [])
    finally:
        weft_node.kubectl("delete", "gateway", "edge", "-n", "default")


def test_it_is_the_same_mesh_after_its_pod_was_deleted(weft_node: NodeCluster) -> None:
    def roots() -> set[str]:
        told = json.loads(weft_node.kubectl("get", "mutatingwebhookconfiguration", "weft-injector", "-o", "json"))
        return {one["clientConfig"].get("caBundle", "") for one in told["webhooks"]}

    until("the roots are there", lambda: len(roots()) == 1 and "" not in roots())
    before, fingerprint = roots(), weft(weft_node, "ca", "status")["fingerprint"]
    weft_node.kubectl("delete", "pod", "-n", NAMESPACE, "-l", "app.kubernetes.io/component=control-plane")
    weft_node.kubectl("rollout", "status", *POD, "--timeout=180s")
    assert weft(weft_node, "ca", "status")["fingerprint"] == fingerprint
    assert roots() == before
    until("nothing is wrong", lambda: of_kubernetes(weft_node) == [])
