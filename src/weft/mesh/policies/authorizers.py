"""Authorizers: servers of MeshConfig's extensionProviders that are asked whether a request may pass."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import cast

from weft.mesh.access.access import Access
from weft.mesh.access.attachment import AccessPolicies, Attachment
from weft.mesh.access.guard import AskedBody, Authorizer, servers_of
from weft.mesh.access.policy import AccessPolicy, Action, Closed, Pattern, PatternKind
from weft.mesh.memo import Memo
from weft.mesh.policies.meshconfig import MeshWide
from weft.mesh.policies.providers import PlainCollector, collector, resolve_service
from weft.mesh.services.catalog import Catalog
from weft.mesh.services.service import Frontend
from weft.mesh.signals import PlainKey
from weft.model.document import Document
from weft.model.origin import FieldPath, Origin
from weft.model.problem import Problem, Severity
from weft.schema.kinds import extauthz as api

MOST_ASKED = 2
"""Providers that are asked about the calls of one place, one after the other."""
_TOO_MANY = f"more than {MOST_ASKED} providers would be asked about one call"


@dataclass(frozen=True, slots=True, eq=False)
class Authorizers:
    """By name: those whose server is there. Compared by identity."""

    by_name: Mapping[str, Authorizer] = field(default_factory=dict)
    problems: tuple[Problem, ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        """Whom a policy may name."""
        return tuple(sorted(self.by_name))


NO_AUTHORIZERS = Authorizers()


def build_authorizers(memo: Memo, wide: MeshWide, catalog: Catalog) -> Authorizers:
    """Those of the settings in force; the same object while what they come to is the same."""
    if not any(each.envoy_ext_authz_http or each.envoy_ext_authz_grpc for each in wide.spec.extension_providers):
        return NO_AUTHORIZERS
    return memo(compile_authorizers, wide, memo(_resolved, wide, catalog))


def compile_authorizers(
    wide: MeshWide, resolved: tuple[tuple[PlainCollector | None, ...], tuple[Problem, ...]]
) -> Authorizers:
    """The authorizers; `resolved` are their servers in order, None for those that are not there, and what is wrong."""
    servers, problems = resolved
    document = cast(Document[object], wide.document)
    found: dict[str, Authorizer] = {}
    for (path, name, spec), server in zip(_given(wide), servers, strict=True):
        if server is not None:
            found.setdefault(name, _authorizer(name, spec, server, document.at(*wide.path, *path)))
    return Authorizers(MappingProxyType(found), problems)


def _resolved(wide: MeshWide, catalog: Catalog) -> tuple[tuple[PlainCollector | None, ...], tuple[Problem, ...]]:
    document, root = cast(Document[object], wide.document), wide.settings.root_namespace
    problems: list[Problem] = []
    servers: list[PlainCollector | None] = []
    for path, _, spec in _given(wide):
        where = (*wide.path, *path, "service")
        result = tuple(resolve_service(document, where, spec.service, spec.port, catalog, root))
        problems += [each for each in result if isinstance(each, Problem)]
        servers.append(next((each for each in result if not isinstance(each, Problem)), None))
    return tuple(servers), tuple(problems)


def _given(wide: MeshWide) -> Iterator[tuple[FieldPath, str, api.ExtAuthzHttp | api.ExtAuthzGrpc]]:
    for index, provider in enumerate(wide.spec.extension_providers):
        path: FieldPath = ("extensionProviders", index)
        if provider.envoy_ext_authz_http is not None:
            yield (*path, "envoyExtAuthzHttp"), provider.name, provider.envoy_ext_authz_http
        if provider.envoy_ext_authz_grpc is not None:
            yield (*path, "envoyExtAuthzGrpc"), provider.name, provider.envoy_ext_authz_grpc


def _authorizer(
    name: str, spec: api.ExtAuthzHttp | api.ExtAuthzGrpc, server: PlainCollector, origin: Origin
) -> Authorizer:
    http = spec if isinstance(spec, api.ExtAuthzHttp) else None
    body = spec.include_request_body_in_check
    authorizer = Authorizer(
        name,
        collector(server),
        grpc=http is None,
        origin=origin,
        timeout=spec.timeout,
        fail_open=spec.fail_open,
        error_status=spec.status_on_error,
        new_route=spec.clear_route_cache,
        request_headers=None,
        body=AskedBody(body.max_request_bytes, body.allow_partial_message, body.pack_as_bytes) if body else None,
    )
    if http is None:
        return authorizer
    return replace(
        authorizer,
        path_prefix=http.path_prefix,
        request_headers=header_patterns((*http.include_request_headers_in_check, *http.include_headers_in_check)),
        more_headers=tuple(sorted(http.include_additional_headers_in_check.items())),
        upstream_headers=header_patterns(http.headers_to_upstream_on_allow),
        refusal_headers=header_patterns(http.headers_to_downstream_on_deny),
        allowed_headers=header_patterns(http.headers_to_downstream_on_allow),
    )


def header_patterns(names: tuple[str, ...]) -> tuple[Pattern, ...]:
    """Names of headers, perhaps with ``*`` at one end."""
    return tuple([_pattern(name.lower()) for name in names])


def _pattern(name: str) -> Pattern:
    if name.startswith("*"):
        return Pattern(PatternKind.SUFFIX, name[1:])
    if name.endswith("*"):
        return Pattern(PatternKind.PREFIX, name[:-1])
    return Pattern(PatternKind.EXACT, name)


def with_authorizers(access: Access, authorizers: Authorizers, own: tuple[str, ...] = ()) -> Access:
    """`access` with those whom its CUSTOM policies name, at most `MOST_ASKED`; policies with others close the place.

    Workloads of the services `own` are not asked about calls to themselves: that question would be such a call again.
    A policy whose provider cannot be asked is `Closed` by now.
    """
    found: dict[str, Authorizer] = {}
    closed: list[Closed] = []
    for policy in access.enforced(Action.CUSTOM):
        authorizer = authorizers.by_name.get(policy.provider)
        if authorizer is None or (authorizer.server.backend is not None and authorizer.server.backend.host in own):
            continue
        if authorizer.name in found or len(found) < MOST_ASKED:
            found[authorizer.name] = authorizer
        else:
            closed.append(Closed(policy.origin, _TOO_MANY, policy.object))
    if not found:
        return access
    return replace(access, authorizers=tuple(found.values()), closed=(*access.closed, *closed))


def ask(
    memo: Memo, accesses: tuple[Access, ...], authorizers: Authorizers, frontends: tuple[Frontend, ...]
) -> tuple[Access, ...]:
    """What is asked before the ports of a workload that these Services select, with those who are asked."""
    if not authorizers.by_name:
        return accesses
    own = tuple([frontend.host for frontend in frontends])
    return tuple([memo(with_authorizers, access, authorizers, own) for access in accesses])


def asked_keys(accesses: tuple[Access, ...]) -> tuple[PlainKey, ...]:
    """The Services that are asked, each once and sorted."""
    servers = servers_of(authorizer for access in accesses for authorizer in access.authorizers)
    found = {server.backend for server, _ in servers if server.backend is not None}
    return tuple(sorted((key.host, key.port, key.subset) for key in found))


def crowded(access: AccessPolicies) -> tuple[Problem, ...]:
    """Policies with a provider more than can be asked about one call, as far as scopes tell: those of a namespace's all
    workloads and of one selector or target together."""
    found: dict[Problem, None] = {}
    for space in (*access.namespaces.values(), access.elsewhere):
        asking = [each for each in space.attachments if _asks(each)]
        scopes = dict.fromkeys(each.scope for each in asking)
        for scope in scopes:
            together = [
                each for each in asking if each.scope == scope or not (each.scope.selector or each.scope.target)
            ]
            providers = dict.fromkeys(_provider(each) for each in together)
            for name in list(providers)[MOST_ASKED:]:
                found.update({_crowded(each): None for each in together if _provider(each) == name})
    return tuple(found)


def _asks(attachment: Attachment) -> bool:
    policy = attachment.policy
    return isinstance(policy, AccessPolicy) and policy.action is Action.CUSTOM and not policy.dry_run


def _provider(attachment: Attachment) -> str:
    return attachment.policy.provider if isinstance(attachment.policy, AccessPolicy) else ""


def _crowded(attachment: Attachment) -> Problem:
    policy = attachment.policy
    message = f"{_TOO_MANY}, so nobody may call where this one comes third"
    expected = f"at most {MOST_ASKED} providers for the same workloads"
    return Problem(Severity.ERROR, "too-many-providers", message, policy.origin, policy.object, (), expected)
