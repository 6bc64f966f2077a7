"""The API of a Kubernetes on loopback: etcd, API server and controllers, which end with whoever started them.

Everything that a client of the API can ask is real; no pods run. Ports are free ones, so several run side by side.
"""

from __future__ import annotations

import json
import random
import socket
import ssl
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tools.kubernetes import program
from tools.kubernetes_access import Access, ClusterError, own_environment
from tools.kubernetes_pki import make_authority, write_kubeconfig

from weft.settings.ports import own_ports

__all__ = ["API_SERVICE", "SERVICES", "ApiCluster", "ClusterError", "Parts", "Place", "free_ports"]

_LOOPBACK = "127.0.0.1"
# The benchmark range of RFC 2544, which is never a real host's.
SERVICES, API_SERVICE = "198.19.0.0/16", "198.19.0.1"
_PATIENCE = 120.0
_NO_NODES = "*,-node-lifecycle-controller,-taint-eviction-controller"
"""Nodes that a test writes send no heartbeat, and are not to be given up for it."""


@dataclass(frozen=True)
class Place:
    """Where the API server listens, at which address others reach it, and how it is told of it; and the controllers
    that run."""

    bind: str = _LOOPBACK
    address: str = _LOOPBACK
    options: tuple[str, ...] = ("--endpoint-reconciler-type=none",)  # no pod reaches it by its service's address
    controllers: str = _NO_NODES


class Parts(Access):
    """Processes of a Kubernetes whose files are in `directory`; they end with this process."""

    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        self._processes: dict[str, subprocess.Popen[bytes]] = {}

    def part(self, pid: int) -> str:
        """Which of what was started has this process id, "" if none has."""
        return next((name for name, process in self._processes.items() if process.pid == pid), "")

    def stop(self) -> None:
        """End everything at once: nothing of it is kept. It may be called again."""
        for process in reversed(self._processes.values()):
            process.kill()
        for process in self._processes.values():
            process.wait()
            if process.stdin is not None:
                process.stdin.close()
        self._processes.clear()

    def run(self, name: str, *arguments: str, part: str = "", command: str = "") -> None:
        """Start the `part` of Kubernetes that has this name, unless another is said, or another `command`; its output
        is in ``log/NAME.log``."""
        started = [command] if command else [str(program("kube")), part or name]
        with (self.directory / "log" / f"{name}.log").open("ab") as log:
            self._processes[name] = subprocess.Popen(
                [*started, *arguments],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                env={**own_environment(self.directory), "KUBE_END_WITH_STDIN": "1"},
                start_new_session=True,  # Ctrl-C is for who started it
            )

    def wait_for(self, name: str, holds: Callable[[], bool]) -> None:
        """Wait until what was started holds. ClusterError if it ends before, or takes too long."""
        end = time.monotonic() + _PATIENCE
        while self._processes[name].poll() is None and time.monotonic() < end:
            try:
                if holds():
                    return
            except (ClusterError, OSError, urllib.error.URLError, subprocess.CalledProcessError):
                pass
            time.sleep(0.1)
        raise ClusterError(f"{name} is not ready; its log is in {self.directory / 'log'}")


class ApiCluster(Parts):
    """One cluster, all of its files in `directory`, which is made. What the users `audited` do is written down."""

    def __init__(self, directory: Path, place: Place = Place(), audited: Sequence[str] = ()) -> None:
        super().__init__(directory)
        self._place = place
        self._audited = tuple(audited)
        self._ports: dict[str, int] = {}

    @property
    def server(self) -> str:
        """The URL of the API server."""
        return f"https://{self._place.address}:{self.port}"

    @property
    def port(self) -> int:
        """Where the API server listens."""
        return self._ports["api"]

    def start(self) -> None:
        """Start everything, and return when it is ready. ClusterError if it does not become so; nothing runs then."""
        self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        (self.directory / "log").mkdir(exist_ok=True)
        self._ports = free_ports("etcd", "peer", "api", "controllers")
        self.authority = authority = make_authority(self.pki)
        authority.issue("apiserver", "kube-apiserver", addresses=(_LOOPBACK, self._place.address, API_SERVICE))
        authority.issue("admin", "admin", "system:masters")
        authority.issue("controllers", "system:kube-controller-manager")
        for name in ("admin", "controllers"):
            write_kubeconfig(self.kubeconfig(name), self.server, self.pki, name)
        try:
            self._start_etcd()
            self.start_api_server()
            self._start_controllers()
        except BaseException:
            self.stop()
            raise

    def start_api_server(self) -> None:
        """Start the API server, again if it was ended, and wait until it is ready."""
        pki, ports = self.pki, self._ports
        self.run(
            "kube-apiserver",
            f"--etcd-servers=http://{_LOOPBACK}:{ports['etcd']}",
            f"--bind-address={self._place.bind}",
            f"--advertise-address={self._place.address}",
            f"--secure-port={ports['api']}",
            f"--tls-cert-file={pki}/apiserver.crt",
            f"--tls-private-key-file={pki}/apiserver.key",
            f"--client-ca-file={pki}/ca.crt",
            "--authorization-mode=Node,RBAC",
            f"--service-cluster-ip-range={SERVICES}",
            "--service-account-issuer=https://kubernetes.default.svc",
            f"--service-account-key-file={pki}/sa.pub",
            f"--service-account-signing-key-file={pki}/sa.key",
            "--enable-admission-plugins=NodeRestriction",
            "--profiling=false",
            *self._place.options,
            *self._audit_options(),
        )
        trusted = ssl.create_default_context(cafile=pki / "ca.crt")
        self.wait_for("kube-apiserver", lambda: _answer(f"{self.server}/readyz", trusted) == b"ok")

    def audit(self) -> Iterator[dict[str, Any]]:
        """What the audited users have asked so far, with what was answered (events of audit.k8s.io/v1)."""
        path = self.directory / "audit.jsonl"
        text = path.read_text() if path.is_file() else ""
        yield from (json.loads(line) for line in text.splitlines(keepends=True) if line.endswith("\n"))

    def _audit_options(self) -> tuple[str, ...]:
        if not self._audited:
            return ()
        policy = self.directory / "audit-policy.json"
        rules = [{"level": "Metadata", "users": list(self._audited)}, {"level": "None"}]
        head = {"apiVersion": "audit.k8s.io/v1", "kind": "Policy", "omitStages": ["RequestReceived"]}
        policy.write_text(json.dumps({**head, "rules": rules}))
        return (f"--audit-policy-file={policy}", f"--audit-log-path={self.directory / 'audit.jsonl'}")

    def kill_api_server(self) -> None:
        """The API server ends without a word."""
        process = self._processes.pop("kube-apiserver")
        process.kill()
        process.wait()
        if process.stdin is not None:
            process.stdin.close()

    def etcd(self, call: str, **body: object) -> dict[str, Any]:
        """One call of etcd itself, behind the API server's back; keys and values in base64."""
        url = f"http://{_LOOPBACK}:{self._ports['etcd']}/v3/{call}"
        request = urllib.request.Request(url, json.dumps(body).encode(), {"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=10) as answer:
            return dict(json.load(answer))

    def _start_etcd(self) -> None:
        client = f"http://{_LOOPBACK}:{self._ports['etcd']}"
        peer = f"http://{_LOOPBACK}:{self._ports['peer']}"
        self.run(
            "etcd",
            f"--data-dir={self.directory / 'etcd'}",
            "--unsafe-no-fsync",
            "--log-level=warn",
            f"--listen-client-urls={client}",
            f"--advertise-client-urls={client}",
            f"--listen-peer-urls={peer}",
            f"--initial-advertise-peer-urls={peer}",
            f"--initial-cluster=default={peer}",
        )
        self.wait_for("etcd", lambda: "header" in self.etcd("maintenance/status"))

    def _start_controllers(self) -> None:
        pki = self.pki
        self.run(
            "kube-controller-manager",
            f"--kubeconfig={self.kubeconfig('controllers')}",
            "--leader-elect=false",
            f"--bind-address={_LOOPBACK}",
            f"--secure-port={self._ports['controllers']}",
            f"--root-ca-file={pki}/ca.crt",
            f"--service-account-private-key-file={pki}/sa.key",
            "--use-service-account-credentials",
            "--kube-api-qps=1000",
            "--kube-api-burst=2000",
            f"--controllers={self._place.controllers}",
        )


def _answer(url: str, trusted: ssl.SSLContext) -> bytes:
    with urllib.request.urlopen(url, timeout=10, context=trusted) as answer:
        return bytes(answer.read())


def free_ports(*names: str) -> dict[str, int]:
    """A port for each name, of those that no outgoing connection is given, so that a restart finds it free."""
    candidates, found = list(own_ports()), {}
    random.shuffle(candidates)
    for name in names:
        while name not in found:
            port = candidates.pop()
            with socket.socket() as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                try:
                    probe.bind((_LOOPBACK, port))
                except OSError:
                    continue
                found[name] = port
    return found
