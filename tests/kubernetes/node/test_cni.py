"""Pods that their node captures: restricted ones in the mesh, an agent that is away, and the node as it was before."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from tools.kubernetes_access import ClusterError
from tools.kubernetes_mesh import upgrade
from tools.kubernetes_node import NodeCluster

from support.kubernetes import service
from support.mesh import until
from support.pod_apps import ASK, account, answer_of, as_list, deployment, namespace_of

MESH, OUTSIDE = "restricted", "beside"
AGENT = ("-n", "kube-system", "daemonset/weft-cni")


def files(node: NodeCluster) -> dict[str, bytes]:
    """What is in the directories of the runtime."""
    return {str(each): each.read_bytes() for place in (node.plugins, node.networks) for each in place.iterdir()}


def apply(node: NodeCluster, *objects: dict[str, Any]) -> None:
    node.kubectl("apply", "-f", "-", given=as_list(*objects))


def restricted(name: str) -> dict[str, Any]:
    """A Deployment that the Pod Security level restricted allows."""
    made = deployment(name, MESH)
    spec = made["spec"]["template"]["spec"]
    spec["securityContext"] = {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}}
    spec["containers"][0]["securityContext"]["capabilities"] = {"drop": ["ALL"]}
    return made


def ask(node: NodeCluster, pod: str, url: str, namespace: str = MESH) -> tuple[int, Any]:
    said = node.kubectl("exec", "-n", namespace, pod, "-c", "app", "--", "python3", "-c", ASK, url)
    return answer_of(said)


def wait(node: NodeCluster, name: str, namespace: str = MESH) -> None:
    node.kubectl("rollout", "status", "-n", namespace, f"deployment/{name}", "--timeout=180s")


def pods(node: NodeCluster, *selected: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(node.kubectl("get", "pods", *selected, "-o", "json"))["items"]
    return found


def agents(node: NodeCluster) -> list[dict[str, Any]]:
    return pods(node, "-n", "kube-system", "-l", "app.kubernetes.io/component=cni")


def wanted(node: NodeCluster, **more: object) -> dict[str, object]:
    return {
        "cni.enabled": True,
        "cni.plugins": str(node.plugins),
        "cni.networks": str(node.networks),
        **more,
    }


def await_agent(node: NodeCluster) -> None:
    try:
        node.kubectl("rollout", "status", *AGENT, "--timeout=120s")
    except ClusterError as error:
        raise ClusterError(f"{error}\n{node.kubectl('logs', *AGENT, '--tail=30')}") from error


@pytest.fixture(scope="module")
def before(weft_node: NodeCluster) -> dict[str, bytes]:
    """What was in the directories of the runtime."""
    return files(weft_node)


@pytest.fixture(scope="module")
def node(weft_node: NodeCluster, before: dict[str, bytes]) -> Iterator[NodeCluster]:
    """A node that captures pods: front and back in a namespace that enforces restricted, and a stranger beside."""
    node = weft_node
    upgrade(node, wanted(node))
    try:
        await_agent(node)
        labels = {"istio-injection": "enabled", "pod-security.kubernetes.io/enforce": "restricted"}
        apply(node, namespace_of(MESH, **labels), namespace_of(OUTSIDE))
        apply(
            node,
            account("front", MESH),
            account("back", MESH),
            account("stranger", OUTSIDE),
            restricted("front"),
            restricted("back"),
            deployment("stranger", OUTSIDE),
            service("back", MESH),
        )
        for name in ("front", "back"):
            wait(node, name)
        wait(node, "stranger", OUTSIDE)
        yield node
        node.kubectl("delete", "namespace", MESH, OUTSIDE, "--timeout=120s")
    finally:
        upgrade(node, {})
    # This is the test that it is as before when it is uninstalled: after all others, in whatever order they ran.
    until("the agent is gone", lambda: agents(node) == [])
    # The program stays where pods are that were made with it: the control plane's own, which was replaced meanwhile.
    assert {name: text for name, text in files(node).items() if not name.endswith("/weft-cni")} == before
    apply(node, namespace_of(OUTSIDE), account("stranger", OUTSIDE), deployment("stranger", OUTSIDE))
    wait(node, "stranger", OUTSIDE)


def test_restricted_pods_are_in_the_mesh(node: NodeCluster) -> None:
    (pod,) = pods(node, "-n", MESH, "-l", "app=front")
    init = pod["spec"]["initContainers"][0]
    assert init["name"] == "weft-init"
    assert init["securityContext"]["runAsNonRoot"] is True
    assert init["securityContext"]["capabilities"] == {"drop": ["ALL"]}
    status, answer = ask(node, "deploy/front", "http://back/")
    assert (status, answer["app"]) == (200, "back")
    assert f"spiffe://cluster.local/ns/{MESH}/sa/front" in answer["headers"]["x-forwarded-client-cert"]


def test_callers_meet_the_proxy(node: NodeCluster) -> None:
    strict = {
        "apiVersion": "security.istio.io/v1",
        "kind": "PeerAuthentication",
        "metadata": {"name": "strict", "namespace": MESH},
        "spec": {"mtls": {"mode": "STRICT"}},
    }
    apply(node, strict)
    try:
        url = f"http://back.{MESH}/"
        until("strangers are refused", lambda: ask(node, "deploy/stranger", url, OUTSIDE)[0] == 0)
        assert ask(node, "deploy/front", "http://back/")[0] == 200
    finally:
        node.kubectl("delete", "-n", MESH, "peerauthentications.security.istio.io", "strict")


def test_the_agent_has_no_token_and_the_least_of_rights(node: NodeCluster) -> None:
    (agent,) = agents(node)
    assert [each for each in agent["spec"]["volumes"] if "projected" in each or "secret" in each] == []
    held = node.kubectl("exec", *AGENT, "--", "grep", "CapEff", "/proc/1/status").split()[1]
    assert int(held, 16) == 1 << 12 | 1 << 21  # NET_ADMIN, SYS_ADMIN


def test_its_entry_is_put_back(node: NodeCluster, before: dict[str, bytes]) -> None:
    file = node.networks / "pods.conflist"
    assert b"weft-cni" in file.read_bytes()
    fresh = file.with_name(".fresh")
    fresh.write_bytes(before[str(file)])
    fresh.replace(file)
    until("it is there again", lambda: b"weft-cni" in file.read_bytes())


def test_a_pod_that_is_made_without_the_agent_waits_for_it(node: NodeCluster) -> None:
    def send_away(label: str | None) -> None:
        selector = {"spec": {"template": {"spec": {"nodeSelector": {"example.org/nowhere": label}}}}}
        node.kubectl("patch", *AGENT, "-p", json.dumps(selector))

    send_away("yes")
    until("the agent is gone", lambda: agents(node) == [])
    assert not any("weft-cni" in each.read_text() for each in node.networks.iterdir())
    apply(node, account("late", MESH), restricted("late"))
    logs = ("logs", "-n", MESH, "-l", "app=late", "-c", "weft-init")
    until(
        "it says what it waits for", lambda: "waiting until the node agent of weft on node1" in quiet(node, *logs), 180
    )
    (pod,) = pods(node, "-n", MESH, "-l", "app=late")
    assert [each for each in pod["status"]["containerStatuses"] if "running" in each["state"]] == []
    send_away(None)
    await_agent(node)
    wait(node, "late")
    assert "it was made without this agent" in node.kubectl("logs", *AGENT)
    status, answer = ask(node, "deploy/late", "http://back/")
    assert status == 200, answer
    assert f"spiffe://cluster.local/ns/{MESH}/sa/late" in answer["headers"]["x-forwarded-client-cert"]


def quiet(node: NodeCluster, *words: str) -> str:
    try:
        return node.kubectl(*words)
    except ClusterError:
        return ""
