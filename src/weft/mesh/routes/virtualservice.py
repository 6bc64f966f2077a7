"""VirtualService: which hosts and gateways it claims, what it refers to, and its rules in document order.

The decoder has put old spellings into the new ones. https://istio.io/latest/docs/reference/config/networking/virtual-service/
"""

from __future__ import annotations

import base64
from collections.abc import Iterator, Mapping
from dataclasses import replace

from weft.mesh.policies.referencegrant import Grants
from weft.mesh.routes.claims import claim_problem
from weft.mesh.routes.kind import (
    MESH,
    THE_MESH,
    Claim,
    Claims,
    ConnectionRules,
    Converted,
    Layer,
    MeshParent,
    ParentRef,
    Referent,
    RouteKind,
)
from weft.mesh.routes.reach import Attempt
from weft.mesh.routes.rules import Action, Cors, Fault, PathRewrite, Redirect, RequestMatch, Respond, Rule
from weft.mesh.routes.virtualservice_connections import (
    EFFECT,
    connection_destinations,
    connection_matches,
    connection_rules,
    layers_of,
    outside_connections_of,
    tls_port_problems,
)
from weft.mesh.routes.virtualservice_delegates import joining_problems, nothing_left, own_rules, source_of
from weft.mesh.routes.virtualservice_forward import Destinations, build_forward, header_changes, split_host
from weft.mesh.routes.virtualservice_matches import (
    AnyMatch,
    build_match,
    build_source,
    claimed_sides,
    gateway_key,
    http_matches,
    idle_matches,
    in_force,
    matches_of,
    text_match,
)
from weft.mesh.services.catalog import Catalog
from weft.mesh.services.exports import Exports, exports_of
from weft.mesh.services.references import referents_of
from weft.model.document import Document
from weft.model.labels import Labels, labels_from_mapping
from weft.model.origin import FieldPath
from weft.model.problem import Problem
from weft.schema.kinds import virtualservice as api
from weft.schema.rules.virtualservice import GRPC_STATUSES

VirtualServiceDocument = Document[api.VirtualServiceSpec]


class VirtualServiceKind(RouteKind[api.VirtualServiceSpec]):
    """A VirtualService owns its hosts alone inside the mesh. At gateways VirtualServices of one host merge."""

    kind = "VirtualService"
    exclusive = True

    def claims(self, document: VirtualServiceDocument, catalog: Catalog) -> Claims:
        """Its hosts, if it is for sidecars."""
        namespace = document.key.namespace
        problems = list(joining_problems(document))
        if MESH not in claimed_sides(document.spec, namespace) or nothing_left(document):
            return Claims((), tuple(problems))
        claims: list[Claim] = []
        for index, host in enumerate(document.spec.hosts):
            path: FieldPath = ("spec", "hosts", index)
            name = catalog.meant(host, namespace)
            bad = claim_problem(document, path, name, catalog, layers_of(document.spec))
            if bad is None:
                claims.append(Claim(name, 0, path))
            else:
                problems.append(bad)
        problems.extend(tls_port_problems(document, catalog) if claims else ())
        return Claims(tuple(claims), tuple(problems))

    def mesh_parents(self, document: VirtualServiceDocument) -> tuple[MeshParent, ...]:
        """The mesh, if it is for sidecars."""
        sides = claimed_sides(document.spec, document.key.namespace)
        return (MeshParent(THE_MESH, ("spec", "hosts")),) if MESH in sides and document.spec.hosts else ()

    def parents(self, document: VirtualServiceDocument, catalog: Catalog) -> tuple[ParentRef, ...]:
        """Its gateways, each with all of its hosts."""
        spec, namespace = document.spec, document.key.namespace
        named = [(catalog.full_name(host, namespace), index) for index, host in enumerate(spec.hosts)]
        hosts: tuple[tuple[str, FieldPath], ...] = tuple((name, ("spec", "hosts", index)) for name, index in named)
        return tuple(
            ParentRef(gateway_key(name, namespace), ("spec", "gateways", index), hosts, selecting=True)
            for index, name in enumerate(spec.gateways)
            if name != MESH
        )

    def referents(
        self,
        document: VirtualServiceDocument,
        side: str,  # noqa: ARG002 - anybody may send to any service
        catalog: Catalog,
        grants: Grants,  # noqa: ARG002
    ) -> tuple[Referent, ...]:
        """Those of `destination_hosts`."""
        return referents_of(destination_hosts(document), document.key.namespace, catalog)

    def rules(
        self, document: VirtualServiceDocument, port: int, side: str, referents: tuple[Referent, ...]
    ) -> Converted:
        """Its rules whose matches are for this port and side. Among those of others the oldest document comes first,
        then the first by name and namespace; rules for every request come after all others (Istio's gateways)."""
        found = dict(zip(destination_hosts(document), referents, strict=True))
        destinations = Destinations(document, port, found, [], [])
        order = (document.created, document.key.name, document.key.namespace)
        rules = [
            _rule(document, index, place, http, match, destinations)
            for index, http in enumerate(document.spec.http)
            for place, match in enumerate(matches_of(http))
            if in_force(match, document.key.namespace, port, side)
        ]
        return Converted(
            rules=tuple(rules),
            precedence=tuple((rule.match.everything, *order, index) for index, rule in enumerate(rules)),
            problems=tuple(dict.fromkeys(destinations.problems)),
            subsets=tuple(dict.fromkeys(destinations.subsets)),
        )

    def connections(
        self,
        document: VirtualServiceDocument,
        port: int,
        side: str,
        tls: bool | None,
        referents: tuple[Referent, ...],
    ) -> ConnectionRules:
        """Its tls and tcp rules whose matches are for this port and side."""
        found = dict(zip(destination_hosts(document), referents, strict=True))
        destinations = Destinations(document, port, found, [], [], EFFECT)
        rules = tuple(connection_rules(destinations, side, tls))
        problems, subsets = dict.fromkeys(destinations.problems), dict.fromkeys(destinations.subsets)
        return ConnectionRules(rules, tuple(problems), tuple(subsets))

    def layers(self, document: VirtualServiceDocument) -> tuple[Layer, ...]:
        """Those of its http rules, and of its tls and tcp rules."""
        return layers_of(document.spec)

    def carried_by(self, document: VirtualServiceDocument, protocol: str, *, opened: bool) -> bool:
        """Requests by http rules, TLS that is passed on by tls rules, other connections by tcp rules."""
        if protocol in ("HTTP", "HTTPS"):
            return bool(document.spec.http)
        if protocol == "TLS" and not opened:
            return bool(document.spec.tls)
        return protocol in ("TLS", "TCP") and bool(document.spec.tcp)

    def outside_connections(self, document: VirtualServiceDocument) -> tuple[tuple[int, bool], ...]:
        """See `outside_connections_of`."""
        return outside_connections_of(document.spec)

    def subsets(self, document: VirtualServiceDocument, referents: tuple[Referent, ...]) -> tuple[tuple[str, str], ...]:
        """Those of its destinations and mirrors."""
        found = dict(zip(destination_hosts(document), referents, strict=True))
        named = ((found[each.host][0], each.subset) for each in _destinations(document) if each.subset)
        return tuple(dict.fromkeys((frontend.host, subset) for frontend, subset in named if frontend is not None))

    def mentioned(self, document: VirtualServiceDocument) -> tuple[tuple[str, FieldPath], ...]:
        """The gateways of its matches."""
        namespace = document.key.namespace
        return tuple(
            (gateway_key(name, namespace), (*path, "gateways", number))
            for path, match in _matches(document)
            for number, name in enumerate(match.gateways)
            if name != MESH
        )

    def fields(self, document: VirtualServiceDocument, index: int, place: int) -> tuple[FieldPath, FieldPath]:
        """``spec.http[index]``, and its match if it has several."""
        source = source_of(document, index)
        if source.document.key != document.key:
            return source.root, source.root
        path = source.path
        return path, (*path, "match", place) if len(document.spec.http[index].match) > 1 else path

    def attempts(self, document: VirtualServiceDocument) -> tuple[Attempt, ...]:
        """Every match, in the order written."""
        return tuple(
            Attempt(
                document,
                *self.fields(document, index, place),
                build_match(match),
                build_source(match),
                match.port or 0,
                frozenset(gateway_key(name, document.key.namespace) for name in match.gateways),
            )
            for index, http in enumerate(document.spec.http)
            for place, match in enumerate(matches_of(http))
        )

    def idle(
        self, document: VirtualServiceDocument, places: Mapping[str, frozenset[int]], *, for_all: bool
    ) -> tuple[Problem, ...]:
        """See `idle_matches`."""
        return idle_matches(document, _matches(document), places, for_all=for_all)

    def exports(self, document: VirtualServiceDocument, default: tuple[str, ...]) -> Exports:
        """As exportTo says."""
        return exports_of(document.spec.export_to, document.key.namespace, default)

    def selectors(self, document: VirtualServiceDocument) -> tuple[Labels, ...]:
        """The sourceLabels of its matches."""
        every = (*http_matches(document.spec), *connection_matches(document.spec))
        matches = [match for _, match in every if match.source_labels]
        return tuple({labels_from_mapping(match.source_labels): None for match in matches})


def _matches(document: VirtualServiceDocument) -> tuple[tuple[FieldPath, AnyMatch], ...]:
    """Those that stand in the document itself, each with its field."""
    own = own_rules(document)
    http = [((*path, "match", place), match) for path, rule in own for place, match in enumerate(rule.match)]
    return (*http, *connection_matches(document.spec))


def destination_hosts(document: VirtualServiceDocument) -> tuple[str, ...]:
    """Every host the document sends requests or copies to, as written, once."""
    return tuple(dict.fromkeys(destination.host for destination in _destinations(document)))


def _destinations(document: VirtualServiceDocument) -> Iterator[api.Destination]:
    for http in document.spec.http:
        yield from (item.destination for item in http.route)
        yield from (item.destination for item in http.mirrors)
        if http.mirror is not None:
            yield http.mirror
    yield from connection_destinations(document.spec)


def _rule(
    document: VirtualServiceDocument,
    index: int,
    place: int,
    http: api.HttpRoute,
    match: api.HttpMatchRequest,
    destinations: Destinations,
) -> Rule:
    request = build_match(match)
    base = http.name or f"{document.key.namespace}/{document.key.name}/{index}"
    source = source_of(document, index)
    found = destinations if source.document is document else replace(destinations, document=source.document)
    _, request_changes = split_host(header_changes(http.headers.request))
    return Rule(
        name=f"{base}.{match.name}" if match.name else base,
        match=request,
        action=_action(source.path, http, request, found),
        origin=source.document.at(*source.path),
        object=document.key,
        index=index,
        place=place,
        source=build_source(match),
        request=request_changes,
        response=header_changes(http.headers.response),
        fault=_fault(http.fault),
        cors=_cors(http.cors_policy),
        stat_prefix=match.stat_prefix,
    )


def _action(
    path: FieldPath,
    http: api.HttpRoute,
    match: RequestMatch,
    destinations: Destinations,
) -> Action:
    if http.redirect is not None:
        return _redirect(http.redirect)
    if http.direct_response is not None:
        return _respond(http.direct_response)
    return build_forward(destinations, path, http, match)


def _redirect(redirect: api.HttpRedirect) -> Redirect:
    """Without a port, another authority stands as it is written (Istio), unless the request's port is asked for."""
    derived = redirect.derive_port or ("FROM_PROTOCOL_DEFAULT" if redirect.authority else "FROM_REQUEST_PORT")
    return Redirect(
        status=redirect.redirect_code,
        scheme=redirect.scheme,
        host=redirect.authority,
        port=redirect.port or 0,
        port_from_request=redirect.port is None and derived == "FROM_REQUEST_PORT",
        path_rewrite=PathRewrite("full", redirect.uri) if redirect.uri else None,
    )


def _respond(response: api.HttpDirectResponse) -> Respond:
    body = response.body
    if body is None:
        return Respond(response.status)
    if body.string is not None:
        return Respond(response.status, body.string.encode())
    return Respond(response.status, base64.b64decode(body.bytes_ or ""))


def _fault(fault: api.HttpFaultInjection | None) -> Fault | None:
    if fault is None:
        return None
    delay, abort = fault.delay, fault.abort
    return Fault(
        delay=delay.fixed_delay if delay else None,
        delay_percent=_share(delay.percentage) if delay else 100.0,
        abort_http=abort.http_status if abort else None,
        abort_grpc=GRPC_STATUSES.index(abort.grpc_status) if abort and abort.grpc_status else None,
        abort_percent=_share(abort.percentage) if abort else 100.0,
    )


def _share(percentage: api.PercentValue | None) -> float:
    """Istio's default is that no request is affected."""
    return percentage.value if percentage else 0.0


def _cors(policy: api.CorsPolicy | None) -> Cors | None:
    if policy is None:
        return None
    return Cors(
        origins=tuple(text_match(origin) for origin in policy.allow_origins),
        methods=policy.allow_methods,
        headers=policy.allow_headers,
        expose=policy.expose_headers,
        max_age=policy.max_age,
        credentials=policy.allow_credentials,
        forward_unmatched=policy.unmatched_preflights != "IGNORE",
    )
