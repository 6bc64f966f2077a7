"""Rules of CredentialPolicy, OIDCPolicy, CsrfPolicy, and of servers that are asked (ext_authz)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from weft.schema.findings import Finding, Rule, conflicting, deprecated, duplicate, missing
from weft.schema.kinds.credentialpolicy import CredentialPolicySpec, KeySources
from weft.schema.kinds.csrfpolicy import CsrfPolicySpec
from weft.schema.kinds.extauthz import ExtAuthzHttp
from weft.schema.kinds.oidcpolicy import HeaderCondition, OidcPolicySpec, OidcProvider


def targets(spec: CredentialPolicySpec | OidcPolicySpec | CsrfPolicySpec) -> Iterator[Finding]:
    """Each target is named once."""
    names = [(target.kind, target.name) for target in spec.target_refs]
    for index, (kind, name) in enumerate(names):
        if (kind, name) in names[:index]:
            yield duplicate(("targetRefs", index), f"{kind} '{name}' is named twice")


def key_sources(spec: KeySources) -> Iterator[Finding]:
    """A key is looked for somewhere."""
    if not (spec.headers or spec.params or spec.cookies):
        yield missing((), "it names no place", "headers, params or cookies")


def login(spec: OidcPolicySpec) -> Iterator[Finding]:
    """Paths of its own, and cookies with names of their own."""
    if spec.redirect_path == spec.logout_path:
        yield conflicting(("logoutPath",), f"'{spec.logout_path}' is the redirectPath too", "another path")
    for name, path in (("redirectPath", spec.redirect_path), ("logoutPath", spec.logout_path)):
        if path == "/":
            yield Finding((name,), "found '/', which is a page", "a path of its own, such as /oauth2/callback")
    names = list(spec.cookies.names.items())
    for index, (role, name) in enumerate(names):
        if name in [other for _, other in names[:index]]:
            yield duplicate(("cookies", "names", role), f"the cookie '{name}' is named twice")


def provider(spec: OidcProvider) -> Iterator[Finding]:
    """Both endpoints are said, or neither; an issuer has no query."""
    if (spec.authorization_endpoint is None) != (spec.token_endpoint is None):
        absent = "tokenEndpoint" if spec.token_endpoint is None else "authorizationEndpoint"
        yield missing(
            (), f"the field '{absent}' is missing", "both endpoints, or neither: then they are read from issuer"
        )
    if "?" in spec.issuer:
        yield Finding(("issuer",), "an issuer has no query", "a URL such as https://id.example.com")


def condition(spec: HeaderCondition) -> Iterator[Finding]:
    """Compared in one way."""
    if spec.value and spec.prefix:
        yield conflicting(("prefix",), "value and prefix exclude each other", "one of them")


def old_headers(spec: ExtAuthzHttp) -> Iterator[Finding]:
    """The former name of a field."""
    if spec.include_headers_in_check:
        wanted = "includeRequestHeadersInCheck"
        yield deprecated(("includeHeadersInCheck",), f"'includeHeadersInCheck' is the old name of '{wanted}'", wanted)


RULES: Mapping[type, tuple[Rule, ...]] = {
    CredentialPolicySpec: (targets,),
    OidcPolicySpec: (targets, login),
    CsrfPolicySpec: (targets,),
    KeySources: (key_sources,),
    OidcProvider: (provider,),
    HeaderCondition: (condition,),
    ExtAuthzHttp: (old_headers,),
}
