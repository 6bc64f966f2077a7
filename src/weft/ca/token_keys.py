"""The keys with which the authority signs JWT-SVIDs: made, published before they are used, and replaced every day.

https://github.com/spiffe/spiffe/blob/main/standards/JWT-SVID.md. Tokens are signed with ES256. A key is published an
hour before the first token is signed with it, and until the last token of it has ended, so that verifiers which look
for keys now and then never meet one that they do not know.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
import time
from collections.abc import Awaitable, Callable, Collection
from dataclasses import dataclass, field
from pathlib import Path

import jwt
import msgspec
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from weft.ca.certificates import key_pem, new_key
from weft.model.bundles import TokenAnswer, TokenKey, TrustBundle, pem_certificates, public_jwk, token_key_from_jwk
from weft.model.identity import SpiffeId
from weft.settings.private import check_private, write_atomically
from weft.settings.shared import SharedDirectory

KEY_LIFE = 24 * 3600.0
PUBLISHED_BEFORE = 3600.0
TOKEN_LIFE = 300.0
"""Of the longest token."""
REFRESH_HINT = 300.0
MAX_AUDIENCES = 8
MAX_AUDIENCE = 255
_KEPT_AFTER = TOKEN_LIFE + 300.0
_FILE = "token-keys.json"
_log = logging.getLogger("weft.certificate")


class AudienceError(ValueError):
    """No token is signed for these audiences; the message says why."""


@dataclass(frozen=True, slots=True)
class _Key:
    """`key` is PEM, `first` when it begins to sign (epoch seconds)."""

    kid: str
    key: str = field(repr=False)
    first: float


@dataclass(frozen=True, slots=True)
class _Kept:
    """The file. `sequence` counts the changes of the published bundle, whose digest is `published`."""

    keys: tuple[_Key, ...] = ()
    sequence: int = 0
    published: str = ""


class TokenKeys:
    """Signs tokens for one trust domain. The file ``token-keys.json`` in the authority's directory is 0600; with
    `shared` other control planes have it, too."""

    def __init__(
        self,
        directory: Path,
        trust_domain: str,
        clock: Callable[[], float] = time.time,
        shared: SharedDirectory | None = None,
    ) -> None:
        self.trust_domain = trust_domain
        self._path = directory / _FILE
        self._clock = clock
        self._shared = shared
        self._kept = _read(self._path)
        if shared is None:
            self.rotate()

    def published(self) -> tuple[TokenKey, ...]:
        """The public keys, oldest first."""
        return tuple(_public(key) for key in self._kept.keys)

    def bundle(self, roots: str) -> TrustBundle:
        """The trust bundle of this domain, whose roots are the PEM text `roots`; its sequence grows when it changes."""
        found = TrustBundle(self.trust_domain, pem_certificates(roots), self.published(), 0, REFRESH_HINT)
        digest = hashlib.sha256(repr((found.roots, found.token_keys)).encode()).hexdigest()
        if digest != self._kept.published:
            kept = _Kept(self._kept.keys, self._kept.sequence + 1, digest)
            try:
                if self._shared is None:
                    self._keep(kept)
                self._kept = kept  # where others have it, `run` tells them
            except OSError as error:  # a full disk: the number is only for those who fetch it
                _log.warning("the number of the trust bundle cannot be kept: %s", error)
                self._kept = kept
        return TrustBundle(found.trust_domain, found.roots, found.token_keys, self._kept.sequence, REFRESH_HINT)

    def sign(self, identity: SpiffeId, audiences: Collection[str], life: float = TOKEN_LIFE) -> TokenAnswer:
        """A token for the *authenticated* `identity`, of `life` seconds (five minutes at most). Raises
        AudienceError."""
        check_audiences(audiences)
        now = self._clock()
        expires = int(now + min(life, TOKEN_LIFE))
        key = self._signing(now)
        claims = {
            "iss": f"spiffe://{self.trust_domain}",
            "sub": str(identity),
            "aud": list(dict.fromkeys(audiences)),
            "iat": int(now),
            "exp": expires,
        }
        return TokenAnswer(jwt.encode(claims, key.key, algorithm="ES256", headers={"kid": key.kid}), float(expires))

    def reload(self) -> None:
        """Have what is in the file, which another control plane has changed."""
        kept, before = _read(self._path), self._kept
        newest = max((kept, before), key=lambda one: one.sequence)
        self._kept = _Kept(kept.keys or before.keys, newest.sequence, newest.published)

    def rotate(self) -> bool:
        """Prepare the next key when it is time, and drop keys whose tokens have all ended; whether anything changed."""
        left = self._due(self._clock())
        if left == self._kept.keys:
            return False
        self._keep(_Kept(left, self._kept.sequence, self._kept.published))
        return True

    async def rotate_shared(self) -> None:
        """As `rotate`, where other control planes have the keys, too. OSError if they cannot be shared now."""
        if self._shared is None:
            self.rotate()
        elif self._due(self._clock()) != self._kept.keys or _read(self._path).sequence < self._kept.sequence:
            await self._shared.change(self._rotate_copy)
            self.reload()

    def _rotate_copy(self, directory: Path) -> None:
        copy = TokenKeys(directory, self.trust_domain, self._clock)
        if copy._kept.sequence < self._kept.sequence:
            copy._keep(_Kept(copy._kept.keys, self._kept.sequence, self._kept.published))

    def _due(self, now: float) -> tuple[_Key, ...]:
        """The keys that there should be."""
        keys = list(self._kept.keys)
        if not keys or keys[-1].first + KEY_LIFE <= now:  # none, or the control plane was away for longer
            keys.append(_new_key(now))
        elif keys[-1].first + KEY_LIFE - PUBLISHED_BEFORE <= now:
            keys.append(_new_key(keys[-1].first + KEY_LIFE))
        following = zip(keys, (*keys[1:], None), strict=True)
        return tuple(key for key, after in following if after is None or after.first + _KEPT_AFTER > now)

    async def run(self, interval: float = 60.0, sleep: Callable[[float], Awaitable[None]] = asyncio.sleep) -> None:
        """Rotate when it is due, for ever."""
        while True:
            await sleep(interval)
            try:
                await self.rotate_shared()
            except OSError as error:  # a full disk: the present key goes on
                _log.warning("the key that signs tokens cannot be replaced, trying again: %s", error)

    def _signing(self, now: float) -> _Key:
        begun = [key for key in self._kept.keys if key.first <= now]
        return begun[-1] if begun else self._kept.keys[0]

    def _keep(self, kept: _Kept) -> None:
        write_atomically(self._path, msgspec.json.encode(kept))
        self._kept = kept


def check_audiences(audiences: Collection[str]) -> None:
    """Raises AudienceError unless a token may be for these."""
    if not 0 < len(audiences) <= MAX_AUDIENCES:
        raise AudienceError(f"found {len(audiences)} audiences, expected 1 to {MAX_AUDIENCES}")
    for audience in audiences:
        if not 0 < len(audience) <= MAX_AUDIENCE or not audience.isprintable():
            raise AudienceError(f"an audience is 1 to {MAX_AUDIENCE} printable characters")


def _read(path: Path) -> _Kept:
    """What was kept; nothing if it is damaged: keys are made anew, and tokens of the former ones end in minutes."""
    if not path.exists():
        return _Kept()
    check_private(path)
    try:
        kept = msgspec.json.decode(path.read_bytes(), type=_Kept)
        for key in kept.keys:
            _public(key)
    except (msgspec.DecodeError, ValueError) as error:
        _log.warning("%s is damaged (%s): the keys that sign tokens are made anew", path, error)
        return _Kept(sequence=int(path.stat().st_mtime))
    return kept


def _new_key(first: float) -> _Key:
    key = new_key()
    members = dict(public_jwk(key.public_key()))
    kid = hashlib.sha256(json.dumps(members, sort_keys=True).encode()).hexdigest()[:32]
    return _Key(kid, key_pem(key), first)


def _public(key: _Key) -> TokenKey:
    private = serialization.load_pem_private_key(key.key.encode(), password=None)
    if not isinstance(private, ec.EllipticCurvePrivateKey):
        raise ValueError("a key that signs tokens is an elliptic curve key")
    return token_key_from_jwk({"kid": key.kid, **public_jwk(private.public_key())})
