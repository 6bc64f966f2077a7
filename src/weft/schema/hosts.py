"""Hosts in documents: which Service a host names, and which host covers which."""

from __future__ import annotations

import re

from weft.model.document import ObjectKey
from weft.model.identity import DNS_SUFFIX

LOCALHOST = "localhost"
_OUTSIDE = frozenset(("arpa", "biz", "co", "com", "edu", "gov", "info", "io", "mil", "net", "org", LOCALHOST))
"""Namespaces whose services have no name of the form ``service.namespace``: under these domains most hosts of the
internet are found, and the host itself (RFC 6761). ADR 0034 says why they are not all the domains there are."""

_LOOPBACK = frozenset(
    (
        LOCALHOST, "localdomain", "localhost4", "localdomain4", "localhost6", "localdomain6", "ip6-localhost",
        "ip6-loopback",
    )
)  # fmt: skip
_NUMBER = re.compile("[0-9]+|0x[0-9a-f]*")


def clean_host(host: str) -> str:
    """`host` in lower case, without the final dot of an absolute name."""
    return host.lower().removesuffix(".")


def service_of_host(host: str, namespace: str) -> ObjectKey | None:
    """The Service that `host` names in a document of `namespace`: ``reviews``, ``reviews.ns``, ``reviews.ns.svc`` or
    ``reviews.ns.svc.cluster.local``. None for wildcards and for names outside the mesh."""
    host = clean_host(host)
    if means_outside(host):
        return None
    parts = host.removesuffix(f".{DNS_SUFFIX}").split(".") if host.endswith(f".svc.{DNS_SUFFIX}") else host.split(".")
    if is_wildcard(host) or len(parts) > 3 or (len(parts) == 3 and parts[2] != "svc"):
        return None
    return ObjectKey("", "Service", namespace if len(parts) == 1 else parts[1], parts[0])


def means_outside(host: str) -> bool:
    """Whether `host`, in lower case, is never the short name of a Service, whatever services there are."""
    *before, last = host.split(".")
    return last in _OUTSIDE if before else last == LOCALHOST


def is_own_host(host: str) -> bool:
    """Whether `host`, in lower case, is the host of whoever looks it up, or no name but an address in disguise: a name
    of loopback (RFC 6761, and what systems have in /etc/hosts), or a last part that is a number, such as ``127.1``."""
    last = host.rpartition(".")[2]
    return last in _LOOPBACK or _NUMBER.fullmatch(last) is not None


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
