"""RequestAuthentication: documents as token policies, and where they hold.

All that are for a workload hold together. One that cannot be understood closes what it names (ADR 0028).
https://istio.io/latest/docs/reference/config/security/request_authentication/
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import TypeGuard
from urllib.parse import urlsplit

from weft.mesh.access.attachment import Attached, Attachment
from weft.mesh.access.tokens import DEFAULT_PLACES, FetchedByProxy, TokenPlace, TokenPolicy, TokenRule
from weft.mesh.access.wanted import is_fetched_by_proxy, keys_uri
from weft.mesh.memo import Memo
from weft.mesh.policies.authorizationpolicy import close_unreadable, policy_scopes
from weft.mesh.problems import problem_at
from weft.mesh.services.catalog import Catalog
from weft.mesh.services.service import BackendKey
from weft.mesh.signals import Collector
from weft.model.document import Document
from weft.model.jwks import read_key_set
from weft.model.origin import FieldPath
from weft.model.problem import Problem
from weft.model.unreadable import Unreadable
from weft.schema.hosts import is_own_host, service_of_host
from weft.schema.kinds.requestauthentication import JwtRule, RequestAuthenticationSpec
from weft.schema.rules.requestauthentication import is_plain, trust_domain_of

KIND = "RequestAuthentication"
TokenSpec = RequestAuthenticationSpec | Unreadable
TokenDocument = Document[TokenSpec]
Service = tuple[str, int]
"""The full name of a Service of the mesh, and the port; 0 if it has no such port."""


def token_documents(documents: Iterable[Document[object]]) -> tuple[TokenDocument, ...]:
    """Those of this kind, understood or not."""
    return tuple(document for document in documents if _is_ours(document))


def _is_ours(document: Document[object]) -> TypeGuard[TokenDocument]:
    spec = document.spec
    return isinstance(spec, RequestAuthenticationSpec) or (isinstance(spec, Unreadable) and spec.kind == KIND)


def keys_of(memo: Memo, document: TokenDocument, known: Mapping[str, str]) -> tuple[str, ...]:
    """The key set of each rule; empty where there is none, or none yet. `known` are those fetched, by address."""
    return tuple(text or known.get(uri, "") for text, uri in memo(_stated_keys, document))


def _stated_keys(document: TokenDocument) -> tuple[tuple[str, str], ...]:
    """The key set that stands in each rule, and the address where it stands otherwise."""
    spec = document.spec
    rules = () if isinstance(spec, Unreadable) else spec.jwt_rules
    return tuple((read_key_set(rule.jwks).text if rule.jwks else "", keys_uri(rule)) for rule in rules)


def services_of(document: TokenDocument, catalog: Catalog) -> tuple[Service | None, ...]:
    """The Service of the mesh at which the keys of each rule stand, if it is one."""
    spec = document.spec
    if isinstance(spec, Unreadable):
        return ()
    return tuple(_service(rule, document.key.namespace, catalog) for rule in spec.jwt_rules)


def _service(rule: JwtRule, namespace: str, catalog: Catalog) -> Service | None:
    if trust_domain_of(keys_uri(rule)):
        return None
    uri = urlsplit(keys_uri(rule))
    host = uri.hostname or ""
    key = None if not host or is_own_host(host) else service_of_host(host, namespace)
    frontend = catalog.by_host.get(host) or (catalog.named(key.name, key.namespace) if key is not None else None)
    if frontend is None:
        return None
    number = uri.port or (443 if uri.scheme == "https" else 80)
    return frontend.host, number if frontend.port(number) is not None else 0


def attach_tokens(
    document: TokenDocument,
    root_namespace: str,
    keys: tuple[str, ...],
    services: tuple[Service | None, ...],
    trust_domain: str,
) -> Attached:
    """The policy of a document where it holds. `keys` and `services` are those of its rules (see `keys_of`);
    `trust_domain` is the mesh's, whose tokens are checked with its own keys."""
    spec = document.spec
    if isinstance(spec, Unreadable):
        return close_unreadable(document, spec, root_namespace)
    proxied = is_fetched_by_proxy(document)
    rules: list[TokenRule] = []
    problems: list[Problem] = []
    for number, (rule, text, service) in enumerate(zip(spec.jwt_rules, keys, services, strict=True)):
        found = list(_wrong_keys(document, number, rule, service, trust_domain, proxied=proxied))
        problems += found
        fetched = _fetched(rule, service) if proxied and not found and not rule.jwks else None
        rules.append(_rule(document, number, rule, "" if found or fetched else text, fetched))
    policy = TokenPolicy(document.key, document.origin, tuple(rules))
    scopes, misplaced = policy_scopes(document, spec, root_namespace)
    return Attached(tuple(Attachment(scope, policy) for scope in scopes), (*problems, *misplaced))


def _rule(document: TokenDocument, number: int, rule: JwtRule, keys: str, fetched: FetchedByProxy | None) -> TokenRule:
    return TokenRule(
        number=number,
        origin=document.at("spec", "jwtRules", number),
        issuer=rule.issuer,
        places=tuple(_places(rule)) or DEFAULT_PLACES,
        audiences=rule.audiences,
        keys=keys,
        fetched=fetched,
        payload_header=rule.output_payload_to_header.lower(),
        claim_headers=tuple((each.header.lower(), each.claim) for each in rule.output_claim_to_headers),
        lists=rule.space_delimited_claims,
        forward=rule.forward_original_token,
    )


def _places(rule: JwtRule) -> Iterator[TokenPlace]:
    for each in rule.from_headers:
        yield TokenPlace("header", each.name.lower(), each.prefix)
    for name in rule.from_params:
        yield TokenPlace("parameter", name)
    for name in rule.from_cookies:
        yield TokenPlace("cookie", name)


def _fetched(rule: JwtRule, service: Service | None) -> FetchedByProxy:
    uri = urlsplit(rule.jwks_uri)
    if service is not None:
        server = Collector(BackendKey(*service))
    else:
        server = Collector(host=uri.hostname or "", port=uri.port or (443 if uri.scheme == "https" else 80))
    return FetchedByProxy(rule.jwks_uri, server, rule.timeout)


def _wrong_keys(
    document: TokenDocument, number: int, rule: JwtRule, service: Service | None, own: str, *, proxied: bool
) -> Iterator[Problem]:
    """Why the keys of a rule are never fetched: its tokens are refused then."""
    uri = keys_uri(rule)
    if not uri:
        return
    path: FieldPath = ("spec", "jwtRules", number, "jwksUri" if rule.jwks_uri else "issuer")
    effect = f"so tokens of {rule.issuer} are refused"
    if proxied and not rule.jwks_uri:
        message = f"proxies fetch keys from 'jwksUri' only, {effect}"
        yield problem_at(document, path, "keys-unreachable", message, "jwksUri")
    elif domain := trust_domain_of(uri):
        if domain != own:
            message = f"the keys of another trust domain are not this mesh's to know, {effect}"
            expected = f"jwksUri, such as /keys of its bundle endpoint, or spiffe://{own}"
            yield problem_at(document, path, "keys-unreachable", message, expected)
    elif proxied and service is not None and not service[1]:
        message = f"the Service {service[0]} has no such port, {effect}"
        yield problem_at(document, path, "keys-unreachable", message, "a port of the Service")
    elif not proxied and service is not None:
        message = f"{service[0]} is a service of the mesh, which takes calls of workloads only, {effect}"
        expected = "the annotation weft.dev/jwks-fetch: proxy"
        yield problem_at(document, path, "keys-unreachable", message, expected)
    elif service is None and is_plain(uri):
        message = f"keys are not fetched in plaintext, but from loopback, {effect}"
        yield problem_at(document, path, "keys-unreachable", message, "https://…")
