"""OIDCPolicy: where people log in, and what the gateway and the OpenID provider know each other by."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from weft.mesh.access.guard import HeaderTest, Login, Part
from weft.mesh.access.policy import Closed
from weft.mesh.policies.vault import Vault
from weft.mesh.problems import problem_at
from weft.mesh.services.catalog import Catalog
from weft.mesh.services.service import BackendKey
from weft.mesh.signals import Collector
from weft.model.addresses import is_loopback
from weft.model.document import Document, ObjectKey
from weft.model.openid import OpenIdEndpoints
from weft.model.origin import FieldPath
from weft.model.problem import Problem
from weft.schema.kinds.oidcpolicy import HeaderCondition, OidcPolicySpec

SECRET_KEY = "client-secret"  # noqa: S105 - the name of an entry
COOKIES: Mapping[str, str] = {
    "accessToken": "bearer_token",
    "hmac": "oauth_hmac",
    "expires": "oauth_expires",
    "idToken": "id_token",
    "refreshToken": "refresh_token",
    "nonce": "oauth_nonce",
    "codeVerifier": "code_verifier",
}
"""Envoy's word for each cookie."""
_OPENID = "openid"
_PORTS = {"https": 443, "http": 80}


@dataclass(frozen=True, slots=True, eq=False)
class Providers:
    """`endpoints` are what OpenID providers said of themselves, by issuer; `key` is the control plane's own, from which
    that of each policy's cookies is derived. Compared by identity."""

    catalog: Catalog
    endpoints: Mapping[str, OpenIdEndpoints]
    key: bytes = field(repr=False)


def build_providers(endpoints: tuple[OpenIdEndpoints, ...], catalog: Catalog, key: bytes) -> Providers:
    """What is known of OpenID providers."""
    return Providers(catalog, {each.issuer: each for each in endpoints}, key)


def compile_login(
    document: Document[OidcPolicySpec], vault: Vault, providers: Providers
) -> tuple[Part, tuple[Problem, ...]]:
    """Where people log in; nobody is let in where that cannot be known."""
    return _Compiler(vault, providers).compile(document)


@dataclass(frozen=True, slots=True)
class _Compiler:
    vault: Vault
    providers: Providers

    def compile(self, document: Document[OidcPolicySpec]) -> tuple[Part, tuple[Problem, ...]]:
        found = self._endpoints(document)
        secret = self._secret(document)
        problems = tuple([each for each in (found, secret) if isinstance(each, Problem)])
        if isinstance(found, Problem) or isinstance(secret, Problem):
            return Closed(document.at(), "where people log in is not known", document.key), problems
        server = self._server(document, found.token)
        if isinstance(server, Problem):
            return Closed(document.at(), "its provider cannot be reached", document.key), (server,)
        return self._login(document, found, secret, server), ()

    def _endpoints(self, document: Document[OidcPolicySpec]) -> OpenIdEndpoints | Problem:
        provider = document.spec.provider
        if provider.authorization_endpoint is not None and provider.token_endpoint is not None:
            return OpenIdEndpoints(
                provider.issuer,
                provider.authorization_endpoint,
                provider.token_endpoint,
                provider.end_session_endpoint or "",
            )
        read = self.providers.endpoints.get(provider.issuer)
        if read is None:
            message = f"what {provider.issuer} says of its endpoints could not be read yet, so nobody is let in"
            expected = "a provider that answers at .well-known/openid-configuration, or the endpoints themselves"
            return problem_at(document, ("spec", "provider", "issuer"), "provider-unread", message, expected)
        end = provider.end_session_endpoint or read.end_session
        return OpenIdEndpoints(provider.issuer, read.authorization, read.token, end)

    def _secret(self, document: Document[OidcPolicySpec]) -> bytes | Problem:
        path: FieldPath = ("spec", "clientSecretRef")
        secret = self.vault.find(document, path, document.spec.client_secret_ref)
        if isinstance(secret, Problem):
            return secret
        value = secret.spec.data.get(SECRET_KEY, b"").rstrip(b"\r\n")
        if not value:
            message = f"{secret.key} has nothing at {SECRET_KEY}, so nobody is let in"
            return problem_at(document, path, "bad-credential", message, f"the client's secret at {SECRET_KEY}")
        return value

    def _server(self, document: Document[OidcPolicySpec], url: str) -> Collector | Problem:
        """Where codes are changed for tokens: a Service of the mesh by its host, or a server outside."""
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port or _PORTS.get(parts.scheme, 443)
        frontend = self.providers.catalog.by_host.get(host)
        if frontend is not None and frontend.port(port) is not None:
            return Collector(BackendKey(frontend.host, port))
        if is_loopback(host) is not (parts.scheme == "http"):
            path = ("spec", "provider", "tokenEndpoint" if document.spec.provider.token_endpoint else "issuer")
            message = f"its token endpoint is at {parts.scheme}://{host}, which a gateway does not speak to"
            expected = "https, or http on loopback"
            return problem_at(document, path, "provider-unreachable", message, expected)
        return Collector(host=host, port=port)

    def _login(
        self, document: Document[OidcPolicySpec], endpoints: OpenIdEndpoints, secret: bytes, server: Collector
    ) -> Login:
        spec = document.spec
        name = f"{document.key.namespace}/{document.key.name}"
        scopes = tuple(dict.fromkeys((_OPENID, *spec.scopes)))
        return Login(
            name=name,
            object=document.key,
            origin=document.at(),
            server=server,
            authorization_endpoint=endpoints.authorization,
            token_endpoint=endpoints.token,
            end_session_endpoint=endpoints.end_session,
            client_id=spec.client_id,
            basic=spec.client_authentication == "Basic",
            secret=secret,
            cookie_key=_derived(self.providers.key, document.key),
            scopes=scopes,
            redirect_path=spec.redirect_path,
            logout_path=spec.logout_path,
            cookie_domain=spec.cookies.domain,
            cookie_names=tuple((COOKIES[role], cookie) for role, cookie in sorted(spec.cookies.names.items())),
            same_site=spec.cookies.same_site,
            forward=spec.forward_access_token,
            refresh=spec.refresh,
            pass_through=_tests(spec.pass_through),
            deny_redirect=_tests(spec.deny_redirect),
        )


def _derived(key: bytes, policy: ObjectKey) -> bytes:
    """A key of its own for each policy, so that a cookie of one is nothing to another."""
    return hmac.new(key, f"oidc cookies {policy}".encode(), hashlib.sha256).hexdigest().encode()


def _tests(conditions: tuple[HeaderCondition, ...]) -> tuple[HeaderTest, ...]:
    return tuple([HeaderTest(each.name.lower(), each.value, each.prefix) for each in conditions])
