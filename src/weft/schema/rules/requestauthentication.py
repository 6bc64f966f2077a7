"""Rules of RequestAuthentication: where keys may come from, where tokens may stand, which headers may be written."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator, Mapping
from urllib.parse import SplitResult, urlsplit

from weft.model.identity import is_trust_domain
from weft.model.jwks import KeySetError, read_key_set
from weft.model.origin import FieldPath
from weft.schema.findings import Finding, Rule, conflicting, duplicate, missing, printable
from weft.schema.kinds.requestauthentication import JwtHeader, JwtRule, RequestAuthenticationSpec

DISCOVERY = "/.well-known/openid-configuration"
_HTTPS = "https://HOST/PATH"
_OURS = ("x-envoy-", "x-forwarded-", "x-weft-", "proxy-", "sec-")
_HOPS = frozenset(
    (
        "host", "connection", "content-length", "content-type", "content-encoding", "cookie", "date", "expect",
        "forwarded", "keep-alive", "te", "trailer", "transfer-encoding", "upgrade", "via", "x-real-ip",
        "x-request-id", "x-client-trace-id", "traceparent", "tracestate", "baggage", "b3", "origin",
    )
)  # fmt: skip
"""Headers that say how a message is to be read or where it comes from: whoever writes a token does not write these."""


def spec(value: RequestAuthenticationSpec) -> Iterator[Finding]:
    """It is for workloads, or for what it names."""
    selected = value.selector is not None and value.selector.match_labels
    if value.target_ref is not None and value.target_refs:
        yield conflicting(("targetRef",), "'targetRef' and 'targetRefs' exclude each other", "targetRefs")
    if selected and (value.target_ref is not None or value.target_refs):
        yield conflicting(("selector",), "'selector' and 'targetRefs' exclude each other", "one of them")


def rule(value: JwtRule) -> Iterator[Finding]:
    """Where the keys come from, and what is written to headers."""
    yield from _keys(value)
    for field, names in (("fromParams", value.from_params), ("fromCookies", value.from_cookies)):
        yield from _distinct(field, list(names))
        for index, name in enumerate(names):
            if not name.isascii() or not name.isprintable() or any(char in "&=#;+% " for char in name):
                found = f"found '{printable(name)}'"
                yield Finding((field, index), found, "a name without &, =, #, ;, +, % and spaces")
    yield from _distinct("fromHeaders", [f"{each.name.lower()} {each.prefix}" for each in value.from_headers])
    yield from _distinct("audiences", list(value.audiences))
    yield from _outputs(value)


def header(value: JwtHeader) -> Iterator[Finding]:
    """What stands before a token is text of a header."""
    if value.prefix and (not value.prefix.isascii() or not value.prefix.isprintable()):
        yield Finding(("prefix",), f"found '{printable(value.prefix)}'", "printable ASCII text, such as 'Bearer '")
    if value.name.lower() in ("host", "cookie") or value.name.startswith(":"):
        yield Finding(("name",), f"a token does not stand in '{value.name}'", "another header; fromCookies for cookies")


def address_finding(url: str) -> str:
    """What is wrong with the address of keys, as far as its text tells; empty if nothing is."""
    parts = _split(url)
    if parts is not None and parts.scheme not in ("", "https", "http"):
        return f"its scheme is '{parts.scheme[:20]}'"
    odd = not url.isascii() or not url.isprintable() or " " in url or "\\" in url
    if parts is None or not parts.scheme or not parts.hostname or odd:
        return "it is no URL"
    if parts.username is not None or parts.password is not None:
        return "it has a user in it"
    return ""


def _keys(value: JwtRule) -> Iterator[Finding]:
    if value.jwks and value.jwks_uri:
        yield conflicting(("jwks",), "'jwks' and 'jwksUri' exclude each other", "one of them")
    elif value.jwks:
        yield from _inline(value.jwks)
    elif value.jwks_uri:
        if wrong := address_finding(value.jwks_uri):
            yield Finding(("jwksUri",), f"keys are not fetched from there: {wrong}", _HTTPS)
    elif not trust_domain_of(value.issuer) and address_finding(value.issuer):
        yield missing((), "there are no keys: the issuer is no URL, so it cannot be asked either", "jwks or jwksUri")


def _inline(text: str) -> Iterator[Finding]:
    try:
        read = read_key_set(text)
    except KeySetError as error:
        yield Finding(("jwks",), f"there is no key that may be used: {printable(str(error))}", "a JSON Web Key Set")
        return
    for reason in read.left_out:
        yield Finding(("jwks",), f"it may not be used: {printable(reason)}", "public keys that sign")


def trust_domain_of(issuer: str) -> str:
    """The trust domain whose workloads' tokens (JWT-SVIDs) have this issuer; empty for other issuers."""
    scheme, found, domain = issuer.partition("://")
    return domain if scheme == "spiffe" and found and is_trust_domain(domain) else ""


def is_plain(url: str) -> bool:
    """Whether an address of keys is asked in plaintext, and its host is none of loopback."""
    parts = _split(url)
    if parts is None or parts.scheme == "https":
        return False
    host = parts.hostname or ""
    try:
        return not ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host != "localhost" and not host.endswith(".localhost")


def _split(url: str) -> SplitResult | None:
    try:
        parts = urlsplit(url)
        return None if parts.port == 0 else parts
    except ValueError:
        return None


def _outputs(value: JwtRule) -> Iterator[Finding]:
    """Each header is written by one claim, and none that says how the message is read, or where a token stands."""
    written: list[tuple[FieldPath, str]] = [
        (("outputClaimToHeaders", index, "header"), each.header)
        for index, each in enumerate(value.output_claim_to_headers)
    ]
    if value.output_payload_to_header:
        written.append((("outputPayloadToHeader",), value.output_payload_to_header))
    tokens = {each.name.lower() for each in value.from_headers}
    if not (value.from_headers or value.from_params or value.from_cookies):
        tokens = {"authorization"}
    seen: set[str] = set()
    for path, name in written:
        lower = name.lower()
        if lower in _HOPS or lower.startswith(_OURS) or lower.startswith(":"):
            yield Finding(path, f"no token writes the header '{name}'", "a header of your own, such as x-jwt-subject")
        elif lower in tokens:
            yield conflicting(path, f"the token itself stands in '{name}'", "another header")
        elif lower in seen:
            yield duplicate(path, f"the header '{name}' is written twice")
        seen.add(lower)
    for index, each in enumerate(value.output_claim_to_headers):
        if not each.claim.isprintable() or "" in each.claim.split(".") or "/" in each.claim:
            found = f"found '{printable(each.claim)}'"
            yield Finding(
                ("outputClaimToHeaders", index, "claim"), found, "the name of a claim, or NAME.NAME, without slashes"
            )


def _distinct(field: str, texts: list[str]) -> Iterator[Finding]:
    for index, text in enumerate(texts):
        if text in texts[:index]:
            yield duplicate((field, index), f"'{printable(text.strip())}' is given twice")


RULES: Mapping[type, tuple[Rule, ...]] = {
    RequestAuthenticationSpec: (spec,),
    JwtRule: (rule,),
    JwtHeader: (header,),
}
