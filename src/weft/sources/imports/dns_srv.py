"""SRV records of the DNS: each name is a service, each target's address an instance. Asked again when the first record
of an answer has outlived its TTL. RFC 2782: of several priorities the first is taken.
"""

from __future__ import annotations

import asyncio
import ipaddress
from dataclasses import dataclass

import dns.asyncresolver
import dns.exception
import dns.name
import dns.resolver

from weft.sources.imports.catalogue import ImportedService, ImportReadError, Instance, Publish, is_wanted
from weft.sources.imports.settings import ImportSettings, ImportSettingsError

_SOONEST, _LATEST = 1.0, 3600.0
_SECONDS = 5.0
_MOST_TARGETS = 256
_MOST_WEIGHT = 128


@dataclass(frozen=True, slots=True)
class _Answer:
    """A service, and for how many seconds it is good."""

    service: ImportedService
    ttl: float


class DnsRegistry:
    """Follows the names of one import."""

    def __init__(self, settings: ImportSettings) -> None:
        self._settings = settings
        self._names = tuple(dict.fromkeys(settings.address.split(",")))

    async def follow(self, publish: Publish) -> None:
        """See `Registry`."""
        resolver = resolver_of(self._settings.server)
        while True:
            answers = [await self._ask(resolver, name) for name in self._names]
            services = [each.service for each in answers if is_wanted(each.service.name, self._settings.services)]
            merged = {each.name: each for each in services}
            if len(merged) != len(services):
                raise ImportReadError("two of its names begin with the same service")
            publish(tuple(service for _, service in sorted(merged.items())))
            await asyncio.sleep(min(each.ttl for each in answers))

    async def _ask(self, resolver: dns.asyncresolver.Resolver, name: str) -> _Answer:
        service = service_name(name)
        try:
            found = await resolver.resolve(dns.name.from_text(name), "SRV", lifetime=_SECONDS)
        except (dns.resolver.NXDOMAIN, dns.resolver.NoAnswer):
            return _Answer(ImportedService(service), self._settings.poll)  # it has no instances, says who knows
        except (dns.exception.DNSException, OSError) as error:
            raise ImportReadError(f"{name}: {type(error).__name__}") from error
        first = min(record.priority for record in found)
        records = [record for record in found if record.priority == first and record.target != dns.name.root]
        if len(records) > _MOST_TARGETS:
            raise ImportReadError(f"{name} has {len(records)} targets, more than the {_MOST_TARGETS} of one name")
        most = max((record.weight for record in records), default=0)
        instances: set[Instance] = set()
        ttl = float(found.rrset.ttl) if found.rrset is not None else self._settings.poll
        for record in records:
            addresses, good = await self._addresses(resolver, record.target)
            ttl = min(ttl, good)
            weight = max(1, round(record.weight * min(1.0, _MOST_WEIGHT / most))) if most else 1
            instances |= {
                Instance(f"{record.target}/{address}/{record.port}", address, record.port, weight=weight)
                for address in addresses
            }
        return _Answer(ImportedService(service, tuple(sorted(instances))), min(max(ttl, _SOONEST), _LATEST))

    async def _addresses(self, resolver: dns.asyncresolver.Resolver, target: dns.name.Name) -> tuple[list[str], float]:
        """The addresses of a target, of both families, and for how long they are good."""
        found: list[str] = []
        ttl = _LATEST
        for kind in ("A", "AAAA"):
            try:
                answer = await resolver.resolve(target, kind, lifetime=_SECONDS)
            except (dns.resolver.NXDOMAIN, dns.resolver.NoAnswer):
                continue
            except (dns.exception.DNSException, OSError) as error:
                raise ImportReadError(f"{target}: {type(error).__name__}") from error
            found += [record.address for record in answer]
            ttl = min(ttl, float(answer.rrset.ttl) if answer.rrset is not None else ttl)
        return found, ttl


def service_name(name: str) -> str:
    """``_web._tcp.shop.example`` is ``web``."""
    return name.partition(".")[0].lstrip("_").lower()


def resolver_of(server: str) -> dns.asyncresolver.Resolver:
    """A resolver without a cache that asks `server` (``ADDRESS[:PORT]``), or as this host does."""
    try:
        resolver = dns.asyncresolver.Resolver(configure=not server)
    except dns.exception.DNSException as error:
        raise ImportReadError("this host has no resolver; say which with server=") from error
    resolver.cache = None
    if server:
        host, port = server_address(server)
        resolver.nameservers, resolver.port = [host], port
    return resolver


def server_address(text: str) -> tuple[str, int]:
    """``ADDRESS``, ``ADDRESS:PORT`` or ``[ADDRESS]:PORT``. ImportSettingsError if it is none."""
    host, port = text, "53"
    if text.startswith("["):
        host, _, port = text[1:].partition("]:")
    elif text.count(":") == 1:
        host, _, port = text.partition(":")
    try:
        address, number = str(ipaddress.ip_address(host)), int(port)
    except ValueError as error:
        raise ImportSettingsError(f"server '{text}' is no ADDRESS:PORT, such as 10.0.0.2:53") from error
    if not 0 < number < 65536:
        raise ImportSettingsError(f"server '{text}': the port has to be 1 to 65535")
    return address, number
