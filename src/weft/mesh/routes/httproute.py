"""HTTPRoute: its rules as Rules, each with its precedence."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from weft.mesh.policies.destinationrule import Target
from weft.mesh.routes.converted import Converted, RulePrecedence, reach, trouble
from weft.mesh.routes.httproute_filters import Filters, build_redirect, join_filters
from weft.mesh.routes.precedence import rule_precedence
from weft.mesh.routes.rules import (
    NO_BACKEND,
    Action,
    Forward,
    HashKey,
    Mirror,
    NamedMatch,
    RequestMatch,
    Retry,
    Rule,
    TextMatch,
    WeightedBackend,
)
from weft.model.document import Document
from weft.model.origin import PathPart
from weft.model.problem import Problem
from weft.schema.kinds import httproute as api

HttpRouteDocument = Document[api.HttpRouteSpec]
CONNECTION_ERRORS = ("connect-failure", "refused-stream", "reset")
"""What GEP-1731 wants retried besides the codes."""


@dataclass(frozen=True, slots=True)
class Referent:
    """What a backendRef names: a service if there is one, and whether the route may refer to it."""

    target: Target | None
    granted: bool


def backend_references(document: HttpRouteDocument) -> tuple[tuple[str, str], ...]:
    """(name, namespace) of every service the route sends requests or copies to, once."""
    found: dict[tuple[str, str], None] = {}
    for reference in _references(document.spec):
        found[(reference.name, reference.namespace or document.key.namespace)] = None
    return tuple(found)


def parent_services(document: HttpRouteDocument) -> tuple[tuple[str, str], ...]:
    """(name, namespace) of every service the route is attached to."""
    parents = [parent for parent in document.spec.parent_refs if parent.kind == "Service"]
    return tuple((parent.name, parent.namespace or document.key.namespace) for parent in parents)


def _references(spec: api.HttpRouteSpec) -> Iterable[api.BackendObjectReference]:
    for rule in spec.rules:
        yield from rule.backend_refs
        yield from (item.request_mirror.backend_ref for item in rule.filters if item.request_mirror)


def convert_http_route(
    document: HttpRouteDocument, targets: tuple[Target | None, ...], granted: tuple[bool, ...]
) -> Converted:
    """The rules of a route. `targets` and `granted` are those of `backend_references`, in that order."""
    names = backend_references(document)
    referents = {name: Referent(target, may) for name, target, may in zip(names, targets, granted, strict=True)}
    builder = _Builder(document, referents, [])
    entries: list[tuple[RulePrecedence, Rule]] = []
    for index, rule in enumerate(document.spec.rules):
        filters = join_filters(rule.filters)
        action = builder.action(index, rule, filters)
        for place, match in enumerate(rule.matches or (api.RouteMatch(),)):
            request = build_match(match)
            length = len(match.path.value)
            order = rule_precedence(document, request, index, place, path_length=length)
            entries.append((order, _rule(document, index, rule, request, action, filters)))
    entries.sort(key=lambda entry: entry[0])
    rules = tuple(rule for _, rule in entries)
    return Converted(rules, tuple(order for order, _ in entries), tuple(dict.fromkeys(builder.problems)))


def _rule(
    document: HttpRouteDocument,
    index: int,
    rule: api.RouteRule,
    match: RequestMatch,
    action: Action,
    filters: Filters,
) -> Rule:
    return Rule(
        name=rule.name or f"{document.key.namespace}/{document.key.name}/{index}",
        match=match,
        action=action,
        origin=document.at("spec", "rules", index),
        object=document.key,
        index=index,
        request=filters.request,
        response=filters.response,
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
    """Builds the actions of one route; what is wrong is added to `problems`."""

    document: HttpRouteDocument
    referents: dict[tuple[str, str], Referent]
    problems: list[Problem]

    def action(self, index: int, rule: api.RouteRule, filters: Filters) -> Action:
        if filters.redirect is not None:
            return build_redirect(filters.redirect)
        path: tuple[PathPart, ...] = ("spec", "rules", index)
        built = [self._backend((*path, "backendRefs", place), ref) for place, ref in enumerate(rule.backend_refs)]
        if not built:
            self.problems.append(
                trouble(self.document, path, "no-backend", "the rule has no backends, so it answers 500", "backendRefs")
            )
        alive = any(backend.backend != NO_BACKEND for backend, _ in built)
        timeouts = rule.timeouts or api.RouteTimeouts()
        return Forward(
            backends=tuple(backend for backend, _ in built) if alive else (),
            timeout=timeouts.request or None,
            retry=_retry(rule.retry, timeouts.backend_request or None),
            per_try_timeout=timeouts.backend_request or None,
            host_rewrite=filters.host,
            path_rewrite=filters.path,
            mirrors=self._mirrors(path, filters),
            hash=next((key for _, key in built if key), None),
        )

    def _backend(self, path: tuple[PathPart, ...], reference: api.BackendRef) -> tuple[WeightedBackend, HashKey | None]:
        filters = join_filters(reference.filters)
        found = self._reach(path, reference)
        backend = WeightedBackend(
            backend=found[0] if found else NO_BACKEND,
            weight=reference.weight,
            request=filters.request,
            response=filters.response,
            host_rewrite=filters.host,
            path_rewrite=filters.path,
        )
        return backend, found[1] if found else None

    def _mirrors(self, path: tuple[PathPart, ...], filters: Filters) -> tuple[Mirror, ...]:
        found = [
            (self._reach((*path, "filters", place, "requestMirror", "backendRef"), mirror.backend_ref), mirror)
            for place, mirror in filters.mirrors
        ]
        return tuple(Mirror(reached[0], _percent(mirror)) for reached, mirror in found if reached)

    def _reach(
        self, path: tuple[PathPart, ...], reference: api.BackendObjectReference
    ) -> tuple[str, HashKey | None] | None:
        """The backend's name and hash key, or None with a problem."""
        namespace = reference.namespace or self.document.key.namespace
        referent = self.referents[(reference.name, namespace)]
        what = f"Service {namespace}/{reference.name}"
        if not referent.granted:
            self._bad(
                (*path, "namespace"),
                "reference-not-granted",
                f"{what} is in another namespace that does not allow it",
                f"a ReferenceGrant in namespace '{namespace}' from HTTPRoute in '{self.document.key.namespace}'",
            )
            return None
        target = referent.target
        if target is None:
            self._bad((*path, "name"), "unknown-service", f"there is no {what}", "the name of a Service")
            return None
        ports = ", ".join(str(port.number) for port in target.service.ports)
        if reference.port is None:
            self._bad(path, "missing-port", f"a reference to {what} needs a port", f"port: one of {ports}")
            return None
        if target.service.port(reference.port) is None:
            self._bad((*path, "port"), "unknown-port", f"{what} has no port {reference.port}", f"one of {ports}")
            return None
        reached = reach(target, reference.port)
        return reached.backend, reached.hash

    def _bad(self, path: tuple[PathPart, ...], code: str, message: str, expected: str) -> None:
        self.problems.append(trouble(self.document, path, code, message, expected))


def _percent(mirror: api.RequestMirror) -> float:
    if mirror.fraction is not None:
        return min(100.0, 100.0 * mirror.fraction.numerator / mirror.fraction.denominator)
    return 100.0 if mirror.percent is None else float(mirror.percent)


def _retry(retry: api.RouteRetry | None, per_try: float | None) -> Retry | None:
    """GEP-1731 and GEP-1742. A time limit for each try alone keeps the default conditions."""
    if retry is None:
        return None
    attempts = 1 if retry.attempts is None else retry.attempts
    return Retry(attempts, CONNECTION_ERRORS, retry.codes, per_try, retry.backoff, other_host=True)
