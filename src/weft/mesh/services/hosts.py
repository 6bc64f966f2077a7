"""Names of services: full names, short names by namespace, and the domains a caller may use."""

from __future__ import annotations

from weft.model.identity import DNS_SUFFIX
from weft.schema.hosts import clean_host, covers, is_wildcard, means_outside, service_of_host

HTTP_PORT = 80
"""The port of hosts that are no services."""
DEFAULT_PORTS = {"http": HTTP_PORT, "https": 443}
"""The port that a URL of a scheme means when it has none."""
SERVICE_SUFFIX = f".svc.{DNS_SUFFIX}"


def service_host(name: str, namespace: str) -> str:
    """The full name of a service."""
    return f"{name}.{namespace}{SERVICE_SUFFIX}"


def host_candidates(host: str, namespace: str) -> tuple[str, ...]:
    """Full names that `host`, written in a document of `namespace`, may stand for; the most literal one first.

    A name without a dot is a service of the namespace, and nothing else.
    """
    host = clean_host(host)
    service = service_of_host(host, namespace)
    if service is None:
        return (host,)
    full = service_host(service.name, service.namespace)
    return (full,) if "." not in host or full == host else (host, full)


def caller_domains(host: str, name: str, namespace: str, caller: str) -> tuple[str, ...]:
    """The names by which callers in namespace `caller` reach a service."""
    short = (f"{name}.{namespace}", name) if caller == namespace else (f"{name}.{namespace}",)
    return (host, f"{name}.{namespace}.svc", *[each for each in short if not means_outside(each)])


def literal_domains(host: str, addresses: tuple[str, ...]) -> tuple[str, ...]:
    """The names of what has no short ones: its host, and its addresses as they stand in a URL."""
    return (host, *[f"[{address}]" if ":" in address else address for address in addresses])


def specificity(pattern: str) -> tuple[int, int]:
    """Sort key: the greater, the more specific. A name beats a wildcard, a longer one beats a shorter one."""
    if pattern in ("", "*"):
        return (0, 0)
    return (1 if is_wildcard(pattern) else 2, len(pattern))


def best_match(patterns: tuple[str, ...], host: str) -> str | None:
    """The most specific of `patterns` that covers `host`."""
    found = [pattern for pattern in patterns if covers(pattern, host)]
    return max(found, key=specificity) if found else None
