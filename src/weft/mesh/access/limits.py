"""Rate limits: how many requests pass in which time, and what they are told apart by."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from weft.mesh.routes.rules import RequestMatch
from weft.model.document import ObjectKey
from weft.model.origin import Origin

LimitKind = Literal["local", "dry-run", "shared-open", "shared-closed"]
"""Each proxy counts, for itself, and refuses or only tries; or the control plane does, and requests pass, or do not,
while it is away."""


KeyKind = Literal["address", "identity", "header", "claim", "path", "method", "host"]
EVERY_REQUEST = RequestMatch()


@dataclass(frozen=True, slots=True)
class LimitKey:
    """What requests are told apart by; `name` is a header's, or a claim's path joined by dots."""

    kind: KeyKind
    name: str = ""


@dataclass(frozen=True, slots=True)
class Limit:
    """So many `requests` in so many `seconds`, `burst` of them at once, for each combination of what `keys` say."""

    name: str
    requests: int
    seconds: int
    burst: int
    match: RequestMatch = EVERY_REQUEST
    keys: tuple[LimitKey, ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class LimitPolicy:
    """The limits of one document. `shared`: the control plane counts, over all proxies; requests pass while it does not
    answer if `fail_open`. With `dry_run` none is refused. Compared by identity."""

    object: ObjectKey
    origin: Origin
    limits: tuple[Limit, ...]
    shared: bool = False
    dry_run: bool = False
    fail_open: bool = True

    @property
    def kind(self) -> LimitKind:
        """Who counts, and what that comes to."""
        if self.shared:
            return "shared-open" if self.fail_open or self.dry_run else "shared-closed"
        return "dry-run" if self.dry_run else "local"

    @property
    def name(self) -> str:
        """``namespace/name``."""
        return f"{self.object.namespace}/{self.object.name}"

    def limit_id(self, limit: Limit) -> str:
        """By what a limit is known: to proxies, and to who counts for them."""
        return f"{self.name}/{limit.name}"
