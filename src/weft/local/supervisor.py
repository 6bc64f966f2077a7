"""The processes of one mesh: started in order, waited for, watched, stopped in order."""

from __future__ import annotations

import asyncio
import os
import shlex
import signal
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from weft.agent.state import stop_agents, stop_leftovers
from weft.local.client import AdminClient, RefusedError, Source, UnreachableError, read_endpoints
from weft.local.command_line import command_line
from weft.local.commands import gateway_launch, run_launch, serve_launch
from weft.local.meshfile import MeshFile
from weft.local.processes import Child, Spawned, preload, spawn
from weft.local.record import Started, UpRecord, control_plane_of
from weft.model.workload import WorkloadState
from weft.processes.log import end_of_log
from weft.processes.stop import stop_now
from weft.settings.home import Home
from weft.settings.private import make_private_directory

_POLL = 0.05
_STOP_PATIENCE = 45.0
_SERVE_PATIENCE = 15.0
_ADMIN_SECONDS = 5.0
_PROXY_VARIABLES = ("http_proxy", "https_proxy", "all_proxy", "no_proxy")

Report = Callable[[str], None]


class StartError(Exception):
    """The mesh could not be started. The text says why, with the end of the log that tells more."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What to start: the mesh, the directory its paths are relative to, where it lives, how long it may take.

    With `owns_home` the home ends with the mesh, and so does every agent in it, whoever started it.
    """

    mesh: MeshFile
    base: Path
    home: Home
    timeout: float = 60.0
    owns_home: bool = False


def spawn_all(plan: Plan, record: UpRecord) -> Iterator[Spawned]:
    """Start every process of a Plan, the control plane first, each written down as soon as it runs.

    To be called before there is any event loop or thread. Raises StartError.
    """
    mesh, home = plan.mesh, plan.home
    documents = [str(plan.base / path) for path in mesh.documents]
    logs = home.root / "logs"
    make_private_directory(logs)
    launches = [run_launch(home, workload, plan.base) for workload in mesh.workloads]
    launches += [gateway_launch(home, gateway, plan.base) for gateway in mesh.gateways]
    started: list[Started] = []
    for index, launch in enumerate((serve_launch(home, mesh, plan.base), *launches)):
        if not launch.directory.is_dir():
            raise StartError(f"{launch.name}: there is no directory {launch.directory}")
        if index == 1:
            preload()  # while the control plane starts
        try:
            spawned = spawn(launch, logs, _environment(), fork=index > 0, tells_ready=index > 0)
        except OSError as error:
            raise StartError(f"{launch.name} cannot be started: {error}") from error
        yield spawned
        started.append(Started(launch.name, spawned.identity))
        record.write(started, documents, mesh.trust_domain)


class Supervisor:
    """Looks after the processes of a Plan. One task uses it; `hurry` makes a stop that is under way faster."""

    def __init__(self, plan: Plan, spawned: Sequence[Spawned], report: Report) -> None:
        self.plan = plan
        self.hurry = asyncio.Event()
        self.children: Sequence[Child] = [Child(one) for one in spawned]
        count = len(plan.mesh.workloads) + 1
        self.control_plane = self.children[0] if self.children else None
        self.workloads = self.children[1:count]
        self.gateways = self.children[count:]
        self._report = report
        self._admin = AdminClient(plan.home, timeout=_ADMIN_SECONDS)

    async def start(self) -> None:
        """Apply documents, and return when every workload is healthy and every proxy has confirmed its configuration.

        Raises StartError.
        """
        deadline = time.monotonic() + self.plan.timeout
        applied = asyncio.ensure_future(self._apply_documents(deadline))
        ready = asyncio.ensure_future(self._all_ready(deadline))
        try:
            await asyncio.gather(applied, ready)
            await self._all_confirmed(deadline)
        finally:
            for task in (applied, ready):
                task.cancel()
            await asyncio.gather(applied, ready, return_exceptions=True)

    async def watch(self) -> None:
        """Report processes that end by themselves, for ever. The others go on."""
        reported: set[int] = set()
        while True:
            waits = {asyncio.ensure_future(one.wait()): one for one in self.children if one.pid not in reported}
            if not waits:
                await asyncio.Event().wait()
            try:
                await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for wait in waits:
                    wait.cancel()
            for child in waits.values():
                if not child.running:
                    reported.add(child.pid)
                    self._report(self._exit_message(child))

    async def stop(self) -> None:
        """Stop gateways, then workloads, then the control plane (also one that was started again by hand)."""
        for group in (self.gateways, self.workloads):
            await asyncio.gather(*(child.stop(_STOP_PATIENCE, self.hurry) for child in group))
        await asyncio.to_thread(self._stop_agents_started_again)
        if self.control_plane is not None:
            await self._stop_control_plane(self.control_plane)
        await asyncio.to_thread(stop_leftovers, self.plan.home, 1.0)

    def _stop_agents_started_again(self) -> None:
        mesh = self.plan.mesh
        ours = {(one.namespace, one.name) for one in mesh.workloads}
        ours |= {(one.namespace, one.name) for one in mesh.gateways}
        for state in stop_agents(self.plan.home, None if self.plan.owns_home else ours, _STOP_PATIENCE):
            self._report(f"stopped {state.name}, which was started again")

    async def _stop_control_plane(self, child: Child) -> None:
        if child.running:
            await child.stop(_SERVE_PATIENCE, self.hurry)
            return
        await child.wait()
        other = control_plane_of(self.plan.home)
        if other is not None and other.pid != os.getpid() and await asyncio.to_thread(self._is_ours):
            self._report(f"stopping the control plane that was started again (pid {other.pid})")
            await asyncio.to_thread(stop_now, other, _SERVE_PATIENCE, group=False)

    def _is_ours(self) -> bool:
        """Whether the server that the home names knows the home's token: then the pid beside it is right, too."""
        try:
            self._admin.get("version")
        except (UnreachableError, RefusedError):
            return False
        return True

    async def _apply_documents(self, deadline: float) -> None:
        control_plane = self.control_plane
        if control_plane is None:
            return
        while not self._answers(control_plane.pid) or not await asyncio.to_thread(self._admin.healthy):
            self._fail_if_ended([control_plane])
            await self._pause(deadline, "the control plane does not answer", [control_plane])
        self._report("control plane: ready")
        for file in _files(self.plan.base, self.plan.mesh.apply):
            source = Source(str(file), file.read_text("utf-8"))
            try:
                await asyncio.to_thread(self._admin.apply, source)
            except RefusedError as error:
                raise StartError(_refusal(source.name, error)) from error
            except UnreachableError as error:
                self._fail_if_ended([control_plane])
                raise StartError(str(error)) from error
        if self.plan.mesh.apply:
            self._report("documents: applied")

    def _answers(self, pid: int) -> bool:
        endpoints = read_endpoints(self.plan.home)
        return endpoints is not None and endpoints.pid == pid

    async def _all_ready(self, deadline: float) -> None:
        waiting = [*self.workloads, *self.gateways]
        while waiting:
            for child in [one for one in waiting if one.ready is not None]:
                waiting.remove(child)
                self._report(f"{child.name}: ready")
            self._fail_if_ended(self.children)
            if waiting:
                names = ", ".join(child.name for child in waiting)
                await self._pause(deadline, f"not ready: {names}", waiting)

    async def _all_confirmed(self, deadline: float) -> None:
        expected = len(self.workloads) + len(self.gateways)
        while True:
            complaint = await asyncio.to_thread(self._unconfirmed, expected)
            if not complaint:
                self._report(f"proxies: {expected} confirmed their configuration")
                return
            self._fail_if_ended(self.children)
            await self._pause(deadline, complaint, self.children[:1])

    def _unconfirmed(self, expected: int) -> str:
        """What is missing until every proxy has confirmed a revision in which every workload is healthy."""
        try:
            registered = self._admin.get("workloads")
            proxies = self._admin.get("proxies")["proxies"]
        except (UnreachableError, RefusedError) as error:
            return str(error)
        waiting = [one["name"] for one in registered["workloads"] if one["state"] != WorkloadState.HEALTHY]
        if waiting:
            return f"not known to be healthy: {', '.join(waiting)}"
        if len(registered["workloads"]) < expected or len(proxies) < expected:
            return "not every proxy has connected"
        late = [one["name"] for one in proxies if one["revision_acked"] < registered["revision"]]
        return f"proxies that have not confirmed: {', '.join(late)}" if late else ""

    async def _pause(self, deadline: float, complaint: str, children: Sequence[Child]) -> None:
        if time.monotonic() > deadline:
            raise StartError(f"after {self.plan.timeout:g} s: {complaint}{_tails(children[:3])}")
        await asyncio.sleep(_POLL)

    def _fail_if_ended(self, children: Sequence[Child]) -> None:
        ended = [child for child in children if not child.running]
        if ended:
            raise StartError(f"{ended[0].name} {ended[0].ending}{_tails(ended[:1])}")

    def _exit_message(self, child: Child) -> str:
        if child is self.control_plane:
            again = command_line(*serve_launch(self.plan.home, self.plan.mesh, self.plan.base).arguments)
            return f"the control plane {child.ending}; traffic goes on. Start it again with\n  {again}"
        command = command_line(*child.launch.arguments, elsewhere=True)
        again = f"cd {shlex.quote(str(child.launch.directory))} && {command}"
        if child.launch.environment:
            again += f"\n  (with {', '.join(sorted(child.launch.environment))} set as in weft.yaml)"
        return f"{child.name} {child.ending}; the rest goes on. Its log: {child.log}. Start it again with\n  {again}"


def _environment() -> Mapping[str, str]:
    """This environment without proxies of the outside: within the mesh there is the mesh."""
    return {name: value for name, value in os.environ.items() if name.lower() not in _PROXY_VARIABLES}


def _files(base: Path, paths: Sequence[str]) -> list[Path]:
    found: list[Path] = []
    for text in paths:
        path = base / text
        if path.is_dir():
            found += sorted(file for file in path.rglob("*") if file.suffix in (".yaml", ".yml", ".json"))
        elif path.is_file():
            found.append(path)
        else:
            raise StartError(f"{path}: no such file or directory")
    return found


def _refusal(source: str, error: RefusedError) -> str:
    lines = [f"{source} was refused: {error}"]
    for problem in error.problems:
        lines.append(
            f"  {problem.get('source')}:{problem.get('line')}: {problem.get('path')}: {problem.get('message')}"
        )
    return "\n".join(lines)


def _tails(children: Sequence[Child]) -> str:
    return "".join(f"\n--- the end of {child.log} ---\n{end_of_log(child.log)}" for child in children)


STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
