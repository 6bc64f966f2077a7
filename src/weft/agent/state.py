"""state.json: what an agent started, so that another agent can adopt it and nothing is left behind."""

from __future__ import annotations

import contextlib
import enum
import fcntl
import hashlib
import os
import signal
from collections.abc import Container, Iterator
from dataclasses import dataclass
from pathlib import Path

import msgspec

from weft.agent.errors import AgentError
from weft.agent.hot_restart import HotRestart
from weft.model.network_namespace import NetworkNamespace
from weft.model.workload import ONE_WORKER, SocketAddress, Upstream, WorkloadPort, WorkloadState
from weft.processes.name import ProcessName
from weft.processes.stop import stop_now, wait_now
from weft.settings.home import Home
from weft.settings.private import write_atomically


class CapturedBy(enum.StrEnum):
    """What leads an application's connections into its proxy: nothing, rules of the system, a holder (seccomp), or the
    relay of a network of its own (strict)."""

    NOTHING = ""
    RULES = "rules"
    SECCOMP = "seccomp"
    STRICT = "strict"

    @property
    def with_secret(self) -> bool:
        """Whether a process of the workload leads them, which its proxy knows by a secret; root installs nothing."""
        return self in (CapturedBy.SECCOMP, CapturedBy.STRICT)


@dataclass(frozen=True, slots=True)
class Waiting:
    """A workload that is wanted and cannot be started, and for what it waits."""

    namespace: str
    name: str
    why: str


@dataclass(frozen=True, slots=True)
class State:
    """One workload's agent. `plan` is a digest of what was asked for: only an equal plan adopts the processes.

    Ports stay when the processes are gone, so that a restart uses them again. `metrics` is where they are served, `dns`
    the port at which the `responder` answers, `capture` the one to which connections are led, by what `captured_by`
    says, and `inbound_capture` the one to which those of callers are, with their addresses if it is `transparent` (0:
    there is none). `confinement` is the relay.
    `workers` are the worker threads that Envoy was started with, or is about to be (0: one for each core). `hot` says
    how another can take over from it, `successor` is about to and `former` is what it has taken over from; `bootstrap`
    and `successor_bootstrap` are digests of what they were started with (empty: not known). `carrier` is
    the proxy name of the node whose Envoy and agent serve it (empty: it has its own), and `network_namespace` where its
    application lives. A node's `waiting` are those of its workloads whose namespace cannot be used now, and why.
    """

    name: str
    namespace: str
    plan: str = ""
    agent: ProcessName | None = None
    envoy: ProcessName | None = None
    application: ProcessName | None = None
    state: WorkloadState = WorkloadState.STARTING
    ports: tuple[WorkloadPort, ...] = ()
    outbound: int = 0
    upstreams: tuple[Upstream, ...] = ()
    listen: tuple[tuple[int, int], ...] = ()
    metrics: SocketAddress | None = None
    workers: int = ONE_WORKER
    responder: ProcessName | None = None
    dns: int = 0
    capture: int = 0
    carrier: str = ""
    captured_by: CapturedBy = CapturedBy.NOTHING
    inbound_capture: int = 0
    transparent: bool = False
    hot: HotRestart | None = None
    successor: ProcessName | None = None
    former: ProcessName | None = None
    bootstrap: str = ""
    successor_bootstrap: str = ""
    network_namespace: NetworkNamespace | None = None
    waiting: tuple[Waiting, ...] = ()
    confinement: ProcessName | None = None

    @property
    def processes(self) -> tuple[ProcessName, ...]:
        """What was started, in the order in which it is stopped."""
        ordered = (self.application, self.envoy, self.successor, self.former, self.responder, self.confinement)
        return tuple(name for name in ordered if name is not None)


def read_state(directory: Path) -> State | None:
    """The state in a workload's directory; None when there is none, or none that this version understands."""
    try:
        return msgspec.json.decode((directory / "state.json").read_bytes(), type=State)
    except (FileNotFoundError, NotADirectoryError, msgspec.DecodeError):
        return None


def write_state(directory: Path, state: State) -> None:
    """Replace the state. It is about processes, of which none is left when the machine itself has failed."""
    write_atomically(directory / "state.json", msgspec.json.encode(state), durable=False)


def plan_digest(*parts: object) -> str:
    """A digest of what was asked for (never the text: environment variables may be secret)."""
    return hashlib.sha256(msgspec.json.encode(parts)).hexdigest()


class DirectoryLock:
    """The right to be the agent of one workload. Ends with the process at the latest."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._descriptor = -1

    def acquire(self) -> bool:
        """Try to take it; False when another process has it."""
        descriptor = os.open(self._directory / "lock", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            return False
        self._descriptor = descriptor
        return True

    def release(self) -> None:
        """Give it back."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


def lock_directory(directory: Path, what: str) -> DirectoryLock:
    """The lock of `directory`, or an AgentError that says who has it."""
    lock = DirectoryLock(directory)
    if not lock.acquire():
        state = read_state(directory)
        holder = f" (pid {state.agent.pid})" if state and state.agent else ""
        raise AgentError(f"{what} is already running{holder}; stop it first, or choose another name or --home")
    return lock


def workload_directories(home: Home) -> Iterator[Path]:
    """Every workload's directory in `home`."""
    if home.workloads.is_dir():
        yield from sorted(path.parent for path in home.workloads.glob("*/*/state.json"))


def stop_agents(home: Home, only: Container[tuple[str, str]] | None, patience: float) -> tuple[State, ...]:
    """Ask agents of `home` to stop in order, all at once, and wait up to `patience` seconds; says whose they were.

    `only` limits it to these (namespace, name). Blocks.
    """
    states = (read_state(directory) for directory in workload_directories(home))
    found = tuple(
        state
        for state in states
        if state is not None
        and state.agent is not None
        and state.agent.alive
        and (only is None or (state.namespace, state.name) in only)
    )
    for state in found:
        if state.agent is not None:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(state.agent.pid, signal.SIGTERM)
    for state in found:
        if state.agent is not None:
            wait_now(state.agent, patience)
    return found


def stop_leftovers(home: Home, grace: float = 5.0) -> tuple[State, ...]:
    """Stop what killed agents left running (application first, then Envoy) and say what it was. Blocks."""
    found = tuple(_leftovers(home))
    for directory, state in found:
        lock = DirectoryLock(directory)
        if not lock.acquire():
            continue  # an agent has just adopted it
        try:
            stop_processes(state, grace)
            if state.hot is not None:
                state.hot.remove(directory)
            home.socket(directory / "admin.sock").unlink(missing_ok=True)
            write_state(directory, without_processes(state))
        finally:
            lock.release()
    return tuple(state for _, state in found)


def stop_processes(state: State, grace: float) -> None:
    """Stop the application, then Envoy and the responder, of `state` if they still run. Blocks."""
    for name in state.processes:
        stop_now(name, grace)


def _leftovers(home: Home) -> Iterator[tuple[Path, State]]:
    """Workloads whose agent is gone while a process that it started still runs."""
    for directory in workload_directories(home):
        state = read_state(directory)
        if state is None or not any(name.alive for name in state.processes):
            continue
        lock = DirectoryLock(directory)
        if lock.acquire():
            lock.release()
            yield directory, state


def without_processes(state: State) -> State:
    """What stays of a state when all that it names has ended."""
    return State(
        state.name,
        state.namespace,
        ports=state.ports,
        outbound=state.outbound,
        upstreams=state.upstreams,
        listen=state.listen,
        metrics=state.metrics,
        dns=state.dns,
        capture=state.capture,
        inbound_capture=state.inbound_capture,
        transparent=state.transparent,
        captured_by=state.captured_by,
        carrier=state.carrier,
        network_namespace=state.network_namespace,
    )
