"""Names: what the applications of one class of callers may look up, and what they are told."""

from __future__ import annotations

from weft.mesh.memo import Memo
from weft.mesh.services.addresses import Addresses, ServiceAddresses
from weft.mesh.services.catalog import Catalog
from weft.mesh.services.hosts import caller_domains
from weft.mesh.services.service import BY_DNS, Frontend, Health, Service
from weft.mesh.sidecars.scope import CallScope
from weft.model.addresses import is_ip_address
from weft.model.identity import DNS_SUFFIX, is_dns_label
from weft.model.names import NamedInstance, NameEntry, NameTable
from weft.schema.hosts import clean_host

OWNED = (DNS_SUFFIX, "svc")
"""Domains below which every name is the mesh's: what is not there does not exist (RFC 8020). ``name.namespace`` lies in
none of them: ADR 0034 says why it may be any host of the internet."""


def build_names(
    headless: tuple[Service, ...], memo: Memo, catalog: Catalog, addresses: Addresses, scope: CallScope, namespace: str
) -> NameTable:
    """The names of the services that callers of a namespace are told of; `headless` are those without addresses, with
    their instances. The same object while it says the same: instances of others come and go without it."""
    hosts = catalog.hosts if scope.hosts is None else scope.hosts
    by_host = {service.host: service for service in headless}
    frontends = [catalog.by_host[host] for host in hosts]
    entries = [
        memo(build_entry, each, addresses.of(each.host), by_host.get(each.host), each.namespace == namespace)
        for each in frontends
    ]
    return memo.over(_table, [each for each in entries if each is not None])


def _table(entries: tuple[NameEntry, ...]) -> NameTable:
    return NameTable(entries, OWNED)


def build_entry(frontend: Frontend, found: ServiceAddresses, service: Service | None, local: bool) -> NameEntry | None:
    """One service; None if its name is told by other name servers: its callers are led to what they look up."""
    alias = _alias(frontend)
    if not (found.addresses or found.headless or alias):
        return None
    return NameEntry(
        names=_names(frontend, local),
        addresses=found.addresses,
        ports=(
            *[(port.name, "tcp", port.number) for port in frontend.ports if port.name],
            *[(port.name, "udp", port.number) for port in frontend.datagrams if port.name],
        ),
        headless=found.headless,
        instances=_instances(service) if service is not None else (),
        alias=alias,
        outside=not frontend.is_service,
    )


def _alias(frontend: Frontend) -> str:
    """What a Service without ports is but another name for."""
    if not frontend.is_service or frontend.ports or frontend.datagrams or frontend.resolution not in BY_DNS:
        return ""
    return clean_host(frontend.members[0].address)


def _names(frontend: Frontend, local: bool) -> tuple[str, ...]:
    if not frontend.is_service:
        return (frontend.called,)
    caller = frontend.namespace if local else ""
    return caller_domains(frontend.host, frontend.name, frontend.namespace, caller)


def _instances(service: Service) -> tuple[NamedInstance, ...]:
    """Those that may be called now, as callers would be told of them, each once."""
    found: dict[str, dict[str, None]] = {}
    for endpoints in service.endpoints:
        for endpoint in endpoints:
            if endpoint.health is Health.HEALTHY and is_ip_address(endpoint.address.host):
                found.setdefault(endpoint.workload, {})[endpoint.address.host] = None
    return tuple(NamedInstance(_label(name), tuple(addresses)) for name, addresses in sorted(found.items()))


def _label(workload: str) -> str:
    """The name of an instance below its service: that of its workload."""
    name = workload.partition(".")[0]
    return name if is_dns_label(name) else ""
