"""A control plane that follows a cluster lets the proxies of its Pods in, and shows them beside others."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import cast

from tools.kubernetes_cluster import ApiCluster

from support.control import Rig
from support.joining_pods import JoiningPods, Proxy
from support.kubernetes import Api, rules
from support.mesh import Mesh, until
from weft.settings.home import Home
from weft.testing.polling import eventually

RIGHTS = [
    *rules(),
    {"apiGroups": [""], "resources": ["pods", "nodes"], "verbs": ["watch"]},
    {"apiGroups": ["discovery.k8s.io"], "resources": ["endpointslices"], "verbs": ["watch"]},
]
MAY_REVIEW = {"apiGroups": ["authentication.k8s.io"], "resources": ["tokenreviews"], "verbs": ["create"]}


def agents_of(mesh: Mesh) -> Rig:
    """What the agents of tests want to know of a control plane."""
    home = Home(mesh.home)
    authority = SimpleNamespace(bundle=home.trust_bundle.read_text())
    found = SimpleNamespace(home=home, agents=mesh.endpoints()["agent_api"], parts=SimpleNamespace(authority=authority))
    return cast(Rig, found)


async def test_a_pod_joins_and_is_shown(cluster: ApiCluster, api: Api, namespace: str, tmp_path: Path) -> None:
    pods = JoiningPods(api, namespace)
    await pods.start()
    await pods.account("web")
    pod = await pods.run("reviews-1")
    kubeconfig = cluster.account("follower", RIGHTS)
    mesh = Mesh(tmp_path / "home", tmp_path / "logs")
    try:
        mesh.serve("--kubeconfig", str(kubeconfig))
        until("it follows", lambda: mesh.workload("reviews-1", namespace))
        proxy = Proxy(agents_of(mesh), tmp_path, pod)
        assert await proxy.join(await pods.token(pod), 503) == "kubernetes-unavailable"
        until("it says what it may not", lambda: "tokenreviews" in str(mesh.problems()))
        cluster.account("follower", [*RIGHTS, MAY_REVIEW])

        async def joined() -> bool:
            return "BEGIN" in await proxy.join(await pods.token(pod))

        await eventually("it may ask", joined)
        shown = mesh.weft("get", "workloads", "-n", namespace).stdout
        assert "reviews-1" in shown
        assert "active" in mesh.weft("identity", "list").stdout
        checked = mesh.weft("check", check=False).stdout
        assert f"kubectl logs --namespace {namespace} reviews-1 --container weft-proxy" in checked
        assert "tokenreviews" not in str(mesh.problems()), "it is over"
    finally:
        mesh.stop()
