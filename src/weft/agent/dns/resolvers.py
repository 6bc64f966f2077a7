"""The resolvers that were there: those of resolv.conf, read anew when it changes, or those that were given."""

from __future__ import annotations

import ipaddress
import re
from pathlib import Path

DNS_PORT = 53
_MOST = 3
"""As the C library has it (resolv.conf(5))."""
Address = tuple[str, int]
_RESOLVER = re.compile(r"(?:\[([^\[\]]+)\]|([^:\[\]]+))(?::([0-9]{1,5}))?")


def parse_resolv_conf(text: str) -> tuple[Address, ...]:
    """The name servers of a resolv.conf. What is no address is left out, as the C library does."""
    found: list[Address] = []
    for line in text.splitlines():
        words = line.split()
        if len(words) >= 2 and words[0] == "nameserver" and _is_address(words[1]):
            found.append((words[1], DNS_PORT))
    return tuple(dict.fromkeys(found))[:_MOST]


def parse_resolver(text: str) -> Address:
    """``HOST``, ``HOST:PORT`` or ``[HOST]:PORT``, where HOST is an IP address. ValueError if it is none."""
    found = _RESOLVER.fullmatch(text)
    host, port = (found[1] or found[2], found[3] or str(DNS_PORT)) if found else (text, str(DNS_PORT))
    if not _is_address(host) or not port.isdigit() or not 0 < int(port) < 1 << 16:
        raise ValueError(text)
    return host, int(port)


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


class Resolvers:
    """Those of a file, but for `own`: where the responder itself listens. `given` take their place."""

    def __init__(self, path: Path, own: frozenset[Address], given: tuple[Address, ...] = ()) -> None:
        self._path = path
        self._own = own
        self._given = given
        self._seen: tuple[int, int, int] | None = None
        self._found: tuple[Address, ...] = ()

    def current(self) -> tuple[Address, ...]:
        """Those of this moment. A file that cannot be read leaves those of before."""
        if self._given:
            return self._given
        try:
            stat = self._path.stat()
            seen = (stat.st_mtime_ns, stat.st_ino, stat.st_size)
            if seen != self._seen:
                text = self._path.read_text("utf-8", "replace")
                self._found = tuple(each for each in parse_resolv_conf(text) if each not in self._own)
                self._seen = seen
        except OSError:
            pass
        return self._found
