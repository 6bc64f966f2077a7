"""GRPCRoute: its rules in mesh words, each with its precedence. A call is a POST to ``/SERVICE/METHOD``.

https://gateway-api.sigs.k8s.io/reference/spec/#grpcroute, for services https://gateway-api.sigs.k8s.io/mesh/
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from weft.mesh.problems import problem_at
from weft.mesh.routes.backendrefs import BackendFinder
from weft.mesh.routes.gatewayroute import GatewayRouteKind, mirror_percent
from weft.mesh.routes.httproute_filters import header_changes
from weft.mesh.routes.kind import Converted, Referent, RulePrecedence
from weft.mesh.routes.precedence import literal_start
from weft.mesh.routes.reach import Attempt
from weft.mesh.routes.rules import (
    Action,
    Forward,
    HeaderChanges,
    Mirror,
    NamedMatch,
    RequestMatch,
    Rule,
    Session,
    TextMatch,
    WeightedBackend,
)
from weft.mesh.routes.sessions import build_session, with_session
from weft.model.document import Document
from weft.model.origin import FieldPath
from weft.schema.kinds import grpcroute as api
from weft.schema.kinds.httproute import BackendObjectReference, HeaderModifier, RequestMirror

GrpcRouteDocument = Document[api.GrpcRouteSpec]
UNAVAILABLE = 503
"""The HTTP status that proxies tell callers of gRPC as UNAVAILABLE."""
_ANY_NAME = "[^/]+"
_EVERY_CALL = (api.GrpcRouteMatch(),)


class GrpcRouteKind(GatewayRouteKind[api.GrpcRouteSpec]):
    """GRPCRoutes share a host with each other: their rules merge by precedence, never with those of HTTPRoutes."""

    kind = "GRPCRoute"
    specificity = 4

    def references(self, spec: api.GrpcRouteSpec) -> Iterable[BackendObjectReference]:
        """Backends and mirrors."""
        for rule in spec.rules:
            yield from rule.backend_refs
            yield from (item.request_mirror.backend_ref for item in rule.filters if item.request_mirror)

    def rules(
        self,
        document: GrpcRouteDocument,
        port: int,  # noqa: ARG002 - the same on every port and side
        side: str,  # noqa: ARG002
        referents: tuple[Referent, ...],
    ) -> Converted:
        """Its rules, sorted by precedence."""
        found = dict(zip(self.referred(document), referents, strict=True))
        builder = _Builder(document, BackendFinder(self.kind, document, found, []))
        entries: list[tuple[RulePrecedence, Rule]] = []
        for index, rule in enumerate(document.spec.rules):
            action = builder.action(index, rule)
            session = builder.session(index, rule)
            for place, match in enumerate(rule.matches or _EVERY_CALL):
                order, request = call_precedence(document, match, index, place), build_match(match)
                done = with_session(action, session, request)
                entries.append((order, _rule(document, index, place, rule, request, done)))
        entries.sort(key=lambda entry: entry[0])
        problems = tuple(dict.fromkeys(builder.finder.problems))
        return Converted(tuple(rule for _, rule in entries), tuple(order for order, _ in entries), problems)

    def fields(self, document: GrpcRouteDocument, index: int, place: int) -> tuple[FieldPath, FieldPath]:
        """``spec.rules[index]``, and its match if it has several."""
        path: FieldPath = ("spec", "rules", index)
        return path, (*path, "matches", place) if len(document.spec.rules[index].matches) > 1 else path

    def attempts(self, document: GrpcRouteDocument) -> tuple[Attempt, ...]:
        """Every match, sorted by precedence."""
        found = [
            (
                call_precedence(document, match, index, place),
                Attempt(document, *self.fields(document, index, place), build_match(match)),
            )
            for index, rule in enumerate(document.spec.rules)
            for place, match in enumerate(rule.matches or _EVERY_CALL)
        ]
        return tuple(attempt for _, attempt in sorted(found, key=lambda entry: entry[0]))


def call_precedence(document: GrpcRouteDocument, match: api.GrpcRouteMatch, rule: int, place: int) -> RulePrecedence:
    """The sort key of a match: the longest service, the longest method, the most headers; then the oldest route, the
    first by ``namespace/name``, the first rule. Of regular expressions what every name that they match begins with
    counts; a name stands before an expression as long."""
    method = match.method or api.GrpcMethodMatch()
    regex = method.type == "RegularExpression"
    lengths = [literal_start(text) if regex else len(text) for text in (method.service, method.method)]
    return (
        -lengths[0],
        -lengths[1],
        1 if regex else 0,
        -len({item.name.lower() for item in match.headers}),
        *document.precedence,
        rule,
        place,
    )


def build_match(match: api.GrpcRouteMatch) -> RequestMatch:
    """A match in mesh words."""
    headers = {item.name.lower(): item for item in match.headers}
    return RequestMatch(
        path=_path(match.method) if match.method else None,
        headers=tuple(
            NamedMatch(name, TextMatch("exact" if item.type == "Exact" else "regex", item.value))
            for name, item in sorted(headers.items())
        ),
    )


def _path(method: api.GrpcMethodMatch) -> TextMatch:
    if method.type == "RegularExpression":
        service, name = (f"(?:{text})" if text else _ANY_NAME for text in (method.service, method.method))
        return TextMatch("regex", f"/{service}/{name}")
    if not method.method:
        return TextMatch("prefix", f"/{method.service}/")
    if not method.service:
        return TextMatch("regex", f"/{_ANY_NAME}/{method.method}")
    return TextMatch("exact", f"/{method.service}/{method.method}")


def _rule(
    document: GrpcRouteDocument, index: int, place: int, rule: api.GrpcRouteRule, match: RequestMatch, action: Action
) -> Rule:
    request, response = _changes(rule.filters)
    return Rule(
        name=rule.name or f"{document.key.namespace}/{document.key.name}/{index}",
        match=match,
        action=action,
        origin=document.at("spec", "rules", index),
        object=document.key,
        index=index,
        place=place,
        request=request,
        response=response,
    )


def _changes(filters: tuple[api.GrpcRouteFilter, ...]) -> tuple[HeaderChanges, HeaderChanges]:
    request: HeaderModifier | None = None
    response: HeaderModifier | None = None
    for item in filters:
        request, response = item.request_header_modifier or request, item.response_header_modifier or response
    return header_changes(request), header_changes(response)


@dataclass(frozen=True, slots=True)
class _Builder:
    """Builds the actions of one route; what is wrong is added to the problems of the `finder`."""

    document: GrpcRouteDocument
    finder: BackendFinder

    def action(self, index: int, rule: api.GrpcRouteRule) -> Forward:
        path: FieldPath = ("spec", "rules", index)
        backends = [self._backend((*path, "backendRefs", place), ref) for place, ref in enumerate(rule.backend_refs)]
        if not backends:
            message = "the rule has no backends, so callers get the status UNAVAILABLE"
            self.finder.problems.append(problem_at(self.document, path, "no-backend", message, "backendRefs"))
        alive = any(backend.backend is not None for backend in backends)
        mirrors = [
            (self.finder.find((*path, "filters", place, "requestMirror", "backendRef"), mirror.backend_ref), mirror)
            for place, mirror in _mirrors(rule.filters)
        ]
        return Forward(
            backends=tuple(backends) if alive else (),
            mirrors=tuple(Mirror(found, mirror_percent(each)) for found, each in mirrors if found is not None),
            missing_status=UNAVAILABLE,
        )

    def session(self, index: int, rule: api.GrpcRouteRule) -> Session | None:
        """The session of a rule."""
        path: FieldPath = ("spec", "rules", index)
        count = len(rule.backend_refs)
        return build_session(self.document, path, rule.session_persistence, count, self.finder.problems)

    def _backend(self, path: FieldPath, reference: api.GrpcBackendRef) -> WeightedBackend:
        request, response = _changes(reference.filters)
        backend = self.finder.find(path, reference)
        return WeightedBackend(backend=backend, weight=reference.weight, request=request, response=response)


def _mirrors(filters: tuple[api.GrpcRouteFilter, ...]) -> Iterable[tuple[int, RequestMirror]]:
    return ((place, item.request_mirror) for place, item in enumerate(filters) if item.request_mirror)
