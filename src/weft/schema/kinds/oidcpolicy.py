"""weft: OIDCPolicy, people log in at a gateway with an OpenID provider."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Literal

from weft.schema.kinds.edge import EdgeTarget, SecretName
from weft.schema.scalars import CookieName, HeaderName, HeaderValue, HttpsUrl, Length, PreciseHostname, UrlPath

CookieRole = Literal["accessToken", "hmac", "expires", "idToken", "refreshToken", "nonce", "codeVerifier"]


@dataclass(frozen=True, slots=True, kw_only=True)
class OidcProvider:
    """The OpenID provider. What is not said of its endpoints is read from
    ``ISSUER/.well-known/openid-configuration``, by the control plane. URLs are https, or http on loopback."""

    issuer: HttpsUrl
    authorization_endpoint: HttpsUrl | None = None
    token_endpoint: HttpsUrl | None = None
    end_session_endpoint: HttpsUrl | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class LoginCookies:
    """Cookies of a login: the domain that gets them, what they are called, and which sites may send them. Scripts
    cannot read them, and browsers send them over HTTPS only (or to localhost)."""

    domain: PreciseHostname = ""
    names: Mapping[CookieRole, CookieName] = field(default_factory=dict)
    same_site: Literal["Strict", "Lax", "None"] = "Lax"


@dataclass(frozen=True, slots=True, kw_only=True)
class HeaderCondition:
    """A header of a request: exactly a value, or one that begins with `prefix`; with neither, it is there."""

    name: HeaderName
    value: Annotated[HeaderValue, Length(0, 1024)] = ""
    prefix: Annotated[HeaderValue, Length(0, 1024)] = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class OidcPolicySpec:
    """Who has not logged in is sent to the provider, and comes back to `redirectPath` with a session in cookies.

    `passThrough`: requests of programs, which show a token of their own; a RequestAuthentication and an
    AuthorizationPolicy say which tokens are good. `denyRedirect`: requests that are answered 401 instead of being sent
    to the provider (those of scripts in pages). `clientAuthentication`: how the gateway shows the client's secret.
    """

    target_refs: Annotated[tuple[EdgeTarget, ...], Length(1, 16)]
    provider: OidcProvider
    client_id: Annotated[HeaderValue, Length(1, 256)] = field(metadata={"json": "clientID"})
    client_secret_ref: SecretName
    client_authentication: Literal["Basic", "Body"] = "Basic"
    scopes: Annotated[tuple[Annotated[HeaderValue, Length(1, 256)], ...], Length(0, 32)] = ()
    redirect_path: UrlPath = "/oauth2/callback"
    logout_path: UrlPath = "/logout"
    cookies: LoginCookies = LoginCookies()
    forward_access_token: bool = False
    refresh: bool = True
    pass_through: Annotated[tuple[HeaderCondition, ...], Length(0, 16)] = ()
    deny_redirect: Annotated[tuple[HeaderCondition, ...], Length(0, 16)] = ()
