"""HTTPRoute filters: header changes, rewrites, redirects and mirrors."""

from __future__ import annotations

from dataclasses import dataclass

from weft.mesh.converted import trouble
from weft.mesh.routes import NO_CHANGES, HeaderChanges, PathRewrite, Redirect
from weft.model.document import Document
from weft.model.origin import PathPart
from weft.model.problem import Problem
from weft.schema.kinds import httproute as api


@dataclass(frozen=True, slots=True)
class Filters:
    """What the filters of a rule or backend come to. `mirrors` keep their place in the list; `invalid` when one cannot
    be in force, for then the specification wants an error answer rather than an unfiltered one."""

    request: HeaderChanges = NO_CHANGES
    response: HeaderChanges = NO_CHANGES
    redirect: api.RequestRedirect | None = None
    host: str = ""
    path: PathRewrite | None = None
    mirrors: tuple[tuple[int, api.RequestMirror], ...] = ()
    invalid: bool = False


def rule_filters(
    document: Document[api.HttpRouteSpec],
    path: tuple[PathPart, ...],
    filters: tuple[api.RouteFilter, ...],
    problems: list[Problem],
    *,
    of_backend: bool = False,
) -> Filters:
    """The filters at `path` together. Only the mirror may stand more than once; a backend cannot redirect or mirror."""
    once: dict[str, api.RouteFilter] = {}
    mirrors: list[tuple[int, api.RequestMirror]] = []
    invalid = False
    for place, item in enumerate(filters):
        where = (*path, "filters", place)
        if of_backend and item.type in ("RequestMirror", "RequestRedirect"):
            problems.append(
                trouble(
                    document,
                    where,
                    "unsupported-filter",
                    f"{item.type} is not supported on a single backend, which answers 500",
                    "the filter on the rule",
                )
            )
            invalid = True
        elif item.request_mirror is not None:
            mirrors.append((place, item.request_mirror))
        elif item.type in once:
            problems.append(
                trouble(document, where, "repeated-filter", f"{item.type} stands twice; the first is in force", "one")
            )
        else:
            once[item.type] = item
    if "RequestRedirect" in once and "URLRewrite" in once:
        problems.append(
            trouble(
                document,
                (*path, "filters"),
                "conflicting-filters",
                "RequestRedirect and URLRewrite cannot stand together; the redirect is in force",
                "one of the two",
            )
        )
    request, response = once.get("RequestHeaderModifier"), once.get("ResponseHeaderModifier")
    redirect, rewrite = once.get("RequestRedirect"), once.get("URLRewrite")
    url = (rewrite.url_rewrite if rewrite else None) or api.UrlRewrite()
    return Filters(
        request=_changes(request.request_header_modifier if request else None),
        response=_changes(response.response_header_modifier if response else None),
        redirect=redirect.request_redirect if redirect else None,
        host=url.hostname or "",
        path=_path_rewrite(url.path),
        mirrors=tuple(mirrors),
        invalid=invalid,
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
