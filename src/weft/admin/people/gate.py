"""The gate of the admin API: what callers prove themselves by, and the principal that comes of it."""

from __future__ import annotations

import asyncio
import hmac
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from aiohttp import web

from weft.admin.audit import Audit
from weft.admin.people.access import ADMIN, Grant, Permission, Principal, Role, roles_with
from weft.admin.people.certificates import Names, shown_certificate
from weft.admin.people.cluster_users import ClusterUsers, UserTokenError, missing_right
from weft.admin.people.failures import Failures
from weft.admin.people.oidc import Oidc, OidcRefusedError
from weft.admin.people.permissions import needed
from weft.admin.people.principals import PREFIX, People, TokenError
from weft.admin.replies import Refused

_READER = Principal("prometheus token", (Grant(Role.VIEWER),), "reader")
_HOW = (
    "send a token as 'Authorization: Bearer ...'; on this host the admin token is in control-plane/admin.token, and "
    "weft token create --role makes others"
)
_LOOPBACK = "loopback"
_NOT_WRONG = frozenset(("token-required", "kubernetes-unavailable"))


@dataclass(frozen=True, slots=True)
class Readable:
    """Paths that the bearer of a token of its own may read, who may do nothing else."""

    paths: frozenset[str] = frozenset()
    token: str = field(default="", repr=False)


def _no_names(_: asyncio.BaseTransport | None) -> Names:
    return ()


def _never(_: bytes) -> bool:
    return False


def _not_there(_: asyncio.BaseTransport | None) -> bool:
    return False


@dataclass(frozen=True, slots=True)
class Entrance:
    """How others than the bearer of the admin token come in. `hosts` are the names that this API has over TLS,
    `names` tells those of a client's certificate, `ended` whether trust in one (DER) has ended since. `users` are those
    of a cluster, who come through tunnels; `of_cluster` tells whether its authority vouches for a certificate."""

    hosts: frozenset[str] = frozenset()
    names: Callable[[asyncio.BaseTransport | None], Names] = _no_names
    ended: Callable[[bytes], bool] = _never
    oidc: Oidc | None = None
    users: ClusterUsers | None = None
    of_cluster: Callable[[asyncio.BaseTransport | None], bool] = _not_there


class Gate:
    """Finds out who calls, and counts those who fail to prove it."""

    def __init__(
        self, token: str, audit: Audit, people: People, failures: Failures, entrance: Entrance, readable: Readable
    ) -> None:
        self._token = token
        self._audit = audit
        self._people = people
        self._failures = failures
        self._entrance = entrance
        self._readable = readable

    async def bearer(self, request: web.Request) -> Principal:
        """Who bears the token of a request. Refused (401), or (429) after too many that were wrong."""
        scheme, _, given = request.headers.get("Authorization", "").partition(" ")
        given = given.strip()
        try:
            return await self._bearer(request, given if scheme.lower() == "bearer" else "", bool(given))
        except Refused as refused:
            if refused.code not in _NOT_WRONG:
                await self._held_up(request, refused)
            raise

    async def _bearer(self, request: web.Request, token: str, shown: bool) -> Principal:
        sent = token.encode(errors="replace")
        if token and hmac.compare_digest(sent, self._token.encode()):
            return ADMIN
        reads = request.method == "GET" and request.path in self._readable.paths and self._readable.token
        if reads and hmac.compare_digest(sent, self._readable.token.encode()):
            return _READER
        try:
            found = self._people.of_token(token) if token.startswith(PREFIX) else None
        except TokenError as error:
            raise Refused(401, error.code, str(error)) from error
        if found is None and token:
            found = await self._of_others(request, token)
        if found is None:
            raise Refused(401, "wrong-token" if shown else "token-required", _HOW)
        return found

    async def _of_others(self, request: web.Request, token: str) -> Principal | None:
        """Whose token it is that somebody else has issued: the OpenID provider, or the cluster, whose tokens are taken
        over TLS only."""
        oidc, users = self._entrance.oidc, self._entrance.users if is_secure(request) else None
        why: list[str] = []
        if oidc is not None and token.count(".") == 2:
            try:
                return await oidc.principal(token)
            except OidcRefusedError as error:
                why.append(f"the OpenID provider's token is not accepted: {error}")
        if users is not None and not token.startswith(PREFIX):
            try:
                return await users.of_token(token, request.remote or "")
            except UserTokenError as error:
                why.append(str(error))
        if why:
            raise Refused(401, "wrong-token", "; ".join(why))
        return None

    async def _held_up(self, request: web.Request, refused: Refused) -> None:
        """Somebody shows what is wrong: the answer comes late, and after many there is another one."""
        caller = request.remote or _LOOPBACK if is_secure(request) else _LOOPBACK
        verdict = self._failures.failed(caller)
        if verdict.retry_after:
            text = f"too many wrong tokens from here; try again in {verdict.retry_after} s. The right one is let in"
            if verdict.first:
                what = f"{refused.code}, again and again; more are refused and not recorded until it ends"
                self._audit.refused(request.remote or "local", f"admin {request.method}", "too-many-failures", what)
            raise Refused(429, "too-many-failures", text, unrecorded=True, retry_after=verdict.retry_after) from None
        await asyncio.sleep(verdict.delay)

    async def certificate(self, request: web.Request) -> Principal | None:
        """Who has the certificate of a request's connection. Refused (503)."""
        users = self._entrance.users
        if users is not None and self._entrance.of_cluster(request.transport):
            return await users.of_certificate(shown_certificate(request.transport))
        names = self._entrance.names(request.transport)
        found = self._people.of_certificate(names) if names else None
        return replace(found, shown=shown_certificate(request.transport)) if found is not None else None

    def knows(self, principal: Principal) -> bool:
        """Whether one who proved who they are before, and signed a browser in, still may."""
        if principal.user is not None:
            return self._entrance.users is not None and self._entrance.users.knows(principal)
        if principal.shown and self._entrance.ended(principal.shown):
            return False
        return self._people.knows(principal)

    async def renewed(self, principal: Principal) -> Principal | None:
        """The same with what they may do now; None: they are nobody any more. Refused (503)."""
        if principal.user is not None and self._entrance.users is not None:
            return await self._entrance.users.renewed(principal)
        return principal if self.knows(principal) else None

    def ending(self, principal: Principal) -> float:
        """When a principal ends that ends soon (epoch seconds), else 0."""
        return self._people.ending(principal)

    @property
    def has_tunnels(self) -> bool:
        """Whether pages reach this API over TLS by an address of their own host's loopback."""
        return self._entrance.users is not None

    def is_named(self, host: str) -> bool:
        """Whether a Host header names this API as it is reached over TLS."""
        name = host.rpartition(":")[0] if host.rpartition(":")[2].isdecimal() and not host.endswith("]") else host
        return name.lower().rstrip(".").strip("[]") in self._entrance.hosts

    def check_permission(self, request: web.Request, principal: Principal) -> None:
        """Refused (403) unless the principal may call this route."""
        resource = request.match_info.route.resource
        if resource is None or request.match_info.http_exception is not None:
            return  # there is nothing at this path
        if principal.proof == "reader":
            return  # the path was looked at
        permission = needed(request.method, resource.canonical)
        if not principal.may(permission):
            raise Refused(403, "not-permitted", _denied(principal, permission))


def _denied(principal: Principal, permission: Permission) -> str:
    if principal.user is not None:
        return missing_right(principal, permission)
    able = " or ".join(roles_with(permission))
    return f"{principal.name} is {principal.roles}; this needs the permission '{permission}', which {able} has"


def is_secure(request: web.Request) -> bool:
    """Whether a request came over TLS, to the address that others reach."""
    return request.transport is not None and request.transport.get_extra_info("sslcontext") is not None
