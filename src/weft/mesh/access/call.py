"""A Call: what is known of one request or connection when it is asked who it is and what it wants."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from weft.mesh.access.policy import HTTP_ONLY, Attribute, Condition

UNKNOWN: tuple[str, ...] | None = None
"""In place of values: not known, which is not the same as that there are none."""
Values = tuple[str, ...] | None
BETWEEN = "\n"
"""What stands between issuer and subject of a token where they are one value: neither is compared with the other."""
_SPACED = (("scope",), ("permission",))
"""Claims that are lists written as one text (RFC 8693, section 4.2)."""
Headers = Mapping[str, tuple[str, ...]]
"""Names in lower case, each with the values that were sent under it, as they were."""
JOINED = frozenset((
    "accept", "accept-encoding", "access-control-request-headers", "access-control-request-method",
    "access-control-request-private-network", "authentication", "authorization", "cache-control", "content-encoding",
    "content-type", "expect", "grpc-accept-encoding", "grpc-timeout", "if-match", "if-modified-since", "if-none-match",
    "if-range", "if-unmodified-since", "origin", "pragma", "referer", "user-agent", "via", "x-client-trace-id",
    "x-forwarded-for", "x-forwarded-host", "x-forwarded-port", "x-forwarded-proto", "x-request-id",
))  # fmt: skip
"""Headers that a proxy holds, and sends on, as one with commas between, however often they are sent. Empty values are
left out."""
NO_HEADERS: Headers = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class HttpCall:
    """What only a request has. `path` as the proxy sees it after normalisation, without query; `claims` of
    a token that was accepted (None: no token)."""

    method: str = "GET"
    host: str = ""
    path: str = "/"
    headers: Headers = field(default_factory=lambda: NO_HEADERS)
    claims: Mapping[str, object] | None = None


@dataclass(frozen=True, slots=True)
class Call:
    """A call of a port. `principal` is TRUST-DOMAIN/ns/NAMESPACE/sa/ACCOUNT of the caller's certificate, empty without
    one. `http` is None for a connection. Of what is in `unknown` nothing is known: verdicts may depend on it.
    `trust_domain` is the mesh's own, and `port` the one that policies mean; both are those of the Access.
    """

    principal: str = ""
    port: int = 0
    http: HttpCall | None = None
    source_ip: str = ""
    remote_ip: str = ""
    destination_ip: str = ""
    sni: str = ""
    unknown: frozenset[Attribute] = frozenset()
    trust_domain: str = ""

    def values(self, condition: Condition) -> Values:
        """What `condition` looks at: no value where there is nothing, None where that is not known."""
        attribute = condition.attribute
        if attribute in self.unknown:
            return UNKNOWN
        if attribute in HTTP_ONLY:
            return _of_request(self.http, attribute, condition.key) if self.http is not None else ()
        return _some(_OF_CONNECTION[attribute](self))

    @property
    def identity(self) -> tuple[str, str, str]:
        """Trust domain, namespace and service account; empty texts without a certificate."""
        return identity_of(self.principal)

    @property
    def own(self) -> tuple[str, str]:
        """Namespace and service account of a caller of the mesh's own trust domain; else empty texts."""
        trust_domain, namespace, account = self.identity
        return (namespace, account) if trust_domain == self.trust_domain else ("", "")


def identity_of(principal: str) -> tuple[str, str, str]:
    """Trust domain, namespace and service account of a principal; empty texts where it has not that form."""
    parts = principal.split("/")
    if len(parts) != 5 or parts[1] != "ns" or parts[3] != "sa":
        return "", "", ""
    return parts[0], parts[2], parts[4]


def _account(call: Call) -> str:
    namespace, account = call.own
    return f"{namespace}/{account}" if namespace else ""


_OF_CONNECTION: dict[Attribute, Callable[[Call], str]] = {
    Attribute.PRINCIPAL: lambda call: call.principal,
    Attribute.NAMESPACE: lambda call: call.own[0],
    Attribute.SERVICE_ACCOUNT: _account,
    Attribute.TRUST_DOMAIN: lambda call: call.principal.partition("/")[0],
    Attribute.SOURCE_IP: lambda call: call.source_ip,
    Attribute.REMOTE_IP: lambda call: call.remote_ip or call.source_ip,
    Attribute.PORT: lambda call: str(call.port),
    Attribute.DESTINATION_IP: lambda call: call.destination_ip,
    Attribute.SNI: lambda call: call.sni,
}


def _some(value: str) -> tuple[str, ...]:
    return (value,) if value else ()


def _of_request(request: HttpCall, attribute: Attribute, key: tuple[str, ...]) -> tuple[str, ...]:
    match attribute:
        case Attribute.METHOD:
            return _some(request.method)
        case Attribute.HOST:
            return _some(request.host.lower())
        case Attribute.PATH:
            return _some(request.path)
        case Attribute.HEADER:
            return _of_header(request.headers, key[0].lower()) if key else ()
    return _of_token(request.claims, attribute, key) if request.claims is not None else ()


def _of_header(headers: Headers, name: str) -> tuple[str, ...]:
    values = headers.get(name, ())
    return (",".join(filter(None, values)),) if values and name in JOINED else values


def _of_token(claims: Mapping[str, object], attribute: Attribute, key: tuple[str, ...]) -> tuple[str, ...]:
    if attribute is Attribute.REQUEST_PRINCIPAL:
        issuer, subject = claims.get("iss"), claims.get("sub")
        return (f"{issuer}{BETWEEN}{subject}",) if isinstance(issuer, str) and isinstance(subject, str) else ()
    path = {Attribute.AUDIENCE: ("aud",), Attribute.PRESENTER: ("azp",)}.get(attribute, key)
    found: object = claims
    for part in path:
        found = found.get(part) if isinstance(found, Mapping) else None
    if isinstance(found, str):
        return tuple(found.split()) if path in _SPACED else (found,)
    return tuple(one for one in found if isinstance(one, str)) if isinstance(found, list | tuple) else ()
