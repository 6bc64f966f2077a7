"""The messages of the Workload API in protobuf's wire format: few, and their fields never change.

https://github.com/spiffe/go-spiffe/blob/main/proto/spiffe/workload/workload.proto has their numbers.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from weft.agent.metrics import wire


class MessageError(ValueError):
    """A request is no message of this API."""


@dataclass(frozen=True, slots=True)
class TokenWish:
    """JWTSVIDRequest: a token for `audiences`, for `spiffe_id` or (empty) whatever there is."""

    audiences: tuple[str, ...]
    spiffe_id: str


@dataclass(frozen=True, slots=True)
class TokenProof:
    """ValidateJWTSVIDRequest."""

    audience: str
    token: str


@dataclass(frozen=True, slots=True)
class GivenSvid:
    """X509SVID as it was received: certificates are DER, one after the other, the key is PKCS #8 in DER."""

    spiffe_id: str
    chain: bytes
    key: bytes = field(repr=False)
    bundle: bytes = b""


def x509_svid_response(spiffe_id: str, chain: bytes, key: bytes, own: bytes, foreign: Mapping[str, bytes]) -> bytes:
    """X509SVIDResponse: one SVID with its own domain's roots, and those of the `foreign` domains by SPIFFE ID. All of
    it is DER, certificates one after the other."""
    svid = wire.text(1, spiffe_id) + wire.message(2, chain) + wire.message(3, key) + wire.message(4, own)
    return wire.message(1, svid) + _map(3, foreign)


def x509_bundles_response(bundles: Mapping[str, bytes]) -> bytes:
    """X509BundlesResponse."""
    return _map(2, bundles)


def jwt_svid_response(spiffe_id: str, token: str) -> bytes:
    """JWTSVIDResponse."""
    return wire.message(1, wire.text(1, spiffe_id) + wire.text(2, token))


def jwt_bundles_response(bundles: Mapping[str, bytes]) -> bytes:
    """JWTBundlesResponse: JWK Sets."""
    return _map(1, bundles)


def validate_response(spiffe_id: str, claims: bytes) -> bytes:
    """ValidateJWTSVIDResponse; `claims` is a google.protobuf.Struct."""
    return wire.text(1, spiffe_id) + wire.message(2, claims)


def struct_of(values: Mapping[str, object], depth: int = 0) -> bytes:
    """A google.protobuf.Struct of JSON values."""
    return b"".join(
        wire.message(1, wire.text(1, name) + wire.message(2, _value(value, depth))) for name, value in values.items()
    )


def token_wish(message: bytes) -> TokenWish:
    """Read a JWTSVIDRequest. Raises MessageError."""
    fields = _fields(message)
    return TokenWish(tuple(_texts(fields, 1)), next(reversed(_texts(fields, 2)), ""))


def token_proof(message: bytes) -> TokenProof:
    """Read a ValidateJWTSVIDRequest. Raises MessageError."""
    fields = _fields(message)
    return TokenProof(next(reversed(_texts(fields, 1)), ""), next(reversed(_texts(fields, 2)), ""))


def given_svids(message: bytes) -> tuple[GivenSvid, ...]:
    """Read an X509SVIDResponse. Raises MessageError."""
    return tuple(_given_svid(data) for number, data in _fields(message) if number == 1)


def given_bundles(message: bytes) -> Mapping[str, bytes]:
    """Read an X509BundlesResponse: the roots (DER) by the trust domain's SPIFFE ID. Raises MessageError."""
    entries = [_fields(data) for number, data in _fields(message) if number == 2]
    return {_last_text(entry, 1): _last(entry, 2) for entry in entries}


def _given_svid(message: bytes) -> GivenSvid:
    fields = _fields(message)
    return GivenSvid(_last_text(fields, 1), _last(fields, 2), _last(fields, 3), _last(fields, 4))


def _last(fields: list[tuple[int, bytes]], number: int) -> bytes:
    return next((data for field_number, data in reversed(fields) if field_number == number), b"")


def _last_text(fields: list[tuple[int, bytes]], number: int) -> str:
    return next(reversed(_texts(fields, number)), "")


_DEEPEST = 16


def _value(value: object, depth: int) -> bytes:
    if depth > _DEEPEST:
        raise MessageError("the claims are nested too deeply")
    if value is None:
        return wire.integer(1, 0)
    if isinstance(value, bool):
        return wire.integer(4, int(value))
    if isinstance(value, int | float):
        return wire.double(2, float(value))
    if isinstance(value, Mapping):
        return wire.message(5, struct_of(value, depth + 1))
    if isinstance(value, list | tuple):
        return wire.message(6, b"".join(wire.message(1, _value(each, depth + 1)) for each in value))
    return wire.text(3, str(value))


def _map(field: int, entries: Mapping[str, bytes]) -> bytes:
    return b"".join(wire.message(field, wire.text(1, name) + wire.message(2, data)) for name, data in entries.items())


def _texts(fields: list[tuple[int, bytes]], number: int) -> list[str]:
    try:
        return [data.decode() for field, data in fields if field == number]
    except UnicodeDecodeError as error:
        raise MessageError("a text is not UTF-8") from error


def _fields(message: bytes) -> list[tuple[int, bytes]]:
    """The fields with a length; the others are skipped, as protobuf wants it of what is not known."""
    found, at = [], 0
    while at < len(message):
        tag, at = _varint(message, at)
        kind = tag & 7
        if kind == 2:
            length, at = _varint(message, at)
            found.append((tag >> 3, message[at : at + length]))
            at += length
        elif kind == 0:
            _, at = _varint(message, at)
        elif kind in (1, 5):
            at += 8 if kind == 1 else 4
        else:
            raise MessageError(f"a field of wire type {kind}")
    if at != len(message):
        raise MessageError("the message ends within a field")
    return found


def _varint(message: bytes, at: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        if at >= len(message):
            raise MessageError("the message ends within a number")
        byte = message[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
    raise MessageError("a number is too long")
