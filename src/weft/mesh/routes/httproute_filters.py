"""HTTPRoute filters: header changes, rewrites, redirects and mirrors."""

from __future__ import annotations

from dataclasses import dataclass

from weft.mesh.routes.rules import NO_CHANGES, HeaderChanges, PathRewrite, Redirect
from weft.schema.kinds import httproute as api


@dataclass(frozen=True, slots=True)
class Filters:
    """What the filters of a rule or backend come to. `mirrors` keep their place in the list."""

    request: HeaderChanges = NO_CHANGES
    response: HeaderChanges = NO_CHANGES
    redirect: api.RequestRedirect | None = None
    host: str = ""
    path: PathRewrite | None = None
    mirrors: tuple[tuple[int, api.RequestMirror], ...] = ()


def join_filters(filters: tuple[api.RouteFilter, ...]) -> Filters:
    """The filters of one list together. The decoder sees to it that only the mirror stands more than once."""
    by_type = {item.type: item for item in reversed(filters)}
    request, response = by_type.get("RequestHeaderModifier"), by_type.get("ResponseHeaderModifier")
    redirect, rewrite = by_type.get("RequestRedirect"), by_type.get("URLRewrite")
    url = (rewrite.url_rewrite if rewrite else None) or api.UrlRewrite()
    return Filters(
        request=_changes(request.request_header_modifier if request else None),
        response=_changes(response.response_header_modifier if response else None),
        redirect=redirect.request_redirect if redirect else None,
        host=url.hostname or "",
        path=_path_rewrite(url.path),
        mirrors=tuple((place, item.request_mirror) for place, item in enumerate(filters) if item.request_mirror),
    )


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


def _changes(modifier: api.HeaderModifier | None) -> HeaderChanges:
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
