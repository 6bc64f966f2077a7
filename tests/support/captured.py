"""Two hosts for tests of capture: a client that knows of no proxy, and what it calls on the other host."""

from __future__ import annotations

import abc
import json
import sys
from dataclasses import dataclass
from pathlib import Path

from support.hosts import Host
from support.mesh import APPS, Proc

CLIENTS = Path(__file__).parent.parent / "clients"
EXAMPLE = CLIENTS.parents[1] / "examples" / "capture.yaml"
SUFFIX = "default.svc.cluster.local"
SECRET = "said-in-clear"
UNKNOWN = "http://10.77.0.2:8888/"
"""What is outside the mesh, on the other host."""
POLICY = """
apiVersion: weft.dev/v1alpha1
kind: MeshConfig
metadata: {name: default, namespace: istio-system}
spec: {outboundTrafficPolicy: {mode: MODE}}
"""


@dataclass
class CapturedHosts(abc.ABC):
    """A client's host with a control plane, and another with what it calls. `called` runs a program as its application
    does."""

    one: Host
    two: Host
    control: Proc
    client: Proc
    directory: Path

    @abc.abstractmethod
    def called(self, *words: str) -> tuple[str, str]:
        """What it says, and its errors."""

    def curl(self, url: str, *words: str) -> tuple[str, str]:
        """The status that curl gets (000: none), and the body."""
        said, errors = self.called("curl", "-sS", "-m", "10", "-w", "\n%{http_code}", *words, url)
        body, _, status = said.rpartition("\n")
        return status, body or errors

    def talk(self, host: str, port: int) -> str:
        """What a server that speaks first says."""
        return "".join(self.called(sys.executable, str(APPS / "bytes_client.py"), host, str(port)))

    def addresses(self, name: str) -> list[str]:
        """Those of a service, IPv4 first."""
        listed = json.loads(self.one.weft("dns", "list", "--workload", "client", "-o", "json").stdout)
        found: dict[str, list[str]] = {each["names"][0]: each["addresses"] for each in listed}
        return found[f"{name}.{SUFFIX}"]

    def wire(self) -> bytes:
        """What the other host's interface has carried."""
        return (self.directory / "wire").read_bytes()

    def policy(self, mode: str) -> None:
        """Say what becomes of unknown destinations, and wait until every proxy has heard it."""
        file = self.directory / f"{mode}.yaml"
        file.write_text(POLICY.replace("MODE", mode))
        self.one.weft("apply", "-f", str(file), "--wait")


def joined(one: Host, two: Host, app: str, *program: str) -> None:
    """Run an application on the other host."""
    own = ("--service-account", app, "--name", app, "--labels", f"app={app}", "--port", "8080:auto")
    command = one.weft("token", "create", *own, "--", *program).stdout
    two.spawn("sh", "-c", command, WORKLOAD=app)
