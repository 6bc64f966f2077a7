"""The parts of a node: container runtime, scheduler, kubelet and kube-proxy, set up to live for a test."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

from tools.kubernetes_cluster import ApiCluster, ClusterError, Place
from tools.kubernetes_pki import write_kubeconfig

NAME, ADDRESS = "node1", "198.18.0.1"
_PODS, _DNS = "198.18.1.0/24", "198.19.0.10"
_REGION, _ZONE = "test", "test-a"
_PLUGINS = ("/usr/lib/cni", "/opt/cni/bin")
_PATIENCE = "120s"


def plugins() -> str:
    """Where plugins for pods' networks are, "" if there are none."""
    return next((place for place in _PLUGINS if (Path(place) / "bridge").exists()), "")


class Node(ApiCluster):
    """An API with one node, whose pods are in the control group `group`; in namespaces that are the node's alone."""

    def __init__(self, directory: Path, group: str) -> None:
        pki = directory / "pki"
        options = (
            "--allow-privileged",
            "--kubelet-preferred-address-types=InternalIP",
            f"--kubelet-certificate-authority={pki}/ca.crt",
            f"--kubelet-client-certificate={pki}/admin.crt",
            f"--kubelet-client-key={pki}/admin.key",
        )
        bind = "0.0.0.0"
        super().__init__(directory, Place(bind, ADDRESS, options, controllers="*"))
        self._group = group

    def start_runtime(self) -> None:
        """Start containerd, and do not wait for it."""
        if not (found := plugins()):
            raise ClusterError(f"no plugins for pods' networks in {' or '.join(_PLUGINS)}")
        networks, own = self.directory / "networks", self.directory / "plugins"
        networks.mkdir(parents=True)
        (networks / "pods.conflist").write_text(json.dumps(_network()))
        own.mkdir()  # of this node alone, so that more can be put there
        for each in Path(found).iterdir():
            (own / each.name).symlink_to(each)
        settings = self.directory / "containerd.toml"
        settings.write_text(_containerd(self.directory))
        (self.directory / "log").mkdir(exist_ok=True)
        self.run("containerd", "--config", str(settings), command="containerd")

    def start_node(self) -> None:
        """Start what makes a node of it; it is ready when this returns. ClusterError if it is not in time."""
        self.authority.issue("node", f"system:node:{NAME}", "system:nodes", (ADDRESS,))
        self.authority.issue("scheduler", "system:kube-scheduler")
        self.authority.issue("proxy", "system:kube-proxy")
        for name in ("node", "scheduler", "proxy"):
            write_kubeconfig(self.kubeconfig(name), self.server, self.pki, name)
        self.run(
            "kube-scheduler",
            f"--kubeconfig={self.kubeconfig('scheduler')}",
            "--leader-elect=false",
            "--bind-address=127.0.0.1",
        )
        self.run(
            "kubelet",
            f"--config={self._settings('kubelet', self._kubelet())}",
            f"--kubeconfig={self.kubeconfig('node')}",
            f"--hostname-override={NAME}",
            f"--node-ip={ADDRESS}",
            f"--node-labels=topology.kubernetes.io/region={_REGION},topology.kubernetes.io/zone={_ZONE}",
        )
        self.run("kube-proxy", f"--config={self._settings('proxy', self._proxy())}")
        self.wait_for("kubelet", lambda: f"node/{NAME}" in self.kubectl("get", "nodes", "--output=name"))
        self.kubectl("wait", "--for=condition=Ready", f"node/{NAME}", f"--timeout={_PATIENCE}")

    def wait_for_runtime(self) -> None:
        """Wait until containerd answers. ClusterError if it does not."""
        asked = ["ctr", "version"]
        self.wait_for("containerd", lambda: subprocess.run(asked, capture_output=True, check=False).returncode == 0)

    def _settings(self, name: str, settings: dict[str, Any]) -> Path:
        path = self.directory / f"{name}.json"
        path.write_text(json.dumps(settings))
        return path

    def _kubelet(self) -> dict[str, Any]:
        full = ("memory.available", "nodefs.available", "nodefs.inodesFree", "imagefs.available", "imagefs.inodesFree")
        nobody = self.directory / "machine" / "resolv.conf"
        return {
            "apiVersion": "kubelet.config.k8s.io/v1beta1",
            "kind": "KubeletConfiguration",
            "authentication": {"anonymous": {"enabled": False}, "x509": {"clientCAFile": f"{self.pki}/ca.crt"}},
            "tlsCertFile": f"{self.pki}/node.crt",
            "tlsPrivateKeyFile": f"{self.pki}/node.key",
            "containerRuntimeEndpoint": "unix:///run/containerd/containerd.sock",
            "cgroupDriver": "cgroupfs",
            "cgroupRoot": f"/{self._group}",
            "failCgroupV1": False,
            "failSwapOn": False,
            "clusterDNS": [_DNS],
            "clusterDomain": "cluster.local",
            "resolvConf": str(nobody),
            # A developer's disk may be fuller than a server's: evict nothing, collect no image.
            "evictionHard": dict.fromkeys(full, "0%"),
            "imageGCHighThresholdPercent": 100,
            "imageGCLowThresholdPercent": 99,
            "maxPods": 250,
        }

    def _proxy(self) -> dict[str, Any]:
        untouched = {"maxPerCore": 0, "min": 0, "tcpEstablishedTimeout": "0s", "tcpCloseWaitTimeout": "0s"}
        return {
            "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
            "kind": "KubeProxyConfiguration",
            "mode": "nftables",
            "clusterCIDR": _PODS,
            "hostnameOverride": NAME,
            "clientConnection": {"kubeconfig": str(self.kubeconfig("proxy"))},
            "conntrack": untouched,  # these limits are the machine's
        }


def _network() -> dict[str, Any]:
    addresses = {"type": "host-local", "ranges": [[{"subnet": _PODS}]], "routes": [{"dst": "0.0.0.0/0"}]}
    bridge = {"type": "bridge", "bridge": "pods0", "isGateway": True, "hairpinMode": True, "ipam": addresses}
    return {"cniVersion": "1.0.0", "name": "pods", "plugins": [bridge]}


def _containerd(directory: Path) -> str:
    return f"""\
version = 2
root = "{directory}/containerd"
state = "/run/containerd"
[plugins."io.containerd.internal.v1.opt"]
  path = "/run/containerd/opt"
[plugins."io.containerd.grpc.v1.cri"]
  # Where root lacks CAP_SYS_RESOURCE, as in many containers, no process may be made less likely to be killed.
  restrict_oom_score_adj = true
  sandbox_image = "weft.test/pause:1"
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "{directory}/plugins"
    conf_dir = "{directory}/networks"
"""
