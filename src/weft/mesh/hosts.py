"""Names of services: full names, short names by namespace, and the domains a caller may use."""

from __future__ import annotations

from weft.model.identity import DNS_SUFFIX

HTTP_PORT = 80
"""The port of hosts that are no services."""
SERVICE_SUFFIX = f".svc.{DNS_SUFFIX}"


def service_host(name: str, namespace: str) -> str:
    """The full name of a service."""
    return f"{name}.{namespace}{SERVICE_SUFFIX}"


def clean_host(host: str) -> str:
    """`host` in lower case, without the final dot of an absolute name."""
    return host.lower().removesuffix(".")


def host_candidates(host: str, namespace: str) -> tuple[str, ...]:
    """Full names that `host`, written in a document of `namespace`, may stand for; the most literal one first.

    A name without a dot is a service of the namespace. ``name.namespace`` and ``name.namespace.svc`` are services by
    those parts, unless a service of exactly that name is known.
    """
    host = clean_host(host)
    if "." not in host and host != "*":
        return (service_host(host, namespace),)
    parts = host.split(".")
    if len(parts) == 2 and parts[0] != "*":
        return (host, service_host(parts[0], parts[1]))
    if len(parts) == 3 and parts[2] == "svc":
        return (host, f"{host}.{DNS_SUFFIX}")
    return (host,)


def caller_domains(host: str, name: str, namespace: str, caller: str) -> tuple[str, ...]:
    """The names by which callers in namespace `caller` reach a service."""
    names = (host, f"{name}.{namespace}.svc", f"{name}.{namespace}")
    return (*names, name) if caller == namespace else names


def is_wildcard(host: str) -> bool:
    """Whether `host` stands for many names: ``*`` or ``*.suffix``."""
    return host.startswith("*")


def covers(pattern: str, host: str) -> bool:
    """Whether every name that `host` stands for is among those of `pattern`. Empty and ``*`` cover all."""
    if pattern in ("", "*"):
        return True
    if not is_wildcard(pattern):
        return pattern == host
    if host == "*":
        return False
    return host.endswith(pattern[1:]) and host != pattern[1:]


def specificity(pattern: str) -> tuple[int, int]:
    """Sort key: the greater, the more specific. A name beats a wildcard, a longer one beats a shorter one."""
    if pattern in ("", "*"):
        return (0, 0)
    return (1 if is_wildcard(pattern) else 2, len(pattern))


def intersection(first: str, second: str) -> str:
    """The narrower of two hosts if one covers the other, else empty. ``*`` stands for all."""
    first, second = first or "*", second or "*"
    if covers(first, second):
        return second
    return first if covers(second, first) else ""


def best_match(patterns: tuple[str, ...], host: str) -> str | None:
    """The most specific of `patterns` that covers `host`."""
    found = [pattern for pattern in patterns if covers(pattern, host)]
    return max(found, key=specificity) if found else None
