"""The API of a Kubernetes on loopback: etcd, API server and controllers, which end with whoever started them.

Everything that a client of the API can ask is real; no pods run. Ports are free ones, so several run side by side.
"""

from __future__ import annotations

import json
import os
import random
import socket
import ssl
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from tools.kubernetes import program
from tools.kubernetes_pki import make_authority, write_kubeconfig

from weft.settings.ports import own_ports

_LOOPBACK = "127.0.0.1"
# The benchmark range of RFC 2544, which is never a real host's.
_SERVICES, _API_SERVICE = "198.19.0.0/16", "198.19.0.1"
_PATIENCE = 120.0
_NO_CONTROLLERS = "*,-node-lifecycle-controller,-taint-eviction-controller"
"""Nodes that a test writes send no heartbeat, and are not to be given up for it."""


class ClusterError(Exception):
    """The cluster does not do what it should; the text says what, and where its logs are."""


class ApiCluster:
    """One cluster, all of its files in `directory`, which is made. What the users `audited` do is written down."""

    def __init__(self, directory: Path, audited: Sequence[str] = ()) -> None:
        self.directory = directory
        self._audited = tuple(audited)
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self._ports: dict[str, int] = {}

    @property
    def server(self) -> str:
        """The URL of the API server."""
        return f"https://{_LOOPBACK}:{self._ports['api']}"

    def kubeconfig(self, name: str) -> Path:
        """The kubeconfig file of ``admin``, or of whom `account` has given one."""
        return self.directory / f"{name}.kubeconfig"

    def start(self) -> None:
        """Start everything, and return when it is ready. ClusterError if it does not become so; nothing runs then."""
        self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        (self.directory / "log").mkdir()
        self._ports = _free_ports("etcd", "peer", "api", "controllers")
        pki = self.directory / "pki"
        authority = make_authority(pki)
        authority.issue("apiserver", "kube-apiserver", addresses=(_LOOPBACK, _API_SERVICE))
        authority.issue("admin", "admin", "system:masters")
        authority.issue("controllers", "system:kube-controller-manager")
        for name in ("admin", "controllers"):
            write_kubeconfig(self.kubeconfig(name), self.server, pki, name)
        try:
            self._start_etcd()
            self.start_api_server()
            self._start_controllers()
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """End everything at once: nothing of it is kept. It may be called again."""
        for process in reversed(self._processes.values()):
            process.kill()
        for process in self._processes.values():
            process.wait()
            if process.stdin is not None:
                process.stdin.close()
        self._processes.clear()

    def start_api_server(self) -> None:
        """Start the API server, again if it was ended, and wait until it is ready."""
        pki, ports = self.directory / "pki", self._ports
        self._start(
            "kube-apiserver",
            f"--etcd-servers=http://{_LOOPBACK}:{ports['etcd']}",
            f"--bind-address={_LOOPBACK}",
            f"--advertise-address={_LOOPBACK}",
            f"--secure-port={ports['api']}",
            "--endpoint-reconciler-type=none",  # no node is there that could reach it by its service's address
            f"--tls-cert-file={pki}/apiserver.crt",
            f"--tls-private-key-file={pki}/apiserver.key",
            f"--client-ca-file={pki}/ca.crt",
            "--authorization-mode=Node,RBAC",
            f"--service-cluster-ip-range={_SERVICES}",
            "--service-account-issuer=https://kubernetes.default.svc",
            f"--service-account-key-file={pki}/sa.pub",
            f"--service-account-signing-key-file={pki}/sa.key",
            "--enable-admission-plugins=NodeRestriction",
            "--profiling=false",
            *self._audit_options(),
        )
        trusted = ssl.create_default_context(cafile=pki / "ca.crt")
        self._await("kube-apiserver", lambda: _answer(f"{self.server}/readyz", trusted) == b"ok")

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

    def kubectl(self, *arguments: str, given: object = None) -> str:
        """What kubectl prints; `given` is its input as a value for JSON. ClusterError if it fails."""
        command = [str(program("kube")), "kubectl", "--kubeconfig", str(self.kubeconfig("admin")), *arguments]
        text = None if given is None else json.dumps(given)
        done = subprocess.run(command, input=text, capture_output=True, text=True, check=False, env=self._environment())
        if done.returncode != 0:
            raise ClusterError(f"kubectl {' '.join(arguments)}: {done.stderr.strip()}")
        return done.stdout

    def account(self, name: str, rules: list[dict[str, Any]]) -> Path:
        """The kubeconfig file of a service account of the namespace ``default`` that may do what `rules` say in all
        namespaces (rules of a ClusterRole; a second call replaces them)."""
        about, group = {"name": name}, "rbac.authorization.k8s.io"
        subject = {"kind": "ServiceAccount", "name": name, "namespace": "default"}
        role = {"kind": "ClusterRole", "name": name, "apiGroup": group}
        account = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {**about, "namespace": "default"}}
        items = [
            account,
            {"apiVersion": f"{group}/v1", "kind": "ClusterRole", "metadata": about, "rules": rules},
            {
                "apiVersion": f"{group}/v1",
                "kind": "ClusterRoleBinding",
                "metadata": about,
                "subjects": [subject],
                "roleRef": role,
            },
        ]
        self.kubectl("apply", "-f", "-", given={"apiVersion": "v1", "kind": "List", "items": items})
        token = self.kubectl("create", "token", name, "--namespace=default").strip()
        path = self.kubeconfig(name)
        write_kubeconfig(path, self.server, self.directory / "pki", token=token)
        return path

    def etcd(self, call: str, **body: object) -> dict[str, Any]:
        """One call of etcd itself, behind the API server's back; keys and values in base64."""
        url = f"http://{_LOOPBACK}:{self._ports['etcd']}/v3/{call}"
        request = urllib.request.Request(url, json.dumps(body).encode(), {"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=10) as answer:
            return dict(json.load(answer))

    def _start_etcd(self) -> None:
        client = f"http://{_LOOPBACK}:{self._ports['etcd']}"
        peer = f"http://{_LOOPBACK}:{self._ports['peer']}"
        self._start(
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
        self._await("etcd", lambda: "header" in self.etcd("maintenance/status"))

    def _start_controllers(self) -> None:
        pki = self.directory / "pki"
        self._start(
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
            f"--controllers={_NO_CONTROLLERS}",
        )

    def _start(self, name: str, *arguments: str) -> None:
        with (self.directory / "log" / f"{name}.log").open("ab") as log:
            self._processes[name] = subprocess.Popen(
                [program("kube"), name, *arguments],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                env={**self._environment(), "KUBE_END_WITH_STDIN": "1"},
                start_new_session=True,  # Ctrl-C is for who started it
            )

    def _environment(self) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("KUBE", "ETCD_"))}
        return {**kept, "HOME": str(self.directory)}  # where kubectl keeps what it has discovered

    def _await(self, name: str, holds: Any) -> None:
        end = time.monotonic() + _PATIENCE
        while self._processes[name].poll() is None and time.monotonic() < end:
            try:
                if holds():
                    return
            except (ClusterError, OSError, urllib.error.URLError):
                time.sleep(0.1)
        raise ClusterError(f"{name} is not ready; its log is in {self.directory / 'log'}")


def _answer(url: str, trusted: ssl.SSLContext) -> bytes:
    with urllib.request.urlopen(url, timeout=10, context=trusted) as answer:
        return bytes(answer.read())


def _free_ports(*names: str) -> dict[str, int]:
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
