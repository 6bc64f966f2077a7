"""Sessions of the page: one-time codes, what they are exchanged for, and how long that lasts. No I/O."""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Callable
from dataclasses import dataclass

from weft.admin.people.access import ADMIN, Principal

CODE_SECONDS = 300.0
"""A code that `weft dashboard` prints is to be used at once."""
LONGEST_CODE_SECONDS = 3600.0
SESSION_SECONDS = 12 * 3600.0
_CODES = 32
_SESSIONS = 64


@dataclass(frozen=True, slots=True)
class Session:
    """One signed-in browser. `key` is what its page must show besides the cookie to change anything; `ends` is a
    reading of the clock; it may do what `principal` may, for whom it was signed in."""

    key: str
    ends: float
    principal: Principal = ADMIN


@dataclass(frozen=True, slots=True)
class Opened:
    """What a code was exchanged for: the cookie's value, which scripts never see, and the page's key."""

    cookie: str
    key: str
    principal: Principal = ADMIN


class Sessions:
    """Codes and sessions of this run of the control plane; both are bounded, and the oldest makes room.

    Only hashes are kept: what is looked up is never compared with a secret byte by byte.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._codes: dict[str, tuple[float, Principal]] = {}
        self._sessions: dict[str, Session] = {}
        self._opened_by: dict[str, str] = {}

    def offer(self, seconds: float = CODE_SECONDS, principal: Principal = ADMIN) -> str:
        """A new code, good for one use within so many seconds, for a session of `principal`."""
        code = secrets.token_urlsafe(32)
        _make_room(self._codes, _CODES)
        self._codes[_hash(code)] = self._clock() + min(seconds, LONGEST_CODE_SECONDS), principal
        return code

    def open(self, code: str) -> Opened | None:
        """Exchange a code for a session; None if it is unknown, used or too old."""
        by = _hash(code)
        ends, principal = self._codes.pop(by, (float("-inf"), ADMIN))
        now = self._clock()
        if now >= ends:
            return None
        opened = Opened(secrets.token_urlsafe(32), secrets.token_urlsafe(32), principal)
        self._sessions = {name: one for name, one in self._sessions.items() if now < one.ends}
        _make_room(self._sessions, _SESSIONS)
        name = _hash(opened.cookie)
        self._sessions[name] = Session(opened.key, now + SESSION_SECONDS, principal)
        self._opened_by = {code: one for code, one in self._opened_by.items() if one in self._sessions} | {by: name}
        return opened

    def find(self, cookie: str) -> Session | None:
        """The session of a cookie, if it has not ended."""
        found = self._sessions.get(_hash(cookie)) if cookie else None
        return found if found is not None and self._clock() < found.ends else None

    def withdraw(self, code: str) -> None:
        """Take a code back, and end the session that it has opened."""
        by = _hash(code)
        self._codes.pop(by, None)
        self._sessions.pop(self._opened_by.pop(by, ""), None)

    def close(self, cookie: str) -> None:
        """End the session of a cookie."""
        self._sessions.pop(_hash(cookie), None)


def shows_key(session: Session, given: str) -> bool:
    """Whether `given` is the key of the session's page."""
    return hmac.compare_digest(given.encode(errors="replace"), session.key.encode())


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode(errors="replace")).hexdigest()


def _make_room(table: dict[str, tuple[float, Principal]] | dict[str, Session], most: int) -> None:
    while len(table) >= most:
        table.pop(next(iter(table)))
