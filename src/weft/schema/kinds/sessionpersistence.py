"""Gateway API: sessionPersistence of rules (GEP-1619, experimental)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from weft.schema.scalars import CookieName, GatewayDuration, Length


@dataclass(frozen=True, slots=True, kw_only=True)
class CookieConfig:
    """How long a client keeps the cookie: until it ends (Session), or for `absoluteTimeout` (Permanent)."""

    lifetime_type: Literal["Session", "Permanent"] = "Session"


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionPersistence:
    """All requests of a session go to the instance that its first one went to, as long as that is there. The client
    brings back a cookie, or a header of the answer, called `sessionName` (by default a name of the rule's own)."""

    session_name: Annotated[CookieName, Length(1, 128)] | None = None
    type: Literal["Cookie", "Header"] = "Cookie"
    absolute_timeout: GatewayDuration | None = None
    cookie_config: CookieConfig | None = None
