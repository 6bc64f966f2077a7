"""The envelope of one value: AES-256-GCM with a data key, bound to the place where the value lies. Pure.

A sealed value is ``MAGIC, id of the data key (8), nonce (12), ciphertext and tag``. Bucket and key are associated data:
a value that is moved to another place, or under another data key, does not open. The nonce is a keyed hash of place and
value: the same value in the same place gives the same bytes, so that applying a document again changes nothing.
"""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass, field

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

MAGIC = b"\x00weft-sealed\x01"
ID_BYTES = 8
_NONCE = 12
_HEAD = len(MAGIC) + ID_BYTES + _NONCE


class NotOpenedError(Exception):
    """A sealed value does not open: it was damaged, or moved, or sealed with another key."""


@dataclass(frozen=True, slots=True)
class DataKey:
    """A data key: 32 random bytes, from which each bucket has keys of its own."""

    id: bytes
    secret: bytes = field(repr=False)

    def seal(self, bucket: str, key: str, value: bytes) -> bytes:
        """`value` as it is kept at its place."""
        cipher, marks = self._keys(bucket)
        bound = _bound(self.id, bucket, key)
        nonce = hmac.new(marks, len(bound).to_bytes(4) + bound + value, hashlib.sha256).digest()[:_NONCE]
        return MAGIC + self.id + nonce + AESGCM(cipher).encrypt(nonce, value, bound)

    def open(self, bucket: str, key: str, sealed: bytes) -> bytes:
        """What `seal` was given. NotOpenedError."""
        cipher, _ = self._keys(bucket)
        nonce = sealed[len(MAGIC) + ID_BYTES : _HEAD]
        try:
            return AESGCM(cipher).decrypt(nonce, sealed[_HEAD:], _bound(self.id, bucket, key))
        except (InvalidTag, ValueError) as error:
            raise NotOpenedError from error

    def _keys(self, bucket: str) -> tuple[bytes, bytes]:
        both = HKDF(SHA256(), 64, salt=self.id, info=b"weft store " + bucket.encode()).derive(self.secret)
        return both[:32], both[32:]


def is_sealed(value: bytes) -> bool:
    """Whether a value is one that `DataKey.seal` made."""
    return value.startswith(MAGIC) and len(value) >= _HEAD


def key_id(sealed: bytes) -> bytes:
    """The id of the data key that a value was sealed with."""
    return sealed[len(MAGIC) : len(MAGIC) + ID_BYTES]


def _bound(data_key: bytes, bucket: str, key: str) -> bytes:
    return MAGIC + data_key + f"{bucket}\x00{key}".encode()
