"""weft in a Kubernetes for tests: installed by its chart, with the images of this checkout."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping

from tools.go_programs import ROOT
from tools.images.build import TEST_REGISTRY, TEST_TAG
from tools.kubernetes import program
from tools.kubernetes_access import Access, ClusterError, own_environment

from weft.testing.polling import until

NAMESPACE = "weft-system"
_CONTROL_PLANE = "app.kubernetes.io/name=weft,app.kubernetes.io/component=control-plane"
_VALUES = {
    "image.repository": f"{TEST_REGISTRY}/weft",
    "image.tag": TEST_TAG,
    "image.pullPolicy": "Never",
}


def install(cluster: Access, values: Mapping[str, object] | None = None) -> None:
    """Install weft, where only restricted pods may run, and wait until it is ready. ClusterError with what its log says
    last if it does not become so."""
    about = {"name": NAMESPACE, "labels": {"pod-security.kubernetes.io/enforce": "restricted"}}
    cluster.kubectl("apply", "-f", "-", given={"apiVersion": "v1", "kind": "Namespace", "metadata": about})
    helm(cluster, "install", "weft", str(ROOT / "charts" / "weft"), values=values or {})
    _await(cluster)


def upgrade(cluster: Access, values: Mapping[str, object]) -> None:
    """Install it anew with other values, and wait until it is ready, and nothing of the former one is left, which the
    API server may still ask what pods get. ClusterError as above."""
    helm(cluster, "upgrade", "weft", str(ROOT / "charts" / "weft"), values=values)
    _await(cluster)
    until("the former control plane has ended", lambda: not _ending(cluster), 180)


def _ending(cluster: Access) -> list[str]:
    found = json.loads(cluster.kubectl("get", "pods", "-n", NAMESPACE, "-l", _CONTROL_PLANE, "-o", "json"))["items"]
    return [each["metadata"]["name"] for each in found if "deletionTimestamp" in each["metadata"]]


def _await(cluster: Access) -> None:
    try:
        cluster.kubectl("rollout", "status", "-n", NAMESPACE, "deployment/weft", "--timeout=180s")
    except ClusterError as error:
        said = cluster.kubectl("logs", "-n", NAMESPACE, "deployment/weft", "--tail=30")
        raise ClusterError(f"{error}\n{said}") from error


def helm(cluster: Access, *arguments: str, values: Mapping[str, object] | None = None) -> str:
    """What helm prints, for the release in weft's namespace. ClusterError if it fails."""
    given = {**_VALUES, **(values or {})} if arguments[0] in ("install", "upgrade") else {}
    settings = [word for name, value in given.items() for word in ("--set-json", f"{name}={json.dumps(value)}")]
    known = ["--kubeconfig", str(cluster.kubeconfig("admin")), "--namespace", NAMESPACE]
    command = [str(program("helm")), *arguments, *known, *settings]
    environment = own_environment(cluster.directory)
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    if done.returncode != 0:
        raise ClusterError(f"helm {' '.join(arguments)}: {(done.stderr or done.stdout).strip()}")
    return done.stdout
