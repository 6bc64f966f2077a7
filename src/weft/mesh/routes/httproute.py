"""HTTPRoute: which hosts and gateways it claims, what it refers to, and its rules, each with its precedence.

https://gateway-api.sigs.k8s.io/reference/spec/#httproute, for services https://gateway-api.sigs.k8s.io/mesh/
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from weft.mesh.access.guard import Authorizer
from weft.mesh.problems import problem_at
from weft.mesh.routes.backendrefs import BackendFinder
from weft.mesh.routes.gatewayroute import GatewayRouteKind, mirror_percent
from weft.mesh.routes.httproute_filters import Filters, build_authorizer, build_redirect, join_filters
from weft.mesh.routes.kind import Converted, Referent, RulePrecedence
from weft.mesh.routes.precedence import rule_precedence
from weft.mesh.routes.reach import Attempt
from weft.mesh.routes.rules import (
    Action,
    Forward,
    Mirror,
    NamedMatch,
    RequestMatch,
    Respond,
    Retry,
    Rule,
    Session,
    TextMatch,
    WeightedBackend,
)
from weft.mesh.routes.sessions import build_session, with_session
from weft.model.document import Document
from weft.model.origin import FieldPath
from weft.schema.kinds import httproute as api

HttpRouteDocument = Document[api.HttpRouteSpec]
CONNECTION_ERRORS = ("connect-failure", "refused-stream", "reset")
"""What GEP-1731 wants retried besides the codes."""


class HttpRouteKind(GatewayRouteKind[api.HttpRouteSpec]):
    """HTTPRoutes share a host: their rules merge by precedence."""

    kind = "HTTPRoute"
    specificity = 3

    def references(self, spec: api.HttpRouteSpec) -> Iterable[api.BackendObjectReference]:
        """Backends, mirrors, and who is asked."""
        for rule in spec.rules:
            yield from rule.backend_refs
            yield from (item.request_mirror.backend_ref for item in rule.filters if item.request_mirror)
            yield from (item.external_auth.backend_ref for item in rule.filters if item.external_auth)

    def rules(
        self,
        document: HttpRouteDocument,
        port: int,  # noqa: ARG002 - the same on every port and side
        side: str,  # noqa: ARG002
        referents: tuple[Referent, ...],
    ) -> Converted:
        """Its rules, sorted by precedence."""
        found = dict(zip(self.referred(document), referents, strict=True))
        builder = _Builder(document, BackendFinder(self.kind, document, found, []))
        entries: list[tuple[RulePrecedence, Rule]] = []
        for index, rule in enumerate(document.spec.rules):
            filters = join_filters(rule.filters)
            authorizer = builder.authorizer(index, filters)
            asks = filters.external is not None
            action = Respond(500) if asks and authorizer is None else builder.action(index, rule, filters)
            session = builder.session(index, rule)
            for place, match in enumerate(rule.matches or (api.RouteMatch(),)):
                request = build_match(match)
                done = with_session(action, session, request)
                order = rule_precedence(document, request, index, place, path_length=len(match.path.value))
                entries.append((order, _rule(document, index, place, rule, request, done, filters, authorizer)))
        entries.sort(key=lambda entry: entry[0])
        rules = tuple(rule for _, rule in entries)
        return Converted(rules, tuple(order for order, _ in entries), tuple(dict.fromkeys(builder.finder.problems)))

    def fields(self, document: HttpRouteDocument, index: int, place: int) -> tuple[FieldPath, FieldPath]:
        """``spec.rules[index]``, and its match if it has several."""
        path: FieldPath = ("spec", "rules", index)
        return path, (*path, "matches", place) if len(document.spec.rules[index].matches) > 1 else path

    def attempts(self, document: HttpRouteDocument) -> tuple[Attempt, ...]:
        """Every match, sorted by precedence."""
        found = [
            (
                rule_precedence(document, request, index, place, path_length=len(match.path.value)),
                Attempt(document, *self.fields(document, index, place), request),
            )
            for index, rule in enumerate(document.spec.rules)
            for place, match in enumerate(rule.matches or (api.RouteMatch(),))
            for request in (build_match(match),)
        ]
        return tuple(attempt for _, attempt in sorted(found, key=lambda entry: entry[0]))


def _rule(
    document: HttpRouteDocument,
    index: int,
    place: int,
    rule: api.RouteRule,
    match: RequestMatch,
    action: Action,
    filters: Filters,
    authorizer: Authorizer | None,
) -> Rule:
    return Rule(
        name=rule.name or f"{document.key.namespace}/{document.key.name}/{index}",
        match=match,
        action=action,
        origin=document.at("spec", "rules", index),
        object=document.key,
        index=index,
        place=place,
        request=filters.request,
        response=filters.response,
        cors=filters.cors,
        authorizer=authorizer,
    )


def build_match(match: api.RouteMatch) -> RequestMatch:
    """A match in mesh words."""
    headers = {item.name.lower(): item for item in match.headers}
    query = {item.name: item for item in match.query_params}
    return RequestMatch(
        path=_path(match.path),
        method=TextMatch("exact", match.method) if match.method else None,
        headers=tuple(NamedMatch(name, _value(item)) for name, item in sorted(headers.items())),
        query=tuple(NamedMatch(name, _value(item)) for name, item in sorted(query.items())),
    )


def _path(path: api.PathMatch) -> TextMatch:
    match path.type:
        case "Exact":
            return TextMatch("exact", path.value)
        case "RegularExpression":
            return TextMatch("regex", path.value)
        case _:
            return TextMatch("segment-prefix", path.value.rstrip("/") or "/")


def _value(item: api.HeaderMatch | api.QueryParamMatch) -> TextMatch:
    return TextMatch("exact" if item.type == "Exact" else "regex", item.value)


@dataclass(frozen=True, slots=True)
class _Builder:
    """Builds the actions of one route; what is wrong is added to the problems of the `finder`."""

    document: HttpRouteDocument
    finder: BackendFinder

    def action(self, index: int, rule: api.RouteRule, filters: Filters) -> Action:
        if filters.redirect is not None:
            return build_redirect(filters.redirect)
        path: FieldPath = ("spec", "rules", index)
        backends = [self._backend((*path, "backendRefs", place), ref) for place, ref in enumerate(rule.backend_refs)]
        if not backends:
            message = "the rule has no backends, so it answers 500"
            self.finder.problems.append(problem_at(self.document, path, "no-backend", message, "backendRefs"))
        alive = any(backend.backend is not None for backend in backends)
        timeouts = rule.timeouts or api.RouteTimeouts()
        return Forward(
            backends=tuple(backends) if alive else (),
            timeout=timeouts.request,
            retry=_retry(rule.retry, timeouts.backend_request or None),
            per_try_timeout=timeouts.backend_request or None,
            host_rewrite=filters.host,
            path_rewrite=filters.path,
            mirrors=self._mirrors(path, filters),
            websocket=any(self.finder.speaks_websocket(reference) for reference in rule.backend_refs),
        )

    def session(self, index: int, rule: api.RouteRule) -> Session | None:
        """The session of a rule."""
        path: FieldPath = ("spec", "rules", index)
        count = len(rule.backend_refs)
        return build_session(self.document, path, rule.session_persistence, count, self.finder.problems)

    def authorizer(self, index: int, filters: Filters) -> Authorizer | None:
        """Who is asked about the rule's requests. Where that cannot be known, nothing passes."""
        if filters.external is None:
            return None
        place, spec = filters.external
        path: FieldPath = ("spec", "rules", index, "filters", place, "externalAuth")
        backend = self.finder.find((*path, "backendRef"), spec.backend_ref)
        name = f"{self.document.key.namespace}/{self.document.key.name}/{index}"
        return None if backend is None else build_authorizer(spec, backend, name, self.document.at(*path))

    def _backend(self, path: FieldPath, reference: api.BackendRef) -> WeightedBackend:
        filters = join_filters(reference.filters)
        return WeightedBackend(
            backend=self.finder.find(path, reference),
            weight=reference.weight,
            request=filters.request,
            response=filters.response,
            host_rewrite=filters.host,
            path_rewrite=filters.path,
        )

    def _mirrors(self, path: FieldPath, filters: Filters) -> tuple[Mirror, ...]:
        found = [
            (self.finder.find((*path, "filters", place, "requestMirror", "backendRef"), mirror.backend_ref), mirror)
            for place, mirror in filters.mirrors
        ]
        return tuple(Mirror(backend, mirror_percent(mirror)) for backend, mirror in found if backend is not None)


def _retry(retry: api.RouteRetry | None, per_try: float | None) -> Retry | None:
    """GEP-1731 and GEP-1742. A time limit for each try alone keeps the default conditions."""
    if retry is None:
        return None
    attempts = 1 if retry.attempts is None else retry.attempts
    return Retry(attempts, CONNECTION_ERRORS, retry.codes, per_try, retry.backoff, other_host=True)
