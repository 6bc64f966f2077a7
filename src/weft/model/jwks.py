"""Key sets: the public keys with which an issuer's tokens are checked (JWKS, RFC 7517), read strictly.

What a proxy is given is made anew from what was understood: public members only, in one order. A key that would make a
check weaker (a shared secret, a short RSA key, a point that is on no curve) is left out, and so is one for encryption.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass

from cryptography.hazmat.primitives.asymmetric import ec

from weft.model.base64url import decode_bytes, encode_bytes, encode_number

MAX_BYTES = 256 * 1024
MAX_KEYS = 100
_LONGEST_KID = 255
_LONGEST_NUMBER = 4096
_RSA_BITS = (2048, 8192)
_RSA_ALGORITHMS = frozenset(("RS256", "RS384", "RS512", "PS256", "PS384", "PS512"))
_CURVES: Mapping[str, tuple[ec.EllipticCurve, int, str]] = {
    "P-256": (ec.SECP256R1(), 32, "ES256"),
    "P-384": (ec.SECP384R1(), 48, "ES384"),
    "P-521": (ec.SECP521R1(), 66, "ES512"),
}
_ED25519_BYTES = 32


class KeySetError(ValueError):
    """A text is no key set, or has no key that may be used; the message says what was found."""


@dataclass(frozen=True, slots=True)
class KeySet:
    """The keys that stand at `uri`. `text` is a JWKS with those that may be used, the same text for the same keys."""

    uri: str
    text: str


@dataclass(frozen=True, slots=True)
class ReadKeys:
    """`text` as in KeySet. `left_out` says of each key that may not be used which it is and why."""

    text: str
    left_out: tuple[str, ...] = ()


class _UnusableError(ValueError):
    pass


def read_key_set(text: str) -> ReadKeys:
    """The keys of a text from outside. Raises KeySetError."""
    if len(text) > MAX_BYTES:
        raise KeySetError(f"it is larger than {MAX_BYTES // 1024} KiB")
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise KeySetError("it is no JSON") from error
    keys = found.get("keys") if isinstance(found, dict) else None
    if not isinstance(keys, list):
        raise KeySetError("it has no list 'keys'")
    if len(keys) > MAX_KEYS:
        raise KeySetError(f"it has {len(keys)} keys; at most {MAX_KEYS} are read")
    usable: dict[str, None] = {}
    left_out: list[str] = []
    for number, key in enumerate(keys):
        if isinstance(key, dict) and key.get("use") == "enc":
            continue
        try:
            usable[_canonical(_public(key))] = None
        except _UnusableError as error:
            left_out.append(f"key {number}: {error}")
    if not usable:
        raise KeySetError(left_out[0] if left_out else "it has no key that signs")
    return ReadKeys('{"keys":[' + ",".join(sorted(usable)) + "]}", tuple(left_out))


def _public(key: object) -> Mapping[str, str]:
    """The members of a public key that checks signatures."""
    if not isinstance(key, dict):
        raise _UnusableError("it is no JSON object")
    use, kind, algorithm = key.get("use"), key.get("kty"), key.get("alg")
    if use not in (None, "sig"):
        raise _UnusableError("its 'use' is not 'sig'")
    if not isinstance(kind, str) or not isinstance(algorithm, str | None):
        raise _UnusableError("its 'kty' or 'alg' is no text")
    if kind == "RSA":
        public = _rsa(key, algorithm)
    elif kind == "EC":
        public = _ec(key, algorithm)
    elif kind == "OKP":
        public = _ed25519(key, algorithm)
    elif kind == "oct":
        raise _UnusableError("it is a shared secret (kty oct), which everybody who reads it could sign with")
    else:
        raise _UnusableError("its 'kty' is none of RSA, EC, OKP")
    return {**public, "kty": kind, "use": "sig", **_kid(key)}


def _kid(key: Mapping[str, object]) -> Mapping[str, str]:
    kid = key.get("kid")
    if kid is None:
        return {}
    if not isinstance(kid, str) or len(kid) > _LONGEST_KID or not kid.isprintable():
        raise _UnusableError(f"its 'kid' is no printable text of at most {_LONGEST_KID} characters")
    return {"kid": kid}


def _rsa(key: Mapping[str, object], algorithm: str | None) -> Mapping[str, str]:
    modulus, exponent = _number(key, "n"), _number(key, "e")
    low, high = _RSA_BITS
    if not low <= modulus.bit_length() <= high:
        raise _UnusableError(f"its RSA key has {modulus.bit_length()} bits; {low} to {high} are taken")
    if not 2 < exponent < 1 << 33 or exponent % 2 == 0:
        raise _UnusableError("its RSA exponent is none that may be used")
    if algorithm is not None and algorithm not in _RSA_ALGORITHMS:
        raise _UnusableError("its 'alg' is not one of an RSA signature")
    return {"n": encode_number(modulus), "e": encode_number(exponent), **({"alg": algorithm} if algorithm else {})}


def _ec(key: Mapping[str, object], algorithm: str | None) -> Mapping[str, str]:
    name = key.get("crv")
    if not isinstance(name, str) or name not in _CURVES:
        raise _UnusableError(f"its 'crv' is none of {', '.join(_CURVES)}")
    curve, size, own = _CURVES[name]
    if algorithm not in (None, own):
        raise _UnusableError(f"its 'alg' is not {own}, which belongs to {name}")
    x, y = _number(key, "x"), _number(key, "y")
    try:
        ec.EllipticCurvePublicNumbers(x, y, curve).public_key()
    except ValueError as error:
        raise _UnusableError(f"its point is not on {name}") from error
    return {"crv": name, "x": encode_number(x, size), "y": encode_number(y, size), "alg": own}


def _ed25519(key: Mapping[str, object], algorithm: str | None) -> Mapping[str, str]:
    if key.get("crv") != "Ed25519":
        raise _UnusableError("its 'crv' is not Ed25519")
    if algorithm not in (None, "EdDSA", "Ed25519"):
        raise _UnusableError("its 'alg' is not EdDSA")
    data = _bytes(key, "x")
    if len(data) != _ED25519_BYTES:
        raise _UnusableError("its 'x' is no key of Ed25519")
    return {"crv": "Ed25519", "x": encode_bytes(data), "alg": "EdDSA"}


def _number(key: Mapping[str, object], name: str) -> int:
    return int.from_bytes(_bytes(key, name), "big")


def _bytes(key: Mapping[str, object], name: str) -> bytes:
    text = key.get(name)
    if not isinstance(text, str) or not 0 < len(text) <= _LONGEST_NUMBER:
        raise _UnusableError(f"its '{name}' is missing")
    try:
        return decode_bytes(text)
    except ValueError as error:
        raise _UnusableError(f"its '{name}' is no base64url") from error


def _canonical(members: Mapping[str, str]) -> str:
    return json.dumps(members, sort_keys=True, separators=(",", ":"))
