"""HTTPRoute: which hosts and gateways it claims, what it refers to, and its rules, each with its precedence.

https://gateway-api.sigs.k8s.io/reference/spec/#httproute, for services https://gateway-api.sigs.k8s.io/mesh/
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from weft.mesh.policies.referencegrant import HTTP_ROUTE, Grants
from weft.mesh.problems import one_of, problem_at
from weft.mesh.routes.claims import http_claim_problem
from weft.mesh.routes.httproute_filters import Filters, build_redirect, join_filters
from weft.mesh.routes.kind import (
    MESH,
    Claim,
    Claims,
    Converted,
    MeshParent,
    ParentRef,
    Referent,
    RouteKind,
    RulePrecedence,
)
from weft.mesh.routes.precedence import rule_precedence
from weft.mesh.routes.reach import Attempt
from weft.mesh.routes.rules import (
    Action,
    Forward,
    Mirror,
    NamedMatch,
    RequestMatch,
    Retry,
    Rule,
    TextMatch,
    WeightedBackend,
)
from weft.mesh.services.catalog import Catalog
from weft.mesh.services.references import unknown_port, unknown_service
from weft.mesh.services.service import BackendKey, Frontend, FrontendPort, Protocol
from weft.model.document import Document, ObjectKey
from weft.model.origin import FieldPath
from weft.model.problem import Problem, Severity
from weft.schema.kinds import httproute as api
from weft.schema.wording import nearest_name

HttpRouteDocument = Document[api.HttpRouteSpec]
CONNECTION_ERRORS = ("connect-failure", "refused-stream", "reset")
"""What GEP-1731 wants retried besides the codes."""


class HttpRouteKind(RouteKind[api.HttpRouteSpec]):
    """HTTPRoutes share a host: their rules merge by precedence."""

    kind = "HTTPRoute"
    exclusive = False

    def claims(self, document: HttpRouteDocument, catalog: Catalog) -> Claims:
        """The services among its parents."""
        problems: list[Problem] = []
        claims: list[Claim] = []
        for index, parent in enumerate(document.spec.parent_refs):
            if parent.kind != "Service":
                continue
            if document.spec.hostnames and not problems:
                problems.append(_ignored_hostnames(document))
            path: FieldPath = ("spec", "parentRefs", index)
            frontend = catalog.named(parent.name, parent.namespace or document.key.namespace)
            bad = _parent_problem(document, path, parent, frontend, catalog)
            if bad is not None:
                problems.append(bad)
            elif frontend is not None:
                port = _parent_port(parent, frontend)
                claims.append(Claim(frontend.host, port.number if port else 0, path))
        return Claims(tuple(claims), tuple(problems))

    def mesh_parents(self, document: HttpRouteDocument) -> tuple[MeshParent, ...]:
        """The services among its parents."""
        namespace = document.key.namespace
        return tuple(
            MeshParent(
                ObjectKey("", "Service", parent.namespace or namespace, parent.name),
                ("spec", "parentRefs", index),
                parent.port or 0,
                parent.section_name or "",
            )
            for index, parent in enumerate(document.spec.parent_refs)
            if parent.kind == "Service"
        )

    def parents(self, document: HttpRouteDocument, catalog: Catalog) -> tuple[ParentRef, ...]:  # noqa: ARG002
        """The Gateways among its parents."""
        spec, namespace = document.spec, document.key.namespace
        hosts = tuple((name.lower(), ("spec", "hostnames", place)) for place, name in enumerate(spec.hostnames))
        found = []
        for index, parent in enumerate(spec.parent_refs):
            if parent.kind == "Gateway":
                path: FieldPath = ("spec", "parentRefs", index)
                gateway = f"{parent.namespace or namespace}/{parent.name}"
                wanted = hosts or (("*", path),)
                found.append(ParentRef(gateway, path, wanted, parent.section_name or "", parent.port or 0))
        return tuple(found)

    def referents(
        self, document: HttpRouteDocument, side: str, catalog: Catalog, grants: Grants
    ) -> tuple[Referent, ...]:
        """Those of `backend_references`. On the mesh side a route that sends its callers to the very service they
        asked for needs nobody's leave."""
        namespace = document.key.namespace
        parents = parent_services(document) if side == MESH else ()
        return tuple(
            (
                frontend := catalog.named(key.name, key.namespace),
                key in parents or grants.allow(HTTP_ROUTE, namespace, key),
                "" if frontend else nearest_name(key.name, catalog.names_in(key.namespace)),
            )
            for key in backend_references(document)
        )

    def rules(
        self,
        document: HttpRouteDocument,
        port: int,  # noqa: ARG002 - the same on every port and side
        side: str,  # noqa: ARG002
        referents: tuple[Referent, ...],
    ) -> Converted:
        """Its rules, sorted by precedence."""
        found = dict(zip(backend_references(document), referents, strict=True))
        builder = _Builder(document, found, [])
        entries: list[tuple[RulePrecedence, Rule]] = []
        for index, rule in enumerate(document.spec.rules):
            filters = join_filters(rule.filters)
            action = builder.action(index, rule, filters)
            for place, match in enumerate(rule.matches or (api.RouteMatch(),)):
                request = build_match(match)
                order = rule_precedence(document, request, index, place, path_length=len(match.path.value))
                entries.append((order, _rule(document, index, place, rule, request, action, filters)))
        entries.sort(key=lambda entry: entry[0])
        rules = tuple(rule for _, rule in entries)
        return Converted(rules, tuple(order for order, _ in entries), tuple(dict.fromkeys(builder.problems)))

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


def is_service(reference: api.BackendObjectReference) -> bool:
    """Whether it refers to a Service, the only kind of backend there is."""
    return (reference.group, reference.kind) == ("", "Service")


def backend_references(document: HttpRouteDocument) -> tuple[ObjectKey, ...]:
    """Every service the route sends requests or copies to, once."""
    return tuple(dict.fromkeys(_service_key(document, reference) for reference in _references(document.spec)))


def parent_services(document: HttpRouteDocument) -> tuple[ObjectKey, ...]:
    """Every service the route is attached to."""
    namespace = document.key.namespace
    parents = [parent for parent in document.spec.parent_refs if parent.kind == "Service"]
    return tuple(ObjectKey("", "Service", parent.namespace or namespace, parent.name) for parent in parents)


def _service_key(document: HttpRouteDocument, reference: api.BackendObjectReference) -> ObjectKey:
    return ObjectKey("", "Service", reference.namespace or document.key.namespace, reference.name)


def _references(spec: api.HttpRouteSpec) -> Iterable[api.BackendObjectReference]:
    for rule in spec.rules:
        yield from (reference for reference in rule.backend_refs if is_service(reference))
        mirrors = (item.request_mirror.backend_ref for item in rule.filters if item.request_mirror)
        yield from (reference for reference in mirrors if is_service(reference))


def _ignored_hostnames(document: HttpRouteDocument) -> Problem:
    message = "hostnames have no meaning for a Service parent and are ignored there"
    path: FieldPath = ("spec", "hostnames")
    return problem_at(document, path, "hostnames-ignored", message, "no hostnames", severity=Severity.WARNING)


def _parent_problem(
    document: HttpRouteDocument,
    path: FieldPath,
    parent: api.ParentReference,
    frontend: Frontend | None,
    catalog: Catalog,
) -> Problem | None:
    if frontend is None:
        namespace = parent.namespace or document.key.namespace
        return unknown_service(
            document, (*path, "name"), parent.name, namespace, nearest_name(parent.name, catalog.names_in(namespace))
        )
    if parent.port is None and parent.section_name is None:
        return http_claim_problem(document, path, frontend.host, catalog)
    field = "port" if parent.section_name is None else "sectionName"
    port = _parent_port(parent, frontend)
    if port is None and parent.section_name is not None:
        return _unknown_section(document, (*path, field), parent, frontend)
    if port is None:
        return unknown_port(document, (*path, field), frontend, parent.port or 0)
    if port.protocol is Protocol.TCP:
        message = f"port {port.number} of {frontend.key} carries TCP, which has no HTTP rules"
        expected = "a port whose appProtocol or name says http"
        return problem_at(document, (*path, field), "not-http", message, expected)
    return None


def _parent_port(parent: api.ParentReference, frontend: Frontend) -> FrontendPort | None:
    """The port of a Service parent that `port` and `sectionName` (the port's name) choose together."""
    if parent.port is None and parent.section_name is None:
        return None
    chosen = (
        port
        for port in frontend.ports
        if parent.port in (None, port.number) and parent.section_name in (None, port.name)
    )
    return next(chosen, None)


def _unknown_section(
    document: HttpRouteDocument, path: FieldPath, parent: api.ParentReference, frontend: Frontend
) -> Problem:
    section = parent.section_name or ""
    names = [port.name for port in frontend.ports if port.name]
    number = f" with number {parent.port}" if parent.port is not None and section in names else ""
    message = f"{frontend.key} has no port called '{section}'{number}"
    near = "" if section in names else nearest_name(section, names)
    return problem_at(document, path, "unknown-port", message, one_of(names, "a port with a name"), nearest=near)


def _rule(
    document: HttpRouteDocument,
    index: int,
    place: int,
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
        place=place,
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
    referents: dict[ObjectKey, Referent]
    problems: list[Problem]

    def action(self, index: int, rule: api.RouteRule, filters: Filters) -> Action:
        if filters.redirect is not None:
            return build_redirect(filters.redirect)
        path: FieldPath = ("spec", "rules", index)
        backends = [self._backend((*path, "backendRefs", place), ref) for place, ref in enumerate(rule.backend_refs)]
        if not backends:
            message = "the rule has no backends, so it answers 500"
            self.problems.append(problem_at(self.document, path, "no-backend", message, "backendRefs"))
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
            websocket=any(self._speaks_websocket(reference) for reference in rule.backend_refs),
        )

    def _speaks_websocket(self, reference: api.BackendRef) -> bool:
        if not is_service(reference):
            return False
        frontend, granted, _ = self.referents[_service_key(self.document, reference)]
        port = frontend.port(reference.port) if frontend and granted and reference.port else None
        return port is not None and port.protocol is Protocol.WEBSOCKET

    def _backend(self, path: FieldPath, reference: api.BackendRef) -> WeightedBackend:
        filters = join_filters(reference.filters)
        return WeightedBackend(
            backend=self._find(path, reference),
            weight=reference.weight,
            request=filters.request,
            response=filters.response,
            host_rewrite=filters.host,
            path_rewrite=filters.path,
        )

    def _mirrors(self, path: FieldPath, filters: Filters) -> tuple[Mirror, ...]:
        found = [
            (self._find((*path, "filters", place, "requestMirror", "backendRef"), mirror.backend_ref), mirror)
            for place, mirror in filters.mirrors
        ]
        return tuple(Mirror(backend, _percent(mirror)) for backend, mirror in found if backend is not None)

    def _find(self, path: FieldPath, reference: api.BackendObjectReference) -> BackendKey | None:
        """The backend, or None with a problem."""
        if not is_service(reference):
            self.problems.append(_invalid_kind(self.document, (*path, "kind"), reference))
            return None
        key = _service_key(self.document, reference)
        frontend, granted, nearest = self.referents[key]
        if not granted:
            message = f"{key} is in another namespace that does not allow it"
            asked = f"a ReferenceGrant in namespace '{key.namespace}' from HTTPRoute in '{self.document.key.namespace}'"
            bad = problem_at(self.document, (*path, "namespace"), "reference-not-granted", message, asked)
        elif frontend is None:
            bad = unknown_service(self.document, (*path, "name"), key.name, key.namespace, nearest)
        elif frontend.port(number := reference.port or 0) is None:
            bad = unknown_port(self.document, (*path, "port"), frontend, number)
        else:
            return BackendKey(frontend.host, number)
        self.problems.append(bad)
        return None


def _invalid_kind(document: HttpRouteDocument, path: FieldPath, reference: api.BackendObjectReference) -> Problem:
    what = f"{reference.kind} of {reference.group or 'the core group'}"
    message = f"{what} cannot be a backend here"
    return problem_at(document, path, "invalid-kind", message, "kind Service")


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
