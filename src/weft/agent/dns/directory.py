"""The directory: a workload's names, found by any name that a question may have. No I/O."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from dataclasses import dataclass

from weft.model.names import NameEntry, NameTable

ADDRESS_SECONDS = 30
"""How long an address of a service may be remembered: it is the service's for good."""
INSTANCE_SECONDS = 5
"""How long the instances of a service may be: they come and go."""


@dataclass(frozen=True, slots=True)
class Found:
    """What there is under a name: `addresses`, `services` (port and target, for SRV), what it is but another name for
    (`alias`) or the name of (`pointer`). All empty: the name is there, and has other names below. `ttl` in seconds.
    `outside`: other name servers know more of it."""

    addresses: tuple[str, ...] = ()
    services: tuple[tuple[int, str], ...] = ()
    alias: str = ""
    pointer: str = ""
    ttl: int = ADDRESS_SECONDS
    outside: bool = False


NOTHING = Found()


class Directory:
    """A table, to be looked up in. All names are in lower case, without a final dot."""

    def __init__(self, table: NameTable) -> None:
        self._domains = table.domains
        self._names: dict[str, Found] = {}
        self._wildcards: dict[str, Found] = {}
        self._owners: dict[bytes, str] = {}
        for entry in table.entries:
            found = _addresses(entry)
            for name in entry.names:
                (self._wildcards if name.startswith("*.") else self._names)[name.removeprefix("*.")] = found
            for name, below in _below(entry):
                self._names.setdefault(name, below)
            for address in () if entry.names[0].startswith("*.") else entry.addresses:
                self._owners.setdefault(_packed(address), entry.names[0])
        self._between = self._parents()

    def find(self, name: str) -> Found | None:
        """What there is under a name; None for nothing."""
        found = self._names.get(name)
        if found is not None:
            return found
        if name in self._between:
            return NOTHING
        if name.endswith(".arpa") and (owner := self._owners.get(_reversed(name))):
            return Found(pointer=owner)
        parent = name
        while self._wildcards and "." in parent:
            parent = parent.partition(".")[2]
            if parent in self._wildcards:
                return self._wildcards[parent]
        return None

    def domain_of(self, name: str) -> str:
        """The domain of the mesh that a name is, or is below; empty if others know of it."""
        return next((each for each in self._domains if name == each or name.endswith(f".{each}")), "")

    def _parents(self) -> frozenset[str]:
        """Names of the mesh's domains that have others below them (RFC 8020: they exist)."""
        found: set[str] = set(self._domains)
        for name in (*self._names, *(f"*.{each}" for each in self._wildcards)):
            domain = self.domain_of(name)
            parent = name
            while domain and parent != domain:
                parent = parent.partition(".")[2]
                if parent in found:
                    break
                found.add(parent)
        return frozenset(found)


def _packed(address: str) -> bytes:
    return socket.inet_pton(socket.AF_INET6 if ":" in address else socket.AF_INET, address)


def _reversed(name: str) -> bytes:
    """The address that a name below in-addr.arpa or ip6.arpa stands for; empty if it stands for none."""
    parts = name.split(".")
    digits, domain = parts[-3::-1], parts[-2]
    try:
        if domain == "in-addr":
            return _packed(".".join(digits))
        return bytes.fromhex("".join(digits)) if domain == "ip6" and len(digits) == 32 else b""
    except (OSError, ValueError):
        return b""


def _addresses(entry: NameEntry) -> Found:
    if not entry.headless:
        return Found(entry.addresses, alias=entry.alias, outside=entry.outside)
    every = dict.fromkeys(address for one in entry.instances for address in one.addresses)
    return Found(tuple(every), ttl=INSTANCE_SECONDS, outside=entry.outside)


def _below(entry: NameEntry) -> Iterator[tuple[str, Found]]:
    """Names below those of a service: its ports (RFC 2782), and with `headless` its instances."""
    if entry.outside:
        return
    full = entry.names[0]
    instances = [one for one in entry.instances if one.name]
    ttl = INSTANCE_SECONDS if entry.headless else ADDRESS_SECONDS
    for name in entry.names:
        if "." not in name:
            continue  # below a single label are the hosts of others
        for one in instances:
            yield f"{one.name}.{name}", Found(one.addresses, ttl=ttl)
        for port, protocol, number in entry.ports:
            targets = [f"{one.name}.{full}" for one in instances] if entry.headless else [full]
            services = tuple((number, target) for target in targets)
            yield f"_{port}._{protocol}.{name}".lower(), Found(services=services, ttl=ttl)
