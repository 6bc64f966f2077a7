"""HTTPRoute filters: header changes, rewrites, redirects, mirrors, CORS, and who is asked."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

from weft.mesh.access.guard import AskedBody, Authorizer
from weft.mesh.access.policy import Pattern, PatternKind
from weft.mesh.routes.rules import NO_CHANGES, Cors, HeaderChanges, PathRewrite, Redirect, TextMatch
from weft.mesh.services.service import BackendKey
from weft.mesh.signals import Collector
from weft.model.origin import Origin
from weft.schema.kinds import httproute as api

_ANSWERED = (Pattern(PatternKind.PREFIX, "x-"), Pattern(PatternKind.EXACT, "authorization"))
"""What an application is told of an answer where the route does not say: not what says how long the answer is."""


@dataclass(frozen=True, slots=True)
class Filters:
    """What the filters of a rule or backend come to. `mirrors` and `external` keep their place in the list."""

    request: HeaderChanges = NO_CHANGES
    response: HeaderChanges = NO_CHANGES
    redirect: api.RequestRedirect | None = None
    host: str = ""
    path: PathRewrite | None = None
    mirrors: tuple[tuple[int, api.RequestMirror], ...] = ()
    cors: Cors | None = None
    external: tuple[int, api.ExternalAuth] | None = None


def join_filters(filters: tuple[api.RouteFilter, ...]) -> Filters:
    """The filters of one list together. The decoder sees to it that only the mirror stands more than once."""
    by_type = {item.type: item for item in reversed(filters)}
    request, response = by_type.get("RequestHeaderModifier"), by_type.get("ResponseHeaderModifier")
    redirect, rewrite = by_type.get("RequestRedirect"), by_type.get("URLRewrite")
    url = (rewrite.url_rewrite if rewrite else None) or api.UrlRewrite()
    return Filters(
        request=header_changes(request.request_header_modifier if request else None),
        response=header_changes(response.response_header_modifier if response else None),
        redirect=redirect.request_redirect if redirect else None,
        host=url.hostname or "",
        path=_path_rewrite(url.path),
        mirrors=tuple((place, item.request_mirror) for place, item in enumerate(filters) if item.request_mirror),
        cors=_cors(by_type["CORS"].cors) if "CORS" in by_type else None,
        external=next(((place, item.external_auth) for place, item in enumerate(filters) if item.external_auth), None),
    )


def build_authorizer(spec: api.ExternalAuth, backend: BackendKey, name: str, origin: Origin) -> Authorizer:
    """Who is asked about the requests of a rule. A body that is too long is cut, as the specification wants it."""
    size = spec.forward_body.max_size
    http = spec.http or api.ExternalAuthHttp()
    grpc = spec.grpc or api.ExternalAuthGrpc()
    names = http.allowed_headers if spec.protocol == "HTTP" else grpc.allowed_headers
    authorizer = Authorizer(
        name,
        Collector(backend),
        grpc=spec.protocol == "GRPC",
        origin=origin,
        request_headers=_exact(names) or None,
        body=AskedBody(size, partial=True) if size else None,
    )
    if spec.protocol == "GRPC":
        return authorizer
    upstream = _exact(http.allowed_response_headers) or _ANSWERED
    return replace(authorizer, path_prefix=http.path.rstrip("/"), upstream_headers=upstream)


def _exact(names: tuple[str, ...]) -> tuple[Pattern, ...]:
    return tuple([Pattern(PatternKind.EXACT, name.lower()) for name in names])


def _cors(spec: api.CorsFilter | None) -> Cors | None:
    """Who is not named gets no answer to a preflight request that would let a page go on."""
    if spec is None:
        return None
    return Cors(
        origins=tuple([_origin(origin) for origin in spec.allow_origins]),
        methods=spec.allow_methods,
        headers=spec.allow_headers,
        expose=spec.expose_headers,
        max_age=spec.max_age,
        credentials=spec.allow_credentials,
        forward_unmatched=False,
    )


def _origin(origin: str) -> TextMatch:
    """The ``*`` of a host stands for any number of labels. All else is compared as it is."""
    scheme, _, host = origin.partition("://")
    if origin == "*":
        return TextMatch("present")
    if not host.startswith("*"):
        return TextMatch("exact", origin)
    return TextMatch("regex", f"{scheme}://[^/:@]+{re.escape(host[1:])}")


def build_redirect(redirect: api.RequestRedirect) -> Redirect:
    """A redirect by the specification's rules: a given port stands; a given scheme means that scheme's port; with
    neither, the port the client used stays."""
    return Redirect(
        status=redirect.status_code,
        scheme=redirect.scheme or "",
        host=redirect.hostname or "",
        port=redirect.port or 0,
        port_from_request=redirect.port is None and redirect.scheme is None,
        path_rewrite=_path_rewrite(redirect.path),
    )


def header_changes(modifier: api.HeaderModifier | None) -> HeaderChanges:
    """A header modifier in mesh words, names in lower case."""
    if modifier is None:
        return HeaderChanges()
    return HeaderChanges(
        set=tuple((item.name.lower(), item.value) for item in modifier.set),
        add=tuple((item.name.lower(), item.value) for item in modifier.add),
        remove=tuple(name.lower() for name in modifier.remove),
    )


def _path_rewrite(path: api.PathModifier | None) -> PathRewrite | None:
    if path is None:
        return None
    if path.type == "ReplaceFullPath":
        return PathRewrite("full", path.replace_full_path or "/")
    return PathRewrite("segment-prefix", path.replace_prefix_match or "/")
