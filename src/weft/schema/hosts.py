"""Hosts in documents: which Service a host names, and which host covers which."""

from __future__ import annotations

from weft.model.document import ObjectKey
from weft.model.identity import DNS_SUFFIX


def clean_host(host: str) -> str:
    """`host` in lower case, without the final dot of an absolute name."""
    return host.lower().removesuffix(".")


def service_of_host(host: str, namespace: str) -> ObjectKey | None:
    """The Service that `host` names in a document of `namespace`: ``reviews``, ``reviews.ns``, ``reviews.ns.svc`` or
    ``reviews.ns.svc.cluster.local``. None for wildcards and for names outside the mesh."""
    host = clean_host(host)
    parts = host.removesuffix(f".{DNS_SUFFIX}").split(".") if host.endswith(f".svc.{DNS_SUFFIX}") else host.split(".")
    if is_wildcard(host) or len(parts) > 3 or (len(parts) == 3 and parts[2] != "svc"):
        return None
    return ObjectKey("", "Service", namespace if len(parts) == 1 else parts[1], parts[0])


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


def intersection(first: str, second: str) -> str:
    """The narrower of two hosts if one covers the other, else empty. Empty and ``*`` stand for all."""
    first, second = first or "*", second or "*"
    if covers(first, second):
        return second
    return first if covers(second, first) else ""
