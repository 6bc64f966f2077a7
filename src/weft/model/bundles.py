"""Trust bundles: the roots and the token keys of a trust domain, and the JSON in which domains exchange them.

https://github.com/spiffe/spiffe/blob/main/standards/SPIFFE_Trust_Domain_and_Bundle.md: a JWK Set (RFC 7517) whose keys
say what they are for, `x509-svid` (a root, in `x5c`) or `jwt-svid`. Keys for anything else are left out.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from weft.model.base64url import decode_number, encode_number

MAX_BUNDLE_BYTES = 256 * 1024
MAX_KEYS = 64
"""Of a trust domain: what every proxy that trusts it is given."""
ALGORITHMS: Mapping[str, str] = {"P-256": "ES256", "P-384": "ES384", "RSA": "RS256"}
"""The one algorithm that a token's key may be used with, by its curve or type."""
_CURVES = {"P-256": (ec.SECP256R1(), 32), "P-384": (ec.SECP384R1(), 48)}
_NAMES = {"secp256r1": "P-256", "secp384r1": "P-384"}
_SMALLEST_RSA = 2048


class BundleError(ValueError):
    """A text is no trust bundle; the message says what was found."""


@dataclass(frozen=True, slots=True)
class TokenKey:
    """A public key that signs tokens. `jwk` is its JSON (RFC 7517): public members only, in one order."""

    kid: str
    algorithm: str
    jwk: str


@dataclass(frozen=True, slots=True)
class TrustBundle:
    """Whom a trust domain's proofs are checked against. `roots` are PEM, one certificate each; `sequence` grows with
    every change (0: not said), `refresh_hint` is how often to look for one, in seconds (0: not said)."""

    trust_domain: str
    roots: tuple[str, ...] = ()
    token_keys: tuple[TokenKey, ...] = ()
    sequence: int = 0
    refresh_hint: float = 0.0


@dataclass(frozen=True, slots=True)
class ForeignBundle:
    """The bundle of another trust domain as it was fetched from `source`. `withdrawn` counts the times that something
    of it was taken back: connections that were made before are closed then."""

    bundle: TrustBundle
    source: str
    withdrawn: int = 0


@dataclass(frozen=True, slots=True)
class BundleText:
    """A bundle as agents are told it: `roots` in PEM, `keys` the JWK Set of its token keys."""

    trust_domain: str
    roots: str
    keys: str


@dataclass(frozen=True, slots=True)
class TrustAnswer:
    """``GET /v1/workloads/{namespace}/{name}/trust``: the bundles that the workload may check proofs against, its own
    trust domain's first. Ask again after `again` seconds, while somebody wants to know."""

    bundles: tuple[BundleText, ...]
    again: float


@dataclass(frozen=True, slots=True)
class TokenRequest:
    """``POST /v1/workloads/{namespace}/{name}/token``: a JWT-SVID for the workload itself, which those of `audiences`
    accept."""

    audiences: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class TokenAnswer:
    """The token, and when it ends (epoch seconds)."""

    token: str
    expires: float


def bundle_from_json(trust_domain: str, text: str) -> TrustBundle:
    """The bundle of `trust_domain` in `text`, which comes from outside. Raises BundleError."""
    if len(text) > MAX_BUNDLE_BYTES:
        raise BundleError(f"it is larger than {MAX_BUNDLE_BYTES // 1024} KiB")
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise BundleError("it is no JSON") from error
    keys = found.get("keys") if isinstance(found, dict) else None
    if not isinstance(keys, list):
        raise BundleError("it has no list 'keys'")
    if len(keys) > MAX_KEYS:
        raise BundleError(f"it has {len(keys)} keys, of which {MAX_KEYS} are taken")
    roots: dict[str, None] = {}
    tokens: dict[str, TokenKey] = {}
    for index, key in enumerate(keys):
        use = key.get("use") if isinstance(key, dict) else None
        try:
            if use == "x509-svid":
                roots[_root(key)] = None
            elif use == "jwt-svid":
                token = token_key_from_jwk(key)
                if tokens.setdefault(token.kid, token) != token:
                    raise BundleError("its 'kid' is that of another key")
        except BundleError as error:
            raise BundleError(f"key {index}: {error}") from error
    sequence, hint = found.get("spiffe_sequence"), found.get("spiffe_refresh_hint")
    return TrustBundle(
        trust_domain,
        tuple(roots),
        tuple(tokens.values()),
        sequence if _is_whole(sequence) else 0,
        float(hint) if _is_whole(hint) and hint < 1 << 31 else 0.0,
    )


def bundle_to_json(bundle: TrustBundle) -> str:
    """The bundle as its trust domain publishes it."""
    keys: list[Mapping[str, object]] = []
    for root in bundle.roots:
        certificate = x509.load_pem_x509_certificate(root.encode())
        der = certificate.public_bytes(serialization.Encoding.DER)
        keys.append(
            {"use": "x509-svid", **public_jwk(certificate.public_key()), "x5c": [base64.b64encode(der).decode()]}
        )
    keys += [{"use": "jwt-svid", **json.loads(key.jwk)} for key in bundle.token_keys]
    said = {"spiffe_sequence": bundle.sequence, "spiffe_refresh_hint": int(bundle.refresh_hint)}
    return json.dumps({"keys": keys, **{name: value for name, value in said.items() if value}}, indent=1) + "\n"


def key_set(keys: Iterable[TokenKey]) -> str:
    """Token keys as a JWK Set for verifiers that know nothing of SPIFFE (RFC 7517)."""
    found = [{**json.loads(key.jwk), "use": "sig", "alg": key.algorithm} for key in keys]
    return json.dumps({"keys": found}, indent=1) + "\n"


def keys_from_set(text: str) -> tuple[TokenKey, ...]:
    """The keys of a text that `key_set` made."""
    return tuple(token_key_from_jwk(key) for key in json.loads(text)["keys"])


def token_key_from_jwk(key: Mapping[str, object]) -> TokenKey:
    """A public token key. Raises BundleError."""
    kid = key.get("kid")
    if not isinstance(kid, str) or not 0 < len(kid) <= 255 or not kid.isprintable():
        raise BundleError("it has no 'kid'")
    kind = key.get("kty")
    if kind == "RSA":
        public = {"kty": "RSA", "n": _text(key, "n"), "e": _text(key, "e")}
        if _number(key, "n").bit_length() < _SMALLEST_RSA or not 2 < _number(key, "e") < 1 << 33:
            raise BundleError(f"an RSA key has {_SMALLEST_RSA} bits at least")
        return TokenKey(kid, ALGORITHMS["RSA"], _canonical({"kid": kid, **public}))
    curve = key.get("crv")
    if kind != "EC" or not isinstance(curve, str) or curve not in _CURVES:
        raise BundleError("expected a key of type RSA, or EC on P-256 or P-384")
    x, y = _number(key, "x"), _number(key, "y")
    try:
        ec.EllipticCurvePublicNumbers(x, y, _CURVES[curve][0]).public_key()
    except ValueError as error:
        raise BundleError(f"it is no point of {curve}") from error
    public = {"kty": "EC", "crv": curve, "x": _text(key, "x"), "y": _text(key, "y")}
    return TokenKey(kid, ALGORITHMS[curve], _canonical({"kid": kid, **public}))


def public_jwk(key: object) -> Mapping[str, str]:
    """The members of a public key's JWK (RFC 7518, section 6)."""
    if isinstance(key, ec.EllipticCurvePublicKey) and key.curve.name in _NAMES:
        curve, numbers = _NAMES[key.curve.name], key.public_numbers()
        size = _CURVES[curve][1]
        return {"kty": "EC", "crv": curve, "x": encode_number(numbers.x, size), "y": encode_number(numbers.y, size)}
    if isinstance(key, rsa.RSAPublicKey):
        found = key.public_numbers()
        return {"kty": "RSA", "n": encode_number(found.n), "e": encode_number(found.e)}
    raise BundleError("expected a key of type RSA, or EC on P-256 or P-384")


def pem_certificates(text: str) -> tuple[str, ...]:
    """Each certificate of a PEM text by itself."""
    return tuple(
        one.public_bytes(serialization.Encoding.PEM).decode() for one in x509.load_pem_x509_certificates(text.encode())
    )


def der_certificates(text: str) -> bytes:
    """The certificates of a PEM text in DER, one after the other."""
    return b"".join(
        one.public_bytes(serialization.Encoding.DER) for one in x509.load_pem_x509_certificates(text.encode())
    )


def _root(key: Mapping[str, object]) -> str:
    """The one certificate of an `x509-svid` key, as PEM."""
    chain = key.get("x5c")
    if not isinstance(chain, list) or len(chain) != 1 or not isinstance(chain[0], str):
        raise BundleError("'x5c' has not exactly one certificate")
    try:
        certificate = x509.load_der_x509_certificate(base64.b64decode(chain[0], validate=True))
        constraints = certificate.extensions.get_extension_for_class(x509.BasicConstraints).value
    except (ValueError, x509.ExtensionNotFound) as error:
        raise BundleError("'x5c' holds no certificate of an authority") from error
    if not constraints.ca:
        raise BundleError("'x5c' holds no certificate of an authority")
    return certificate.public_bytes(serialization.Encoding.PEM).decode()


def _is_whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _text(key: Mapping[str, object], name: str) -> str:
    value = key.get(name)
    if not isinstance(value, str) or not 0 < len(value) <= 2048:
        raise BundleError(f"'{name}' is missing")
    return value


def _number(key: Mapping[str, object], name: str) -> int:
    text = _text(key, name)
    try:
        return decode_number(text)
    except ValueError as error:
        raise BundleError(f"'{name}' is no base64url") from error


def _canonical(members: Mapping[str, str]) -> str:
    return json.dumps(members, sort_keys=True)
