"""Free loopback ports: outside the range the system hands out by itself, and never one that another workload holds."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import random
import socket
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from weft.agent.errors import EXIT_USAGE, AgentError
from weft.agent.metrics.server import DEFAULT_PORT, bind
from weft.agent.parameters import RunParameters
from weft.agent.state import CapturedBy, State, read_state, workload_directories
from weft.model.workload import SocketAddress, Upstream, WorkloadPort
from weft.settings.home import Home
from weft.settings.ports import is_apart, own_ports

LOOPBACK = "127.0.0.1"
DNS_PORT = 15053
"""Where names are answered, if no other workload of the host does so there: Istio's port for it."""
CAPTURE_PORT = 15001
"""Where captured connections are led to, if no other workload of the host has it: Istio's port for it."""
INBOUND_CAPTURE_PORT = 15006
"""Where connections of callers are led to, if no other workload of the host has it: Istio's port for it."""
LOOPBACK_6 = "::1"
EVERY_ADDRESS, EVERY_ADDRESS_6 = "0.0.0.0", "::"  # noqa: S104
_NO_IPV6 = (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT)
_TRIES = 20


class PortAllocator:
    """Gives out ports. Use inside `allocating`, and write the state before leaving it."""

    def __init__(self, taken: set[int]) -> None:
        self._taken = taken
        try:
            self._range = own_ports()
        except ValueError as error:
            raise AgentError(str(error)) from None

    def free(self, host: str, wanted: int = 0) -> int:
        """`wanted` if nobody holds it, else any free port."""
        if wanted and wanted not in self._taken and _is_free(host, wanted):
            self._taken.add(wanted)
            return wanted
        for port in random.sample(self._range, min(200, len(self._range))):
            if port not in self._taken and _is_free(host, port):
                self._taken.add(port)
                return port
        raise AgentError(f"no free port on {host} between {self._range.start} and {self._range.stop - 1}")

    def may(self, port: int) -> bool:
        """Whether no other workload of the home holds it."""
        return port not in self._taken

    def take(self, port: int) -> None:
        """Hold a port that was chosen by the user."""
        self._taken.add(port)


@contextlib.contextmanager
def allocating(home: Home, own: Path) -> Iterator[PortAllocator]:
    """One allocation at a time per home, aware of the ports in the other workloads' states."""
    descriptor = os.open(home.workloads / ".ports.lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        taken: set[int] = set()
        for directory in workload_directories(home):
            state = read_state(directory)
            if state is not None and directory != own:
                taken |= held_ports(state)
        yield PortAllocator(taken)
    finally:
        os.close(descriptor)


def bind_metrics(allocator: PortAllocator, host: str, known: int) -> socket.socket:
    """A socket for the metrics: at the port that it had before (`known`), else at the usual one, else at any free one.
    (Where ports of one's own keep meshes apart, the usual one of loopback is nobody's.) It is bound while no agent of
    the home chooses another, and stays so: agents of other homes choose at any time."""
    usual = DEFAULT_PORT if host != LOOPBACK or not is_apart() else 0
    for port in (known or usual, usual, *[0] * _TRIES):
        chosen = port or allocator.free(host)
        bound = bind(SocketAddress(host, chosen)) if port == 0 or allocator.may(chosen) else None
        if bound is not None:
            allocator.take(chosen)
            return bound
    raise AgentError(f"no port for the metrics on {host}")


def held_ports(state: State) -> set[int]:
    """Every port in a state."""
    ports = {state.outbound, state.metrics.port if state.metrics else 0} | {
        upstream.listen.port for upstream in state.upstreams
    }
    ports |= {bound for _, bound in state.listen} | {state.dns, state.capture, state.inbound_capture}
    for port in state.ports:
        ports |= {port.inbound.port, port.application.port}
    return ports - {0}


def allocate_run_ports(
    parameters: RunParameters,
    allocator: PortAllocator,
    before: State | None,
    captured_by: CapturedBy = CapturedBy.NOTHING,
) -> State:
    """The ports of a ``weft run``: those of `before` where they are still free, else new ones.

    AgentError when a port is given twice, or is to lead to an upstream and is taken.
    """
    _check_chosen(parameters)
    ports = _application_ports(parameters, allocator, before)
    old_upstreams = {(u.service, u.port): u.listen.port for u in before.upstreams} if before else {}
    upstreams = []
    for upstream in parameters.upstreams:
        local = upstream.local or allocator.free(LOOPBACK, old_upstreams.get((upstream.service, upstream.port), 0))
        upstreams.append(Upstream(upstream.service, upstream.port, SocketAddress(LOOPBACK, local)))
    wanted_outbound = parameters.outbound_port
    outbound = allocator.free(LOOPBACK, wanted_outbound or (before.outbound if before else 0))
    if wanted_outbound and outbound != wanted_outbound:
        raise AgentError(f"--outbound-port {wanted_outbound}: somebody listens there already", EXIT_USAGE)
    dns = 0
    if parameters.dns is not None:
        dns = allocate_dns_port(parameters.dns.port, allocator, before.dns if before else 0)
    capture = 0
    if parameters.capture is not None:
        usual = captured_by is CapturedBy.RULES
        old_port = before.capture if before else 0
        capture = allocate_capture_port(parameters.capture.port, allocator, old_port, usual=usual)
    led = parameters.inbound_capture
    inbound_capture = 0
    if led is not None:
        inbound_capture = allocate_inbound_capture_port(led.port, allocator, before.inbound_capture if before else 0)
    return State(
        parameters.name,
        parameters.namespace,
        ports=ports,
        outbound=outbound,
        upstreams=tuple(upstreams),
        dns=dns,
        capture=capture,
        inbound_capture=inbound_capture,
        transparent=led is not None and led.transparent,
        captured_by=captured_by,
    )


def _application_ports(
    parameters: RunParameters, allocator: PortAllocator, before: State | None
) -> tuple[WorkloadPort, ...]:
    """Where the application listens, and where callers reach its proxy."""
    old = {port.port: port for port in before.ports} if before else {}
    for wanted in parameters.ports:
        allocator.take(wanted.port if wanted.application is None else wanted.application)
    ports = []
    for wanted in parameters.ports:
        known = old.get(wanted.port)
        application = wanted.port if wanted.application is None else wanted.application
        if application == 0:
            application = allocator.free(LOOPBACK, known.application.port if known else 0)
        if parameters.inbound_capture is not None:
            inbound = application
        else:
            inbound = allocator.free(parameters.proxy_host, known.inbound.port if known else 0)
        where = SocketAddress(parameters.proxy_host, inbound)
        ports.append(WorkloadPort(wanted.port, SocketAddress(LOOPBACK, application), where))
    return tuple(ports)


def allocate_dns_port(wanted: int, allocator: PortAllocator, known: int) -> int:
    """The port of the responder, free for UDP and TCP: see `_usual_port`."""
    return _usual_port("--dns", wanted, (known, 0 if is_apart() else DNS_PORT), allocator, _is_free_for_dns)


def allocate_capture_port(wanted: int, allocator: PortAllocator, known: int, *, usual: bool = True) -> int:
    """The port to which connections are led, free in both families: see `_usual_port`. `usual`: people's rules may name
    it."""
    return _usual_port("--capture", wanted, (known, CAPTURE_PORT if usual else 0), allocator, _is_free_twice)


def allocate_inbound_capture_port(wanted: int, allocator: PortAllocator, known: int) -> int:
    """The port to which connections of callers are led, free at every address: see `_usual_port`."""
    return _usual_port("--inbound-capture", wanted, (known, INBOUND_CAPTURE_PORT), allocator, _is_free_everywhere)


def _usual_port(
    option: str, wanted: int, usual: tuple[int, int], allocator: PortAllocator, is_free: Callable[[int], bool]
) -> int:
    """A port that `is_free`: `wanted`, else one of the `usual` (0: none), else any. AgentError if `wanted` is taken."""
    if wanted:
        allocator.take(wanted)
        if not is_free(wanted):
            raise AgentError(f"{option}: port {wanted} of {LOOPBACK} is taken, or may not be used; choose another")
        return wanted
    for port in usual:
        if port and allocator.may(port) and is_free(port):
            allocator.take(port)
            return port
    for _ in range(_TRIES):
        port = allocator.free(LOOPBACK)
        if is_free(port):
            return port
    raise AgentError(f"no port on {LOOPBACK} is left for {option}")


def has_ipv6_loopback() -> bool:
    """Whether this host has one."""
    return _bind_error(LOOPBACK_6, 0, socket.SOCK_STREAM) not in _NO_IPV6


def capture_addresses(state: State) -> tuple[SocketAddress, ...]:
    """Where connections are led to that were made to others: what a redirect of the system leads to is loopback."""
    hosts = (LOOPBACK, *((LOOPBACK_6,) if has_ipv6_loopback() else ()))
    return tuple(SocketAddress(host, state.capture) for host in hosts if state.capture)


def _is_free_twice(port: int) -> bool:
    return _is_free(LOOPBACK, port) and _bind_error(LOOPBACK_6, port, socket.SOCK_STREAM) in (0, None, *_NO_IPV6)


def _is_free_everywhere(port: int) -> bool:
    six = _bind_error(EVERY_ADDRESS_6, port, socket.SOCK_STREAM)
    return _is_free(EVERY_ADDRESS, port) and six in (0, None, *_NO_IPV6)


def _is_free_for_dns(port: int) -> bool:
    kinds = (socket.SOCK_STREAM, socket.SOCK_DGRAM)
    errors = {(host, kind): _bind_error(host, port, kind) for host in (LOOPBACK, LOOPBACK_6) for kind in kinds}
    return not any(error and (host == LOOPBACK or error not in _NO_IPV6) for (host, _), error in errors.items())


def check_free(host: str, port: int, option: str) -> None:
    """AgentError when a port that the user chose by `option` cannot be bound."""
    if not _is_free(host, port):
        raise AgentError(f"{option}: port {port} of {host} is taken, or may not be used; choose another")


def check_nobody_listens(ports: Iterable[WorkloadPort]) -> None:
    """AgentError when a port that the application is about to listen on is taken: its health would be the stranger's,
    and so would its callers."""
    for port in ports:
        where = port.application
        if _bind_error(where.host, where.port) == errno.EADDRINUSE:
            raise AgentError(
                f"--port {port.port}: another process listens on {where} already, and callers would reach that one; "
                f"stop it, or let the application have a free port (--port {port.port}:auto, told in its variable PORT)"
            )


def _check_chosen(parameters: RunParameters) -> None:
    served = [port.port for port in parameters.ports]
    if twice := next((port for port in served if served.count(port) > 1), 0):
        raise AgentError(f"--port {twice} is given twice", EXIT_USAGE)
    names = [port.name for port in parameters.ports if port.name]
    if twice_named := next((name for name in names if names.count(name) > 1), ""):
        raise AgentError(f"two ports are called {twice_named}", EXIT_USAGE)
    chosen: dict[int, str] = {}
    for upstream in parameters.upstreams:
        option = f"--upstream {upstream.service}:{upstream.port}={upstream.local}"
        if upstream.local and (other := chosen.setdefault(upstream.local, option)) != option:
            raise AgentError(f"{option}: this local port is taken by {other}; choose another", EXIT_USAGE)
        if upstream.local:
            check_free(LOOPBACK, upstream.local, option)


def _is_free(host: str, port: int) -> bool:
    return _bind_error(host, port) == 0


def _bind_error(host: str, port: int, kind: int = socket.SOCK_STREAM) -> int:
    """The errno with which binding fails; 0 when it does not."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        probe = socket.socket(family, kind)
    except OSError as error:
        return error.errno or errno.EINVAL
    with probe:
        if kind == socket.SOCK_STREAM:  # for UDP it would share the port
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            return error.errno or errno.EINVAL
    return 0
