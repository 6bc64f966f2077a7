"""Bearer tokens of an OpenID provider: checked, and their claims made into a principal by rules.

Signatures by asymmetric algorithms only, with a key of the provider whose type fits the algorithm: a public key is
never taken for a shared secret (RFC 8725).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import jwt

from weft.admin.people.access import ROLES, Grant, Principal, Role, merged
from weft.model.identity import is_dns_label
from weft.model.printable import printable

ALGORITHMS = ("ES256", "ES384", "ES512", "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "EdDSA")
LONGEST_TOKEN = 16 * 1024
_LEEWAY = 30.0
_LONGEST_NAME = 100


class OidcRefusedError(Exception):
    """A token is not accepted. The message says why, and holds nothing of the token but its claims' names."""


class OidcSettingsError(ValueError):
    """A rule is not what is expected; the message says what is."""


@dataclass(frozen=True, slots=True)
class RoleRule:
    """Who has `value` in `claim` (a text, or one of a list of texts) has the grant."""

    claim: str
    value: str
    grant: Grant


@dataclass(frozen=True, slots=True)
class OidcSettings:
    """`issuer` and `audience` are what tokens must say, `name_claim` is what people are called by. `ca_file` has the
    roots by which the provider proves itself (empty: those of this host)."""

    issuer: str
    audience: str
    rules: tuple[RoleRule, ...]
    name_claim: str = "sub"
    ca_file: str = ""


class KeySource(Protocol):
    """Where the provider's keys come from."""

    async def key(self, kid: str, algorithm: str) -> jwt.PyJWK:
        """The key of this id that may sign so. OidcRefusedError if there is none, or none can be had."""


def role_rule(text: str) -> RoleRule:
    """A rule as it is written: ``CLAIM=VALUE:ROLE``, and for editors ``CLAIM=VALUE:editor:NAMESPACE[,…]``."""
    claim, equals, rest = text.partition("=")
    value, _, last = rest.rpartition(":")
    namespaces: tuple[str, ...] = ()
    if last not in ROLES and ":" in value:
        value, _, role = value.rpartition(":")
        namespaces, last = tuple(last.split(",")), role
    if not equals or not claim or not value or last not in ROLES:
        raise OidcSettingsError(
            f"'{printable(text, 100)}': expected CLAIM=VALUE:ROLE with a role of {', '.join(ROLES)}; an editor's "
            "namespaces follow: groups=shop-team:editor:shop,payments"
        )
    if (last == Role.EDITOR) != bool(namespaces) or not all(map(is_dns_label, namespaces)):
        raise OidcSettingsError(f"'{printable(text, 100)}': an editor has namespaces, and nobody else has")
    return RoleRule(claim, value, Grant(Role(last), namespaces))


class Oidc:
    """Checks tokens against one provider."""

    def __init__(self, settings: OidcSettings, keys: KeySource, clock: Callable[[], float] = time.time) -> None:
        self._settings = settings
        self._keys = keys
        self._clock = clock

    async def principal(self, token: str) -> Principal:
        """Whose token it is. OidcRefusedError if it is not accepted."""
        if len(token) > LONGEST_TOKEN:
            raise OidcRefusedError(f"it is longer than {LONGEST_TOKEN} bytes")
        try:
            header = jwt.get_unverified_header(token)
        except jwt.InvalidTokenError as error:
            raise OidcRefusedError("it is no signed JSON web token") from error
        algorithm, kid = header.get("alg"), header.get("kid", "")
        if algorithm not in ALGORITHMS or not isinstance(kid, str) or "crit" in header:
            raise OidcRefusedError(f"it is not signed by one of {', '.join(ALGORITHMS)}")
        key = await self._keys.key(kid, algorithm)
        claims = self._claims(token, key, algorithm)
        name = claims.get(self._settings.name_claim)
        if not isinstance(name, str) or not name:
            raise OidcRefusedError(f"it has no claim '{self._settings.name_claim}' that names somebody")
        grants = merged(rule.grant for rule in self._settings.rules if rule.value in texts_of(claims, rule.claim))
        if not grants:
            wanted = ", ".join(dict.fromkeys(rule.claim for rule in self._settings.rules))
            raise OidcRefusedError(f"its claims give no role here ({wanted})")
        return Principal(f"{printable(name, _LONGEST_NAME)} (oidc)", grants, "oidc", until=float(claims["exp"]))

    def _claims(self, token: str, key: jwt.PyJWK, algorithm: str) -> Mapping[str, Any]:
        """The claims of a token that is good now."""
        options = {"require": ["exp", "iss", "aud"], "verify_exp": False, "verify_nbf": False, "verify_iat": False}
        try:
            claims: dict[str, Any] = jwt.decode(
                token,
                key.key,
                algorithms=[algorithm],
                audience=self._settings.audience,
                issuer=self._settings.issuer,
                options=options,  # type: ignore[arg-type]
            )
        except jwt.InvalidAudienceError as error:
            raise OidcRefusedError("it is for another audience") from error
        except jwt.InvalidIssuerError as error:
            raise OidcRefusedError("it is of another issuer") from error
        except jwt.MissingRequiredClaimError as error:
            raise OidcRefusedError("it lacks exp, iss or aud") from error
        except (jwt.InvalidTokenError, TypeError, ValueError) as error:
            raise OidcRefusedError("its signature is not the provider's") from error
        now = self._clock()
        if now >= _moment(claims, "exp") + _LEEWAY:
            raise OidcRefusedError("it has expired")
        if any(name in claims and _moment(claims, name) > now + _LEEWAY for name in ("nbf", "iat")):
            raise OidcRefusedError("it is not valid yet")
        return claims


def _moment(claims: Mapping[str, Any], name: str) -> float:
    value = claims[name]
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise OidcRefusedError(f"its claim '{name}' is no time")
    return float(value)


def texts_of(claims: Mapping[str, Any], name: str) -> Sequence[str]:
    """What a claim says, as texts; a name with dots may lead into claims within claims."""
    value: Any = claims.get(name)
    if value is None:
        value = claims
        for part in name.split("."):
            value = value.get(part) if isinstance(value, dict) else None
    if isinstance(value, str):
        return (value,)
    return tuple(one for one in value if isinstance(one, str)) if isinstance(value, list) else ()
