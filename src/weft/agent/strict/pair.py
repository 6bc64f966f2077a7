"""Two connections that are one: what comes by either goes out by the other, and so do its end and its failure."""

from __future__ import annotations

import errno
import select
import socket
import struct
from collections.abc import Callable
from functools import partial

from weft.agent.strict.readiness import Readiness

_PIECE = 256 << 10
_PIECES = 4
"""Read of one connection before others have their turn."""
_RESET = struct.pack("=ii", 1, 0)
_BUFFER = bytearray(_PIECE)
_VIEW = memoryview(_BUFFER)
_CUT_OFF = select.EPOLLHUP | select.EPOLLERR


class Flow:
    """One direction. What `source` has said and `sink` does not take yet is `waiting`, and then no more is read."""

    __slots__ = ("done", "over", "sink", "source", "waiting")

    def __init__(self, source: socket.socket, sink: socket.socket, waiting: bytes = b"") -> None:
        self.source, self.sink, self.waiting = source, sink, waiting
        self.over = self.done = False

    def read(self) -> None:
        """Pass on what has come. OSError if either end has failed."""
        for _ in range(_PIECES):
            if self.waiting or self.over:
                return
            try:
                size = self.source.recv_into(_BUFFER)
            except BlockingIOError:
                return
            if not size:
                self.over = True
                self.write()
                return
            sent = _send(self.sink, _VIEW[:size])
            if sent < size:
                self.waiting = bytes(_VIEW[sent:size])
            if size < _PIECE:
                return

    def write(self) -> None:
        """Pass on what waits, then the end. OSError as in `read`."""
        if self.waiting:
            self.waiting = self.waiting[_send(self.sink, self.waiting) :]
        if self.over and not self.waiting and not self.done:
            self.done = True
            self.sink.shutdown(socket.SHUT_WR)


class Pair:
    """`near` is connected; `far` connects to `address` first. When it has, and `may` says yes, it is told `first`. Both
    are closed in the end."""

    def __init__(
        self,
        readiness: Readiness,
        near: socket.socket,
        far: socket.socket,
        address: tuple[str, int],
        may: Callable[[], bool] = lambda: True,
        first: Callable[[socket.socket], bytes] = lambda _: b"",
    ) -> None:
        self._readiness = readiness
        self._near, self._far = near, far
        self._out, self._back = Flow(near, far), Flow(far, near)
        self._may, self._first = may, first
        self._connecting = True
        self._near_ready = partial(self._ready, incoming=self._back, outgoing=self._out)
        self._far_ready = partial(self._ready, incoming=self._out, outgoing=self._back)
        for each in (near, far):
            each.setblocking(False)
            each.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if far.connect_ex(address) in (0, errno.EINPROGRESS):
            self._watch()
        else:
            self._end(reset=True)

    def _ready(self, events: int, incoming: Flow, outgoing: Flow) -> None:
        """Something has happened at the source of `outgoing`, which is the sink of `incoming`."""
        try:
            if self._connecting and outgoing is self._back and not self._connected():
                self._end(reset=True)
                return
            if events == select.EPOLLIN and not self._connecting:
                outgoing.read()
                if not (outgoing.waiting or outgoing.over):
                    return  # what is waited for is what it was
            if events & select.EPOLLOUT:
                incoming.write()
            if events & (select.EPOLLIN | _CUT_OFF):
                outgoing.read()
        except OSError:
            self._end(reset=True)
            return
        if self._out.done and self._back.done:
            self._end(reset=False)
        else:
            self._watch()

    def _connected(self) -> bool:
        """Whether the connection was made, and may be used; then `first` is about to be said."""
        self._connecting = False
        if self._far.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) or not self._may():
            return False
        self._out.waiting = self._first(self._far)
        self._out.write()
        return True

    def _watch(self) -> None:
        out, back, connecting = self._out, self._back, self._connecting
        events = _events(reads=not (out.over or out.waiting or connecting), writes=bool(back.waiting))
        self._readiness.watch(self._near.fileno(), events, self._near_ready)
        events = _events(reads=not (back.over or back.waiting or connecting), writes=bool(out.waiting) or connecting)
        self._readiness.watch(self._far.fileno(), events, self._far_ready)

    def _end(self, *, reset: bool) -> None:
        for each in (self._near, self._far):
            self._readiness.forget(each.fileno())
            if reset:
                each.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            each.close()


def _events(*, reads: bool, writes: bool) -> int:
    return (select.EPOLLIN if reads else 0) | (select.EPOLLOUT if writes else 0)


def _send(sink: socket.socket, data: bytes | memoryview) -> int:
    try:
        return sink.send(data)
    except BlockingIOError:
        return 0
