"""Orders to the `weft up` of a home, over a unix socket in it: a line of JSON there, lines of JSON back.

``{"do": "up" | "restart" | "stop" | "wait", "names": [...], "mesh": "/path/weft.yaml"}`` is answered by any number of
``{"say": "..."}`` and one ``{"exit": 0}``.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Literal

import msgspec

from weft.local.record import owner_of
from weft.settings.home import Home
from weft.settings.private import make_private_directory

_LONGEST = 1 << 20
_PATIENCE = 10.0
"""Seconds until a `weft up` that has just taken the home listens."""


@dataclass(frozen=True, slots=True)
class Order:
    """What is asked for. `names` are processes (restart, stop; empty means all of them), `mesh` says which mesh is
    meant (up). ``wait`` changes nothing: it is answered when all before it is done, with 1 if not all is up."""

    do: Literal["up", "restart", "stop", "wait"]
    names: tuple[str, ...] = ()
    mesh: str = ""


@dataclass(frozen=True, slots=True)
class Answer:
    """A line of the answer; the last one has `exit`, an exit code."""

    say: str = ""
    exit: int | None = None


@dataclass(frozen=True, slots=True)
class Received:
    """An order with the way back: `say` reaches whoever gave it, `done` is set with the exit code."""

    order: Order
    say: Callable[[str], None]
    done: asyncio.Future[int] = field(compare=False)


class NobodyUp(Exception):  # noqa: N818 - nothing is wrong
    """No `weft up` runs in this home, or none any more."""


@contextlib.asynccontextmanager
async def taking_orders(home: Home, take: Callable[[Received], None]) -> AsyncIterator[None]:
    """Call `take` with each order that comes, meanwhile."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        # what is no order is not answered; nor is one when we end, which is no fault to be told about
        silent = (msgspec.DecodeError, ValueError, OSError, asyncio.CancelledError)
        with contextlib.suppress(*silent), contextlib.closing(writer):
            order = msgspec.json.decode(await reader.readline(), type=Order)
            done: asyncio.Future[int] = asyncio.get_running_loop().create_future()
            take(Received(order, lambda text: _answer(writer, Answer(text)), done))
            _answer(writer, Answer(exit=await done))

    path = home.up_socket
    if path.parent != home.root:
        make_private_directory(path.parent)
    path.unlink(missing_ok=True)
    mask = os.umask(0o177)
    try:
        server = await asyncio.start_unix_server(serve, path, limit=_LONGEST, start_serving=False)
    finally:
        os.umask(mask)  # before anybody else gets a turn: what is started then would keep it
    try:
        await server.start_serving()
        yield
    finally:
        server.close()
        path.unlink(missing_ok=True)


def _answer(writer: asyncio.StreamWriter, answer: Answer) -> None:
    """Whoever has gone need not hear it."""
    if not writer.is_closing():
        writer.write(msgspec.json.encode(answer) + b"\n")


def give_order(home: Home, order: Order, say: Callable[[str], None]) -> int:
    """Give an order to the `weft up` of `home`, and pass on what it says; the exit code. Blocks. Raises NobodyUp."""
    with contextlib.suppress(ConnectionError), _connect(home) as connection, connection.makefile("rb") as answers:
        connection.sendall(msgspec.json.encode(order) + b"\n")
        for line in answers:
            answer = msgspec.json.decode(line, type=Answer)
            if answer.exit is not None:
                return answer.exit
            say(answer.say)
    raise NobodyUp


def _connect(home: Home) -> socket.socket:
    deadline = time.monotonic() + _PATIENCE
    while owner_of(home) is not None:
        connection = socket.socket(socket.AF_UNIX)
        try:
            connection.connect(str(home.up_socket))
        except OSError:
            connection.close()
            if time.monotonic() > deadline:
                break
            time.sleep(0.05)
        else:
            return connection
    raise NobodyUp
