"""VirtualService: which hosts and gateways it claims, what it refers to, and its http rules in document order.

The decoder has put old spellings into the new ones. https://istio.io/latest/docs/reference/config/networking/virtual-service/
"""

from __future__ import annotations

import base64
from collections.abc import Iterator

from weft.mesh.policies.referencegrant import Grants
from weft.mesh.routes.claims import http_claim_problem
from weft.mesh.routes.kind import MESH, THE_MESH, Claim, Claims, Converted, MeshParent, ParentRef, Referent, RouteKind
from weft.mesh.routes.rules import (
    Action,
    Cors,
    Fault,
    NamedMatch,
    PathRewrite,
    Redirect,
    RequestMatch,
    Respond,
    Rule,
    SourceMatch,
    TextMatch,
)
from weft.mesh.routes.virtualservice_forward import Destinations, build_forward, header_changes, split_host
from weft.mesh.services.catalog import Catalog
from weft.mesh.services.references import nearest_host
from weft.model.document import Document
from weft.model.labels import Labels, labels_from_mapping
from weft.model.origin import FieldPath
from weft.model.problem import Problem
from weft.schema.kinds import virtualservice as api
from weft.schema.rules.virtualservice import GRPC_STATUSES

VirtualServiceDocument = Document[api.VirtualServiceSpec]
EVERY_REQUEST = api.HttpMatchRequest()


class VirtualServiceKind(RouteKind[api.VirtualServiceSpec]):
    """A VirtualService owns its hosts alone."""

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
        """Its rules whose matches are for this port and side."""
        found = dict(zip(destination_hosts(document), referents, strict=True))
        destinations = Destinations(document, port, found, [], [])
        rules = [
            _rule(document, index, http, match, destinations)
            for index, http in enumerate(document.spec.http)
            for match in http.match or (EVERY_REQUEST,)
            if _in_force(match, document.key.namespace, port, side)
        ]
        return Converted(
            rules=tuple(rules),
            precedence=tuple((index,) for index in range(len(rules))),
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


def _in_force(match: api.HttpMatchRequest, namespace: str, port: int, side: str) -> bool:
    gateways = [gateway_key(name, namespace) for name in match.gateways]
    return (match.port is None or port in (0, match.port)) and (not gateways or side in gateways)


def _rule(
    document: VirtualServiceDocument,
    index: int,
    http: api.HttpRoute,
    match: api.HttpMatchRequest,
    destinations: Destinations,
) -> Rule:
    request = _match(match)
    base = http.name or f"{document.key.namespace}/{document.key.name}/{index}"
    _, request_changes = split_host(header_changes(http.headers.request))
    return Rule(
        name=f"{base}.{match.name}" if match.name else base,
        match=request,
        action=_action(index, http, request, destinations),
        origin=document.at("spec", "http", index),
        object=document.key,
        index=index,
        source=SourceMatch(match.source_namespace, labels_from_mapping(match.source_labels)),
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
    return Redirect(
        status=redirect.redirect_code,
        scheme=redirect.scheme,
        host=redirect.authority,
        port=redirect.port or 0,
        port_from_request=redirect.port is None and redirect.derive_port != "FROM_PROTOCOL_DEFAULT",
        path_rewrite=PathRewrite("full", redirect.uri) if redirect.uri else None,
    )


def _respond(response: api.HttpDirectResponse) -> Respond:
    body = response.body
    if body is None:
        return Respond(response.status)
    if body.string is not None:
        return Respond(response.status, body.string.encode())
    return Respond(response.status, base64.b64decode(body.bytes_ or ""))


def text_match(match: api.StringMatch | api.PartMatch | api.PresenceMatch, *, ignore_case: bool = False) -> TextMatch:
    """A StringMatch in mesh words; an empty one asks for presence."""
    if match.exact is not None:
        return TextMatch("exact", match.exact, ignore_case)
    if match.prefix is not None:
        return TextMatch("prefix", match.prefix, ignore_case)
    if match.regex is not None:
        return TextMatch("regex", match.regex)
    return TextMatch("present")


def _match(match: api.HttpMatchRequest) -> RequestMatch:
    headers = [NamedMatch(name.lower(), text_match(value)) for name, value in sorted(match.headers.items())]
    headers += [
        NamedMatch(name.lower(), text_match(value), invert=True)
        for name, value in sorted(match.without_headers.items())
    ]
    query = tuple(NamedMatch(name, text_match(value)) for name, value in sorted(match.query_params.items()))
    return RequestMatch(
        path=text_match(match.uri, ignore_case=match.ignore_uri_case) if match.uri else None,
        method=text_match(match.method) if match.method else None,
        scheme=text_match(match.scheme) if match.scheme else None,
        authority=text_match(match.authority) if match.authority else None,
        headers=tuple(headers),
        query=query,
    )


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


def claimed_sides(spec: api.VirtualServiceSpec, namespace: str) -> tuple[str, ...]:
    """The sides a document of `namespace` is for: ``mesh`` or gateways as ``namespace/name``."""
    return tuple(dict.fromkeys(gateway_key(name, namespace) for name in spec.gateways or (MESH,)))


def gateway_key(name: str, namespace: str) -> str:
    """A gateway's name in a document of `namespace` as ``namespace/name``; ``mesh`` stays."""
    return name if name == MESH or "/" in name else f"{namespace}/{name}"
