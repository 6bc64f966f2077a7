"""Tokens in mesh words: whose are accepted at a place, how they are checked, and what becomes of them.

https://istio.io/latest/docs/reference/config/security/jwt/
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from weft.mesh.signals import Collector
from weft.model.document import ObjectKey
from weft.model.origin import Origin


@dataclass(frozen=True, slots=True)
class TokenPlace:
    """Where in a request a token stands: in a header (lower case) behind `prefix`, a parameter of the query, or a
    cookie."""

    kind: Literal["header", "parameter", "cookie"]
    name: str
    prefix: str = ""


DEFAULT_PLACES = (TokenPlace("header", "authorization", "Bearer "), TokenPlace("parameter", "access_token"))
"""Where a token stands if a rule does not say."""


@dataclass(frozen=True, slots=True)
class FetchedByProxy:
    """The proxy fetches the keys from `server`, as signals are sent to collectors: over the mesh's mutual TLS if it is
    a service of the mesh, else over TLS. `timeout` in seconds."""

    uri: str
    server: Collector
    timeout: float


@dataclass(frozen=True, slots=True)
class TokenRule:
    """An issuer whose tokens are accepted where they are for one of `audiences` (none: for anybody).

    `keys` is a JWKS; empty as long as there is none: then tokens of this issuer are refused. `claim_headers` are pairs
    of a header and a claim, ``a.b`` for one inside of another. `lists` are claims whose text is a list of words.
    """

    number: int
    origin: Origin
    issuer: str
    places: tuple[TokenPlace, ...]
    audiences: tuple[str, ...] = ()
    keys: str = ""
    fetched: FetchedByProxy | None = None
    payload_header: str = ""
    claim_headers: tuple[tuple[str, str], ...] = ()
    lists: tuple[str, ...] = ()
    forward: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class TokenPolicy:
    """A document in force. Compared by identity.

    Of all policies at a place together: a request without a token passes. Every token that stands in a place of any
    rule has to be accepted by a rule with that place. Headers that rules write are taken out of requests before.
    """

    object: ObjectKey
    origin: Origin
    rules: tuple[TokenRule, ...]


def key_servers(policies: Iterable[TokenPolicy]) -> tuple[Collector, ...]:
    """The servers from which proxies fetch the keys of these policies, each once."""
    found = (rule.fetched.server for policy in policies for rule in policy.rules if rule.fetched is not None)
    return tuple(dict.fromkeys(found))
