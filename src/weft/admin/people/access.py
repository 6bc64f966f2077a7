"""Permissions, roles and principals: what each may do. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from enum import StrEnum

from weft.model.document import ObjectKey
from weft.sources.kubernetes.users import User


class Permission(StrEnum):
    """What a call of the admin API needs. `PUBLIC` needs no proof of who calls."""

    PUBLIC = "public"
    READ = "read"
    EDIT = "edit"
    UNDO = "undo"
    OPERATE = "operate"
    ADMINISTER = "administer"


class Role(StrEnum):
    """What a principal is."""

    VIEWER = "viewer"
    EDITOR = "editor"
    OPERATOR = "operator"
    ADMIN = "admin"


ROLES = tuple(map(str, Role))


ROLE_PERMISSIONS: dict[Role, frozenset[Permission]] = {
    Role.VIEWER: frozenset({Permission.READ}),
    Role.EDITOR: frozenset({Permission.READ, Permission.EDIT, Permission.UNDO}),
    Role.OPERATOR: frozenset({Permission.READ, Permission.UNDO, Permission.OPERATE}),
    Role.ADMIN: frozenset(Permission),
}
"""Editors edit and undo in their namespaces only; operators undo what anybody did."""
BOOTSTRAP = "admin token"
"""The principal of `control-plane/admin.token`, as the audit names it."""


@dataclass(frozen=True, slots=True)
class Grant:
    """A role; `namespaces` are those of an editor."""

    role: Role
    namespaces: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"{self.role} of {', '.join(self.namespaces)}" if self.role is Role.EDITOR else str(self.role)


@dataclass(frozen=True, slots=True)
class Principal:
    """Who calls. `proof` is how that was proven: ``bootstrap``, ``token``, ``certificate``, ``oidc`` or
    ``kubernetes``; `id` tells one of this name from an earlier one; `until` is when the proof ends (epoch seconds, 0:
    never), which is said with each answer from `warn` on (0: never). `shown` is the certificate (DER) that proved it,
    `user` who it is in the cluster that vouches for it (proof ``kubernetes``)."""

    name: str
    grants: tuple[Grant, ...]
    proof: str
    id: str = ""
    until: float = 0.0
    warn: float = 0.0
    shown: bytes = field(default=b"", repr=False)
    user: User | None = None

    @property
    def roles(self) -> str:
        """What it is, in words."""
        return "; ".join(map(str, self.grants))

    def may(self, permission: Permission) -> bool:
        """Whether a call that needs `permission` is allowed."""
        return permission is Permission.PUBLIC or any(permission in ROLE_PERMISSIONS[one.role] for one in self.grants)

    def may_change(self, key: ObjectKey, roots: Collection[str], *, undoing: bool = False) -> bool:
        """Whether it may change the document `key` (or, `undoing`, take a change of it back). Documents of the cluster
        and of the root namespaces (`roots`) concern everybody, and some kinds may say anything to a proxy: they are no
        editor's."""
        for grant in self.grants:
            if grant.role is Role.ADMIN or (undoing and grant.role is Role.OPERATOR):
                return True
            if key.kind in OF_ADMINS:
                continue
            if grant.role is Role.EDITOR and key.namespace in grant.namespaces and key.namespace not in roots:
                return True
        return False


OF_ADMINS = frozenset(("EnvoyFilter",))
"""Kinds of which only admins change documents: they may take any protection away."""
ADMIN = Principal(BOOTSTRAP, (Grant(Role.ADMIN),), "bootstrap")


def roles_with(permission: Permission) -> tuple[str, ...]:
    """The roles that have a permission, the least first."""
    return tuple(str(role) for role in Role if permission in ROLE_PERMISSIONS[role])


def merged(grants: Iterable[Grant]) -> tuple[Grant, ...]:
    """Several grants as few: each role once, the namespaces of editors together; nothing beside an admin."""
    found: dict[Role, tuple[str, ...]] = {}
    for one in grants:
        found[one.role] = tuple(dict.fromkeys((*found.get(one.role, ()), *one.namespaces)))
    if Role.ADMIN in found:
        return (Grant(Role.ADMIN),)
    return tuple(Grant(role, found[role]) for role in Role if role in found)
