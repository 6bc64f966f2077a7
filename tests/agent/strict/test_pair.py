"""Two connections that are one: bytes, ends and failures pass from either to the other."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import pytest

from weft.agent.strict.pair import Pair
from weft.agent.strict.readiness import Readiness

pytestmark = pytest.mark.timeout(240)


@dataclass
class Joined:
    """A caller and, when it was asked for, the one who is called."""

    readiness: Readiness
    server: socket.socket
    caller: socket.socket
    near: socket.socket
    far: socket.socket
    over: threading.Event = field(default_factory=threading.Event)
    thread: threading.Thread | None = None

    def join(self, may: Callable[[], bool] = lambda: True, first: bytes = b"") -> None:
        """Pair it, and serve."""
        Pair(self.readiness, self.near, self.far, self.server.getsockname(), may, lambda _: first)
        self.readiness.later(0.01, self._look)
        self.thread = threading.Thread(target=self._serve)
        self.thread.start()

    def _look(self) -> None:
        self.readiness.later(0.01, self._look)

    def _serve(self) -> None:
        while not self.over.is_set():
            self.readiness.turn()

    def accept(self) -> socket.socket:
        accepted, _ = self.server.accept()
        accepted.settimeout(60)
        return accepted


@pytest.fixture
def joined() -> Iterator[Joined]:
    with (
        socket.create_server(("127.0.0.1", 0)) as server,
        socket.create_server(("127.0.0.1", 0)) as door,
        socket.create_connection(door.getsockname(), 10) as caller,
    ):
        server.settimeout(60)
        made = Joined(Readiness(), server, caller, door.accept()[0], socket.socket())
        yield made
        made.over.set()
        if made.thread is not None:
            made.thread.join()
        made.near.close()
        made.far.close()


def everything(connection: socket.socket) -> bytes:
    found = bytearray()
    while data := connection.recv(1 << 16):
        found += data
    return bytes(found)


def test_what_is_first_said_comes_first_and_each_end_passes_by_itself(joined: Joined) -> None:
    joined.join(first=b"header ")
    joined.caller.sendall(b"question")
    joined.caller.shutdown(socket.SHUT_WR)
    with joined.accept() as called:
        assert everything(called) == b"header question"
        called.sendall(b"answer")
        called.shutdown(socket.SHUT_WR)
        assert everything(joined.caller) == b"answer"


def test_a_slow_reader_holds_up_the_writer_and_gets_everything(joined: Joined) -> None:
    joined.join()
    body = bytes(range(256)) * 40_000
    with joined.accept() as called:
        joined.caller.settimeout(0.3)
        with pytest.raises(TimeoutError):
            joined.caller.sendall(body * 4)
        joined.caller.shutdown(socket.SHUT_WR)
        got = everything(called)
    assert len(got) > len(body) / 10
    assert got == (body * 4)[: len(got)]


@pytest.mark.parametrize("whose", ["caller", "called"])
def test_a_reset_is_a_reset(joined: Joined, whose: str) -> None:
    joined.join()
    with joined.accept() as called:
        one, other = (joined.caller, called) if whose == "caller" else (called, joined.caller)
        one.sendall(b"x")
        assert other.recv(1) == b"x"
        one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        one.close()
        with pytest.raises(ConnectionResetError):
            other.recv(1)


def test_where_nobody_listens_or_the_wrong_one_the_caller_is_reset(joined: Joined) -> None:
    joined.join(may=lambda: False)
    with pytest.raises(ConnectionResetError):
        joined.caller.recv(1)


def test_a_refused_connection_is_a_reset(joined: Joined) -> None:
    address = joined.server.getsockname()
    joined.server.close()
    Pair(joined.readiness, joined.near, joined.far, address)
    joined.readiness.turn()
    with pytest.raises(ConnectionResetError):
        joined.caller.recv(1)
