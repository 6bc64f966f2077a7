"""Whose documents are whose: what an editor may not change is refused whole, with the object named."""

from __future__ import annotations

from collections.abc import Iterable

from aiohttp import web

from weft.admin.context import ApiContext
from weft.admin.people.calling import principal_of, who_calls
from weft.admin.replies import Refused
from weft.model.document import ObjectKey, key_mapping

_NAMED = 20


def check_editable(
    context: ApiContext, request: web.Request, keys: Iterable[ObjectKey], *, undoing: bool = False
) -> None:
    """Refused (403), and recorded, if any of the documents is not the caller's to change; see `check_changed_here`."""
    check_changed_here(context)
    principal, roots = principal_of(request), root_namespaces(context)
    foreign = [key for key in keys if not principal.may_change(key, roots, undoing=undoing)]
    if not foreign:
        return
    first = foreign[0]
    more = f", and {len(foreign) - 1} more" if len(foreign) > 1 else ""
    why = "the whole mesh" if not first.namespace or first.namespace in roots else f"namespace '{first.namespace}'"
    text = f"nothing was changed: {first}{more}: {principal.name} is {principal.roles}, and this concerns {why}"
    action = f"admin {request.method} {request.path}"
    context.audit.refused(who_calls(request), action, "foreign-document", text, str(first))
    named = [key_mapping(key) for key in foreign[:_NAMED]]
    raise Refused(403, "foreign-document", text, objects=named)


def check_changed_here(context: ApiContext) -> None:
    """Refused (409) where documents come from Kubernetes."""
    if context.kubernetes:
        raise Refused(
            409,
            "owned-by-kubernetes",
            "nothing was changed: documents come from Kubernetes: use kubectl, or weft --context",
        )


def root_namespaces(context: ApiContext) -> frozenset[str]:
    """The namespaces whose documents concern everybody: that in force, and that where the MeshConfig itself stands."""
    mesh = context.compiled.value.mesh
    started = context.collector.snapshot.settings.root_namespace
    return frozenset({started, mesh.settings.root_namespace if mesh else started})
