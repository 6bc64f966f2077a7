"""Which Envoy domains a virtual host answers to. Ports matter: they say which port of a service is meant."""

from __future__ import annotations

from collections.abc import Container

from weft.mesh.services.hosts import HTTP_PORT


def host_domains(names: tuple[str, ...], port: int, alone: Container[str]) -> tuple[str, ...]:
    """``name:port`` for each of `names`, and the bare name where it can mean only this port.

    That is port 80, HTTP's own, or the only port of the name: of those in `alone`. Names for any port (`port` 0) are
    matched with and without one, as far as Envoy can: it has no pattern with wildcards at both ends.
    """
    domains = []
    for name in names:
        if name == "*" or not port:
            domains.append(name)
            if "*" not in name:
                domains.append(f"{name}:*")
            continue
        domains.append(f"{name}:{port}")
        if port == HTTP_PORT or name in alone:
            domains.append(name)
    return tuple(domains)


class DomainLedger:
    """Who answers to what within one route configuration: Envoy refuses the whole of it if a domain stands twice."""

    def __init__(self) -> None:
        self._taken: set[str] = set()

    def claim(self, domains: tuple[str, ...]) -> tuple[str, ...]:
        """Those of `domains` that nobody claimed before, which are now taken."""
        free = tuple(domain for domain in dict.fromkeys(domains) if domain not in self._taken)
        self._taken.update(free)
        return free
