"""Refusals: names of the mesh that lead nowhere, and the sentence that says why. Their calls never leave by DNS."""

from __future__ import annotations

import re

from weft.mesh.memo import Memo
from weft.mesh.services.catalog import Catalog
from weft.mesh.services.hosts import HTTP_PORT, caller_domains, service_host
from weft.mesh.services.references import is_routed_outside, nearest_host
from weft.mesh.services.service import Frontend
from weft.mesh.services.turning import carries_requests
from weft.mesh.views import Refusal
from weft.schema.hosts import clean_host, service_of_host
from weft.schema.wording import HINTS

_HOST_NAME = re.compile(r"[a-z0-9_]([-a-z0-9_.]*[a-z0-9_])?")
"""What can be called; `uses` of a registration may hold more."""


def wrong_port(frontend: Frontend, domains: tuple[str, ...]) -> Refusal:
    """Ports that a service does not have. Without a port in the URL, port 80 is meant, or the only HTTP port."""
    ports = frontend.ports
    called = [port.number for port in ports if carries_requests(port)]
    bare = HTTP_PORT not in called and not (len(ports) == len(called) == 1)
    has = f"no such port; it has {frontend.port_numbers()}" if ports else "no ports"
    return Refusal(domains, bare, f"{frontend.name}.{frontend.namespace} has {has}")


def refused_uses(
    memo: Memo, catalog: Catalog, outside: tuple[str, ...], namespace: str, uses: tuple[str, ...]
) -> tuple[Refusal, ...]:
    """What a workload of `namespace` says that it uses, and no Service is called, with the name that was perhaps meant:
    it is not among what the workload uses, so calls to it would leave the mesh too. Hosts `outside` that its
    namespace's documents route are not meant. And the wrong ports of services of
    other namespaces that it uses: those of its own every caller is told about."""
    found: list[Refusal] = []
    unknown: list[Refusal] = []
    for name in map(clean_host, uses):
        frontend = catalog.called(name, namespace)
        if frontend is None:
            if _HOST_NAME.fullmatch(name) and not is_routed_outside(name, outside):
                nearest = nearest_host(name, namespace, catalog) if len(unknown) < HINTS else ""
                unknown.append(memo(unknown_use, name, namespace, nearest))
        elif frontend.namespace != namespace and frontend.is_service:
            domains = caller_domains(frontend.host, frontend.name, frontend.namespace, namespace)
            found.append(memo(wrong_port, frontend, domains))
    return tuple(dict.fromkeys([*found, *unknown]))


def unknown_use(name: str, namespace: str, nearest: str) -> Refusal:
    """The refusal of one name, to which the Service `nearest` (may be empty) comes closest."""
    hint = f"; did you mean '{nearest}'?" if nearest else ""
    reason = f"no Service is called '{name}', which this workload says that it uses{hint}"
    service = service_of_host(nearest, namespace) if nearest else None
    if service is None:
        return Refusal((name,), True, reason)
    host = service_host(service.name, service.namespace)
    return Refusal((name, *caller_domains(host, service.name, service.namespace, namespace)), True, reason)
