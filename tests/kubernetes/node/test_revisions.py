"""Two revisions of the control plane on a real node: a namespace moves from one to the other, and back, under load."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator

import pytest
from tools.go_programs import ROOT
from tools.kubernetes_mesh import NAMESPACE, helm
from tools.kubernetes_node import NodeCluster

from support.kubernetes import service
from support.mesh import until
from support.pod_apps import ASK, LOAD, account, answer_of, as_list, deployment, namespace_of

MOVED = "moved"
CANARY = {"revision": "canary", "revisionTags": ["stable"]}


@pytest.fixture(scope="module")
def both(weft_node: NodeCluster) -> Iterator[NodeCluster]:
    """The revision canary beside the default, and a namespace of the default that says so by a revision."""
    node = weft_node
    helm(node, "install", "weft-canary", str(ROOT / "charts" / "weft"), values=CANARY)
    node.kubectl("rollout", "status", "-n", NAMESPACE, "deployment/weft-canary", "--timeout=300s")
    objects = [
        namespace_of(MOVED, **{"istio.io/rev": "default"}),
        *(account(name, MOVED) for name in ("front", "other", "reviews")),
        *(deployment(name, MOVED) for name in ("front", "other")),
        deployment("reviews", MOVED),
        service("reviews", MOVED),
    ]
    until("both answer for pods", lambda: _roots(node, "weft-injector") == _roots(node, "weft-injector-canary"))
    node.kubectl("apply", "-f", "-", given=as_list(*objects))
    wait(node, "front", "other", "reviews")
    try:
        yield node
    finally:
        node.kubectl("delete", "namespace", MOVED, "--wait=false")
        helm(node, "uninstall", "weft-canary")


def wait(node: NodeCluster, *names: str) -> None:
    for name in names:
        node.kubectl("rollout", "status", "-n", MOVED, f"deployment/{name}", "--timeout=300s")


def move(node: NodeCluster, revision: str, *names: str) -> None:
    """Label the namespace, and make the pods of Deployments anew."""
    node.kubectl("label", "namespace", MOVED, f"istio.io/rev={revision}", "--overwrite")
    for name in names:
        node.kubectl("rollout", "restart", "-n", MOVED, f"deployment/{name}")
        wait(node, name)


def revisions(node: NodeCluster, app: str) -> set[str]:
    """By which revisions the pods of an application were injected that are not about to go."""
    pods = json.loads(node.kubectl("get", "pods", "-n", MOVED, "-l", f"app={app}", "-o", "json"))["items"]
    there = [each["metadata"] for each in pods if "deletionTimestamp" not in each["metadata"]]
    return {each["labels"].get("weft.dev/rev", "") for each in there}


def proxies(node: NodeCluster, of: str) -> dict[str, str]:
    """Who is connected to a control plane of that Deployment, which knows those of the others, too; and by which
    revision it was injected."""
    said = node.kubectl("exec", "-n", NAMESPACE, f"deployment/{of}", "--", "weft", "proxy", "status", "-o", "json")
    return {each["name"]: each["injected_by"] for each in json.loads(said) if each["replica"].startswith(f"{of}-")}


def caller(node: NodeCluster, of: str) -> str:
    """As whom `of` is known where it calls reviews."""
    said = node.kubectl("exec", "-n", MOVED, f"deploy/{of}", "-c", "app", "--", "python3", "-c", ASK, "http://reviews/")
    status, answer = answer_of(said)
    assert status == 200 and not isinstance(answer, str), answer
    return str(answer["headers"].get("x-forwarded-client-cert", ""))


def _roots(node: NodeCluster, name: str) -> set[str]:
    told = json.loads(node.kubectl("get", "mutatingwebhookconfiguration", name, "-o", "json"))
    roots = {one["clientConfig"].get("caBundle", "") for one in told["webhooks"]}
    assert "" not in roots
    return roots


@pytest.mark.timeout(900)
def test_a_namespace_moves_there_and_back_without_a_failed_request(both: NodeCluster) -> None:
    stop = f"/tmp/stop-{uuid.uuid4().hex}"
    execute = ["exec", "-n", MOVED, "deploy/front", "-c", "app", "--"]
    assert revisions(both, "reviews") == {"default"}
    load = both.start_kubectl(*execute, "python3", "-c", LOAD, "reviews", "200", stop)
    try:
        move(both, "canary", "reviews")
        assert revisions(both, "reviews") == {"canary"}
        assert f"spiffe://cluster.local/ns/{MOVED}/sa/front" in caller(both, "front"), "default calls canary"
        move(both, "stable", "other")
        assert revisions(both, "other") == {"canary"}, "a tag leads to the revision"
        until("the canary has its pods", lambda: set(proxies(both, "weft-canary").values()) == {"canary"})
        move(both, "default", "reviews")
        assert revisions(both, "reviews") == {"default"}
        assert f"spiffe://cluster.local/ns/{MOVED}/sa/other" in caller(both, "other"), "canary calls default"
        until("they have left it", lambda: [name.split("-")[0] for name in proxies(both, "weft-canary")] == ["other"])
    finally:
        both.kubectl(*execute, "touch", stop)
        said, _ = load.communicate(timeout=120)
    counted = json.loads(said)
    assert set(counted["counts"]) == {"200"}, counted
    assert counted["counts"]["200"] > 500
