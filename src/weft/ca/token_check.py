"""Checking a JWT-SVID: whose it is, for whom, until when, and by which key of which trust domain. No I/O.

https://github.com/spiffe/spiffe/blob/main/standards/JWT-SVID.md. The algorithm is the one that the key is of, never the
one that the token names; the keys are those of the trust domain of the subject, never another's.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

import jwt

from weft.model.bundles import TokenKey

MAX_TOKEN = 16 * 1024
_LEEWAY = 10.0
_SUBJECT = re.compile(r"spiffe://([a-z0-9._-]{1,255})(/[A-Za-z0-9._-]+)+")


class TokenError(ValueError):
    """A token is not accepted; the message says why, and holds nothing of the token but its kid."""


@dataclass(frozen=True, slots=True)
class Proven:
    """What an accepted token says."""

    subject: str
    claims: Mapping[str, Any]


def check_token(token: str, audience: str, keys: Mapping[str, Collection[TokenKey]], now: float) -> Proven:
    """Check `token` for `audience` at `now` (epoch seconds) against the keys of each trust domain. Raises TokenError;
    UnknownKeyError if newer keys may help."""
    if len(token) > MAX_TOKEN:
        raise TokenError(f"the token is longer than {MAX_TOKEN // 1024} KiB")
    try:
        header = jwt.get_unverified_header(token)
        unproven = jwt.decode(token, options={"verify_signature": False})
    except (jwt.InvalidTokenError, ValueError, RecursionError) as error:
        raise TokenError("it is no JWT") from error
    if header.get("typ", "JWT") not in ("JWT", "JOSE"):
        raise TokenError("its 'typ' is neither JWT nor JOSE")
    subject = unproven.get("sub")
    named = _SUBJECT.fullmatch(subject) if isinstance(subject, str) and len(subject) <= 2048 else None
    if named is None or any(part in (".", "..") for part in str(subject).split("/")):
        raise TokenError("its subject is no SPIFFE ID of a workload")
    known = keys.get(named.group(1))
    if known is None:
        raise TokenError(f"the trust domain {named.group(1)} is not trusted here")
    kid = header.get("kid")
    key = next((one for one in known if one.kid == kid), None) if isinstance(kid, str) else None
    if key is None:
        raise UnknownKeyError(f"{named.group(1)} has no key {ascii(kid)[:80]}")
    return Proven(str(subject), _verified(token, key, audience, now))


class UnknownKeyError(TokenError):
    """The token is signed with a key that is not known (yet)."""


def _verified(token: str, key: TokenKey, audience: str, now: float) -> Mapping[str, Any]:
    options: jwt.types.Options = {
        "require": ["aud", "exp", "sub"],
        "verify_exp": False,  # by the clock that was given
        "verify_iat": False,
        "verify_nbf": False,
    }
    try:
        public = jwt.PyJWK(json.loads(key.jwk), algorithm=key.algorithm)
        claims: dict[str, Any] = jwt.decode(
            token, public, algorithms=[key.algorithm], audience=audience, options=options
        )
    except jwt.InvalidAudienceError as error:
        raise TokenError("it is for another audience") from error
    except jwt.InvalidSignatureError as error:
        raise TokenError("its signature is not by that key") from error
    except (jwt.PyJWTError, ValueError, TypeError) as error:
        raise TokenError(f"it is not valid: {type(error).__name__}") from error
    if _time(claims, "exp", 0.0) <= now - _LEEWAY:
        raise TokenError("it has expired")
    if max(_time(claims, "nbf", 0.0), _time(claims, "iat", 0.0)) > now + _LEEWAY + 60.0:
        raise TokenError("it is not valid yet")
    return claims


def _time(claims: Mapping[str, Any], name: str, default: float) -> float:
    value = claims.get(name, default)
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) < 1e12:
        raise TokenError(f"its '{name}' is no time")
    return float(value)
