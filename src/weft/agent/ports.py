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
from weft.model.network_namespace import NetworkNamespace
from weft.model.workload import SocketAddress, Upstream, WorkloadPort
from weft.processes.namespaces import NamespaceError, inside
from weft.settings.home import Home
from weft.settings.ports import Reservations, own_ports, remembered_ports, usual_port

LOOPBACK = "127.0.0.1"
DNS_PORT = 15053
"""Where names are answered, if no other workload of the host does so there: Istio's port for it."""
CAPTURE_PORT = 15001
"""Where captured connections are led to, if no other workload of the host has it: Istio's port for it."""
INBOUND_CAPTURE_PORT = 15006
"""Where connections of callers are led to, if no other workload of the host has it: Istio's port for it."""
NAMESPACE_PORT = 15001
"""Where the outbound proxy of an application listens that lives in a network namespace, if nobody else does so there:
it can be written into the application's settings, and be the same in many of them."""
LOOPBACK_6 = "::1"
EVERY_ADDRESS, EVERY_ADDRESS_6 = "0.0.0.0", "::"  # noqa: S104
_NO_IPV6 = (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT)
_TRIES = 20


class PortAllocator:
    """Gives out ports that are not `taken`, of the network namespace of which `namespace` is the file, or of the host.
    Use inside `allocating`, and write the state before leaving it."""

    def __init__(
        self,
        taken: set[int],
        reservations: Reservations | None = None,
        namespace: str = "",
        inner: Callable[[str], PortAllocator] | None = None,
    ) -> None:
        self._taken = taken
        self._reservations = reservations
        self._namespace = namespace
        self._inner = inner
        try:
            self._range = own_ports()
        except ValueError as error:
            raise AgentError(str(error)) from None

    def free(self, host: str, wanted: int = 0) -> int:
        """`wanted` if nobody holds it, else any free port."""
        if wanted and self._claim(host, wanted):
            return wanted
        for port in random.sample(self._range, min(200, len(self._range))):
            if self._claim(host, port):
                return port
        raise AgentError(f"no free port on {host} between {self._range.start} and {self._range.stop - 1}")

    def within(self, namespace: str) -> PortAllocator:
        """That of a network namespace (empty: of the host): the same number may be given in each."""
        return self._inner(namespace) if namespace and self._inner is not None else self

    def _is_free(self, host: str, port: int) -> bool:
        return bind_error(host, port, namespace=self._namespace) == 0

    def may(self, port: int) -> bool:
        """Whether nobody else of the home holds it, nor has another home of the host just chosen it."""
        return port not in self._taken and (self._reservations is None or self._reservations.add(port))

    def take(self, port: int) -> None:
        """Hold a port that was chosen by the user, or is bound already."""
        self._taken.add(port)
        if self._reservations is not None:
            self._reservations.add(port)

    def _claim(self, host: str, port: int) -> bool:
        if not self.may(port):
            return False
        if self._is_free(host, port):
            self._taken.add(port)
            return True
        if self._reservations is not None:
            self._reservations.drop(port)
        return False


@contextlib.contextmanager
def allocating(home: Home, own: Path | None, reservations: Reservations | None = None) -> Iterator[PortAllocator]:
    """One allocation at a time per home, aware of the ports that its control plane has (unless that is who allocates:
    `own` is None), of those in the states of workloads other than `own`, and of those that other homes of the host have
    chosen this moment. What is given is reserved until whoever brought the `reservations` releases them; without
    them, until the allocation ends."""
    held = Reservations() if reservations is None else reservations
    descriptor = os.open(home.root / ".ports.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        read = [read_state(directory) for directory in workload_directories(home) if directory != own]
        states = [state for state in read if state is not None]
        known = set(remembered_ports(home).values()) if own is not None else set()

        def held_in(namespace: str) -> set[int]:
            return {port for state in states for port in held_ports(state, namespace)}

        def inner(namespace: str) -> PortAllocator:
            return PortAllocator(held_in(namespace), namespace=namespace)

        yield PortAllocator(held_in("") | known, held, inner=inner)
    finally:
        os.close(descriptor)
        if reservations is None:
            held.release()


def bind_metrics(allocator: PortAllocator, host: str, known: int) -> socket.socket:
    """A socket for the metrics: at the port that it had before (`known`), else at the usual one, else at any free one.
    (Where ports of one's own keep meshes apart, the usual one of loopback is nobody's.) It is bound while no other
    agent of the home chooses, and stays so: agents of other homes choose at any time."""
    usual = usual_port(DEFAULT_PORT) if host == LOOPBACK else DEFAULT_PORT
    for port in (known or usual, usual, *[0] * _TRIES):
        chosen = port or allocator.free(host)
        bound = bind(SocketAddress(host, chosen)) if port == 0 or allocator.may(chosen) else None
        if bound is not None:
            allocator.take(chosen)
            return bound
    raise AgentError(f"no port for the metrics on {host}")


def held_ports(state: State, namespace: str = "") -> set[int]:
    """Every port in a state that is of this network namespace (empty: of the host): what the application knows is where
    that lives, and what others know is the host's."""
    lives_in = state.network_namespace.path if state.network_namespace is not None else ""
    ports: set[int] = set()
    if namespace == lives_in:
        ports |= {state.outbound} | {upstream.listen.port for upstream in state.upstreams}
        ports |= {port.application.port for port in state.ports}
    if not namespace:
        ports |= {bound for _, bound in state.listen} | {state.dns, state.capture, state.inbound_capture}
        ports |= {port.inbound.port for port in state.ports} | {state.metrics.port if state.metrics else 0}
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
    where = parameters.placed
    inner = allocator.within(where.path if where is not None else "")
    _check_chosen(parameters)
    ports = _application_ports(parameters, allocator, inner, before)
    old_upstreams = {(u.service, u.port): u.listen.port for u in before.upstreams} if before else {}
    upstreams = []
    for upstream in parameters.upstreams:
        local = upstream.local or inner.free(LOOPBACK, old_upstreams.get((upstream.service, upstream.port), 0))
        upstreams.append(Upstream(upstream.service, upstream.port, SocketAddress(LOOPBACK, local)))
    wanted_outbound = parameters.outbound_port
    outbound = inner.free(LOOPBACK, wanted_outbound or _usual_outbound(before, where))
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
        network_namespace=where,
    )


def _usual_outbound(before: State | None, where: NetworkNamespace | None) -> int:
    """Where the proxy listened, if the application has stayed where it was."""
    path, path_before = [each.path if each else "" for each in (where, before.network_namespace if before else None)]
    if before is not None and before.outbound and path == path_before:
        return before.outbound
    return NAMESPACE_PORT if where is not None else 0


def _application_ports(
    parameters: RunParameters, allocator: PortAllocator, inner: PortAllocator, before: State | None
) -> tuple[WorkloadPort, ...]:
    """Where the application listens (a port of `inner`), and where callers reach its proxy."""
    old = {port.port: port for port in before.ports} if before else {}
    for wanted in parameters.ports:
        inner.take(wanted.port if wanted.application is None else wanted.application)
    ports = []
    for wanted in parameters.ports:
        known = old.get(wanted.port)
        application = wanted.port if wanted.application is None else wanted.application
        if application == 0:
            application = inner.free(LOOPBACK, known.application.port if known else 0)
        if parameters.inbound_capture is not None:
            inbound = application
        else:
            inbound = allocator.free(parameters.proxy_host, known.inbound.port if known else 0)
        where = SocketAddress(parameters.proxy_host, inbound)
        ports.append(WorkloadPort(wanted.port, SocketAddress(LOOPBACK, application), where))
    return tuple(ports)


def allocate_dns_port(wanted: int, allocator: PortAllocator, known: int) -> int:
    """The port of the responder, free for UDP and TCP: see `_usual_port`."""
    return _usual_port("--dns", wanted, (known, usual_port(DNS_PORT)), allocator, _is_free_for_dns)


def allocate_capture_port(wanted: int, allocator: PortAllocator, known: int, *, usual: bool = True) -> int:
    """The port to which connections are led, free in both families: see `_usual_port`. `usual`: people's rules may name
    it."""
    common = usual_port(CAPTURE_PORT) if usual else 0
    return _usual_port("--capture", wanted, (known, common), allocator, _is_free_twice)


def allocate_inbound_capture_port(wanted: int, allocator: PortAllocator, known: int) -> int:
    """The port to which connections of callers are led, free at every address: see `_usual_port`."""
    usual = usual_port(INBOUND_CAPTURE_PORT)
    return _usual_port("--inbound-capture", wanted, (known, usual), allocator, _is_free_everywhere)


def _usual_port(
    option: str, wanted: int, usual: tuple[int, int], allocator: PortAllocator, is_free: Callable[[int], bool]
) -> int:
    """A port that `is_free`: `wanted`, else the first or second `usual` one (0: none), else any. AgentError if `wanted`
    is taken."""
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


def inbound_capture_addresses(state: State) -> tuple[SocketAddress, ...]:
    """Where connections of callers are led to: a redirect leads to the address of the interface by which they come.
    With TPROXY they and the application have one family."""
    both = has_ipv6_loopback() and not state.transparent
    hosts = (EVERY_ADDRESS, *((EVERY_ADDRESS_6,) if both else ()))
    return tuple(SocketAddress(host, state.inbound_capture) for host in hosts if state.inbound_capture)


def _is_free_twice(port: int) -> bool:
    return _is_free(LOOPBACK, port) and _bind_error(LOOPBACK_6, port, socket.SOCK_STREAM) in (0, None, *_NO_IPV6)


def _is_free_everywhere(port: int) -> bool:
    six = _bind_error(EVERY_ADDRESS_6, port, socket.SOCK_STREAM)
    return _is_free(EVERY_ADDRESS, port) and six in (0, None, *_NO_IPV6)


def _is_free_for_dns(port: int) -> bool:
    kinds = (socket.SOCK_STREAM, socket.SOCK_DGRAM)
    errors = {(host, kind): _bind_error(host, port, kind) for host in (LOOPBACK, LOOPBACK_6) for kind in kinds}
    return not any(error and (host == LOOPBACK or error not in _NO_IPV6) for (host, _), error in errors.items())


def check_free(host: str, port: int, option: str, namespace: str = "") -> None:
    """AgentError when a port that the user chose by `option` cannot be bound."""
    if bind_error(host, port, namespace=namespace):
        raise AgentError(f"{option}: port {port} of {host} is taken, or may not be used; choose another")


def check_nobody_listens(ports: Iterable[WorkloadPort], namespace: str = "") -> None:
    """AgentError when a port that the application is about to listen on is taken: its health would be the stranger's,
    and so would its callers."""
    for port in ports:
        where = port.application
        if bind_error(where.host, where.port, namespace=namespace) == errno.EADDRINUSE:
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
            where = parameters.placed
            check_free(LOOPBACK, upstream.local, option, where.path if where is not None else "")


def _is_free(host: str, port: int) -> bool:
    return bind_error(host, port) == 0


def bind_error(host: str, port: int, kind: int = socket.SOCK_STREAM, *, namespace: str = "") -> int:
    """The errno with which binding fails; 0 when it does not: in the network namespace of which `namespace` is the
    file, if it is given. AgentError when that is not there."""
    if not namespace:
        return _bind_error(host, port, kind)
    try:
        return inside(namespace, lambda: _bind_error(host, port, kind))
    except NamespaceError as error:
        raise AgentError(f"{namespace} {error}") from error


def _bind_error(host: str, port: int, kind: int = socket.SOCK_STREAM) -> int:
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
