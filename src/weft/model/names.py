"""Names: what a workload's applications may look up, and the virtual addresses that stand for services."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass

Network4 = ipaddress.IPv4Network
Network6 = ipaddress.IPv6Network


@dataclass(frozen=True, slots=True)
class AddressRanges:
    """Where virtual addresses come from. Each service has a number, and with it one address of either range. The first
    and the last address of the range for IPv4 are nobody's."""

    ipv4: Network4
    ipv6: Network6

    @property
    def size(self) -> int:
        """How many services have room. Their numbers are 1 and up."""
        return min(self.ipv4.num_addresses, self.ipv6.num_addresses) - 2

    def pair(self, number: int) -> tuple[str, ...]:
        """The addresses of a number, IPv4 first; none where the ranges do not reach that far."""
        if not 0 < number <= self.size:
            return ()
        return (str(self.ipv4[number]), str(self.ipv6[number]))

    def number(self, address: str) -> int:
        """The number of an address; 0 if it is of neither range."""
        given = ipaddress.ip_address(address)
        for range_ in (self.ipv4, self.ipv6):
            if given.version == range_.version and given in range_:
                number = int(given) - int(range_.network_address)
                return number if number <= self.size else 0
        return 0


USUAL_RANGES = AddressRanges(Network4("240.240.0.0/16"), Network6("fd77:6566:7400::/64"))


@dataclass(frozen=True, slots=True, order=True)
class Assigned:
    """The number that a service has for good. `service` names what it belongs to (`weft.mesh.services.addresses`)."""

    service: str
    number: int


@dataclass(frozen=True, slots=True)
class NamedInstance:
    """One instance of a headless service: its name below that of the service (empty: none), and its addresses."""

    name: str
    addresses: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class NameEntry:
    """One service, by all `names` that callers have for it: in lower case, without a final dot, the full name first. A
    leading ``*.`` stands for every name below.

    It has `addresses`, or with `headless` those of its `instances` at this moment, or is another name for `alias`.
    `ports` are its ports with a name, for SRV: name, protocol, number. `outside`: it is a host of the network at large,
    which has other records than addresses.
    """

    names: tuple[str, ...]
    addresses: tuple[str, ...] = ()
    ports: tuple[tuple[str, str, int], ...] = ()
    headless: bool = False
    instances: tuple[NamedInstance, ...] = ()
    alias: str = ""
    outside: bool = False


@dataclass(frozen=True, slots=True)
class NameTable:
    """All names of a workload. Names below `domains` (in lower case) that are not in it do not exist; what is below
    none of them is the business of other name servers."""

    entries: tuple[NameEntry, ...] = ()
    domains: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class NamesAnswer:
    """``GET /v1/workloads/{namespace}/{name}/names?version=V&wait=SECONDS``: the names, if they are others than those
    of `version`; else None, after up to so many seconds. `again`: how long to wait before asking again, in seconds."""

    version: str
    table: NameTable | None = None
    again: float = 0.0
