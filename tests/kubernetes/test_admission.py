"""An API server that asks weft before it writes documents: what kubectl is told, and that nothing hangs on weft."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from tools.kubernetes_cluster import ApiCluster, ClusterError

from support.kubernetes import route, service
from support.mesh import Mesh, until
from weft.settings.home import Home

EXAMPLE = Path(__file__).parents[2] / "examples" / "kubernetes" / "validator.yaml"
VALIDATOR = "validatingwebhookconfiguration/weft-validator"


def test_kubectl_is_told_what_is_wrong(cluster: ApiCluster, tmp_path: Path) -> None:
    def apply(given: object) -> str:
        return cluster.kubectl("apply", "-f", "-", given=given)

    mesh = Mesh(tmp_path / "home", tmp_path / "logs")
    try:
        admin = str(cluster.kubeconfig("admin"))
        proc = mesh.serve("--kubeconfig", admin, "--context", "test", "--webhook-port", "0")
        apply(service("web", "default"))
        _configure(cluster, mesh)
        good, late = route("web", "default", "web", "web"), route("late", "default", "web", "later")
        until("the mesh's roots are there", lambda: _roots(cluster))
        bad = _policy("REFUSE")
        message = until("the API server asks", lambda: _refusal(cluster, bad))
        assert "AuthorizationPolicy default/p: spec.action: " in message
        assert 'admission webhook "documents.validator.weft.dev" denied the request' in message
        apply(good)
        apply(late)  # its Service may come
        apply(_policy("DENY"))
        with pytest.raises(ClusterError, match=r"spec\.action: "):
            apply(bad)
        proc.stop()
        apply(bad)
        cluster.kubectl("delete", "authorizationpolicy", "p")
    finally:
        cluster.kubectl("delete", VALIDATOR, "--ignore-not-found")
        mesh.stop()


def _policy(action: str) -> dict[str, Any]:
    about = {"name": "p", "namespace": "default"}
    version = "security.istio.io/v1"
    return {"apiVersion": version, "kind": "AuthorizationPolicy", "metadata": about, "spec": {"action": action}}


def _configure(cluster: ApiCluster, mesh: Mesh) -> None:
    """The configuration of the example, with an address of loopback for the Service."""
    given = yaml.safe_load(EXAMPLE.read_text())
    told = json.loads(Home(mesh.home).endpoints.read_text())
    port = told["webhooks"].rpartition(":")[2]
    given["webhooks"][0]["timeoutSeconds"] = 30  # later the API server would go on without an answer
    given["webhooks"][0]["clientConfig"] = {"url": f"https://127.0.0.1:{port}/validate"}
    cluster.kubectl("apply", "-f", "-", given=given)


def _roots(cluster: ApiCluster) -> bytes:
    given = json.loads(cluster.kubectl("get", VALIDATOR, "-o", "json"))
    return base64.b64decode(given["webhooks"][0]["clientConfig"].get("caBundle", ""))


def _refusal(cluster: ApiCluster, given: object) -> str:
    """What kubectl says; empty if it was written (a server that has just been told of a webhook may not ask yet)."""
    try:
        cluster.kubectl("apply", "-f", "-", given=given)
    except ClusterError as error:
        return str(error)
    cluster.kubectl("delete", "-f", "-", given=given)
    return ""
