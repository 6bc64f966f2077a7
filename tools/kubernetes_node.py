"""A Kubernetes of one real node, in namespaces of its own, which end with whoever started it.

Pods run as anywhere: containerd, runc, kubelet, kube-proxy and CoreDNS are real. Nothing of it shows outside of its
mount, network, process and host name namespaces but its control groups, and these go when it ends. Its network leads
nowhere; its API is led to a port of the machine's loopback. It needs root.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import psutil
from tools.go_programs import ROOT
from tools.kubernetes import program
from tools.kubernetes_access import Access, ClusterError, own_environment
from tools.kubernetes_cluster import free_ports
from tools.kubernetes_groups import remove_groups
from tools.kubernetes_inside import LAID_OVER
from tools.kubernetes_parts import FIRST, SECOND, Seat, plugins
from tools.kubernetes_pki import write_kubeconfig

_LOOPBACK = "127.0.0.1"
_PATIENCE = 300.0
_NEEDED = {
    "unshare": "util-linux",
    "nsenter": "util-linux",
    "mount": "mount",
    "ip": "iproute2",
    "nft": "nftables",
    "containerd": "containerd",
    "ctr": "containerd",
    "runc": "runc",
}
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def missing(path: str = _PATH, networks: str | None = None, root: bool | None = None) -> str:
    """What this machine lacks for a node, as a sentence that says what to do; "" if nothing. Commands are looked for in
    `path`; `networks` is where plugins for pods' networks are, "" for nowhere."""
    lacking = {package for command, package in _NEEDED.items() if shutil.which(command, path=path) is None}
    if not (plugins() if networks is None else networks):
        lacking.add("containernetworking-plugins")
    if lacking:
        names = " ".join(sorted(lacking))
        return f"a node needs what is not here; install it (Debian and Ubuntu: apt-get install {names})"
    if not (os.geteuid() == 0 if root is None else root):
        return "a node needs root, for namespaces, mounts and control groups of its own; run it as root"
    return ""


class NodeCluster(Access):
    """One cluster, all of its files in `directory`, which is made."""

    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        self._keeper: subprocess.Popen[bytes] | None = None
        self._first = 0
        self._port = 0

    @property
    def server(self) -> str:
        """The URL of the API server, from this machine's loopback."""
        return f"https://{_LOOPBACK}:{self._port}"

    @property
    def inside(self) -> Path:
        """The administrator's kubeconfig file for what runs in the node's network."""
        return self._node / "admin.kubeconfig"

    @property
    def plugins(self) -> Path:
        """Where its runtime finds the plugins for pods' networks."""
        return self._node / FIRST.name / "plugins"

    @property
    def networks(self) -> Path:
        """Where it finds the lists of them."""
        return self._node / FIRST.name / "networks"

    @property
    def pki(self) -> Path:
        """Where the cluster's certificates are."""
        return self._node / "pki"

    def start(self) -> None:
        """Start everything, and return when it is ready. ClusterError if it does not become so; nothing runs then."""
        if lacking := missing():
            raise ClusterError(lacking)
        program("kube")
        if any(self.directory.is_relative_to(place) for place in (*LAID_OVER, Path("/run"), Path("/var/run"))):
            raise ClusterError(f"{self.directory} is where a node has directories of its own: give another")
        self._node.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._port = free_ports("api")["api"]
        try:
            with socket.create_server((_LOOPBACK, self._port)) as listener:
                self._run(listener.fileno())
            self._await()
            write_kubeconfig(self.kubeconfig("admin"), self.server, self.pki, "admin")
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """End everything at once: nothing of it is kept. It may be called again."""
        keeper, self._keeper = self._keeper, None
        if keeper is None:
            return
        if keeper.stdin is not None:
            keeper.stdin.close()
        keeper.wait()
        remove_groups(self._group)

    def command(self, command: Sequence[str]) -> list[str]:
        """The same command, run in the node: its network, mounts, processes and host name, but this machine's files."""
        namespaces = ("--mount", "--net", "--pid", "--uts")
        kubeconfig = f"KUBECONFIG={self.inside}"
        return ["nsenter", *namespaces, f"--target={self._first}", "--", "env", kubeconfig, *command]

    def in_node(self, command: Sequence[str], given: str | None = None, timeout: float = 60.0) -> str:
        """What a command prints that runs in the node. ClusterError if it fails, or takes longer than `timeout` (s)."""
        try:
            done = subprocess.run(
                self.command(command), input=given, capture_output=True, text=True, check=False, timeout=timeout
            )
        except subprocess.TimeoutExpired as error:
            raise ClusterError(f"{' '.join(command)}: took longer than {timeout:g} s") from error
        if done.returncode != 0:
            raise ClusterError(f"{' '.join(command)}: {(done.stderr or done.stdout).strip()}")
        return done.stdout

    def import_image(self, archive: Path, seat: Seat = FIRST) -> None:
        """Give a node the images of an archive, for pods with ``imagePullPolicy: Never`` or ``IfNotPresent``."""
        ctr = ["ctr", f"--address={seat.socket}", "--namespace=k8s.io"]
        self.in_node([*ctr, "images", "import", str(archive.absolute())], timeout=300.0)

    @contextlib.contextmanager
    def second_node(self, archives: Sequence[Path]) -> Iterator[str]:
        """A second node, called so, with the images of archives, until the context ends: drain it before. ClusterError
        if it does not become ready."""
        command = [
            "env",
            f"--chdir={ROOT}",
            sys.executable,
            "-m",
            "tools.kubernetes_second",
            str(self._node),
            self._group,
        ]
        with (self.directory / "node.log").open("ab") as log:
            node = subprocess.Popen(
                self.command(command),
                cwd=ROOT,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                env=self._environment(),
                text=True,
            )
        assert node.stdin is not None and node.stdout is not None
        try:
            if node.stdout.readline().strip() != "ready":
                raise ClusterError(f"the second node has not started; {self.directory / 'node.log'} says why")
            for archive in archives:
                self.import_image(archive, SECOND)
            yield SECOND.name
        finally:
            node.stdin.close()
            node.wait()
            node.stdout.close()
            self.kubectl("delete", "node", SECOND.name, "--ignore-not-found")

    @property
    def name(self) -> str:
        """What the node is called."""
        return FIRST.name

    @property
    def _node(self) -> Path:
        return self.directory / "node"

    @property
    def _group(self) -> str:
        return f"weft-node-{os.getpid()}-{self._port}"

    def _environment(self) -> dict[str, str]:
        return {**own_environment(self._node), "PATH": f"{os.environ.get('PATH', '')}:{_PATH}"}

    def _run(self, listening: int) -> None:
        unshare = ["unshare", "--mount", "--net", "--pid", "--uts", "--fork", "--kill-child"]
        python = [sys.executable, "-m"]
        first = [*unshare, *python, "tools.kubernetes_inside", str(self._node), self._group, str(listening)]
        with (self.directory / "node.log").open("ab") as log:
            self._keeper = subprocess.Popen(
                [*python, "tools.kubernetes_groups", self._group, *first],
                cwd=ROOT,
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                pass_fds=(listening,),
                env=self._environment(),
                start_new_session=True,  # Ctrl-C is for who started it
            )

    def _await(self) -> None:
        keeper, end = self._keeper, time.monotonic() + _PATIENCE
        assert keeper is not None
        while keeper.poll() is None and time.monotonic() < end:
            if (self._node / "ready").exists():
                (unshare,) = psutil.Process(keeper.pid).children()
                (first,) = unshare.children()
                self._first = first.pid
                return
            time.sleep(0.05)
        said = (self.directory / "node.log").read_text().strip().splitlines()
        why = said[-1] if said else "it is not ready in time"
        raise ClusterError(f"the node has not started: {why}; its logs are in {self._node / 'log'}")
