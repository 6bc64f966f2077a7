"""Matching: whether a request meets a rule's conditions, and what a rewrite makes of its path, as Envoy decides it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from urllib.parse import parse_qsl

import re2  # type: ignore[import-untyped]  # ships no types

from weft.mesh.routes.rules import NamedMatch, PathRewrite, RequestMatch, TextMatch, VirtualHost
from weft.mesh.services.hosts import specificity
from weft.mesh.views import Tunnel
from weft.schema.hosts import clean_host, covers


@dataclass(frozen=True, slots=True)
class Request:
    """A request as a proxy sees it.

    `port` is the one in the authority, 0 if none is written; at a gateway `listener` is the Gateway's port and
    `server_name` that of the TLS handshake (empty: the host). `path` has the query. Header names are in lower case.
    `random` (0 to below 1) decides faults and weights.
    """

    host: str
    path: str = "/"
    method: str = "GET"
    scheme: str = "http"
    port: int = 0
    headers: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    random: float = 0.0
    listener: int = 80
    server_name: str = ""

    @property
    def bare_path(self) -> str:
        """The path without the query."""
        return self.path.partition("?")[0]

    @property
    def authority(self) -> str:
        """Host and port as the client wrote them."""
        return f"{self.host}:{self.port}" if self.port else self.host


def text_matches(match: TextMatch, text: str) -> bool:
    """Whether `text` meets a condition."""
    value = match.value
    if match.ignore_case:
        value, text = value.lower(), text.lower()
    match match.kind:
        case "present":
            return True
        case "exact":
            return text == value
        case "prefix":
            return text.startswith(value)
        case "segment-prefix":
            prefix = value.rstrip("/")
            return not prefix or text == prefix or text.startswith(f"{prefix}/")
        case "regex":
            return re2.fullmatch(value, text) is not None


def _named_matches(condition: NamedMatch, values: Mapping[str, str]) -> bool:
    value = values.get(condition.name)
    if value is None:
        if not condition.invert:
            return False
        return condition.match.kind == "present" or not text_matches(condition.match, "")
    return text_matches(condition.match, value) is not condition.invert


def query_of(path: str) -> dict[str, str]:
    """The parameters of a path's query; of several with one name the first counts."""
    found: dict[str, str] = {}
    for name, value in parse_qsl(path.partition("?")[2], keep_blank_values=True):
        found.setdefault(name, value)
    return found


def request_matches(match: RequestMatch, request: Request) -> bool:
    """Whether a request meets all conditions."""
    texts = (
        (match.path, request.bare_path),
        (match.method, request.method),
        (match.scheme, request.scheme),
        (match.authority, request.authority),
    )
    if not all(condition is None or text_matches(condition, text) for condition, text in texts):
        return False
    if not all(_named_matches(condition, request.headers) for condition in match.headers):
        return False
    if not all(condition.invert for condition in match.claims):
        return False  # whether a token is good is not known here
    query = query_of(request.path) if match.query else {}
    return all(_named_matches(condition, query) for condition in match.query)


def virtual_host_of(
    hosts: Iterable[VirtualHost], host: str, port: int, tunnels: Iterable[Tunnel] = ()
) -> VirtualHost | None:
    """The virtual host with the most specific domain for `host`, among those of `port` (0: any) or of every port.

    Without a port in the request (`port` 0) a host of port 80 counts, or the only one there is, `tunnels` included.
    """
    host = clean_host(host)
    found: list[tuple[tuple[int, int], VirtualHost]] = []
    for candidate in hosts:
        domains = [domain for domain in candidate.domains if covers(domain, host)]
        if domains and (port in (0, candidate.port) or candidate.port == 0):
            found.append((max(map(specificity, domains)), candidate))
    if not found:
        return None
    best = max(rank for rank, _ in found)
    named = [candidate for rank, candidate in found if rank == best]
    if len(named) == 1 and (port or not any(host in tunnel.domains for tunnel in tunnels)):
        return named[0]
    return next((candidate for candidate in named if candidate.port == (port or 80)), None)


def rewritten_path(path: str, rewrite: PathRewrite | None, match: RequestMatch) -> str:
    """`path` (with its query) after a rewrite; the query stays."""
    bare, mark, query = path.partition("?")
    return f"{_rewritten(bare, rewrite, match.path)}{mark}{query}" if rewrite else path


def _rewritten(bare: str, rewrite: PathRewrite, path: TextMatch | None) -> str:
    prefix = path.value if path is not None and path.kind in ("prefix", "segment-prefix", "exact") else "/"
    match rewrite.kind:
        case "full":
            return rewrite.value
        case "regex":
            return str(re2.sub(rewrite.pattern, rewrite.value, bare))
        case "prefix":
            return (rewrite.value + bare[len(prefix) :]) or "/"
        case "segment-prefix":
            rest = bare[len(prefix.rstrip("/")) :].lstrip("/")
            target = rewrite.value.rstrip("/")
            joined = f"{target}/{rest}" if rest or bare.endswith("/") else target
            return joined or "/"
