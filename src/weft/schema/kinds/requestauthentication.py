"""Istio security: RequestAuthentication."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated

from weft.schema.kinds.authorizationpolicy import PolicyTargetReference
from weft.schema.kinds.peerauthentication import WorkloadSelector
from weft.schema.scalars import CookieName, HeaderName, Length, PositiveDuration

MAX_RULES = 64
Words = Annotated[str, Length(1, 2048)]


@dataclass(frozen=True, slots=True, kw_only=True)
class JwtHeader:
    """A header with a token, behind `prefix` if there is one."""

    name: HeaderName
    prefix: Annotated[str, Length(0, 128)] = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ClaimToHeader:
    """The header of the request that a claim of a valid token is written to. `claim` may be `a.b` for a claim inside of
    another."""

    header: HeaderName
    claim: Annotated[str, Length(1, 512)]


@dataclass(frozen=True, slots=True, kw_only=True)
class JwtRule:
    """One issuer: how its tokens are found, and checked. A token's `iss` is `issuer`, one of its `aud` one of
    `audiences` (without them: whatever).

    The keys stand in `jwks`, or at `jwksUri`, or where the issuer's `/.well-known/openid-configuration` says; those of
    the mesh's own tokens (``spiffe://TRUST-DOMAIN``) are known. They are public keys: RSA with 2048 bits and more, EC
    on P-256, P-384, P-521, and Ed25519.

    Tokens are looked for in `fromHeaders`, `fromParams`, `fromCookies`; without any of them in `Authorization: Bearer`
    and the parameter `access_token`. They are taken out of the request (not out of cookies), unless
    `forwardOriginalToken`. Every token in these places has to be valid. `timeout` is for proxies that fetch the keys
    themselves. Claims in `spaceDelimitedClaims`, and `scope` and `permission`, are lists of words.
    """

    issuer: Words
    audiences: Annotated[tuple[Words, ...], Length(0, 64)] = ()
    jwks_uri: Annotated[str, Length(0, 2048)] = field(default="", metadata={"aliases": ("jwks_uri", "jwksUri")})
    jwks: str = ""
    from_headers: Annotated[tuple[JwtHeader, ...], Length(0, 16)] = ()
    from_params: Annotated[tuple[Annotated[str, Length(1, 128)], ...], Length(0, 16)] = ()
    from_cookies: Annotated[tuple[CookieName, ...], Length(0, 16)] = ()
    output_payload_to_header: HeaderName = ""
    output_claim_to_headers: Annotated[tuple[ClaimToHeader, ...], Length(0, 64)] = ()
    forward_original_token: bool = False
    timeout: PositiveDuration = 5.0
    space_delimited_claims: Annotated[tuple[Annotated[str, Length(1, 128)], ...], Length(0, 64)] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestAuthenticationSpec:
    """https://istio.io/latest/docs/reference/config/security/request_authentication/

    Whose tokens are accepted, and how they are checked. A request without a token passes, and has no identity from one;
    an AuthorizationPolicy with `requestPrincipals` asks for it. A request with a token that no rule accepts gets 401.
    All documents that are for a workload hold together. Without `selector` and `targetRefs` it is for the namespace, in
    the root namespace for the whole mesh. See [tokens](../jwt.md).

    The annotation `weft.dev/jwks-fetch: proxy` has the proxies fetch the keys of `jwksUri`, also from a service of the
    mesh; otherwise the control plane does.
    """

    selector: WorkloadSelector | None = None
    target_ref: PolicyTargetReference | None = None
    target_refs: Annotated[tuple[PolicyTargetReference, ...], Length(0, 16)] = ()
    jwt_rules: Annotated[tuple[JwtRule, ...], Length(0, MAX_RULES)] = ()
