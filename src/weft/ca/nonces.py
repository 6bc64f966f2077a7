"""Nonces that applicants sign: made by this process, good for a minute, and remembered by nobody."""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
import time
from collections.abc import Callable

_SECONDS = 60.0
_KEY_BYTES = 32
_RANDOM_BYTES = 16


class Nonces:
    """A nonce carries its time and a code of this process over it, so strangers who ask for many cost no memory. That
    one may be used twice within its minute does not matter: the token that it goes with works once."""

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._key = secrets.token_bytes(_KEY_BYTES)
        self._clock = clock

    def make(self) -> str:
        """A new one."""
        body = f"{int(self._clock())}.{secrets.token_urlsafe(_RANDOM_BYTES)}"
        return f"{body}.{self._code(body)}"

    def is_good(self, nonce: str) -> bool:
        """Whether this process made it within the last minute."""
        body, _, code = nonce.rpartition(".")
        if not hmac.compare_digest(code.encode(), self._code(body).encode()):
            return False
        return 0 <= self._clock() - int(body.partition(".")[0]) + 1 <= _SECONDS + 1

    def _code(self, body: str) -> str:
        digest = hmac.new(self._key, body.encode(errors="replace"), hashlib.sha256).digest()
        return base64.urlsafe_b64encode(digest).decode().rstrip("=")
