"""Pods of tests: a host's network namespace with what the injector puts into a pod, but no Kubernetes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from support.hosts import Host
from support.mesh import WEFT, Proc, until

PROXY = "1337"
_READS = "+dac_override,+dac_read_search"
"""A test's programs may lie where only root looks."""
_AS_PROXY = (
    "setpriv", f"--reuid={PROXY}", f"--regid={PROXY}", "--clear-groups", "--no-new-privs",
    f"--bounding-set=-all,{_READS}", f"--inh-caps={_READS}", f"--ambient-caps={_READS}", "--",
)  # fmt: skip
_AS_INIT = ("setpriv", f"--bounding-set=-all,+net_admin,+net_raw,{_READS}", "--")
_AS_APPLICATION = (
    "setpriv", "--reuid=61001", "--regid=61001", "--clear-groups", f"--inh-caps={_READS}", f"--ambient-caps={_READS}",
    "--",
)  # fmt: skip
_ALONE = ("unshare", "--pid", "--fork", "--kill-child", "--mount-proc", "--")


@dataclass
class Pod:
    """A pod called `name` on `host`, whose proxy joins the control plane of `control`."""

    name: str
    host: Host
    control: Host
    directory: Path
    probes: Mapping[str, object] = field(default_factory=dict)
    more: Mapping[str, str] = field(default_factory=dict)

    def prepare(self) -> None:
        """Make the volumes and a token."""
        (self.directory / "volume").mkdir(parents=True)
        self.directory.chmod(0o755)
        (self.directory / "volume").chmod(0o777)
        words = ("token", "create", "--service-account", self.name, "--name", self.name, "-o", "json")
        self._invitation: dict[str, Any] = json.loads(self.control.weft(*words).stdout)
        self.token.write_text(f"{self._invitation['token']}\n")

    @property
    def token(self) -> Path:
        """The file with the token."""
        return self.directory / "token"

    def environment(self) -> dict[str, str]:
        """What the injector tells the proxy."""
        return {
            "POD_NAME": self.name,
            "POD_NAMESPACE": "default",
            "POD_IP": self.host.address,
            "POD_SERVICE_ACCOUNT": self.name,
            "WEFT_SERVER": self._invitation["agent_api"],
            "WEFT_CA_FINGERPRINT": self._invitation["fingerprint"],
            "WEFT_HOME": str(self.directory / "volume"),
            "WEFT_TOKEN_FILE": str(self.token),
            "WEFT_POD_PROBES": json.dumps(self.probes),
            **self.more,
        }

    def init(self, *options: str, path: str = os.environ["PATH"]) -> subprocess.CompletedProcess[str]:
        """The init container."""
        return self.host.call(*_AS_INIT, *WEFT, "pod", "init", *options, PATH=path)

    def proxy(self, *options: str) -> Proc:
        """Start the proxy's container: its first process is the agent."""
        return self.host.spawn(*_ALONE, *_AS_PROXY, *WEFT, "pod", "proxy", *options, **self.environment())

    def application(self, *words: str, **more: str) -> Proc:
        """Start the application's container."""
        return self.host.spawn(*_AS_APPLICATION, *words, **more)

    def called(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Run a program as the application does."""
        return self.host.call(*_AS_APPLICATION, *words)

    def status(self, url: str, *words: str, host: Host | None = None) -> str:
        """The status that whoever is in no mesh gets; 000: none."""
        done = (host or self.control).call(
            "curl", "-sS", "-m", "5", "-o", "/dev/null", "-w", "%{http_code}", *words, url
        )
        return done.stdout

    def ready(self) -> str:
        """What the kubelet is told: the status."""
        return self.status(f"http://{self.host.address}:15021/healthz/ready")

    def wait_ready(self) -> None:
        """Until the kubelet would let callers in."""
        until(f"{self.name} is ready", lambda: self.ready() == "200")


def first_process(container: Proc) -> int:
    """The pid of a container's first process."""

    def look() -> int:
        children = Path(f"/proc/{container.pid}/task/{container.pid}/children").read_text().split()
        return int(children[0]) if children else 0

    return until("the container has begun", look)


def end(container: Proc, number: signal.Signals = signal.SIGTERM) -> None:
    """Send a signal to a container's first process, as the kubelet does."""
    os.kill(first_process(container), number)


def exit_code(container: Proc, seconds: float = 60.0) -> int:
    """That of a container that ends."""
    return container.process.wait(seconds)
