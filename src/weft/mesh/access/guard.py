"""Guards: what a gateway asks of a client before it follows a rule, and who is asked whether a request may pass."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import TypeVar

from weft.mesh.access.policy import Closed, Pattern
from weft.mesh.signals import Collector
from weft.model.document import ObjectKey
from weft.model.origin import Origin


@dataclass(frozen=True, slots=True)
class AskedBody:
    """How much of a request's body is sent to who is asked, in bytes. A larger one is refused unless `partial`."""

    limit: int
    partial: bool = False
    as_bytes: bool = False


@dataclass(frozen=True, slots=True)
class Authorizer:
    """A server that is asked whether a request may pass, over Envoy's gRPC protocol or HTTP.

    `timeout` in seconds (None: weft's own); `fail_open`: requests pass while it does not answer, else they get
    `error_status` (None: 403). `request_headers` go to it (None: over gRPC all, over HTTP the usual few), with
    `more_headers`. Of its answer `upstream_headers` go to the application, `refusal_headers` (none: all) and
    `allowed_headers` to the client.
    """

    name: str
    server: Collector
    grpc: bool
    origin: Origin
    timeout: float | None = None
    path_prefix: str = ""
    fail_open: bool = False
    error_status: int | None = None
    new_route: bool = False
    request_headers: tuple[Pattern, ...] | None = ()
    more_headers: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    body: AskedBody | None = None
    upstream_headers: tuple[Pattern, ...] = ()
    refusal_headers: tuple[Pattern, ...] = ()
    allowed_headers: tuple[Pattern, ...] = ()


@dataclass(frozen=True, slots=True)
class ApiKeys:
    """One of the `clients` (name, key) shows its key in a header, a parameter of the query, or a cookie. `forward` is
    the header that tells the application which one; `sanitize` hides the key from it."""

    clients: tuple[tuple[str, str], ...] = field(repr=False)
    headers: tuple[str, ...]
    params: tuple[str, ...]
    cookies: tuple[str, ...]
    forward: str
    sanitize: bool


@dataclass(frozen=True, slots=True)
class Passwords:
    """A user shows a password. `users` are lines of htpasswd; `forward` is the header that tells the application."""

    users: bytes = field(repr=False)
    forward: str


@dataclass(frozen=True, slots=True)
class SameSite:
    """Requests that change something come from pages of the host they go to, or of `origins` (hosts or wildcards)."""

    origins: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class HeaderTest:
    """A header that has a value, begins with a prefix, or (neither) is there."""

    name: str
    value: str
    prefix: str


@dataclass(frozen=True, slots=True)
class Login:
    """People log in with an OpenID provider. `name` is the policy's, ``namespace/name``.

    `secret` is what the provider knows this gateway by (`basic`: shown in a header, not in the body), `cookie_key` what
    the session in cookies is sealed with. `cookie_names` by Envoy's word for each cookie.
    """

    name: str
    object: ObjectKey
    origin: Origin
    server: Collector
    authorization_endpoint: str
    token_endpoint: str
    end_session_endpoint: str
    client_id: str
    basic: bool
    secret: bytes = field(repr=False)
    cookie_key: bytes = field(repr=False)
    scopes: tuple[str, ...]
    redirect_path: str
    logout_path: str
    cookie_domain: str
    cookie_names: tuple[tuple[str, str], ...]
    same_site: str
    forward: bool
    refresh: bool
    pass_through: tuple[HeaderTest, ...]
    deny_redirect: tuple[HeaderTest, ...]


Part = Login | ApiKeys | Passwords | SameSite | Closed
PartT = TypeVar("PartT")


@dataclass(frozen=True, slots=True, eq=False)
class Demand:
    """What the policy `object`, written at `origin`, asks of a client."""

    part: Part
    object: ObjectKey
    origin: Origin


@dataclass(frozen=True, slots=True, eq=False)
class Guard:
    """What a client meets: of each kind of policy at most one. Compared by identity."""

    demands: tuple[Demand, ...] = ()

    def over(self, wider: Guard) -> Guard:
        """This, and of `wider` what this says nothing of."""
        own = {each.object.kind for each in self.demands}
        return Guard((*self.demands, *(each for each in wider.demands if each.object.kind not in own)))

    def find(self, kind: type[PartT]) -> PartT | None:
        """What is asked of one kind, if anything is."""
        return next((each.part for each in self.demands if isinstance(each.part, kind)), None)


NO_GUARD = Guard()
Server = tuple[Collector, bool]
"""Where a proxy asks, and whether over gRPC."""


def servers_of(authorizers: Iterable[Authorizer | None], logins: Iterable[Login | None] = ()) -> Iterator[Server]:
    """Where requests about requests go."""
    yield from ((each.server, each.grpc) for each in authorizers if each is not None)
    yield from ((each.server, False) for each in logins if each is not None)
