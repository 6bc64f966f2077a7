"""Envoy's filter for JSON Web Tokens, in a slot: its routes could only name what its own configuration has.

https://www.envoyproxy.io/docs/envoy/latest/configuration/http/http_filters/jwt_authn_filter

Every token in a request has to be valid. Envoy asks alternative issuers until one of them accepts, and each looks in
its own places only, so a wrong token in another place would not be seen. So where there are several issuers, each place
is looked at by itself first, by all issuers whose tokens may stand there, and all places have to be content. These
write nothing: each would take away what one before it wrote. What a token says is written by the alternatives that
follow.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from envoy.config.core.v3.http_uri_pb2 import HttpUri
from envoy.config.route.v3.route_components_pb2 import FilterConfig, HeaderMatcher, RouteMatch
from envoy.extensions.filters.http.jwt_authn.v3.config_pb2 import (
    JwtAuthentication,
    JwtProvider,
    JwtRequirement,
    RemoteJwks,
    RequirementRule,
)
from envoy.type.matcher.v3.string_pb2 import StringMatcher
from google.protobuf.any_pb2 import Any as AnyMessage

from weft.mesh.access.access import Access
from weft.mesh.access.tokens import FetchedByProxy, TokenPlace, TokenPolicy, TokenRule
from weft.xds.filters.extension import Extension
from weft.xds.limits import JWKS_RETRY_SECONDS, JWKS_SECONDS
from weft.xds.messages import duration
from weft.xds.signals.collectors import collector_name
from weft.xds.snapshot import CLUSTER

NAME = "weft.tokens"
METADATA = "envoy.filters.http.jwt_authn"
"""Under this name, and PAYLOAD in it, stand the claims of a request's valid token."""
PAYLOAD = "payload"
LISTS = ("scope", "permission")
"""Claims that are lists of words in one text: in the metadata they are lists."""
NOBODY = "nobody"
"""The issuer that no token comes from: who is asked for one of its tokens is refused."""
_NO_KEYS = "weft.no-keys"
"""A cluster that does not exist: keys that would come from it are never there."""
_ALL = RouteMatch(prefix="/")


def listener_config() -> JwtAuthentication:
    """What holds until the slot is filled: everybody is refused."""
    return JwtAuthentication(
        providers={NOBODY: _nobody()},
        rules=[RequirementRule(match=_ALL, requires=JwtRequirement(provider_name=NOBODY))],
    )


def access_config(access: Access) -> FilterConfig | None:
    """Enables the filter where there is anything to check."""
    return FilterConfig(config=AnyMessage()) if any(policy.rules for policy in access.tokens) else None


def extension(access: Access) -> Extension | None:
    """What the slot holds."""
    named = list(_named_rules(access.tokens))
    if not named:
        return None
    config = JwtAuthentication(providers={NOBODY: _nobody()})
    for name, rule in named:
        config.providers[name].CopyFrom(_writing(rule, reroutes=access.reroutes))
    places = tuple(dict.fromkeys(place for _, rule in named for place in rule.places))
    accepted = _any_of([name for name, _ in named])
    if len(named) == 1 or len(places) == 1:
        accepted.requires_any.requirements.add().allow_missing.SetInParent()
        requires = accepted
    else:
        accepted.requires_any.requirements.add().allow_missing_or_failed.SetInParent()
        requires = JwtRequirement()
        requires.requires_all.requirements.extend([*_checks(config, named, places), accepted])
    config.rules.extend(_refusals(places))
    config.rules.add(match=_ALL, requires=requires)
    return Extension(config, tuple(dict.fromkeys(_clusters(named))))


def _named_rules(policies: Iterable[TokenPolicy]) -> Iterator[tuple[str, TokenRule]]:
    for policy in policies:
        for rule in policy.rules:
            yield f"{policy.object.namespace}/{policy.object.name} {rule.number}", rule


def _checks(
    config: JwtAuthentication, named: list[tuple[str, TokenRule]], places: Iterable[TokenPlace]
) -> Iterator[JwtRequirement]:
    """That a token in each of these places is valid. Adds the providers that look there."""
    for place in places:
        names = []
        for name, rule in named:
            if place in rule.places:
                names.append(f"{name} {place.kind} {place.name} {place.prefix}".rstrip())
                config.providers[names[-1]].CopyFrom(_provider(rule, (place,)))
        requirement = _any_of(names)
        requirement.requires_any.requirements.add().allow_missing.SetInParent()
        yield requirement


def _any_of(providers: Iterable[str]) -> JwtRequirement:
    requirement = JwtRequirement()
    for name in providers:
        requirement.requires_any.requirements.add(provider_name=name)
    return requirement


def _writing(rule: TokenRule, *, reroutes: bool) -> JwtProvider:
    """Checks tokens, and writes what they say into headers and the metadata."""
    provider = _provider(rule, rule.places)
    provider.forward_payload_header = rule.payload_header
    provider.payload_in_metadata = PAYLOAD
    provider.clear_route_cache = reroutes
    provider.forward = rule.forward
    provider.normalize_payload_in_metadata.space_delimited_claims.extend(dict.fromkeys((*LISTS, *rule.lists)))
    for header, claim in rule.claim_headers:
        provider.claim_to_headers.add(header_name=header, claim_name=claim)
    return provider


def _provider(rule: TokenRule, places: Iterable[TokenPlace]) -> JwtProvider:
    """Checks tokens, and leaves them where they are."""
    provider = JwtProvider(issuer=rule.issuer, audiences=rule.audiences, forward=True)
    for place in places:
        if place.kind == "header":
            provider.from_headers.add(name=place.name, value_prefix=place.prefix)
        elif place.kind == "parameter":
            provider.from_params.append(place.name)
        else:
            provider.from_cookies.append(place.name)
    if rule.keys:
        provider.local_jwks.inline_string = rule.keys
    elif rule.fetched is not None:
        provider.remote_jwks.CopyFrom(_fetched(rule.fetched))
    else:
        provider.remote_jwks.CopyFrom(_absent())
    return provider


def _nobody() -> JwtProvider:
    provider = JwtProvider(issuer=NOBODY, remote_jwks=_absent())
    provider.from_headers.add(name="x-weft-nobody")
    return provider


def _fetched(fetched: FetchedByProxy) -> RemoteJwks:
    """The proxy fetches the keys before a token needs them, and goes on until it has some."""
    where = HttpUri(uri=fetched.uri, cluster=collector_name(fetched.server, grpc=False))
    where.timeout.CopyFrom(duration(fetched.timeout))
    jwks = RemoteJwks(http_uri=where, cache_duration=duration(JWKS_SECONDS))
    jwks.async_fetch.fast_listener = True
    jwks.async_fetch.failed_refetch_duration.CopyFrom(duration(JWKS_RETRY_SECONDS))
    return jwks


def _absent() -> RemoteJwks:
    """Keys that are not there: a token that needs them is refused, and says so."""
    return RemoteJwks(http_uri=HttpUri(uri="https://keys.invalid/", cluster=_NO_KEYS, timeout=duration(1)))


def _refusals(places: Iterable[TokenPlace]) -> Iterator[RequirementRule]:
    """Names of schemes are the same in any case (RFC 9110, 11.1), and an application may take `bearer` for `Bearer`,
    which Envoy does not: who writes it otherwise is refused, lest a token passes that nobody has looked at."""
    for place in places:
        scheme = place.prefix.rstrip()
        if not scheme:
            continue
        for blank in dict.fromkeys((place.prefix, f"{scheme} ", f"{scheme}\t")):
            otherwise = _header(place.name, StringMatcher(contains=blank.lower(), ignore_case=True))
            exactly = _header(place.name, StringMatcher(prefix=place.prefix), invert=True)
            yield RequirementRule(
                match=RouteMatch(prefix="/", headers=[otherwise, exactly]),
                requires=JwtRequirement(provider_name=NOBODY),
            )


def _header(name: str, matcher: StringMatcher, *, invert: bool = False) -> HeaderMatcher:
    return HeaderMatcher(name=name, string_match=matcher, invert_match=invert)


def _clusters(named: Iterable[tuple[str, TokenRule]]) -> Iterator[tuple[str, str]]:
    for _, rule in named:
        if rule.fetched is not None:
            yield CLUSTER, collector_name(rule.fetched.server, grpc=False)
