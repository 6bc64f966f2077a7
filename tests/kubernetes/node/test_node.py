"""The node for tests: pods run and are called by name, and nothing of it stays behind."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import psutil
from tools.kubernetes_access import ClusterError
from tools.kubernetes_node import NodeCluster
from tools.packages.payload import ROOT

from weft.testing.polling import until

_IMAGE = "weft.test/weft:1"
_SERVES = "hostname >/tmp/index.html && exec python3 -u -m http.server 8080 --directory /tmp"
_OF_THE_MACHINE = (
    "/var/lib/kubelet",
    "/var/lib/containerd",
    "/var/lib/cni",
    "/var/log/pods",
    "/var/log/containers",
    "/run/containerd",
    "/opt/containerd",
    "/etc/cni/net.d",
)


def deployment(name: str, namespace: str, replicas: int) -> dict[str, Any]:
    """Pods that tell over HTTP what they are called."""
    container = {
        "name": "web",
        "image": _IMAGE,
        "imagePullPolicy": "Never",
        "command": ["sh", "-c", _SERVES],
        "ports": [{"containerPort": 8080}],
        "readinessProbe": {"httpGet": {"port": 8080}, "periodSeconds": 1},
    }
    spec = {
        "replicas": replicas,
        "selector": {"matchLabels": {"app": name}},
        "template": {
            "metadata": {"labels": {"app": name}},
            "spec": {"containers": [container], "terminationGracePeriodSeconds": 0},
        },
    }
    about = {"name": name, "namespace": namespace}
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": about, "spec": spec}


def service(name: str, namespace: str) -> dict[str, Any]:
    spec = {"selector": {"app": name}, "ports": [{"port": 80, "targetPort": 8080}]}
    about = {"name": name, "namespace": namespace}
    return {"apiVersion": "v1", "kind": "Service", "metadata": about, "spec": spec}


async def test_pods_run_and_are_called_by_name(cluster: NodeCluster, namespace: str) -> None:
    def kubectl(*arguments: str) -> str:
        return cluster.kubectl("--namespace", namespace, *arguments)

    def answers(address: str) -> set[str]:
        """Who answers ten calls of one pod. AssertionError while kube-proxy still refuses: it hears of pods that are
        ready at another moment than whoever waits for the rollout."""
        calls = f"[urllib.request.urlopen('http://{address}/', timeout=5).read().decode() for _ in range(10)]"
        try:
            called = kubectl("exec", "deploy/web", "--", "python3", "-c", f"import urllib.request; print(*{calls})")
        except ClusterError as error:
            raise AssertionError("not every call was answered") from error
        return set(called.split())

    def ready() -> set[str]:
        return set(kubectl("get", "pods", "--selector=app=web", "--output=jsonpath={.items[*].metadata.name}").split())

    items = [deployment("web", namespace, 2), service("web", namespace)]
    cluster.kubectl("apply", "-f", "-", given={"apiVersion": "v1", "kind": "List", "items": items})
    kubectl("rollout", "status", "deploy/web", "--timeout=120s")
    address = kubectl("get", "service", "web", "--output=jsonpath={.spec.clusterIP}")
    until("both pods to answer by name", lambda: answers("web") == ready() and len(ready()) == 2)
    until("both pods to answer by address", lambda: answers(address) == ready())
    assert '"GET / HTTP/1.1" 200' in kubectl("logs", "deploy/web")

    kubectl("scale", "deploy/web", "--replicas=3")
    kubectl("rollout", "status", "deploy/web", "--timeout=120s")
    until(
        "three pods to answer", lambda: answers(f"web.{namespace}.svc.cluster.local") == ready() and len(ready()) == 3
    )
    assert cluster.in_node(["hostname"]).strip() == "node1"


def test_node_whose_owner_is_killed_leaves_nothing_behind(cluster: NodeCluster, tmp_path: Path) -> None:
    """Beside another one, which is not touched."""
    directory = tmp_path / "cluster"
    before = _of_the_machine()
    command = [sys.executable, "-m", "tools.kubernetes_up", "--node", str(directory)]
    owner = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert owner.stdout is not None
    assert "KUBECONFIG" in owner.stdout.readline()
    assert _processes(directory)
    assert _groups(owner.pid)

    owner.send_signal(signal.SIGKILL)
    owner.wait()
    owner.stdout.close()
    until("its processes to be gone", lambda: not _processes(directory))
    until("its control groups to be gone", lambda: not _groups(owner.pid))
    assert str(directory) not in Path("/proc/self/mountinfo").read_text()
    assert _of_the_machine() == before
    assert "Running" in cluster.kubectl("get", "pods", "--namespace=kube-system")


def _of_the_machine() -> dict[str, list[Path] | None]:
    """What is where a node would put it, None where nothing is."""
    places = [Path(place) for place in _OF_THE_MACHINE]
    return {str(place): sorted(place.iterdir()) if place.is_dir() else None for place in places}


def _processes(directory: Path) -> list[psutil.Process]:
    found = []
    for process in psutil.process_iter(["cmdline"]):
        if any(str(directory) in word for word in process.info["cmdline"] or ()):
            found.append(process)
    return found


def _groups(owner: int) -> list[Path]:
    return [path for depth in ("*", "*/*") for path in Path("/sys/fs/cgroup").glob(f"{depth}/weft-node-{owner}-*")]
