"""Masking: what is secret in a request never leaves the host where it was seen."""

from __future__ import annotations

import re
from urllib.parse import unquote_plus

from weft.model.printable import bounded
from weft.model.requests import MASKED

_SECRET_HEADERS = frozenset(("cookie", "set-cookie", "x-forwarded-client-cert"))
"""Those that are secret, though no word in their names says so."""
_SECRET = re.compile(
    r"token|secret|passw|pwd|api[-_.]?key|apikey|access[-_.]?key|private|credential|session|signature|^sig$|^key$"
    r"|^code$|auth|jwt|assertion|csrf|xsrf|otp|^pin$|^sid$"
)
_KEY = r"eyJ[A-Za-z0-9_-]{16,}|(?:gh[a-z]_|sk_live_|sk_test_|glpat-|xox[a-z]-|AKIA)[A-Za-z0-9_-]{12,}"
_IS_KEY = re.compile(_KEY)
"""A JSON web token, though it was cut, and keys that say by their first letters what they are."""
_TOKEN = re.compile(
    rf"(?<![A-Za-z0-9_-])[A-Za-z0-9_-]{{8,}}+\.[A-Za-z0-9_-]{{8,}}+\.[A-Za-z0-9_-]{{8,}}|(?i:bearer|basic)\s+\S+|{_KEY}"
)
"""What is a token by its form, whatever it is called: three parts, or the value of an Authorization header. A match
begins where a word does, and no part is tried twice: what clients write is long if they want that to take long."""
_PAIRS = re.compile("([&;])")
_NESTED = re.compile(r"[?&;]([^=&;?]{1,100})=")
_USER = re.compile(r"://[^/@\s]{1,512}+@")
_LONGEST_VALUE = 128
_MOST_HEADERS = 60


def masked_path(path: str, longest: int = 512) -> str:
    """A path with the values of its query that are secret by their name or form replaced, and segments that are keys
    or tokens."""
    return bounded(_masked_address(path), longest)


def _masked_address(text: str) -> str:
    bare, mark, query = text.partition("?")
    bare = "/".join(MASKED if _IS_KEY.search(segment) else segment for segment in bare.split("/"))
    return bare + mark + "".join(map(_masked_pair, _PAIRS.split(query)))


def _masked_pair(pair: str) -> str:
    name, mark, value = pair.partition("=")
    plain = unquote_plus(value)
    names = (unquote_plus(name), *_NESTED.findall(plain))  # a value may be an address with a query of its own
    if mark and (any(_SECRET.search(one.lower()) for one in names) or _TOKEN.search(plain)):
        return f"{name}={MASKED}"
    return pair if mark or not _TOKEN.search(unquote_plus(name)) else MASKED


def masked_headers(headers: dict[str, str]) -> tuple[tuple[str, str], ...]:
    """Request headers, sorted, with the values of those that are secret by their name or form replaced, and what is
    secret in addresses; Envoy's own pseudo-headers are left out."""
    found = [
        (bounded(name.lower(), 64), bounded(_masked_value(name.lower(), value), _LONGEST_VALUE))
        for name, value in headers.items()
        if not name.startswith(":")
    ]
    return tuple(sorted(found)[:_MOST_HEADERS])


def _masked_value(name: str, value: str) -> str:
    """A value that is no secret may be an address that has some, as in ``referer`` and ``x-envoy-original-path``."""
    if name in _SECRET_HEADERS or _SECRET.search(name) is not None:
        return MASKED
    address = _masked_address(value) if "?" in value else value
    address = _USER.sub(f"://{MASKED}@", address)
    return MASKED if _TOKEN.search(address) is not None else address
