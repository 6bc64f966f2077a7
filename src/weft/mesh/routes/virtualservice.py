"""VirtualService: its http rules as Rules, in document order. The decoder has put old spellings into the new ones."""

from __future__ import annotations

import base64

from weft.mesh.policies.destinationrule import Target
from weft.mesh.routes.converted import MESH, Converted, trouble
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
from weft.model.document import Document
from weft.model.labels import labels_from_mapping
from weft.model.problem import Problem
from weft.schema.kinds import virtualservice as api
from weft.schema.rules.virtualservice import GRPC_STATUSES

VirtualServiceDocument = Document[api.VirtualServiceSpec]
EVERY_REQUEST = api.HttpMatchRequest()


def destination_hosts(document: VirtualServiceDocument) -> tuple[str, ...]:
    """Every host the document sends requests or copies to, as written, once."""
    hosts: dict[str, None] = {}
    for http in document.spec.http:
        named = [item.destination for item in http.route] + [item.destination for item in http.mirrors]
        for destination in [*named, *([http.mirror] if http.mirror else [])]:
            hosts[destination.host] = None
    return tuple(hosts)


def convert_virtual_service(
    document: VirtualServiceDocument, port: int, side: str, targets: tuple[Target | None, ...]
) -> Converted:
    """The rules in force on a service port or gateway port.

    `side` is ``mesh`` or the gateway's ``namespace/name``; `targets` are those of `destination_hosts`, in that order.
    """
    problems: list[Problem] = []
    found = dict(zip(destination_hosts(document), targets, strict=True))
    destinations = Destinations(document, port, found, problems)
    rules: list[Rule] = []
    for index, http in enumerate(document.spec.http):
        matches = [
            item for item in http.match or (EVERY_REQUEST,) if _in_force(item, document.key.namespace, port, side)
        ]
        if not matches:
            continue
        for match in matches:
            rules.append(_rule(document, index, http, match, destinations))
    return Converted(tuple(rules), tuple((index,) for index in range(len(rules))), tuple(dict.fromkeys(problems)))


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
        action=_action(document, index, http, request, destinations),
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
    document: VirtualServiceDocument,
    index: int,
    http: api.HttpRoute,
    match: RequestMatch,
    destinations: Destinations,
) -> Action:
    if http.redirect is not None:
        return _redirect(http.redirect)
    if http.direct_response is not None:
        return _respond(http.direct_response)
    if not http.route:
        destinations.problems.append(
            trouble(
                document,
                ("spec", "http", index),
                "no-destination",
                "the rule says neither where requests go nor how to answer them, so it answers 503",
                "one of route, redirect, directResponse",
            )
        )
        return Respond(503)
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


def text_match(match: api.StringMatch | api.HeaderValueMatch, *, ignore_case: bool = False) -> TextMatch:
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
    )


def claimed_sides(spec: api.VirtualServiceSpec, namespace: str) -> tuple[str, ...]:
    """The sides a document of `namespace` is for: ``mesh`` or gateways as ``namespace/name``."""
    return tuple(dict.fromkeys(gateway_key(name, namespace) for name in spec.gateways or (MESH,)))


def gateway_key(name: str, namespace: str) -> str:
    """A gateway's name in a document of `namespace` as ``namespace/name``; ``mesh`` stays."""
    return name if name == MESH or "/" in name else f"{namespace}/{name}"
