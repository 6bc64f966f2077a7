"""A real mesh for benchmarks, driven through the command line and the admin API only."""

from __future__ import annotations

import contextlib
import http.client
import json
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

from bench.machine import Cores
from bench.processes import WEFT, BenchError, started, wait_until


@dataclass(frozen=True)
class BenchMesh:
    """One home. Control plane and agents share the load generator's core; Envoys are pinned by whoever measures."""

    home: Path
    logs: Path
    cores: Cores

    @property
    def _environment(self) -> dict[str, str]:
        return {"WEFT_HOME": str(self.home), "WEFT_PROXY_AUTH": "off"}

    @contextlib.contextmanager
    def serving(self, *options: str) -> Iterator[subprocess.Popen[bytes]]:
        """A control plane that answers."""
        command = [*WEFT, "serve", "--xds-port", "0", "--agent-port", "0", "--admin-port", "0", *options]
        with started("control-plane", command, self.logs, core=self.cores.load, env=self._environment) as process:
            wait_until("the control plane answers", lambda: self.call("GET", "health"), process=process)
            yield process

    @contextlib.contextmanager
    def running(
        self, name: str, command: Sequence[str], *options: str, env: Mapping[str, str] | None = None, wait: bool = True
    ) -> Iterator[subprocess.Popen[bytes]]:
        """A workload; healthy when `wait`."""
        words = [*WEFT, "run", "--name", name, "--labels", f"app={name},version=v1", "--service-account", name]
        with started(
            name,
            [*words, *options, "--", *command],
            self.logs,
            core=self.cores.load,
            env=self._environment | dict(env or {}),
        ) as process:
            if wait:
                self.wait_healthy(name, process)
            yield process

    def wait_healthy(self, name: str, process: subprocess.Popen[bytes]) -> None:
        """Wait until the control plane calls a workload healthy."""
        wait_until(f"{name} is healthy", lambda: self.workload(name)["state"] == "healthy", 60.0, process=process)

    def call(self, method: str, path: str, body: str = "", **query: object) -> Any:
        """One call of the admin API; its answer decoded."""
        endpoints = json.loads((self.home / "control-plane" / "endpoints.json").read_text())
        token = (self.home / "control-plane" / "admin.token").read_text().strip()
        address = urlsplit(endpoints["admin"])
        connection = http.client.HTTPConnection(address.hostname or "", address.port, timeout=60)
        try:
            target = f"/v1/{path}" + (f"?{urlencode(query)}" if query else "")
            connection.request(method, target, body.encode(), {"Authorization": f"Bearer {token}"})
            answer = connection.getresponse()
            content = answer.read()
        finally:
            connection.close()
        if answer.status >= 400:
            raise BenchError(f"{method} {path}: {answer.status} {content[:500].decode(errors='replace')}")
        return json.loads(content)

    def apply(self, text: str, wait: float = 30.0) -> Any:
        """Apply documents and wait until the proxies concerned have confirmed."""
        return self.call("POST", "documents", text, wait=wait)

    def workload(self, name: str) -> dict[str, Any]:
        """A registered workload."""
        answer = self.call("GET", "workloads")
        items = answer if isinstance(answer, list) else answer.get("items", answer.get("workloads", []))
        for item in items:
            if item["name"] == name:
                found: dict[str, Any] = item
                return found
        raise LookupError(name)

    def outbound(self, name: str) -> tuple[str, int]:
        """The explicit proxy of a workload."""
        address = self.workload(name)["outbound"]
        return address["host"], int(address["port"])

    def _state(self, name: str) -> dict[str, Any]:
        state: dict[str, Any] = json.loads((self.home / "workloads" / "default" / name / "state.json").read_text())
        return state

    def envoy_pid(self, name: str) -> int:
        """Process id of a workload's Envoy."""
        return int(self._state(name)["envoy"]["pid"])

    def application_pid(self, name: str) -> int:
        """Process id of a workload's application."""
        return int(self._state(name)["application"]["pid"])
