"""The ports of a Compose service: where its container listens, and which ports of the host are led there.

https://github.com/compose-spec/compose-spec/blob/main/05-services.md#ports
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass, field

_LARGEST = 65_535
_MOST = 64
_RANGE = re.compile(r"([0-9]{1,9})(?:-([0-9]{1,9}))?")
PROTOCOLS = ("tcp", "udp", "sctp")
_EVERYWHERE = ("", "0.0.0.0", "::")  # noqa: S104
_FORM = '[[ADDRESS:]HOST:]CONTAINER[/tcp|/udp], such as "8080:80"'


class PortError(ValueError):
    """What was written is no port; the message says what was found and what was expected, `field` in which part of the
    long form (empty: in all of it)."""

    def __init__(self, message: str, field: str = "") -> None:
        super().__init__(message)
        self.field = field


@dataclass(frozen=True, slots=True)
class ComposePort:
    """A port at which a container listens. `application` is what it is said to speak (empty: nothing is said)."""

    number: int
    application: str = ""


@dataclass(frozen=True, slots=True)
class PublishedPort:
    """A port of the host that is led to the container's `target`, at one `address` of the host (empty: at each).
    `where` is the file, the line and the field."""

    number: int
    target: int
    protocol: str
    address: str = ""
    where: str = field(default="", compare=False)

    def meets(self, other: PublishedPort) -> bool:
        """Whether no host could have both."""
        same = self.address == other.address or self.address in _EVERYWHERE or other.address in _EVERYWHERE
        return same and (self.number, self.protocol) == (other.number, other.protocol)


@dataclass(frozen=True, slots=True)
class PortSpec:
    """One entry: where the container listens, and what is published for it (none: nothing, or the engine decides)."""

    container: range
    protocol: str
    published: tuple[PublishedPort, ...] = ()

    @property
    def ports(self) -> tuple[int, ...]:
        """Those for TCP."""
        return tuple(self.container) if self.protocol == "tcp" else ()


def port_from_text(text: str, where: str) -> PortSpec:
    """The short form, ``[[ADDRESS:]HOST:]CONTAINER[/PROTOCOL]``. PortError."""
    ports, slash, protocol = text.partition("/")
    parts = ports.rsplit(":", 2)
    if not _RANGE.fullmatch(parts[-1]) or (slash and not protocol):
        raise PortError(f"found '{text}', expected {_FORM}")
    host = parts[-2] if len(parts) > 1 else ""
    address = parts[0] if len(parts) > 2 else ""
    try:
        return port_spec(parts[-1], host, address.removeprefix("[").removesuffix("]"), protocol, where)
    except PortError as error:
        raise PortError(f"found '{text}': {error}; expected {_FORM}") from None


def port_spec(target: str, published: str, address: str, protocol: str, where: str) -> PortSpec:
    """The long form: ``target``, ``published``, ``host_ip`` and ``protocol``, each as text. PortError."""
    protocol = protocol.lower() or "tcp"
    if protocol not in PROTOCOLS:
        raise PortError(f"there is no protocol '{protocol}', only {', '.join(PROTOCOLS)}", "protocol")
    if address:
        try:
            address = str(ipaddress.ip_address(address))
        except ValueError:
            raise PortError(f"'{address}' is no address of the host", "host_ip") from None
    container = _numbers(target, "target")
    if published in ("", "0"):  # the engine takes one that is free
        return PortSpec(container, protocol)
    host = _numbers(published, "published")
    if len(container) not in (1, len(host)):
        raise PortError(f"{len(host)} ports of the host for {len(container)} of the container", "published")
    if len(host) > len(container):  # any of them: which one, the engine decides
        return PortSpec(container, protocol)
    pairs = zip(host, container, strict=True)
    return PortSpec(container, protocol, tuple(PublishedPort(a, b, protocol, address, where) for a, b in pairs))


def exposed_ports(text: str) -> PortSpec:
    """``PORT[-PORT][/PROTOCOL]``. PortError."""
    target, slash, protocol = text.partition("/")
    try:
        if slash and not protocol:
            raise PortError("there is no protocol behind the '/'")
        return port_spec(target, "", "", protocol, "")
    except PortError as error:
        raise PortError(f"found '{text}': {error}; expected PORT[/tcp|/udp], such as \"80\"") from None


def _numbers(text: str, field: str) -> range:
    found = _RANGE.fullmatch(text)
    first, last = (int(found[1]), int(found[2] or found[1])) if found is not None else (0, 0)
    if not 1 <= first <= last <= _LARGEST:
        raise PortError(f"'{text}' is no port, which is 1 to {_LARGEST}", field)
    if last - first >= _MOST:
        raise PortError(f"'{text}' is more than {_MOST} ports", field)
    return range(first, last + 1)
