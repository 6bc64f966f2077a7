"""Whether applications of the pod still run: nobody tells a container of the others, but they share the network."""

from __future__ import annotations

from pathlib import Path

_TABLES = (Path("/proc/net/tcp"), Path("/proc/net/tcp6"))
_ESTABLISHED, _LISTEN = "01", "0A"
_STATE, _USER = 3, 7


def applications_run(user: int, tables: tuple[Path, ...] = _TABLES) -> bool:
    """Whether another user than `user`, the proxy's, listens or has a connection in this network namespace: an
    application's sockets go with it. The `tables` are as proc_pid_net(5) has them."""
    return any(_is_alive(fields, user) for table in tables for fields in _rows(table))


def _is_alive(fields: list[str], user: int) -> bool:
    return len(fields) > _USER and fields[_STATE] in (_ESTABLISHED, _LISTEN) and fields[_USER] != str(user)


def _rows(table: Path) -> list[list[str]]:
    try:
        return [line.split() for line in table.read_text().splitlines()[1:]]
    except OSError:  # without IPv6 there is no table of it
        return []
