"""VirtualService: which hosts and gateways it claims, what it refers to, and its http rules in document order.

The decoder has put old spellings into the new ones. https://istio.io/latest/docs/reference/config/networking/virtual-service/
"""

from __future__ import annotations

import base64
from collections.abc import Iterator, Mapping

from weft.mesh.policies.referencegrant import Grants
from weft.mesh.routes.claims import http_claim_problem
from weft.mesh.routes.kind import MESH, THE_MESH, Claim, Claims, Converted, MeshParent, ParentRef, Referent, RouteKind
from weft.mesh.routes.reach import Attempt
from weft.mesh.routes.rules import Action, Cors, Fault, PathRewrite, Redirect, RequestMatch, Respond, Rule
from weft.mesh.routes.virtualservice_forward import Destinations, build_forward, header_changes, split_host
from weft.mesh.routes.virtualservice_matches import (
    build_match,
    build_source,
    claimed_sides,
    gateway_key,
    idle_matches,
    in_force,
    matches_of,
    text_match,
)
from weft.mesh.services.catalog import Catalog
from weft.mesh.services.references import nearest_host
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
        if MESH not in claimed_sides(document.spec, namespace):
            return Claims()
        claims: list[Claim] = []
        problems: list[Problem] = []
        for index, host in enumerate(document.spec.hosts):
            path: FieldPath = ("spec", "hosts", index)
            name = catalog.full_name(host, namespace)
            bad = http_claim_problem(document, path, name, catalog)
            if bad is None:
                claims.append(Claim(name, 0, path))
            else:
                problems.append(bad)
        return Claims(tuple(claims), tuple(problems))

    def mesh_parents(self, document: VirtualServiceDocument) -> tuple[MeshParent, ...]:
        """The mesh, if it is for sidecars."""
        sides = claimed_sides(document.spec, document.key.namespace)
        return (MeshParent(THE_MESH, ("spec", "hosts")),) if MESH in sides else ()

    def parents(self, document: VirtualServiceDocument, catalog: Catalog) -> tuple[ParentRef, ...]:
        """Its gateways, each with all of its hosts."""
        spec, namespace = document.spec, document.key.namespace
        named = [(catalog.full_name(host, namespace), index) for index, host in enumerate(spec.hosts)]
        hosts: tuple[tuple[str, FieldPath], ...] = tuple((name, ("spec", "hosts", index)) for name, index in named)
        return tuple(
            ParentRef(gateway_key(name, namespace), ("spec", "gateways", index), hosts)
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
        namespace = document.key.namespace
        return tuple(
            (
                frontend := catalog.find(host, namespace),
                True,
                "" if frontend else nearest_host(host, namespace, catalog),
            )
            for host in destination_hosts(document)
        )

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

    def subsets(self, document: VirtualServiceDocument, referents: tuple[Referent, ...]) -> tuple[tuple[str, str], ...]:
        """Those of its destinations and mirrors."""
        found = dict(zip(destination_hosts(document), referents, strict=True))
        named = ((found[each.host][0], each.subset) for each in _destinations(document) if each.subset)
        return tuple(dict.fromkeys((frontend.host, subset) for frontend, subset in named if frontend is not None))

    def mentioned(self, document: VirtualServiceDocument) -> tuple[tuple[str, FieldPath], ...]:
        """The gateways of its matches."""
        namespace = document.key.namespace
        return tuple(
            (gateway_key(name, namespace), ("spec", "http", index, "match", place, "gateways", number))
            for index, http in enumerate(document.spec.http)
            for place, match in enumerate(http.match)
            for number, name in enumerate(match.gateways)
            if name != MESH
        )

    def fields(self, document: VirtualServiceDocument, index: int, place: int) -> tuple[FieldPath, FieldPath]:
        """``spec.http[index]``, and its match if it has several."""
        path: FieldPath = ("spec", "http", index)
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
        return idle_matches(document, places, for_all=for_all)

    def selectors(self, document: VirtualServiceDocument) -> tuple[Labels, ...]:
        """The sourceLabels of its matches."""
        matches = [match for http in document.spec.http for match in http.match if match.source_labels]
        return tuple({labels_from_mapping(match.source_labels): None for match in matches})


def destination_hosts(document: VirtualServiceDocument) -> tuple[str, ...]:
    """Every host the document sends requests or copies to, as written, once."""
    return tuple(dict.fromkeys(destination.host for destination in _destinations(document)))


def _destinations(document: VirtualServiceDocument) -> Iterator[api.Destination]:
    for http in document.spec.http:
        yield from (item.destination for item in http.route)
        yield from (item.destination for item in http.mirrors)
        if http.mirror is not None:
            yield http.mirror


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
    _, request_changes = split_host(header_changes(http.headers.request))
    return Rule(
        name=f"{base}.{match.name}" if match.name else base,
        match=request,
        action=_action(index, http, request, destinations),
        origin=document.at("spec", "http", index),
        object=document.key,
        index=index,
        place=place,
        source=build_source(match),
        request=request_changes,
        response=header_changes(http.headers.response),
        fault=_fault(http.fault),
        cors=_cors(http.cors_policy),
    )


def _action(
    index: int,
    http: api.HttpRoute,
    match: RequestMatch,
    destinations: Destinations,
) -> Action:
    if http.redirect is not None:
        return _redirect(http.redirect)
    if http.direct_response is not None:
        return _respond(http.direct_response)
    return build_forward(destinations, index, http, match)


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
