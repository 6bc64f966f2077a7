"""What an administrator does at a Kubernetes for tests: kubectl, and accounts for others."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tools.kubernetes import program
from tools.kubernetes_pki import write_kubeconfig


class ClusterError(Exception):
    """The cluster does not do what it should; the text says what, and where its logs are."""


class Access:
    """Who has the administrator's kubeconfig in `directory`, where those of others are written beside it."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    @property
    def server(self) -> str:
        """The URL of the API server."""
        raise ClusterError("this cluster has no API server")

    @property
    def pki(self) -> Path:
        """Where the cluster's certificates are."""
        return self.directory / "pki"

    def kubeconfig(self, name: str) -> Path:
        """The kubeconfig file of ``admin``, or of whom `account` has given one."""
        return self.directory / f"{name}.kubeconfig"

    def kubectl(self, *arguments: str, given: object = None) -> str:
        """What kubectl prints; `given` is its input as a value for JSON. ClusterError if it fails."""
        command = [str(program("kube")), "kubectl", "--kubeconfig", str(self.kubeconfig("admin")), *arguments]
        text = None if given is None else json.dumps(given)
        environment = own_environment(self.directory)
        done = subprocess.run(command, input=text, capture_output=True, text=True, check=False, env=environment)
        if done.returncode != 0:
            raise ClusterError(f"kubectl {' '.join(arguments)}: {done.stderr.strip()}")
        return done.stdout

    def start_kubectl(self, *arguments: str) -> subprocess.Popen[str]:
        """kubectl, running; what it prints is in its pipe."""
        command = [str(program("kube")), "kubectl", "--kubeconfig", str(self.kubeconfig("admin")), *arguments]
        return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=own_environment(self.directory))

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
        write_kubeconfig(path, self.server, self.pki, token=token)
        return path


def own_environment(home: Path) -> Mapping[str, str]:
    """The environment of a cluster's programs: no variable that is about another one, and a home of their own, where
    kubectl keeps what it has discovered."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("KUBE", "ETCD_"))}
    return {**kept, "HOME": str(home)}
