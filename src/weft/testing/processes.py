"""The processes of a mesh, each started, killed and started again by itself: for tests of what happens then.

`weft.testing.running_mesh` is the simpler way where nothing is to be killed.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from weft.local.command_line import interpreter
from weft.testing.polling import until

_CALL_SECONDS = 40.0
_READY_SECONDS = 60.0


def alive(pid: int) -> bool:
    """Whether a process runs (zombies do not count)."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def cli(
    home: Path, *words: str, stdin: str = "", check: bool = True, timeout: float = 60.0
) -> subprocess.CompletedProcess[str]:
    """Run one weft command in `home`. AssertionError with what it printed when it fails and `check` is set."""
    done = subprocess.run(
        [*interpreter(), *words],
        input=stdin,
        capture_output=True,
        text=True,
        timeout=timeout,
        env={**os.environ, "WEFT_HOME": str(home), "NO_COLOR": "1"},
        check=False,
    )
    if check and done.returncode:
        raise AssertionError(f"weft {' '.join(words)} gave {done.returncode}\n{done.stdout}\n{done.stderr}")
    return done


@dataclass
class Proc:
    """One started process with its output in a file."""

    name: str
    process: subprocess.Popen[bytes]
    log: Path

    @property
    def pid(self) -> int:
        """Its process id."""
        return self.process.pid

    def output(self) -> str:
        """What it has printed, with what earlier processes of its name have."""
        return self.log.read_text(errors="replace")

    def stop(self, number: int = signal.SIGTERM, deadline: float = 45.0) -> int:
        """Signal it and wait; returns its exit code. `subprocess.TimeoutExpired` after `deadline` seconds."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        return self.process.wait(deadline)


@dataclass
class MeshProcesses:
    """Processes of one home, with their output below `logs`. `stop` ends all of them."""

    home: Path
    logs: Path
    processes: dict[str, Proc] = field(default_factory=dict)

    def spawn(self, name: str, *words: str, env: Mapping[str, str] | None = None, cwd: Path | None = None) -> Proc:
        """Start a weft command in a process group of its own."""
        self.logs.mkdir(parents=True, exist_ok=True)
        log = self.logs / f"{name}.log"
        with log.open("ab") as output:
            process = subprocess.Popen(
                [*interpreter(), *words],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
                env={"WEFT_PROXY_AUTH": "off", **os.environ, "WEFT_HOME": str(self.home), **(env or {})},
                cwd=cwd,
            )
        self.processes[name] = Proc(name, process, log)
        return self.processes[name]

    def serve(self, *words: str) -> Proc:
        """Start the control plane and wait until it answers."""
        proc = self.spawn("control-plane", "serve", *words)
        until("control plane answers", lambda: self.died(proc) or self.api("health"), _READY_SECONDS)
        return proc

    def died(self, proc: Proc) -> bool:
        """False while it runs; RuntimeError with its output when it ended."""
        if proc.process.poll() is not None:
            raise RuntimeError(f"{proc.name} ended with {proc.process.returncode}:\n{proc.output()}")
        return False

    def run(
        self,
        name: str,
        command: Sequence[str],
        *,
        app: str = "",
        version: str = "v1",
        port: str = "8080:auto",
        health: str = "http:/health",
        more: Sequence[str] = (),
        env: Mapping[str, str] | None = None,
        wait: bool = True,
    ) -> Proc:
        """Start a workload and wait until the control plane calls it healthy. `app` is its label and its service
        account (default: `name`); an empty `port` means none."""
        app = app or name
        words = ["run", "--name", name, "--labels", f"app={app},version={version}", "--service-account", app]
        if port:
            words += ["--port", port, "--health", health]
        proc = self.spawn(name, *words, *more, "--", *command, env={"WORKLOAD": name, **(env or {})})
        if wait:
            self.wait_healthy(name)
        return proc

    def gateway(self, name: str, *listen: str, labels: str = "") -> Proc:
        """Start a gateway proxy and wait for it."""
        words = [word for item in listen for word in ("--listen", item)]
        words += ["--labels", labels] if labels else []
        proc = self.spawn(name, "gateway", name, *words)
        self.wait_healthy(name)
        return proc

    def wait_healthy(self, *names: str) -> None:
        """Wait until these workloads are healthy and their proxies are connected."""
        for name in names:
            until(f"{name} is healthy", partial(self._is_ready, name), _READY_SECONDS)

    def _is_ready(self, name: str) -> bool:
        proc = self.processes.get(name)
        if proc is not None:
            self.died(proc)
        return bool(self.workload(name)["state"] == "healthy")

    # -- asking the control plane -----------------------------------------------------------------------------------

    def api(self, path: str, method: str = "GET", body: bytes | None = None) -> Any:
        """Call the admin API; returns the decoded answer, raises OSError on failure."""
        request = urllib.request.Request(  # noqa: S310 - the address is the control plane's own
            f"{self.endpoints()['admin']}/v1/{path}",
            data=body,
            method=method,
            headers={"Authorization": f"Bearer {self._token()}"},
        )
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(request, timeout=_CALL_SECONDS) as answer:
            return json.loads(answer.read())

    def _token(self) -> str:
        return (self.home / "control-plane" / "admin.token").read_text().strip()

    def endpoints(self) -> dict[str, Any]:
        """The control plane's addresses."""
        result: dict[str, Any] = json.loads((self.home / "control-plane" / "endpoints.json").read_text())
        return result

    def workload(self, name: str, namespace: str = "default") -> dict[str, Any]:
        """A registered workload; LookupError if there is none."""
        for item in self.items("workloads"):
            if item["name"] == name and item["namespace"] == namespace:
                found: dict[str, Any] = item
                return found
        raise LookupError(name)

    def items(self, path: str) -> list[dict[str, Any]]:
        """The items of a list answer."""
        answer = self.api(path)
        if isinstance(answer, dict):
            answer = answer.get("items", answer.get(path.split("?", maxsplit=1)[0]))
        result: list[dict[str, Any]] = answer
        return result

    def problems(self) -> list[dict[str, Any]]:
        """All current problems."""
        return self.items("problems")

    def state(self, name: str, namespace: str = "default") -> dict[str, Any]:
        """The agent's own record: process ids and ports."""
        result: dict[str, Any] = json.loads((self.home / "workloads" / namespace / name / "state.json").read_text())
        return result

    def proxy_of(self, name: str) -> tuple[str, int]:
        """The outbound HTTP proxy of a workload."""
        address = self.workload(name)["outbound"]
        return (address["host"], address["port"])

    def inbound_of(self, name: str) -> tuple[str, int]:
        """The inbound address of a workload's first port."""
        address = self.workload(name)["ports"][0]["inbound"]
        return (address["host"], address["port"])

    # -- changing things --------------------------------------------------------------------------------------------

    def weft(
        self, *words: str, stdin: str = "", check: bool = True, timeout: float = 60.0
    ) -> subprocess.CompletedProcess[str]:
        """Run a weft command in this home."""
        return cli(self.home, *words, stdin=stdin, check=check, timeout=timeout)

    def apply(self, text: str, *words: str) -> subprocess.CompletedProcess[str]:
        """``weft apply -f - --wait``."""
        return self.weft("apply", "-f", "-", "--wait", *words, stdin=text)

    def delete(self, text: str) -> subprocess.CompletedProcess[str]:
        """``weft delete -f - --wait``."""
        return self.weft("delete", "-f", "-", "--wait", stdin=text)

    @contextlib.contextmanager
    def applied(self, text: str, *, check: bool = True) -> Iterator[None]:
        """Documents that are in force for a while; with errors between them, not with `check`."""
        self.weft("apply", "-f", "-", "--wait", stdin=text, check=check)
        try:
            yield
        finally:
            self.delete(text)

    def stop(self) -> None:
        """Stop everything: workloads first, all at once, the control plane last. AssertionError with the output of
        those that had to be killed."""
        order = sorted(self.processes.values(), key=lambda proc: proc.name == "control-plane")
        for proc in order[:-1] if order and order[-1].name == "control-plane" else order:
            if proc.process.poll() is None:
                proc.process.send_signal(signal.SIGTERM)
        failed = []
        for proc in order:
            try:
                proc.stop()
            except subprocess.TimeoutExpired:
                proc.process.kill()
                proc.process.wait()
                failed.append(f"{proc.name} did not stop:\n{proc.output()[-2000:]}")
        if failed:
            raise AssertionError("\n".join(failed))
