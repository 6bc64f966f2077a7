"""Many raw HTTP/1.1 requests in a short time: several connections, several requests on their way over each.

One thread, plain sockets and a selector for each port: what a request costs here is taken from the proxy that is tried.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import selectors
import socket
import time
from collections.abc import Iterator, Sequence

from support.servers import HOST
from support.spellings import Sent

_LANES, _DEPTH = 200, 8
_SECONDS, _CONNECT_SECONDS = 2.0, 20.0
_STALLED_SECONDS = 0.25
"""A proxy that reads a malformed request while it answers the one before says nothing more, and closes a second later.
What is not answered then goes over another connection, so nothing is lost if it was only slow."""
_ALONE_SECONDS = 3.0
"""So long is waited for more after a request whose end is not certain."""
_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_SIZE = re.compile(rb"[0-9a-fA-F]+")
_LAST = f"GET /open/page.txt HTTP/1.1\r\nHost: {HOST}\r\nx-role: reader\r\nConnection: close\r\n\r\n".encode()
_DOUBTFUL = re.compile(rb"%(2f|5c|00)|\\|[\x00-\x09\x0b\x0c\x0e-\x1f\x7f-\xff]", re.IGNORECASE)
"""What is likely to be refused together with its connection, so that little stands behind it."""


async def answers(port: int, sent: Sequence[Sent]) -> list[bytes]:
    """All that came back to each request, in order."""
    return await asyncio.to_thread(_answers, port, sent)


def _answers(port: int, sent: Sequence[Sent]) -> list[bytes]:
    found = [b""] * len(sent)
    waiting = _batches(sent)
    with selectors.EpollSelector() as selector:
        free, busy = [_Lane(port, sent, found, selector) for _ in range(_LANES)], set[_Lane]()
        while True:
            while free and (batch := next(waiting, None)) is not None:
                busy.add(lane := free.pop())
                lane.start(batch)
            if not busy:
                for lane in free:
                    lane.ended()
                return found
            for key, _ in selector.select(0.05):
                key.data.read()
            now = time.monotonic()
            for lane in list(busy):
                if lane.batch and now > lane.deadline:
                    lane.ended()
                if not lane.batch:
                    busy.remove(lane)
                    free.append(lane)


def _batches(sent: Sequence[Sent]) -> Iterator[list[int]]:
    """Numbers of requests that may share a connection."""
    alike: dict[bool, list[int]] = {False: [], True: []}
    for number, one in enumerate(sent):
        if one.alone:
            yield [number]
            continue
        doubtful = _DOUBTFUL.search(one.wire) is not None
        alike[doubtful].append(number)
        if len(alike[doubtful]) == (2 if doubtful else _DEPTH):
            yield alike[doubtful]
            alike[doubtful] = []
    yield from filter(None, alike.values())


class _Lane:
    """One connection at a time. `batch` are the numbers of the requests that are not answered yet."""

    def __init__(self, port: int, sent: Sequence[Sent], found: list[bytes], selector: selectors.EpollSelector) -> None:
        self.batch: list[int] = []
        self.deadline = 0.0
        self._port, self._sent, self._found, self._selector = port, sent, found, selector
        self._socket: socket.socket | None = None
        self._got = b""
        self._alone = self._answered = False
        self._latest = 0

    def start(self, batch: list[int]) -> None:
        """Send these requests, over the connection that is there if it may be used."""
        self.batch = batch
        self._send(self._sent[batch[0]].alone)

    def _send(self, alone: bool) -> None:
        self._alone, self._answered = alone, False
        if alone:
            self._close()
        wire = b"".join(self._sent[number].wire for number in self.batch[: 1 if alone else None])
        self.deadline = time.monotonic() + (_ALONE_SECONDS if alone else _SECONDS)
        try:
            if self._socket is None:
                self._socket = socket.create_connection(("127.0.0.1", self._port), _CONNECT_SECONDS)
                self._selector.register(self._socket, selectors.EVENT_READ, self)
            self._socket.sendall(wire + _LAST if alone else wire)
        except OSError:
            self.ended()

    def read(self) -> None:
        """What came, taken apart."""
        more = b""
        with contextlib.suppress(OSError):
            more = self._socket.recv(262144) if self._socket is not None else b""
        self._got += more
        if self._alone:
            if not more or _ended(self._got):
                self.ended()
            return
        while self.batch and (answer := _first(self._got, self._sent[self.batch[0]].wire.startswith(b"HEAD "))):
            self._got = self._got[len(answer) :]
            self._latest = self.batch.pop(0)
            self._found[self._latest] = answer
            self._answered = True
            self.deadline = time.monotonic() + _STALLED_SECONDS
            if b"connection: close" in answer:
                self.ended()
                return
        if not more or (self._got and not self.batch):  # or more than was asked for: that is not for the next
            self.ended()

    def ended(self) -> None:
        """Nothing more comes over this connection: the rest goes over another one."""
        got, alone = self._got, self._alone
        self._close()
        if alone and self.batch:
            self._found[self.batch.pop(0)] = got
        elif got and self._answered:
            self._found[self._latest] += got
        if self.batch:  # where it is not said why there is no answer: once more, with nothing behind that may be lost
            self._send(not alone and not self._answered)

    def _close(self) -> None:
        if self._socket is not None:
            self._selector.unregister(self._socket)
            self._socket.close()
        self._socket, self._got = None, b""


def _first(got: bytes, head_only: bool) -> bytes:
    """The first whole answer, or nothing."""
    end = got.find(b"\r\n\r\n") + 4
    if end < 4:
        return b""
    head = got[:end]
    if head_only or head[9:12] in (b"204", b"304"):
        return head
    length = _LENGTH.search(head)
    if length:
        end += int(length[1])
        return got[:end] if len(got) >= end else b""
    if b"transfer-encoding: chunked" not in head.lower():
        return head
    while (line := got.find(b"\r\n", end)) >= 0:
        if not (sized := _SIZE.match(got, end)):  # the head of an answer to a HEAD that is not known as one
            return head
        size = int(sized[0], 16)
        end = line + 2 + size + 2
        if len(got) < end:
            break
        if not size:
            return got[:end]
    return b""


def _ended(found: bytes) -> bool:
    """Whether the last answer on a connection is here. The proxy itself closes only a second after it."""
    while answer := _first(found, head_only=False):
        if b"connection: close" in answer.partition(b"\r\n\r\n")[0]:
            return True
        found = found[len(answer) :]
    return False
