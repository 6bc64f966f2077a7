"""Signed data of the Cryptographic Message Syntax (PKCS #7), as clouds sign documents of instances: read and checked.

RFC 5652, as much as that needs: one signer, the content inside, RSA (PKCS #1) with SHA-256, SHA-384 or SHA-512. Clouds
write BER with indefinite lengths, so that is read too; everything is bounded, and what is not expected is refused.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa

MAX_BYTES = 64 * 1024
_DEEPEST = 12
_MOST_PARTS = 4096
_MOST_CERTIFICATES = 8
_LEAST_RSA_BITS = 2048
_SIGNED_DATA = bytes.fromhex("2a864886f70d010702")
_DATA = bytes.fromhex("2a864886f70d010701")
_CONTENT_TYPE = bytes.fromhex("2a864886f70d010903")
_MESSAGE_DIGEST = bytes.fromhex("2a864886f70d010904")
_DIGESTS: dict[bytes, hashes.HashAlgorithm] = {
    bytes.fromhex("608648016503040201"): hashes.SHA256(),
    bytes.fromhex("608648016503040202"): hashes.SHA384(),
    bytes.fromhex("608648016503040203"): hashes.SHA512(),
}
_RSA = {
    bytes.fromhex("2a864886f70d010101"): None,
    bytes.fromhex("2a864886f70d01010b"): hashes.SHA256,
    bytes.fromhex("2a864886f70d01010c"): hashes.SHA384,
    bytes.fromhex("2a864886f70d01010d"): hashes.SHA512,
}
"""rsaEncryption, which goes with any digest, and those that name theirs."""
_SEQUENCE, _SET, _OID, _OCTETS = 0x30, 0x31, 0x06, 0x04
_CONTENT = _CERTIFICATES = _ATTRIBUTES = 0xA0


class CmsError(ValueError):
    """Data is not signed as expected; the message says why."""


@dataclass(frozen=True, slots=True)
class _Part:
    """A value: its tag, its content (of a constructed one: as it stands), its whole encoding, and what is in it."""

    tag: int
    content: bytes
    whole: bytes
    parts: tuple[_Part, ...] = ()


@dataclass(frozen=True, slots=True)
class Signed:
    """What was signed, the certificates that came with it, and how to check a key."""

    content: bytes
    certificates: tuple[x509.Certificate, ...]
    message: bytes
    signature: bytes
    digest: hashes.HashAlgorithm

    def by(self, key: Any) -> bool:
        """Whether the owner of this public key signed it."""
        if not isinstance(key, rsa.RSAPublicKey) or key.key_size < _LEAST_RSA_BITS:
            return False
        try:
            key.verify(self.signature, self.message, padding.PKCS1v15(), self.digest)
        except InvalidSignature:
            return False
        return True


def read_signed(data: bytes) -> Signed:
    """The signed data in `data`. Nothing is proven before `Signed.by` says so. Raises CmsError."""
    if len(data) > MAX_BYTES:
        raise CmsError("it is too large")
    outer = _inside(_only(_read_all(data, _Budget()), "one value"), _SEQUENCE)
    if len(outer) != 2 or outer[0].tag != _OID or outer[0].content != _SIGNED_DATA:
        raise CmsError("it is no signed data")
    fields = _inside(_only(_inside(outer[1], _CONTENT), "signed data"), _SEQUENCE)
    if len(fields) < 4 or fields[1].tag != _SET or fields[-1].tag != _SET:
        raise CmsError("it is no signed data")
    content = _content(fields[2])
    certificates = [part for part in fields[3:-1] if part.tag == _CERTIFICATES]
    signer = _inside(_only(fields[-1].parts, "one signer"), _SEQUENCE)
    found = _certificates(certificates[0]) if certificates else ()
    message, signature, digest = _signature(signer, content)
    return Signed(content, found, message, signature, digest)


def _content(part: _Part) -> bytes:
    fields = _inside(part, _SEQUENCE)
    if len(fields) != 2 or fields[0].content != _DATA:
        raise CmsError("it does not hold what it signs")
    return _octets(_only(_inside(fields[1], _CONTENT), "content"))


def _octets(part: _Part) -> bytes:
    """An octet string, whole or in pieces."""
    if part.tag == _OCTETS:
        return part.content
    if part.tag == _OCTETS | 0x20 and all(one.tag == _OCTETS for one in part.parts):
        return b"".join(one.content for one in part.parts)
    raise CmsError("its content is no octet string")


def _certificates(part: _Part) -> tuple[x509.Certificate, ...]:
    if len(part.parts) > _MOST_CERTIFICATES:
        raise CmsError(f"it has more than {_MOST_CERTIFICATES} certificates")
    try:
        return tuple(x509.load_der_x509_certificate(one.whole) for one in part.parts)
    except ValueError as error:
        raise CmsError("a certificate in it cannot be read") from error


def _signature(fields: tuple[_Part, ...], content: bytes) -> tuple[bytes, bytes, hashes.HashAlgorithm]:
    """What was really signed, the signature, and the digest of both: of the attributes if there are some."""
    if len(fields) < 5:
        raise CmsError("its signer cannot be read")
    digest = _DIGESTS.get(_algorithm(fields[2]))
    if digest is None:
        raise CmsError("its digest is none of SHA-256, SHA-384, SHA-512")
    attributes = fields[3] if fields[3].tag == _ATTRIBUTES else None
    rest = fields[4:] if attributes is not None else fields[3:]
    if len(rest) < 2 or rest[1].tag != _OCTETS:
        raise CmsError("its signer cannot be read")
    named = _RSA.get(_algorithm(rest[0]), 0)
    if named == 0 or (named is not None and not isinstance(digest, named)):  # type: ignore[arg-type]
        raise CmsError("it is not signed by RSA")
    if attributes is None:
        return content, rest[1].content, digest
    _check_attributes(attributes, hashlib.new(digest.name, content).digest())
    return bytes([_SET]) + attributes.whole[1:], rest[1].content, digest


def _check_attributes(attributes: _Part, digest: bytes) -> None:
    """They must name the content, by its type and its digest, once each."""
    if attributes.whole[1] == 0x80:
        raise CmsError("its attributes are not in DER")
    found: dict[bytes, bytes] = {}
    for one in attributes.parts:
        fields = _inside(one, _SEQUENCE)
        if len(fields) != 2 or fields[0].tag != _OID or fields[0].content in found:
            raise CmsError("its attributes cannot be read")
        values = _inside(fields[1], _SET)
        found[fields[0].content] = values[0].content if len(values) == 1 else b""
    if found.get(_CONTENT_TYPE) != _DATA or found.get(_MESSAGE_DIGEST) != digest:
        raise CmsError("its attributes are those of another content")


def _algorithm(part: _Part) -> bytes:
    fields = _inside(part, _SEQUENCE)
    if not fields or fields[0].tag != _OID:
        raise CmsError("an algorithm in it cannot be read")
    return fields[0].content


def _inside(part: _Part, tag: int) -> tuple[_Part, ...]:
    if part.tag != tag:
        raise CmsError("it is not laid out as signed data is")
    return part.parts


def _only(parts: Iterable[_Part], what: str) -> _Part:
    found = tuple(parts)
    if len(found) != 1:
        raise CmsError(f"expected {what}, found {len(found)}")
    return found[0]


class _Budget:
    """How many values may still be read."""

    def __init__(self) -> None:
        self.left = _MOST_PARTS

    def take(self) -> None:
        """One more. CmsError if that is too many."""
        self.left -= 1
        if self.left < 0:
            raise CmsError("it has too many parts")


def _read_all(data: bytes, budget: _Budget, depth: int = 0) -> tuple[_Part, ...]:
    found, at = [], 0
    while at < len(data):
        part, at = _read(data, at, budget, depth)
        found.append(part)
    return tuple(found)


def _read(data: bytes, at: int, budget: _Budget, depth: int) -> tuple[_Part, int]:
    """The value at `at`, and where the next one begins."""
    budget.take()
    if depth > _DEEPEST or at + 2 > len(data) or data[at] & 0x1F == 0x1F:
        raise CmsError("it cannot be read")
    tag, begin, length = data[at], *_length(data, at + 1)
    if length < 0:
        return _read_indefinite(data, at, begin, budget, depth)
    end = begin + length
    if end > len(data):
        raise CmsError("it ends within a value")
    content = data[begin:end]
    parts = _read_all(content, budget, depth + 1) if tag & 0x20 else ()
    return _Part(tag, content, data[at:end], parts), end


def _read_indefinite(data: bytes, at: int, begin: int, budget: _Budget, depth: int) -> tuple[_Part, int]:
    if not data[at] & 0x20:
        raise CmsError("it cannot be read")
    parts, here = [], begin
    while data[here : here + 2] != b"\0\0":
        part, here = _read(data, here, budget, depth + 1)
        parts.append(part)
    return _Part(data[at], data[begin:here], data[at : here + 2], tuple(parts)), here + 2


def _length(data: bytes, at: int) -> tuple[int, int]:
    """Where the content begins, and how long it is (-1: until two zero bytes)."""
    first = data[at]
    if first < 0x80:
        return at + 1, first
    size = first & 0x7F
    if size == 0:
        return at + 1, -1
    if size > 3 or at + 1 + size > len(data):
        raise CmsError("it cannot be read")
    return at + 1 + size, int.from_bytes(data[at + 1 : at + 1 + size], "big")
