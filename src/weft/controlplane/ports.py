"""Ports and sockets: chosen once, remembered in the home, so that a restart listens where Envoys expect it."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import json
import os
import socket
from pathlib import Path
from typing import NoReturn

from weft.agent.errors import AgentError
from weft.agent.ports import allocating
from weft.controlplane.settings import ServeError
from weft.model.addresses import is_loopback
from weft.settings.home import Home
from weft.settings.ports import own_ports, remembered_ports, usual_port
from weft.settings.private import make_private_directory, write_atomically

_TRIES = 5
_PATIENCE = 3.0
"""Seconds to wait for a remembered port, which a control plane that is just ending may still hold."""


class Ports:
    """Binds listening sockets by name. The home remembers what it used last; `save` writes what was chosen."""

    def __init__(self, home: Home, *, awaited: bool) -> None:
        self._home = home
        self._awaited = awaited
        self._chosen: dict[str, int] = {}
        self._remembered = remembered_ports(home)

    async def bind(
        self, name: str, host: str, wanted: int | None, usual: int, option: str, *, looked_up: bool = False
    ) -> socket.socket:
        """A bound socket: at `wanted`; if that is None, at the remembered port, the usual one, or any free one; if it
        is 0, at the remembered port or any free one. None that an agent of the home has promised is taken unless it was
        `wanted`, and no usual one of loopback where WEFT_PORTS says which ports to use.

        Off loopback other hosts and their firewalls must know the port: if `wanted` is None it is the usual one, or the
        remembered one while registered workloads expect that (`awaited`), never any free one. A remembered port that
        is taken is an error while it is expected. ServeError, with the `option` that chooses another. Nobody expects
        one that is `looked_up` whenever it is needed. Where a range keeps meshes apart, the usual port is nobody's on
        loopback: another mesh would take it while this one does not run.
        """
        told = looked_up or wanted is not None or is_loopback(host)
        bound: socket.socket | None
        if wanted:
            bound = _bind(host, wanted) or _taken(name, host, wanted, option)
        else:
            awaited = self._awaited and not looked_up
            bound = await self._bind_known(name, host, awaited) if told or awaited else None
            if bound is None and not told:
                bound = _bind(host, usual) or _taken(name, host, usual, option)
            if bound is None:
                preferred = 0 if wanted == 0 else usual_port(usual) if is_loopback(host) else usual
                bound = self._bind_free(host, preferred)
        self._chosen[name] = bound.getsockname()[1]
        return bound

    async def _bind_known(self, name: str, host: str, awaited: bool) -> socket.socket | None:
        known = self._remembered.get(name)
        if known is None:
            return None
        loop = asyncio.get_running_loop()
        end = loop.time() + _PATIENCE
        while loop.time() < end:
            if bound := _bind(host, known):
                return bound
            await asyncio.sleep(0.1)
        if awaited:
            raise ServeError(
                f"port {known} on {host}, where this mesh's proxies expect {name}, is taken by another process; "
                f"stop that one, or remove {self._home.ports} and restart the workloads"
            )
        return None

    def save(self) -> None:
        """Remember what was chosen."""
        if self._chosen != self._remembered:
            write_atomically(self._home.ports, json.dumps(self._chosen))

    def _bind_free(self, host: str, preferred: int) -> socket.socket:
        """At the `preferred` port (0: none), else at one of those that weft chooses from: systems lend others to
        outgoing connections, which could hold it when a restart needs it."""
        try:
            own_ports()
        except ValueError as error:
            raise ServeError(str(error)) from None
        with contextlib.suppress(AgentError), allocating(self._home, None) as allocator:
            for _ in range(_TRIES):
                if bound := _bind(host, allocator.free(host, preferred)):
                    return bound
        if bound := _bind(host, 0):
            return bound
        raise ServeError(f"no port is free on {host}")


def bind_agent_socket(home: Home) -> socket.socket:
    """The agent API's unix socket, private to this user from its first moment."""
    path = home.agent_socket
    make_private_directory(path.parent)
    path.unlink(missing_ok=True)
    before = os.umask(0o177)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        listener.bind(str(path))
    except OSError as error:
        listener.close()
        raise ServeError(f"cannot make the socket {path}: {error.strerror}") from error
    finally:
        os.umask(before)
    listener.setblocking(False)
    return listener


def bind_shared_socket(path: Path) -> socket.socket:
    """The agent API's unix socket for other users of this host, who are told apart by what the system says of them."""
    path.unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        listener.bind(str(path))
        path.chmod(0o666)
    except OSError as error:
        listener.close()
        raise ServeError(f"cannot make the socket {path}: {error.strerror or error}") from error
    listener.setblocking(False)
    return listener


def remove_agent_socket(home: Home) -> None:
    """Remove the socket, and its short directory if nobody else uses it."""
    home.agent_socket.unlink(missing_ok=True)
    if home.agent_socket.parent == home.short_directory:
        with contextlib.suppress(OSError):
            home.short_directory.rmdir()


def _bind(host: str, port: int) -> socket.socket | None:
    """A bound TCP socket, or None if the port is taken. ServeError for anything else."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen(128)
    except OSError as error:
        listener.close()
        if error.errno in {errno.EADDRINUSE, errno.EACCES}:
            return None
        raise ServeError(f"cannot listen on {host}: {error.strerror}") from error
    listener.setblocking(False)
    return listener


def _taken(name: str, host: str, port: int, option: str) -> NoReturn:
    raise ServeError(
        f"port {port} on {host} is in use, or may not be used; `ss -ltnp 'sport = :{port}'` shows by whom. Stop that, "
        f"or choose another port for {name} with {option} PORT (0: any free one, kept over restarts)"
    )
