"""The parts of a node: container runtime, scheduler, kubelet and kube-proxy, set up to live for a test."""

from __future__ import annotations

import json
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tools.kubernetes_cluster import ApiCluster, ClusterError, Parts, Place
from tools.kubernetes_pki import Authority, write_kubeconfig

_DNS = "198.19.0.10"
_REGION, _ZONE = "test", "test-a"
_PLUGINS = ("/usr/lib/cni", "/opt/cni/bin")
_PATIENCE = "120s"


@dataclass(frozen=True)
class Seat:
    """What a node has for itself in the namespaces: a name, an address, a range of addresses for its pods, the bridge
    that these are at, and where its kubelet, its pods' logs and its containers' state are."""

    name: str
    address: str
    pods: str
    bridge: str
    kubelet: str
    logs: str
    state: str

    @property
    def socket(self) -> str:
        """Where its containerd answers."""
        return f"{self.state}/containerd.sock"


FIRST = Seat("node1", "198.18.0.1", "198.18.1.0/24", "pods0", "/var/lib/kubelet", "/var/log/pods", "/run/containerd")
SECOND = Seat(
    "node2", "198.18.0.2", "198.18.2.0/24", "pods1", "/var/lib/kubelet2", "/var/log/pods2", "/run/containerd2"
)


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
        super().__init__(directory, Place(bind, FIRST.address, options, controllers="*"))
        self._group = group

    def start_runtime(self) -> None:
        """Start containerd, and do not wait for it."""
        start_runtime(self, FIRST)

    def start_node(self) -> None:
        """Start what makes a node of it; it is ready when this returns. ClusterError if it is not in time."""
        self.authority.issue("scheduler", "system:kube-scheduler")
        self.authority.issue("proxy", "system:kube-proxy")
        for name in ("scheduler", "proxy"):
            write_kubeconfig(self.kubeconfig(name), self.server, self.pki, name)
        self.run(
            "kube-scheduler",
            f"--kubeconfig={self.kubeconfig('scheduler')}",
            "--leader-elect=false",
            "--bind-address=127.0.0.1",
        )
        self.run("kube-proxy", f"--config={_settings(self, 'proxy', self._proxy())}")
        start_kubelet(self, FIRST, self.authority, self._group)

    def wait_for_runtime(self) -> None:
        """Wait until containerd answers. ClusterError if it does not."""
        wait_for_runtime(self, FIRST)

    def _proxy(self) -> dict[str, Any]:
        untouched = {"maxPerCore": 0, "min": 0, "tcpEstablishedTimeout": "0s", "tcpCloseWaitTimeout": "0s"}
        return {
            "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
            "kind": "KubeProxyConfiguration",
            "mode": "nftables",
            "clusterCIDR": FIRST.pods,
            "hostnameOverride": FIRST.name,
            "clientConnection": {"kubeconfig": str(self.kubeconfig("proxy"))},
            "conntrack": untouched,  # these limits are the machine's
        }


def start_runtime(parts: Parts, seat: Seat) -> None:
    """Start the containerd of a seat, and do not wait for it."""
    if not (found := plugins()):
        raise ClusterError(f"no plugins for pods' networks in {' or '.join(_PLUGINS)}")
    own = parts.directory / seat.name
    for name in ("networks", "plugins"):
        (own / name).mkdir(parents=True, exist_ok=True)
    (own / "networks" / "pods.conflist").write_text(json.dumps(_network(seat)))
    for each in Path(found).iterdir():  # of this node alone, so that more can be put there
        (own / "plugins" / each.name).unlink(missing_ok=True)
        (own / "plugins" / each.name).symlink_to(each)
    settings = own / "containerd.toml"
    settings.write_text(_containerd(own, seat))
    (parts.directory / "log").mkdir(exist_ok=True)
    parts.run(f"containerd-{seat.name}", "--config", str(settings), command="containerd")


def wait_for_runtime(parts: Parts, seat: Seat) -> None:
    """Wait until the containerd of a seat answers. ClusterError if it does not."""
    asked = ["ctr", f"--address={seat.socket}", "version"]
    parts.wait_for(
        f"containerd-{seat.name}", lambda: subprocess.run(asked, capture_output=True, check=False).returncode == 0
    )


def start_kubelet(parts: Parts, seat: Seat, authority: Authority, group: str) -> None:
    """Start the kubelet of a seat, whose pods are in the control group `group`; its node is ready when this returns.
    ClusterError if it is not in time."""
    authority.issue(seat.name, f"system:node:{seat.name}", "system:nodes", (seat.address,))
    write_kubeconfig(parts.kubeconfig(seat.name), parts.server, parts.pki, seat.name)
    parts.run(
        f"kubelet-{seat.name}",
        f"--config={_settings(parts, seat.name, _kubelet(parts, seat, group))}",
        f"--kubeconfig={parts.kubeconfig(seat.name)}",
        f"--hostname-override={seat.name}",
        f"--node-ip={seat.address}",
        f"--root-dir={seat.kubelet}",
        f"--node-labels=topology.kubernetes.io/region={_REGION},topology.kubernetes.io/zone={_ZONE}",
        part="kubelet",
    )
    parts.wait_for(
        f"kubelet-{seat.name}", lambda: f"node/{seat.name}" in parts.kubectl("get", "nodes", "--output=name")
    )
    parts.kubectl("wait", "--for=condition=Ready", f"node/{seat.name}", f"--timeout={_PATIENCE}")


def _settings(parts: Parts, name: str, settings: dict[str, Any]) -> Path:
    path = parts.directory / f"{name}.json"
    path.write_text(json.dumps(settings))
    return path


def _kubelet(parts: Parts, seat: Seat, group: str) -> dict[str, Any]:
    full = ("memory.available", "nodefs.available", "nodefs.inodesFree", "imagefs.available", "imagefs.inodesFree")
    nobody = parts.directory / "machine" / "resolv.conf"
    pki = parts.pki
    return {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "address": seat.address,
        "healthzPort": 0,  # one of the machine's loopback, which two would share
        "authentication": {"anonymous": {"enabled": False}, "x509": {"clientCAFile": f"{pki}/ca.crt"}},
        "tlsCertFile": f"{pki}/{seat.name}.crt",
        "tlsPrivateKeyFile": f"{pki}/{seat.name}.key",
        "containerRuntimeEndpoint": f"unix://{seat.socket}",
        "podLogsDir": seat.logs,
        "cgroupDriver": "cgroupfs",
        "cgroupRoot": f"/{group}",
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


def _network(seat: Seat) -> dict[str, Any]:
    addresses = {"type": "host-local", "ranges": [[{"subnet": seat.pods}]], "routes": [{"dst": "0.0.0.0/0"}]}
    bridge = {"type": "bridge", "bridge": seat.bridge, "isGateway": True, "hairpinMode": True, "ipam": addresses}
    return {"cniVersion": "1.0.0", "name": seat.bridge, "plugins": [bridge]}


def _containerd(own: Path, seat: Seat) -> str:
    return f"""\
version = 2
root = "{own}/containerd"
state = "{seat.state}"
[grpc]
  address = "{seat.socket}"
[plugins."io.containerd.internal.v1.opt"]
  path = "{seat.state}/opt"
[plugins."io.containerd.grpc.v1.cri"]
  # Where root lacks CAP_SYS_RESOURCE, as in many containers, no process may be made less likely to be killed.
  restrict_oom_score_adj = true
  sandbox_image = "weft.test/pause:1"
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "{own}/plugins"
    conf_dir = "{own}/networks"
"""
