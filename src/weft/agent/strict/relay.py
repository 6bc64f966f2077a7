"""The relay: the only way out of an application's namespace, and in. It runs outside and has sockets of both sides.

What the application connects to goes to its proxy, with a header that says where it was to go and the workload's
secret; questions for names go to the workload's responder; upstreams have their ports inside, too. Callers (the proxy,
health checks) find the application's ports outside, at loopback, as long as it listens.
"""

from __future__ import annotations

import contextlib
import errno
import os
import select
import socket
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

from weft.agent.seccomp.addresses import Destination, destination, proxy_header
from weft.agent.seccomp.listeners import Listeners, owner
from weft.agent.strict.door import Door, DoorError
from weft.agent.strict.pair import Pair
from weft.agent.strict.questions import Questions
from weft.agent.strict.readiness import Readiness

_HERE = "127.0.0.1"
_BOTH = (_HERE, "::1")
_ORIGINAL_DESTINATION = 80
"""SO_ORIGINAL_DST, and IP6T_SO_ORIGINAL_DST."""
_IPV6 = 41
_AT_ONCE = 64
_BACKLOG = 1024
_LOOK = 0.1
"""Seconds between two looks at which ports the application has."""
_FULL = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)
_PAUSE = 0.1
_NOBODY_LEFT = 2.0
"""Seconds between two looks whether anybody is left inside."""
_LONGEST_LOG = 1 << 20


@dataclass(frozen=True, slots=True)
class Ways:
    """Ports of loopback: the proxy's for captured connections and the responder's, inside and outside the same;
    `upstreams` that the application calls, and `ports` that it is called at. `secret` is what the proxy knows it by."""

    proxy: int
    dns: int
    secret: bytes
    upstreams: tuple[int, ...] = ()
    ports: tuple[int, ...] = ()


class Relay:
    """Serves `ways`, with sockets that `door` makes inside. DoorError if it cannot have them."""

    def __init__(self, ways: Ways, door: Door) -> None:
        self._ways = ways
        self._door = door
        self._readiness = Readiness()
        self._owners = Listeners()
        self._serving: dict[int, socket.socket] = {}
        self._refused: set[int] = set()
        self._connected = partial(self._owned, ways.proxy)
        for host in _BOTH:
            with _unless_no_ipv6(host):
                self._listen(self._door.listener(host, ways.proxy), self._lead)
                self._listen(self._door.listener(host, ways.dns), partial(self._carry, ways.dns))
                datagrams = self._door.datagrams(host, ways.dns)
                Questions(self._readiness, datagrams, ways.dns, partial(self._owned, ways.dns))
        for port in ways.upstreams:
            self._listen(self._door.listener(_HERE, port), partial(self._carry, port))
        diag = self._door.listening()
        self._diag = diag if owner(diag, _HERE, ways.proxy) >= 0 else None  # some kernels do not answer
        self._mirrors = {port: _bound(port) for port in ways.ports}

    def serve(self, agent: int) -> None:
        """Until the door is shut, or the process `agent` is not our parent any more and nobody is left inside."""
        open_ = [True]
        self._readiness.watch(self._door.channel.fileno(), select.EPOLLIN, lambda _: open_.clear())
        self._look()
        self._look_for_others(agent)
        while open_:
            self._readiness.turn()

    # -- from inside ---------------------------------------------------------------------------------------------------

    def _lead(self, near: socket.socket) -> None:
        """To the proxy."""
        where = original_destination(near)
        if where is None or where.loopback:  # who dials this port itself would be led to the host's own loopback
            _reset(near)
            return

        def header(far: socket.socket) -> bytes:
            return proxy_header(where, far.getsockname()[1], self._ways.secret)

        self._join(near, self._ways.proxy, self._connected, header)

    def _carry(self, port: int, near: socket.socket) -> None:
        """To the same port outside."""
        self._join(near, port, partial(self._owned, port), lambda _: b"")

    def _join(
        self, near: socket.socket, port: int, may: Callable[[], bool], first: Callable[[socket.socket], bytes]
    ) -> None:
        try:
            far = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        except OSError:
            _reset(near)
            return
        Pair(self._readiness, near, far, (_HERE, port), may, first)

    def _owned(self, port: int) -> bool:
        """Whether who listens at `port` outside is of our user: while a proxy is away anybody may take its port."""
        if self._owners.owned(_HERE, port):
            return True
        _say(f"port {port} belongs to another user, or to nobody; nothing is sent there")
        return False

    # -- from outside --------------------------------------------------------------------------------------------------

    def _look(self) -> None:
        """Listen where the application does, and not where it does not: a connection says whether it is there."""
        for port, mirror in self._mirrors.items():
            listens = owner(self._diag, _HERE, port) >= 0 if self._diag is not None else True
            if listens and port not in self._serving:
                try:
                    mirror.listen(_BACKLOG)
                except OSError as error:
                    if port not in self._refused:
                        _say(f"port {port}: {error.strerror}")
                    self._refused.add(port)
                    continue
                self._refused.discard(port)
                self._serving[port] = mirror
                self._listen(mirror, partial(self._let_in, port))
            elif not listens and port in self._serving:
                self._readiness.forget(self._serving.pop(port).fileno())
                mirror.shutdown(socket.SHUT_RDWR)  # it stays bound
        if self._mirrors:
            self._readiness.later(_LOOK, self._look)

    def _let_in(self, port: int, near: socket.socket) -> None:
        try:
            far = self._door.stream()
        except DoorError as error:
            _say(str(error))
            _reset(near)
            return
        Pair(self._readiness, near, far, (_HERE, port))

    # ------------------------------------------------------------------------------------------------------------------

    def _listen(self, listener: socket.socket, take: Callable[[socket.socket], None]) -> None:
        listener.setblocking(False)

        def ready(_: int) -> None:
            try:
                for _ in range(_AT_ONCE):
                    take(listener.accept()[0])
            except BlockingIOError:
                pass
            except OSError as error:
                if error.errno in _FULL:
                    self._readiness.forget(listener.fileno())
                    self._readiness.later(_PAUSE, again)

        def again() -> None:
            if listener not in self._mirrors.values() or listener in self._serving.values():
                self._readiness.watch(listener.fileno(), select.EPOLLIN, ready)

        self._readiness.watch(listener.fileno(), select.EPOLLIN, ready)

    def _look_for_others(self, agent: int) -> None:
        """End when this relay has lost its agent, and the application has ended."""
        if os.getppid() != agent and not _has_others(self._door.process):
            sys.exit(0)
        self._readiness.later(_NOBODY_LEFT, lambda: self._look_for_others(agent))


@contextlib.contextmanager
def _unless_no_ipv6(host: str) -> Iterator[None]:
    try:
        yield
    except DoorError:
        if host == _HERE:
            raise


def original_destination(near: socket.socket) -> Destination | None:
    """Where it was made to before it was redirected."""
    level, size = (socket.IPPROTO_IP, 16) if near.family == socket.AF_INET else (_IPV6, 28)
    try:
        return destination(near.getsockopt(level, _ORIGINAL_DESTINATION, size))
    except OSError:
        return None


def _bound(port: int) -> socket.socket:
    """A socket that holds a port outside. DoorError if another process has it."""
    made = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        made.bind((_HERE, port))
    except OSError as error:
        raise DoorError(f"port {port} of {_HERE}: {error.strerror}") from error
    return made


def _has_others(door: int) -> bool:
    """Whether a process but `door` is in its network namespace. Those of other users are not seen."""
    own = os.stat(f"/proc/{door}/ns/net").st_ino  # noqa: PTH116
    for name in os.listdir("/proc"):  # noqa: PTH208
        with contextlib.suppress(OSError):
            if name.isdigit() and int(name) != door and os.stat(f"/proc/{name}/ns/net").st_ino == own:  # noqa: PTH116
                return True
    return False


def _reset(near: socket.socket) -> None:
    near.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    near.close()


def _say(text: str) -> None:
    if os.fstat(2).st_size > _LONGEST_LOG:
        os.ftruncate(2, 0)
    sys.stderr.write(f"{time.strftime('%Y-%m-%dT%H:%M:%S%z')} {text}\n")
    sys.stderr.flush()
