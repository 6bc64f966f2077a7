"""Users of a Kubernetes cluster at the admin API: the roles here that the rights there mean.

Rights are verbs for a resource that exists in rules only: ``mesh`` of the group ``admin.weft.dev``, for the whole
cluster. They are asked for by SubjectAccessReviews.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import replace

from weft.admin.people.access import Grant, Permission, Principal, Role, roles_with
from weft.admin.replies import Refused
from weft.model.addresses import is_loopback
from weft.model.printable import printable
from weft.sources.kubernetes.reviews import ReviewUnavailableError
from weft.sources.kubernetes.user_reviews import UserReviews
from weft.sources.kubernetes.users import (
    Right,
    User,
    UserTokenError,
    certificate_end,
    token_end,
    user_from_certificate,
)
from weft.traffic.pace import Pace

GROUP, RESOURCE = "admin.weft.dev", "mesh"
RIGHTS: dict[Role, Right] = {
    Role.VIEWER: Right(GROUP, RESOURCE, "get"),
    Role.OPERATOR: Right(GROUP, RESOURCE, "operate"),
    Role.ADMIN: Right(GROUP, RESOURCE, "administer"),
}
"""What makes a user what. Documents are changed through the API server, by its own rules: nobody is an editor here."""
CLUSTER_ROLES = {Role.VIEWER: "weft-view", Role.OPERATOR: "weft-operate", Role.ADMIN: "weft-admin"}
"""The ClusterRoles of the chart that give these rights."""
PROOF = "kubernetes"
_LONGEST_NAME = 200
_AT_ONCE = 30
_ONE_SECONDS = 1.0
"""Tokens from one address about which the API server is asked: somebody's own is asked about every ten seconds."""
_UNSAID = 3600.0
"""Seconds for which a token lets a browser in that does not say when it ends: it is not asked about again."""


class ClusterUsers:
    """Who users are, which roles they have, and until when what they showed proves it."""

    def __init__(
        self,
        reviews: UserReviews,
        clock: Callable[[], float] = time.time,
        steady: Callable[[], float] = time.monotonic,
    ) -> None:
        self._reviews = reviews
        self._clock = clock
        self._steady = steady
        self._pace = Pace(_AT_ONCE, _ONE_SECONDS)

    async def of_token(self, token: str, address: str = "") -> Principal:
        """Whose token it is. UserTokenError; Refused (503) while the API server cannot be asked, or too much was asked
        about what `address` shows. Nothing tells those apart who come by loopback, and the API server let them."""

        def may_ask() -> bool:
            return not address or is_loopback(address) or self._pace.allows(address, self._steady())

        try:
            user = await self._reviews.user_of(token, may_ask)
            return await self._principal(user, token_end(token) or self._clock() + _UNSAID)
        except ReviewUnavailableError as error:
            raise _unavailable(error) from error

    async def of_certificate(self, shown: bytes) -> Principal | None:
        """Whose certificate (DER) of the cluster's authority it is; None: it names nobody. Refused (503)."""
        user = user_from_certificate(shown)
        if user is None:
            return None
        try:
            return await self._principal(user, certificate_end(shown), shown)
        except ReviewUnavailableError as error:
            raise _unavailable(error) from error

    async def renewed(self, principal: Principal) -> Principal | None:
        """One who proved who they are before, with the roles that they have now; None: the proof has ended.
        Refused (503)."""
        assert principal.user is not None  # noqa: S101 - its proof says so
        if self._ended(principal):
            return None
        try:
            return replace(principal, grants=await self._grants(principal.user))
        except ReviewUnavailableError as error:
            raise _unavailable(error) from error

    def knows(self, principal: Principal) -> bool:
        """Whether somebody may still look on who was let in: as far as was asked lately."""
        user = principal.user
        if user is None or self._ended(principal):
            return False
        return any(self._reviews.stands(user, right) for right in RIGHTS.values())

    def _ended(self, principal: Principal) -> bool:
        return self._clock() >= principal.until

    async def _principal(self, user: User, until: float, shown: bytes = b"") -> Principal:
        name = f"{printable(user.name, _LONGEST_NAME)} ({PROOF})"
        return Principal(name, await self._grants(user), PROOF, until=until, shown=shown, user=user)

    async def _grants(self, user: User) -> tuple[Grant, ...]:
        roles = tuple(RIGHTS)
        has = await asyncio.gather(*(self._reviews.may(user, RIGHTS[role]) for role in roles))
        if has[roles.index(Role.ADMIN)]:
            return (Grant(Role.ADMIN),)
        return tuple(Grant(role) for role, given in zip(roles, has, strict=True) if given)


def missing_right(principal: Principal, permission: Permission) -> str:
    """Which right a user lacks for what a call needs, and who gives it."""
    role = next(role for role in RIGHTS if str(role) in roles_with(permission))
    name = CLUSTER_ROLES[role]
    return (
        f"{principal.name} has not the right to '{RIGHTS[role]}' in the cluster; the ClusterRole {name} has it: "
        f"kubectl create clusterrolebinding NAME --clusterrole={name} {_subject(principal.user)}"
    )


def _subject(user: User | None) -> str:
    name = printable(user.name, _LONGEST_NAME) if user is not None else ""
    account = name.removeprefix("system:serviceaccount:")
    return f"--serviceaccount={account}" if account != name else f"--user='{name}'"


def _unavailable(error: ReviewUnavailableError) -> Refused:
    text = f"who you are and what you may do cannot be asked now: {error}; nothing was done"
    return Refused(503, "kubernetes-unavailable", text)


__all__ = ["CLUSTER_ROLES", "PROOF", "RIGHTS", "ClusterUsers", "UserTokenError", "missing_right"]
