"""Addresses of services: those that documents give, and virtual ones where they give none.

A virtual address is a number of the mesh's ranges. The number a service has is state: it is kept (by
`weft.sources.addresses`), is handed in here, and never changes because of others. Everything else is computed.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain
from types import MappingProxyType

from weft.mesh.memo import Memo
from weft.mesh.problems import problem_at
from weft.mesh.services.catalog import Catalog, FrontendDocument
from weft.mesh.services.service import BY_CALLER, Frontend
from weft.mesh.services.serviceentry import RESOLUTIONS
from weft.model.document import Document, ObjectKey
from weft.model.names import AddressRanges, Assigned
from weft.model.origin import FieldPath
from weft.model.problem import Problem, Severity
from weft.schema.kinds.core import ServiceSpec
from weft.schema.kinds.serviceentry import ServiceEntrySpec

REST_SECONDS = 3600.0
"""How long the number of a service that is gone stays unused, so that who still knows it does not meet another."""


@dataclass(frozen=True, slots=True)
class ServiceAddresses:
    """The addresses of one service; none where they are told by DNS or not yet given. `headless`: it has those of its
    instances, and nobody stands before them. `virtual`: weft gave them."""

    addresses: tuple[str, ...] = ()
    headless: bool = False
    virtual: bool = False


NO_ADDRESSES = ServiceAddresses()


@dataclass(frozen=True, slots=True, eq=False)
class Addresses:
    """The addresses of every service, by full name; `headless` are those without. Compared by identity."""

    by_host: Mapping[str, ServiceAddresses] = field(default_factory=lambda: MappingProxyType({}))
    headless: tuple[str, ...] = ()
    problems: tuple[Problem, ...] = ()

    def of(self, host: str) -> ServiceAddresses:
        """Those of a service."""
        return self.by_host.get(host, NO_ADDRESSES)


UNKNOWN = Addresses()


# -- which services want a number --------------------------------------------------------------------------------------


def service_key(key: ObjectKey, host: str = "") -> str:
    """What a number belongs to: a Service, or one `host` of a ServiceEntry. It outlasts changes of the document."""
    return "/".join((key.kind, key.namespace, key.name, *((host,) if key.kind != "Service" else ())))


def wanting(documents: Iterable[Document[object]]) -> tuple[str, ...]:
    """The services of documents that want a virtual address, the oldest first, whatever the order of the documents."""
    found: list[tuple[tuple[float, str], str]] = []
    for document in documents:
        spec = document.spec
        if isinstance(spec, ServiceSpec):
            if wants_number(spec):
                found.append((document.precedence, service_key(document.key)))
        elif isinstance(spec, ServiceEntrySpec):
            found += [
                (document.precedence, service_key(document.key, host))
                for host in spec.hosts
                if wants_number(spec, host)
            ]
    return tuple(each for _, each in sorted(found))


def given_numbers(documents: Iterable[Document[object]], ranges: AddressRanges) -> frozenset[int]:
    """The numbers of addresses that documents give themselves: nobody else may have them."""
    found: set[int] = set()
    for document in documents:
        spec = document.spec
        if isinstance(spec, ServiceSpec):
            found.update(ranges.number(each) for each in given_addresses(spec))
        elif isinstance(spec, ServiceEntrySpec):
            found.update(ranges.number(each) for each in spec.addresses if "/" not in each)
    return frozenset(found)


def given_addresses(spec: ServiceSpec) -> tuple[str, ...]:
    """The addresses that a Service says it has."""
    return tuple(dict.fromkeys(each for each in (spec.cluster_ip, *spec.cluster_ips) if each not in ("", "None")))


def is_headless(spec: ServiceSpec) -> bool:
    """Whether a Service wants none."""
    return spec.cluster_ip == "None" or "None" in spec.cluster_ips


def wants_number(spec: ServiceSpec | ServiceEntrySpec, host: str = "") -> bool:
    """Whether the service (or the `host` of it) has no address of its own, and somebody stands before its instances.

    Without a port an ExternalName is but another name. Where each caller's own words say where to, his destination has
    to be the real one. Addresses of a ServiceEntry are those of its first host.
    """
    if isinstance(spec, ServiceSpec):
        if spec.type == "ExternalName":
            return bool(spec.ports)
        return not is_headless(spec) and not given_addresses(spec)
    return RESOLUTIONS[spec.resolution] not in BY_CALLER and not (spec.addresses and host == spec.hosts[0])


# -- who has which number ----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Kept:
    """A number that is kept for a service. `gone`: since when no document wants it (epoch seconds; 0: one does)."""

    number: int
    gone: float = 0.0


def assign(
    kept: Mapping[str, Kept], wanted: Sequence[str], taken: frozenset[int], size: int, now: float
) -> tuple[dict[str, Kept], tuple[str, ...]]:
    """The numbers from 1 to `size` of the services `wanted` (the oldest first), over those `kept`, and the services
    that had no room.

    Who has a number keeps it, unless it is larger than `size`. Others begin at a number made of their name, so that a
    mesh that is built anew is numbered alike, and take the first that is neither kept nor `taken`. Numbers of services
    that are gone are used again when there are no others, those that have been so the longest first, but not within
    `REST_SECONDS`.
    """
    now_kept = {service: each for service, each in kept.items() if each.number <= size}
    for service in now_kept.keys() & set(wanted):
        now_kept[service] = replace(now_kept[service], gone=0.0)
    for service in now_kept.keys() - set(wanted):
        now_kept[service] = replace(now_kept[service], gone=now_kept[service].gone or now)
    used = {each.number for each in now_kept.values()} | taken
    rested = sorted((each.gone, service) for service, each in now_kept.items() if 0 < each.gone <= now - REST_SECONDS)
    unplaced: list[str] = []
    full = False
    for service in wanted:
        if service in now_kept:
            continue
        number = 0 if full else _first_free(_preferred(service, size), used, size)
        full = not number
        if not number and rested:
            number = now_kept.pop(rested.pop(0)[1]).number
        if not number:
            unplaced.append(service)
            continue
        used.add(number)
        now_kept[service] = Kept(number)
    return now_kept, tuple(unplaced)


def _preferred(service: str, size: int) -> int:
    number: int = int.from_bytes(hashlib.sha256(service.encode()).digest()[:8]) % size + 1
    return number


def _first_free(preferred: int, used: set[int], size: int) -> int:
    """The first number from `preferred` on, and from 1 after the last, that is not used; 0 for none."""
    return next((number for number in chain(range(preferred, size + 1), range(1, preferred)) if number not in used), 0)


# -- what they come to -------------------------------------------------------------------------------------------------


def build_addresses(assigned: tuple[Assigned, ...], memo: Memo, catalog: Catalog, ranges: AddressRanges) -> Addresses:
    """The addresses of all services of a catalog, and where documents give one that another service has."""
    numbers = {each.service: each.number for each in assigned}
    given = [numbers.get(service_key(each.key, each.called), 0) for each in catalog.frontends]
    columns = (catalog.documents, catalog.frontends, given)
    pairs = memo.rows(_service_addresses, columns, ranges)
    by_host = dict(zip(catalog.hosts, pairs, strict=True))
    headless = tuple([host for host, one in by_host.items() if one.headless])
    return Addresses(MappingProxyType(by_host), headless, tuple(_shared(catalog, pairs)))


def _service_addresses(
    _memo: Memo, document: FrontendDocument, frontend: Frontend, number: int, ranges: AddressRanges
) -> ServiceAddresses:
    spec = document.spec
    if isinstance(spec, ServiceSpec):
        if is_headless(spec):
            return ServiceAddresses(headless=True)
        if spec.type != "ExternalName" and (given := given_addresses(spec)):
            return ServiceAddresses(given)
    elif frontend.addresses:
        return ServiceAddresses(frontend.addresses)
    pair = ranges.pair(number) if number and wants_number(spec, frontend.called) else ()
    return ServiceAddresses(pair, virtual=True) if pair else NO_ADDRESSES


def _shared(catalog: Catalog, found: tuple[ServiceAddresses, ...]) -> Iterator[Problem]:
    """Addresses that a document gives and another service has: calls by address mean one of them only."""
    owners: dict[str, Frontend] = {}
    virtual = [(each, one) for each, one in zip(catalog.frontends, found, strict=True) if one.virtual]
    owners.update((address, each) for each, one in virtual for address in one.addresses)
    rows = [row for row, one in enumerate(found) if one.addresses and not one.virtual]
    for row in sorted(rows, key=lambda row: catalog.documents[row].precedence):
        document, frontend = catalog.documents[row], catalog.frontends[row]
        for address in found[row].addresses:
            owner = owners.setdefault(address, frontend)
            if owner is not frontend and _meet(owner, frontend):
                message = f"{owner.key} has the address {address}, too: who calls the address is led to that one"
                expected = "an address of its own, or none: weft gives one"
                path = _address_path(document)
                yield problem_at(document, path, "address-conflict", message, expected, severity=Severity.WARNING)


def _meet(one: Frontend, other: Frontend) -> bool:
    """Whether some callers are told of both."""
    return not one.exports or not other.exports or bool(set(one.exports) & set(other.exports))


def _address_path(document: FrontendDocument) -> FieldPath:
    spec = document.spec
    if isinstance(spec, ServiceSpec):
        return ("spec", "clusterIP") if spec.cluster_ip else ("spec", "clusterIPs")
    return ("spec", "addresses")
