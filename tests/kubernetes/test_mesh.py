"""Hosts of a mesh whose documents are a cluster's: kubectl changes where requests go, weft apply nothing."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tools.kubernetes_cluster import ApiCluster

from support.http import Client
from support.kubernetes import route, service
from support.mesh import Mesh, until


def test_a_route_in_the_cluster_leads_a_host(cluster: ApiCluster, tmp_path: Path) -> None:
    def apply(*objects: object) -> None:
        cluster.kubectl("apply", "-f", "-", given={"apiVersion": "v1", "kind": "List", "items": list(objects)})

    apply(service("front", "default"), service("old", "default"), service("new", "default"))
    apply(route("front", "default", "front", "old"))
    mesh = Mesh(tmp_path / "home", tmp_path / "logs")
    try:
        mesh.serve("--kubeconfig", str(cluster.kubeconfig("admin")), "--context", "test")
        for name in ("front", "old", "new"):
            mesh.echo(name)
        client = Client(mesh.proxy_of("front"))

        def callee() -> str:
            answer = client("http://front/")
            return str(json.loads(answer.body)["workload"]) if answer.status == 200 else ""

        until("the cluster's route leads", lambda: callee() == "old")
        apply(route("front", "default", "front", "new"))
        until("kubectl leads elsewhere", lambda: callee() == "new")
        _confirm(cluster, mesh, callee)
        shown = mesh.api("documents/httproute/default/front")
        assert shown["owner"] == "kubernetes"
        assert shown["source"].startswith("kubernetes:HTTPRoute/default/front/")
        cluster.kill_api_server()
        try:
            until("it is told", lambda: "kubernetes-unavailable" in {one["code"] for one in mesh.problems()})
            assert callee() == "new"
        finally:
            cluster.start_api_server()
        until("it is over", lambda: "kubernetes-unavailable" not in {one["code"] for one in mesh.problems()})
        _refuse_changes(mesh)
        cluster.kubectl("delete", "httproute", "front")
        until("kubectl takes it away", lambda: callee() == "front")
    finally:
        mesh.stop()


def _confirm(cluster: ApiCluster, mesh: Mesh, callee: Callable[[], str]) -> None:
    """Who asks is told when the proxies have taken what the API server has."""

    def ask(wait: float, since: int, **about: object) -> dict[str, Any]:
        key = {"group": "gateway.networking.k8s.io", "kind": "HTTPRoute", "namespace": "default", "name": "front"}
        body = json.dumps({"documents": [{**key, **about}], "since": since}).encode()
        answer: dict[str, Any] = mesh.api(f"confirmation?wait={wait:g}", "POST", body)
        return answer

    for backend in ("old", "new"):
        since = mesh.api("confirmation")["revision"]
        cluster.kubectl("apply", "-f", "-", given=route("front", "default", "front", backend))
        about = json.loads(cluster.kubectl("get", "httproute", "front", "-o", "json"))["metadata"]
        answer = ask(60, since, uid=about["uid"], generation=about["generation"])
        assert (answer["unread"], answer["problems"], answer["wait"]["pending"]) == ([], [], [])
        assert "front.default" in answer["wait"]["confirmed"]
        assert callee() == backend
    now = mesh.api("confirmation")["revision"]
    assert ask(60, now, uid=about["uid"], generation=about["generation"])["wait"]["confirmed"] == []
    later = ask(0.2, now, uid=about["uid"], generation=about["generation"] + 1)
    assert later["unread"] == ["HTTPRoute default/front"]
    assert ask(0.2, now, uid=about["uid"], gone=True)["unread"] == ["HTTPRoute default/front"]
    assert ask(60, now, uid="of-an-earlier-one", gone=True)["unread"] == []


def _refuse_changes(mesh: Mesh) -> None:
    text = json.dumps(service("another", "default"))
    for words in (("apply", "-f", "-"), ("delete", "-f", "-"), ("delete", "service", "old")):
        done = mesh.weft(*words, stdin=text, check=False)
        assert done.returncode != 0
        assert "documents come from Kubernetes: use kubectl" in done.stderr


def test_a_kubeconfig_that_cannot_be_used_is_told_at_once(tmp_path: Path) -> None:
    mesh = Mesh(tmp_path / "home", tmp_path / "logs")
    with pytest.raises(RuntimeError, match="cannot be read: No such file"):
        mesh.serve("--kubeconfig", str(tmp_path / "nothing"))
    with pytest.raises(RuntimeError, match="--context goes with --kubeconfig"):
        mesh.serve("--context", "prod")
    with pytest.raises(RuntimeError, match="this is no pod with a service account"):
        mesh.serve("--kubeconfig", "in-cluster")
