"""The demo as processes of their own, each of which can be killed, started again and replaced."""

from __future__ import annotations

import contextlib
import signal
from dataclasses import dataclass, replace
from http import HTTPStatus
from http.client import HTTPException
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import ProxyHandler, build_opener

import weft.bookinfo
from chaos.load import Target, details_fault, page_fault, ratings_fault, reviews_fault
from weft.agent.state import stop_leftovers
from weft.local.commands import Launch, run_launch
from weft.local.demo import GATEWAY, demo_mesh
from weft.settings.home import Home
from weft.testing.polling import until
from weft.testing.processes import MeshProcesses

CALLER = "caller"
CERTIFICATE_TTL = 60
"""Seconds; certificates are renewed at half of it."""
_FILES = Path(weft.bookinfo.__file__).parent
_SERVE = ("--xds-port", "0", "--agent-port", "0", "--admin-port", "0", "--certificate-ttl", str(CERTIFICATE_TTL))
PATIENCE = 90.0
"""Seconds for whatever takes a moment."""
_CALLED = {"details": details_fault, "reviews": reviews_fault, "ratings": ratings_fault}
_RESTARTING = "restarting the agent"
_APPLICATION = {"SERVICE_PATIENCE": "25"}
"""The demo's own time-outs are short, and a busy machine is no failure of the mesh."""


class NobodyAnswersError(Exception):
    """The control plane is away, or went away before it answered."""


def _url(name: str) -> str:
    return f"http://{name}:9080/{name}/0"


@dataclass(frozen=True)
class Role:
    """One workload of the demo, or the gateway, or the caller: which instance it has now, and how that was started."""

    name: str
    instance: str
    launch: Launch
    replaceable: bool


class Bookinfo:
    """The demo's mesh. Every method blocks; no two may be called at once for the same role."""

    def __init__(self, directory: Path) -> None:
        self.home = Home(directory / "home")
        self.mesh = MeshProcesses(self.home.root, directory / "logs")
        self._instances = 0
        caller = ("run", "--home", str(self.home.root), "--name", CALLER, "--health", "none", "--scope", "demand")
        gateway = ("gateway", "--home", str(self.home.root), "--listen", "80=auto", GATEWAY)
        self.roles = {
            CALLER: Role(CALLER, CALLER, Launch(CALLER, caller, _FILES, {}), replaceable=False),
            GATEWAY: Role(GATEWAY, GATEWAY, Launch(GATEWAY, gateway, _FILES, {}), replaceable=False),
        }
        for workload in demo_mesh().workloads:
            launch = run_launch(self.home, workload, _FILES)
            self.roles[workload.name] = Role(workload.name, workload.name, launch, replaceable=True)

    def start(self) -> tuple[Target, ...]:
        """Start all of it, wait until every page is whole, and return what can be asked for."""
        self.serve()
        for path in sorted((_FILES / "documents").glob("*.yaml")):
            self.apply(path.read_text())
        for role in self.roles.values():
            self._spawn(role)
        self.mesh.wait_healthy(*self.roles)
        for role in self.roles.values():
            if role.name != GATEWAY:
                self._use(role.instance)
        return self._targets()

    def _use(self, instance: str) -> None:
        """Call everything once through a new proxy: what it never used may need a control plane, as docs/failure.md
        says."""
        opener = build_opener(ProxyHandler({"http": "http://{}:{}".format(*self.mesh.proxy_of(instance))}))
        for name in _CALLED:
            with opener.open(_url(name), timeout=PATIENCE) as answer:
                answer.read()

    def _targets(self) -> tuple[Target, ...]:
        _, address = self.mesh.workload(GATEWAY)["gateway"]["ports"][0]
        proxy = "http://{}:{}".format(*self.mesh.proxy_of(CALLER))
        page = Target("page", f"http://{address['host']}:{address['port']}/productpage", None, page_fault)
        calls = (Target(f"call of {name}", _url(name), proxy, fault) for name, fault in _CALLED.items())
        return (page, *calls)

    def serve(self) -> None:
        """Start the control plane and wait until it answers."""
        self.mesh.serve(*_SERVE)

    def kill_control_plane(self) -> None:
        """As a crash does."""
        self.mesh.processes["control-plane"].stop(signal.SIGKILL)

    def apply(self, text: str, wait: float | None = 30.0) -> str:
        """Apply documents. With `wait`, until the proxies concerned have confirmed them, or as many seconds; says who
        has not. NobodyAnswersError, and ValueError for what was refused."""
        return self._change("POST", "documents", wait, text)

    def delete(self, kind: str, namespace: str, name: str, wait: float | None = 30.0) -> str:
        """Delete a document, which need not be there. As `apply`."""
        return self._change("DELETE", f"documents/{kind}/{namespace}/{name}", wait)

    def _change(self, method: str, path: str, wait: float | None, text: str = "") -> str:
        query = f"?wait={wait:g}" if wait else ""
        try:
            answer = self.mesh.api(path + query, method, text.encode())
        except HTTPError as error:
            if error.code == HTTPStatus.NOT_FOUND and method == "DELETE":
                return ""
            raise ValueError(f"{method} {path}: {error.code} {error.read().decode(errors='replace')}") from error
        except (OSError, HTTPException) as error:
            raise NobodyAnswersError(repr(error)) from error
        confirmation = answer.get("wait") or {}
        if refused := confirmation.get("nacked"):
            raise ValueError(f"{method} {path}: refused by {refused}")
        return f"not confirmed by {pending}" if (pending := confirmation.get("pending")) else ""

    def ask_authority(self, what: str) -> str:
        """``rotate`` or ``abort``; the phase after it. Empty where the authority refuses, as it does when the phase is
        another one by then. NobodyAnswersError."""
        try:
            return str(self.mesh.api(f"ca/{what}", "POST", b"{}")["phase"])
        except HTTPError as error:
            if error.code == HTTPStatus.CONFLICT:
                return ""
            raise ValueError(f"ca/{what}: {error.code} {error.read().decode(errors='replace')}") from error
        except (OSError, HTTPException) as error:
            raise NobodyAnswersError(repr(error)) from error

    def authority(self) -> tuple[str, int]:
        """The phase of the root's rotation, and how many proxies are awaited. NobodyAnswersError."""
        try:
            found = self.mesh.api("ca")
        except (OSError, HTTPException) as error:
            raise NobodyAnswersError(repr(error)) from error
        return str(found["phase"]), len(found["awaited"])

    def restart_agent(self, name: str) -> None:
        """SIGHUP: the agent replaces itself."""
        agent = self.mesh.processes[self.roles[name].instance]
        before = agent.output().count(_RESTARTING)
        agent.process.send_signal(signal.SIGHUP)
        until(f"the agent of {agent.name} restarts", lambda: agent.output().count(_RESTARTING) > before, PATIENCE)

    def replace_agent(self, name: str) -> None:
        """kill -9, and another agent that takes over what runs."""
        role = self.roles[name]
        self.mesh.processes[role.instance].stop(signal.SIGKILL)
        self._spawn(role)

    def replace_workload(self, name: str) -> None:
        """In order: another instance, and when it is healthy the former one is stopped."""
        role = self.roles[name]
        self._instances += 1
        instance = f"{name}-{self._instances}"
        old = role.launch.arguments
        place = old.index("--name") + 1
        launch = replace(role.launch, name=instance, arguments=(*old[:place], instance, *old[place + 1 :]))
        self.roles[name] = replace(role, instance=instance, launch=launch)
        self._spawn(self.roles[name])
        self.mesh.wait_healthy(instance)
        self._use(instance)
        self.mesh.processes[role.instance].stop(deadline=PATIENCE)
        del self.mesh.processes[role.instance]

    def _spawn(self, role: Role) -> None:
        """Start an agent, and wait until it can be signalled."""
        launch, mesh = role.launch, self.mesh
        agent = mesh.spawn(
            role.instance, *launch.arguments, env=_APPLICATION | dict(launch.environment), cwd=launch.directory
        )
        until(
            f"there is an agent of {role.instance}",
            lambda: mesh.died(agent) or mesh.state(role.instance)["agent"]["pid"] == agent.pid,
            PATIENCE,
        )

    def envoy_logs(self) -> list[Path]:
        """The logs of all Envoys that there were."""
        return sorted(self.home.workloads.glob("*/*/envoy.log"))

    def stop(self) -> list[str]:
        """Stop everything; says what had to be killed."""
        told = []
        try:
            self.mesh.stop()
        except AssertionError as error:
            told.append(str(error))
        told += [f"{state.name} was left running" for state in stop_leftovers(self.home, 1.0)]
        with contextlib.suppress(OSError):
            self.home.short_directory.rmdir()
        return told
