"""Questions for names, of the application, carried to the responder outside (UDP), and its answers back."""

from __future__ import annotations

import contextlib
import select
import socket
import time
from collections.abc import Callable
from typing import Any

from weft.agent.strict.readiness import Readiness

_LONGEST = 65535
_AT_ONCE = 512
_SECONDS = 15.0


class Questions:
    """What comes at `listener` is asked of the responder at `port` of loopback, if `may` says that this is ours."""

    def __init__(self, readiness: Readiness, listener: socket.socket, port: int, may: Callable[[], bool]) -> None:
        self._readiness = readiness
        self._listener = listener
        self._port = port
        self._may = may
        self._asked: dict[int, tuple[socket.socket, Any, float]] = {}
        """By descriptor, the oldest first: who asked, and until when an answer is waited for."""
        listener.setblocking(False)
        readiness.watch(listener.fileno(), select.EPOLLIN, self._ask)

    def _ask(self, _: int) -> None:
        now = time.monotonic()
        for descriptor in list(self._asked):
            if self._asked[descriptor][2] > now and len(self._asked) < _AT_ONCE:
                break
            self._end(descriptor)
        try:
            question, client = self._listener.recvfrom(_LONGEST)
        except OSError:
            return
        if not self._may():
            return
        asking = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        asking.setblocking(False)
        with contextlib.suppress(OSError):
            asking.connect(("127.0.0.1", self._port))
            asking.send(question)
            self._asked[asking.fileno()] = (asking, client, now + _SECONDS)
            self._readiness.watch(asking.fileno(), select.EPOLLIN, lambda _: self._answer(asking))
            return
        asking.close()

    def _answer(self, asking: socket.socket) -> None:
        _, client, _ = self._asked[asking.fileno()]
        with contextlib.suppress(OSError):
            self._listener.sendto(asking.recv(_LONGEST), client)
        self._end(asking.fileno())

    def _end(self, descriptor: int) -> None:
        asking, _, _ = self._asked.pop(descriptor)
        self._readiness.forget(descriptor)
        asking.close()
