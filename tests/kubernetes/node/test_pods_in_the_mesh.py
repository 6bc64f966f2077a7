"""Pods of a real node in the mesh: injected, known by their tokens, speaking mutual TLS, and losing nothing."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from typing import Any

import pytest
from tools.kubernetes_mesh import NAMESPACE, upgrade
from tools.kubernetes_node import NodeCluster

from support.kubernetes import route, service
from support.mesh import until
from support.pod_apps import ASK, LOAD, account, answer_of, as_list, deployment, make_room, namespace_of

SHOP, OUTSIDE = "shop", "outside"


def ask(node: NodeCluster, pod: str, url: str, namespace: str = SHOP) -> tuple[int, Any]:
    """What a pod's application gets at a URL: the status (0: no answer), and the body."""
    said = node.kubectl("exec", "-n", namespace, pod, "-c", "app", "--", "python3", "-c", ASK, url)
    return answer_of(said)


def wait(node: NodeCluster, *names: str, namespace: str = SHOP) -> None:
    for name in names:
        node.kubectl("rollout", "status", "-n", namespace, f"deployment/{name}", "--timeout=180s")


def apply(node: NodeCluster, *objects: dict[str, Any]) -> None:
    node.kubectl("apply", "-f", "-", given=as_list(*objects))


@pytest.fixture(scope="module")
def shop(weft_node: NodeCluster) -> Iterator[NodeCluster]:
    """A namespace whose pods are in the mesh: front, reviews v1 and v2; and one whose pods are not."""
    node = weft_node
    apply(node, namespace_of(SHOP, **{"istio-injection": "enabled"}), namespace_of(OUTSIDE))
    apply(
        node,
        *(account(name, SHOP) for name in ("front", "other", "reviews")),
        account("stranger", OUTSIDE),
        deployment("front", SHOP),
        deployment("other", SHOP),
        deployment("reviews-v1", SHOP, app="reviews"),
        deployment("reviews-v2", SHOP, app="reviews", version="v2"),
        deployment("stranger", OUTSIDE),
        service("front", SHOP),
        service("reviews", SHOP),
        {**service("reviews-v2", SHOP), "spec": _only("v2")},
        service("stranger", OUTSIDE),
    )
    wait(node, "front", "other", "reviews-v1", "reviews-v2")
    wait(node, "stranger", namespace=OUTSIDE)
    yield node
    make_room(node, SHOP)


def _only(version: str) -> dict[str, Any]:
    ports = [{"name": "http", "port": 80, "targetPort": "web"}]
    return {"selector": {"app": "reviews", "version": version}, "ports": ports}


def test_pods_have_a_sidecar_and_call_each_other_as_who_they_are(shop: NodeCluster) -> None:
    pods = json.loads(shop.kubectl("get", "pods", "-n", SHOP, "-l", "app=front", "-o", "json"))["items"]
    assert "weft-proxy" in {each["name"] for each in pods[0]["spec"]["initContainers"]}
    status, answer = ask(shop, "deploy/front", "http://reviews/")
    assert status == 200, answer
    assert answer["app"].startswith("reviews-v")
    client = answer["headers"]["x-forwarded-client-cert"]
    assert f"spiffe://cluster.local/ns/{SHOP}/sa/front" in client


def test_a_route_of_the_cluster_leads_pods(shop: NodeCluster) -> None:
    apply(shop, route("reviews", SHOP, "reviews", "reviews-v2"))
    try:
        until(
            "all requests go to v2",
            lambda: {ask(shop, "deploy/front", "http://reviews/")[1]["app"] for _ in range(4)} == {"reviews-v2"},
        )
    finally:
        shop.kubectl("delete", "-n", SHOP, "httproute", "reviews")


def test_who_may_call_is_said_by_identity(shop: NodeCluster) -> None:
    principal = f"cluster.local/ns/{SHOP}/sa/front"
    policy = {
        "apiVersion": "security.istio.io/v1",
        "kind": "AuthorizationPolicy",
        "metadata": {"name": "reviews", "namespace": SHOP},
        "spec": {
            "selector": {"matchLabels": {"app": "reviews"}},
            "rules": [{"from": [{"source": {"principals": [principal]}}]}],
        },
    }
    apply(shop, policy)
    try:
        until("another may not", lambda: ask(shop, "deploy/other", "http://reviews/")[0] == 403)
        assert ask(shop, "deploy/front", "http://reviews/")[0] == 200
    finally:
        shop.kubectl("delete", "-n", SHOP, "authorizationpolicies.security.istio.io", "reviews")


def test_plaintext_of_who_is_not_in_the_mesh(shop: NodeCluster) -> None:
    """Into the mesh it is refused where mutual TLS is demanded; out of the mesh it is what strangers speak."""
    strict = {
        "apiVersion": "security.istio.io/v1",
        "kind": "PeerAuthentication",
        "metadata": {"name": "strict", "namespace": SHOP},
        "spec": {"mtls": {"mode": "STRICT"}},
    }
    apply(shop, strict)
    try:
        url = f"http://reviews.{SHOP}/"
        until("strangers are refused", lambda: ask(shop, "deploy/stranger", url, OUTSIDE)[0] == 0)
        assert ask(shop, "deploy/front", "http://reviews/")[0] == 200
        status, answer = ask(shop, "deploy/front", f"http://stranger.{OUTSIDE}/")
        assert (status, answer["app"]) == (200, "stranger")
    finally:
        shop.kubectl("delete", "-n", SHOP, "peerauthentications.security.istio.io", "strict")


def test_the_api_server_is_reached_from_a_pod(shop: NodeCluster) -> None:
    script = (
        "import ssl, urllib.request as r; d='/var/run/secrets/kubernetes.io/serviceaccount/'; "
        "t='Bearer '+open(d+'token').read(); "
        "q=r.Request('https://kubernetes.default.svc/api', headers={'Authorization': t}); "
        "print(r.urlopen(q, context=ssl.create_default_context(cafile=d+'ca.crt'), timeout=10).status)"
    )
    said = shop.kubectl("exec", "-n", SHOP, "deploy/front", "-c", "app", "--", "python3", "-c", script)
    assert said.strip() == "200"


def test_nothing_is_lost_while_pods_come_and_go(shop: NodeCluster) -> None:
    """Rolling restarts, more pods and fewer, under 200 requests a second: not one fails."""
    stop = f"/tmp/stop-{uuid.uuid4().hex}"
    execute = ["exec", "-n", SHOP, "deploy/front", "-c", "app", "--"]
    load = shop.start_kubectl(*execute, "python3", "-c", LOAD, "reviews", "200", stop)
    try:
        for name in ("reviews-v1", "reviews-v2"):
            shop.kubectl("rollout", "restart", "-n", SHOP, f"deployment/{name}")
            wait(shop, name)
        shop.kubectl("scale", "-n", SHOP, "deployment/reviews-v1", "--replicas=3")
        wait(shop, "reviews-v1")
        shop.kubectl("scale", "-n", SHOP, "deployment/reviews-v1", "--replicas=1")
        wait(shop, "reviews-v1")
        until("those that were too many are gone", lambda: _pods(shop, "reviews") == 2)
    finally:
        shop.kubectl(*execute, "touch", stop)
        said, _ = load.communicate(timeout=60)
    counted = json.loads(said)
    assert set(counted["counts"]) == {"200"}, counted
    assert counted["counts"]["200"] > 500


def _pods(node: NodeCluster, app: str) -> int:
    return len(json.loads(node.kubectl("get", "pods", "-n", SHOP, "-l", f"app={app}", "-o", "json"))["items"])


@pytest.mark.timeout(900)  # nine rollouts
def test_nothing_is_lost_while_control_planes_come_and_go(shop: NodeCluster) -> None:
    """Two replicas restarted one by one, then each deleted by force, under 200 requests a second, while pods of the
    callee are made anew: not one request fails."""
    upgrade(shop, {"replicas": 2})
    stop = f"/tmp/stop-{uuid.uuid4().hex}"
    execute = ["exec", "-n", SHOP, "deploy/front", "-c", "app", "--"]
    load = shop.start_kubectl(*execute, "python3", "-c", LOAD, "reviews", "200", stop)
    try:
        shop.kubectl("rollout", "restart", "-n", NAMESPACE, "deployment/weft")
        shop.kubectl("rollout", "status", "-n", NAMESPACE, "deployment/weft", "--timeout=240s")
        _change_pods(shop)
        for name in control_planes(shop):
            shop.kubectl("delete", "pod", "-n", NAMESPACE, name, "--force", "--grace-period=0")
            _change_pods(shop)
            shop.kubectl("rollout", "status", "-n", NAMESPACE, "deployment/weft", "--timeout=240s")
    finally:
        shop.kubectl(*execute, "touch", stop)
        said, _ = load.communicate(timeout=60)
    counted = json.loads(said)
    assert set(counted["counts"]) == {"200"}, counted
    assert counted["counts"]["200"] > 500
    names = set(control_planes(shop))
    assert len(names) == 2

    def shown(replica: str) -> dict[str, str]:
        words = ("exec", "-n", NAMESPACE, replica, "--", "weft", "proxy", "status", "-o", "json")
        return {one["name"]: one["replica"] for one in json.loads(shop.kubectl(*words))}

    until("each replica knows the proxies of both", lambda: all(len(shown(name)) >= 4 for name in names))
    assert {place for name in names for place in shown(name).values()} <= names
    upgrade(shop, {"replicas": 1})


def _change_pods(node: NodeCluster) -> None:
    """Callees are other pods afterwards, which only proxies know that are told so."""
    node.kubectl("rollout", "restart", "-n", SHOP, "deployment/reviews-v1", "deployment/reviews-v2")
    wait(node, "reviews-v1", "reviews-v2")


def control_planes(node: NodeCluster) -> list[str]:
    """The pods of the control plane that do not end."""
    words = ("get", "pods", "-n", NAMESPACE, "-l", "app.kubernetes.io/component=control-plane", "-o", "json")
    found = json.loads(node.kubectl(*words))["items"]
    return [one["metadata"]["name"] for one in found if "deletionTimestamp" not in one["metadata"]]


def test_a_job_ends(shop: NodeCluster) -> None:
    container = {
        "name": "app",
        "image": "weft.test/weft:1",
        "imagePullPolicy": "Never",
        "command": ["python3", "-c", ASK, "http://reviews/"],
        "securityContext": {"runAsUser": 1000},
    }
    job = {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": "once", "namespace": SHOP},
        "spec": {
            "backoffLimit": 0,
            "template": {
                "spec": {"serviceAccountName": "front", "restartPolicy": "Never", "containers": [container]},
            },
        },
    }
    apply(shop, job)
    try:
        shop.kubectl("wait", "-n", SHOP, "--for=condition=Complete", "job/once", "--timeout=120s")
        assert shop.kubectl("logs", "-n", SHOP, "job/once", "-c", "app").startswith("200")
    finally:
        shop.kubectl("delete", "-n", SHOP, "job", "once")
