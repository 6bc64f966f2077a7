"""Which keys are wanted: where the issuers of all RequestAuthentications have theirs, and who fetches them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from weft.model.document import Document
from weft.model.origin import FieldPath
from weft.schema.annotations import JWKS_FETCH
from weft.schema.kinds.requestauthentication import JwtRule, RequestAuthenticationSpec
from weft.schema.rules.requestauthentication import DISCOVERY, is_plain, trust_domain_of

TokenDocument = Document[RequestAuthenticationSpec]


@dataclass(frozen=True, slots=True, eq=False)
class WantedKeys:
    """Keys that the control plane fetches: at `uri`, or where the discovery document there says, which has to be that
    of `discovered` (an issuer; empty: `uri` is the key set's own). `places` are the fields that ask for them."""

    uri: str
    discovered: str
    places: tuple[tuple[TokenDocument, FieldPath], ...]


def wanted_keys(documents: Iterable[Document[object]]) -> tuple[WantedKeys, ...]:
    """What is to be fetched for `documents` of all kinds, those first that the oldest document asks for."""
    found: dict[str, list[tuple[TokenDocument, FieldPath]]] = {}
    issuers: dict[str, str] = {}
    for document in sorted(_ours(documents), key=lambda each: each.precedence):
        for number, rule in enumerate(document.spec.jwt_rules):
            uri = keys_uri(rule)
            if uri and not trust_domain_of(uri) and not is_fetched_by_proxy(document) and not is_plain(uri):
                field = ("jwksUri",) if rule.jwks_uri else ("issuer",)
                found.setdefault(uri, []).append((document, ("spec", "jwtRules", number, *field)))
                issuers.setdefault(uri, "" if rule.jwks_uri else rule.issuer)
    return tuple(WantedKeys(uri, issuers[uri], tuple(places)) for uri, places in found.items())


def keys_uri(rule: JwtRule) -> str:
    """Where the keys of an issuer stand, or where it is said; empty if they stand in the document. Of a trust domain,
    its SPIFFE ID."""
    if rule.jwks:
        return ""
    if not rule.jwks_uri and trust_domain_of(rule.issuer):
        return rule.issuer
    return rule.jwks_uri or rule.issuer.removesuffix("/") + DISCOVERY


def is_fetched_by_proxy(document: Document[object]) -> bool:
    """Whether the proxies fetch the keys of a document themselves."""
    return dict(document.annotations).get(JWKS_FETCH) == "proxy"


def _ours(documents: Iterable[Document[object]]) -> Iterator[TokenDocument]:
    for document in documents:
        if isinstance(document.spec, RequestAuthenticationSpec):
            yield document  # type: ignore[misc]
