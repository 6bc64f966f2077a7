"""The holder: answers for the application's connections, until the last process under the filter has ended.

It needs no agent. A connection to another host is made with the application's own socket, to the proxy, which is told
by a header where it was to go; loopback, unix sockets and UDP other than DNS are the system's, as ever. What cannot be
read is refused.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import select
import socket
import sys
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from weft.agent.seccomp import system
from weft.agent.seccomp.addresses import Destination, destination, proxy_header
from weft.agent.seccomp.listeners import Listeners
from weft.agent.seccomp.messages import Received, asked_message, asked_receive, deliver
from weft.agent.seccomp.system import Machine, Notification

_DNS = 53
_CLOSED = 7
"""TCP_CLOSE: a socket that is neither connected nor about to be."""
_TCP = (socket.IPPROTO_TCP, 262)
"""262 is MPTCP."""
_FASTOPEN_CONNECT = 30
_LONGEST_ADDRESS = 128
_LONGEST_DATAGRAM = 65535
_CONNECT_SECONDS = 10.0
_RECEIVE_SECONDS = 5.0
_LONGEST_LOG = 1 << 20
_ASKED = 4096
"""Sockets whose question for names was led elsewhere, of which is remembered where they had sent it."""


@dataclass(frozen=True, slots=True)
class Settings:
    """Where the holder leads to: the ports of loopback at which the proxy takes connections and names are answered (0:
    DNS is left alone), and the secret by which the proxy knows it."""

    proxy: int
    dns: int
    secret: bytes


@dataclass(slots=True)
class _Pending:
    """What somebody waits for: `advance` is tried when the `socket` is ready, and at the end once more."""

    socket: socket.socket
    until: float
    ids: list[int]
    advance: Callable[[bool], bool] = field(default=lambda _: True)


class Holder:
    """Serves the notifications that come at `listener`."""

    def __init__(self, machine: Machine, listener: int, settings: Settings) -> None:
        self._machine = machine
        self._listener = listener
        self._settings = settings
        self._ipv6 = _has_ipv6_loopback()
        self._listeners = Listeners()
        self._poll = select.epoll()
        self._pending: dict[int, _Pending] = {}
        self._asked: OrderedDict[int, bytes] = OrderedDict()
        self._calls = {
            machine.connect: self._connect,
            machine.sendto: self._send,
            machine.recvfrom: self._receive,
            machine.recvmsg: self._receive,
        }

    def serve(self, others: Mapping[int, Callable[[], None]] = MappingProxyType({})) -> None:
        """Until no process is under the filter any more. When one of the descriptors of `others` can be read, that is
        called."""
        self._poll.register(self._listener, select.EPOLLIN)
        for descriptor in others:
            self._poll.register(descriptor, select.EPOLLIN)
        while True:
            for descriptor, events in self._poll.poll(self._patience()):
                if descriptor in others:
                    others[descriptor]()
                elif descriptor != self._listener:
                    self._advance(descriptor)
                elif events & select.EPOLLIN:
                    self._take()
                else:
                    return
            now = time.monotonic()
            for descriptor in [each for each, one in self._pending.items() if one.until <= now]:
                self._advance(descriptor, over=True)

    def _patience(self) -> float | None:
        if not self._pending:
            return None
        return max(0.0, min(one.until for one in self._pending.values()) - time.monotonic())

    def _take(self) -> None:
        call = system.receive(self._listener)
        if call is None:
            return
        try:
            goes_on = self._calls[call.number](call)
        except OSError as error:
            # EPERM: it may not be read (a process that is not dumpable, or Yama). Never let past unseen.
            known = error.errno in errno.errorcode and error.errno != errno.EPERM
            refused = error.errno if known and error.errno else errno.EACCES
            if refused == errno.EACCES:
                _say(f"process {call.thread} may not be read; its connection is refused")
            system.answer(self._listener, call.id, error=refused)
            return
        except Exception as error:  # one caller's must not end the others'
            _say(f"{type(error).__name__}: {error}")
            system.answer(self._listener, call.id, error=errno.EACCES)
            return
        if goes_on:
            system.go_on(self._listener, call.id)

    # -- connections: each says whether the system is to go on with what was called ------------------------------------

    def _connect(self, call: Notification) -> bool:
        length = call.arguments[2] & 0xFFFFFFFF
        if not 2 <= length <= _LONGEST_ADDRESS:
            return True  # the system says what is wrong with it
        raw = system.read_memory(call.thread, call.arguments[1], length)
        where = destination(raw)
        if where is None or (where.loopback and (where.port != _DNS or not self._settings.dns)):
            return True
        taken = self._socket(call)
        if taken is None:
            return True
        if taken.type == socket.SOCK_DGRAM and where.port == _DNS and self._settings.dns:
            with taken:
                here = self._responder(where, taken.family)
                if here is not None:
                    self._remember(taken, raw)
                failed = errno.ECONNREFUSED if here is None else taken.connect_ex(here)
            system.answer(self._listener, call.id, error=failed)
            return False
        if taken.type != socket.SOCK_STREAM or taken.proto not in _TCP or taken.family != where.family:
            taken.close()
            return True
        return self._lead(call, taken, where)

    def _lead(self, call: Notification, taken: socket.socket, where: Destination) -> bool:
        inode = os.fstat(taken.fileno()).st_ino
        same = next((one for one in self._pending.values() if os.fstat(one.socket.fileno()).st_ino == inode), None)
        if same is not None:  # a signal has interrupted it, and the system calls again
            taken.close()
            same.ids.append(call.id)
            return False
        if taken.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0] != _CLOSED:
            taken.close()
            return True  # connected already, or listening: the system says so
        dns = where.port == _DNS and self._settings.dns
        if where.loopback and not dns:
            taken.close()
            return True
        waits, failed = _begin(taken, where.here(dns or self._settings.proxy, taken.family, ipv6=self._ipv6))
        if failed not in (0, errno.EINPROGRESS):
            taken.close()
            system.answer(self._listener, call.id, error=failed)
            return False
        pending = _Pending(taken, time.monotonic() + _CONNECT_SECONDS, [call.id])
        told, good = None if dns else where, 0 if waits else errno.EINPROGRESS
        pending.advance = lambda over: self._connected(pending, where, told, good, over)
        self._wait(pending, select.EPOLLOUT)
        return False

    def _connected(
        self, pending: _Pending, where: Destination, told: Destination | None, good: int, over: bool
    ) -> bool:
        """Whether it is known what came of a connection to `where`: then the proxy is `told` (None: it was led to the
        responder), and the caller, by `good` if it is there."""
        failed = _outcome(pending.socket, over)
        if failed is None:
            return False
        port = self._settings.dns if told is None else self._settings.proxy
        if not failed and not self._is_ours(where, pending.socket.family, port):
            system.reset(pending.socket.fileno())
            failed = errno.ECONNREFUSED
        if not failed and told is not None:
            header = proxy_header(told, pending.socket.getsockname()[1], self._settings.secret)
            pending.socket.send(header, socket.MSG_DONTWAIT)
        for id in pending.ids:  # noqa: A001
            system.answer(self._listener, id, error=failed or good)
        return True

    def _is_ours(self, where: Destination, family: int, port: int) -> bool:
        """Whether who listens at `port`, to which a call for `where` is led, is of our user: while the proxy or the
        responder is away anybody may take its port."""
        if self._listeners.owned(*where.here(port, family, ipv6=self._ipv6)):
            return True
        _say(f"port {port} belongs to another user, or to nobody; nothing is sent there")
        return False

    def _responder(self, where: Destination, family: int) -> tuple[str, int] | None:
        """To where a question to `where` is led; None while that is nobody's of ours. The responder has its port for
        TCP and UDP or not at all, so it is asked of the one who has it."""
        port = self._settings.dns
        return where.here(port, family, ipv6=self._ipv6) if self._is_ours(where, family, port) else None

    # -- names ---------------------------------------------------------------------------------------------------------

    def _send(self, call: Notification) -> bool:
        """``sendto`` with an address: a question for names goes to the responder."""
        _, data, size, flags, address, length = call.arguments
        length &= 0xFFFFFFFF
        if not self._settings.dns or size > _LONGEST_DATAGRAM or not 2 <= length <= _LONGEST_ADDRESS:
            return True
        raw = system.read_memory(call.thread, address, length)
        where = destination(raw)
        if where is None or where.port != _DNS:
            return True
        taken = self._socket(call)
        if taken is None:
            return True
        with taken:
            if taken.type != socket.SOCK_DGRAM:
                return True
            here = self._responder(where, taken.family)
            if here is None:
                system.answer(self._listener, call.id, error=errno.ECONNREFUSED)
                return False
            question = system.read_memory(call.thread, data, size)
            self._remember(taken, raw)
            sent = taken.sendto(question, flags & 0xFFFFFFFF | socket.MSG_DONTWAIT, here)
        system.answer(self._listener, call.id, sent)
        return False

    def _receive(self, call: Notification) -> bool:
        """``recvfrom`` and ``recvmsg`` that ask for the sender: an answer from the responder comes from whoever was
        asked."""
        if not self._asked:
            return True
        taken = self._socket(call)
        if taken is None:
            return True
        asked = self._asked.get(os.fstat(taken.fileno()).st_ino)
        if asked is None:
            taken.close()
            return True
        read = asked_receive if call.number == self._machine.recvfrom else asked_message
        try:
            wanted = read(call)
        except OSError:
            taken.close()
            raise
        if wanted is None:
            taken.close()
            return True
        seconds = _RECEIVE_SECONDS if _waits(taken, wanted.flags) else 0.0
        pending = _Pending(taken, time.monotonic() + seconds, [call.id])

        def received(over: bool) -> bool:
            if not system.is_waiting(self._listener, call.id):
                return True  # its number may be another's by now
            try:
                self._deliver(call, taken, wanted, asked)
            except BlockingIOError:
                if not over:
                    return False
                system.answer(self._listener, call.id, error=errno.EAGAIN)
            except OSError as error:
                system.answer(self._listener, call.id, error=error.errno or errno.EIO)
            return True

        pending.advance = received
        self._wait(pending, select.EPOLLIN)
        return False

    def _deliver(self, call: Notification, taken: socket.socket, wanted: Received, asked: bytes) -> None:
        kept = wanted.flags & ~socket.MSG_TRUNC | socket.MSG_DONTWAIT
        data, where = taken.recvfrom(wanted.room, kept)
        ours = where is not None and where[1] == self._settings.dns and _is_loopback(where[0])
        deliver(call.thread, wanted, data, asked if ours else None, taken.family, where)
        system.answer(self._listener, call.id, len(data))

    def _remember(self, taken: socket.socket, raw: bytes) -> None:
        inode = os.fstat(taken.fileno()).st_ino
        self._asked[inode] = raw
        self._asked.move_to_end(inode)
        if len(self._asked) > _ASKED:
            self._asked.popitem(last=False)

    # -- what waits ----------------------------------------------------------------------------------------------------

    def _wait(self, pending: _Pending, events: int) -> None:
        """Try at once, and when the socket is ready until the time is over."""
        if self._done(pending, over=pending.until <= time.monotonic()):
            pending.socket.close()
            return
        descriptor = pending.socket.fileno()
        self._pending[descriptor] = pending
        self._poll.register(descriptor, events)

    def _advance(self, descriptor: int, *, over: bool = False) -> None:
        pending = self._pending.get(descriptor)
        if pending is None or not self._done(pending, over=over):
            return
        del self._pending[descriptor]
        self._poll.unregister(descriptor)
        pending.socket.close()

    def _done(self, pending: _Pending, *, over: bool) -> bool:
        try:
            return pending.advance(over)
        except OSError as error:
            for id in pending.ids:  # noqa: A001
                system.answer(self._listener, id, error=error.errno or errno.EIO)
            return True

    def _socket(self, call: Notification) -> socket.socket | None:
        """The caller's socket, if it is one of IPv4 or IPv6 and the caller waits still."""
        descriptor = call.arguments[0] & 0xFFFFFFFF
        try:
            taken = socket.socket(fileno=system.take_descriptor(call.thread, descriptor))
        except OSError as error:
            if error.errno in (errno.EBADF, errno.ENOTSOCK):
                return None
            raise
        if taken.family not in (socket.AF_INET, socket.AF_INET6) or not system.is_waiting(self._listener, call.id):
            taken.close()
            return None
        return taken


def _begin(taken: socket.socket, to: tuple[str, int]) -> tuple[bool, int]:
    """Begin to connect, whether the socket waits or not: whether it does, and the errno."""
    with contextlib.suppress(OSError):  # MPTCP of some kernels has no such option
        taken.setsockopt(socket.IPPROTO_TCP, _FASTOPEN_CONNECT, 0)
    flags = fcntl.fcntl(taken.fileno(), fcntl.F_GETFL)
    waits = not flags & os.O_NONBLOCK
    if waits:
        fcntl.fcntl(taken.fileno(), fcntl.F_SETFL, flags | os.O_NONBLOCK)
    failed = taken.connect_ex(to)
    if waits:
        fcntl.fcntl(taken.fileno(), fcntl.F_SETFL, flags)
    return waits, failed


def _outcome(taken: socket.socket, over: bool) -> int | None:
    """The errno of a connection that is being made, 0 if it is made, None while nobody knows."""
    ready = select.poll()
    ready.register(taken.fileno(), select.POLLOUT)
    if not ready.poll(0):
        if not over:
            return None
        system.reset(taken.fileno())
        return errno.ETIMEDOUT
    failed = taken.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
    if failed:
        system.reset(taken.fileno())
    return failed


def _waits(taken: socket.socket, flags: int) -> bool:
    return not (flags & socket.MSG_DONTWAIT or fcntl.fcntl(taken.fileno(), fcntl.F_GETFL) & os.O_NONBLOCK)


def _is_loopback(host: str) -> bool:
    return host in ("127.0.0.1", "::1", "::ffff:127.0.0.1")


def _has_ipv6_loopback() -> bool:
    try:
        with socket.socket(socket.AF_INET6, socket.SOCK_STREAM) as probe:
            probe.bind(("::1", 0))
    except OSError:
        return False
    return True


def _say(text: str) -> None:
    if os.fstat(2).st_size > _LONGEST_LOG:
        os.ftruncate(2, 0)
    sys.stderr.write(f"{time.strftime('%Y-%m-%dT%H:%M:%S%z')} {text}\n")
    sys.stderr.flush()
