"""How the Gateways among a route's parents took it: the status of each, and what is wrong with the rules in force."""

from __future__ import annotations

from dataclasses import dataclass

from weft.mesh.gateways.attachment import Attachment
from weft.mesh.memo import Memo
from weft.mesh.policies.destinationrule import DestinationRules
from weft.mesh.routes.acceptance import (
    Parents,
    ParentStatus,
    accepted_conditions,
    resolved_condition,
    unresolved,
)
from weft.mesh.routes.compiled import CompiledRoute, References, references
from weft.mesh.routes.kind import MESH, RouteDocument
from weft.mesh.routes.ownership import Lost
from weft.mesh.services.catalog import Catalog
from weft.model.document import ObjectKey
from weft.model.problem import Problem
from weft.schema.hosts import is_wildcard
from weft.schema.kinds.gateway import GATEWAY_GROUP


@dataclass(frozen=True, slots=True)
class Taken:
    """The status of each Gateway among a route's parents, and what is wrong with the rules that are in force there."""

    parents: Parents = ()
    problems: tuple[Problem, ...] = ()


NOWHERE = Taken()


def references_of_route(
    memo: Memo, _document: RouteDocument, route: CompiledRoute, attachments: tuple[Attachment, ...]
) -> tuple[tuple[References, ...], ...]:
    """For each parent what the route's rules refer to on the ports it gets there, or on any if it gets none."""
    return tuple(
        tuple(
            memo(references, route.kind, route.document, port, attachment.parent.gateway, route.referents)
            for port in sorted({listener.port for listener, _, _ in attachment.hosts}) or (0,)
        )
        for attachment in attachments
    )


def take_route(
    _memo: Memo,
    _document: RouteDocument,
    route: CompiledRoute,
    attachments: tuple[Attachment, ...],
    referred: tuple[tuple[References, ...], ...],
    lost: tuple[Lost, ...],
    catalog: Catalog,
    rules: DestinationRules,
) -> Taken:
    """How each parent took the route. `lost` are the hosts it does not get at Gateways."""
    if not attachments:
        return NOWHERE
    parents: list[ParentStatus] = []
    problems: list[Problem] = []
    for attachment, found in zip(attachments, referred, strict=True):
        parent, bad = attachment.parent, unresolved(route, found, catalog, rules)
        wanted = {(listener.name, host): None for listener, host, _ in attachment.hosts}
        gone = [one for one in lost if one.where[0] == parent.gateway and (one.where[1], one.host) in wanted]
        away = [one for one in gone if not one.behind]
        attached = attachment.problem is None and (len(away) < len(wanted) or not wanted)
        refused = [attachment.problem] if attachment.problem else [one.problem for one in gone]
        conditions = (*accepted_conditions(attached, refused), resolved_condition(bad))
        namespace, _, name = parent.gateway.partition("/")
        missing = ObjectKey(GATEWAY_GROUP, parent.kind, namespace, name)
        key = missing if attachment.gateway is None else attachment.gateway.key
        parents.append(ParentStatus(key, parent.path, conditions, parent.section, parent.port))
        if attached and wanted:
            problems += bad
    return Taken(tuple(parents), tuple(dict.fromkeys(problems)))


def idle_rules(
    _memo: Memo, document: RouteDocument, route: CompiledRoute, attachments: tuple[Attachment, ...], catalog: Catalog
) -> tuple[Problem, ...]:
    """Warnings for rules that hold on no port and side on which the route is in force, or for no caller."""
    places: dict[str, frozenset[int]] = {MESH: route.ports} if route.ports else {}
    for attachment in attachments:
        ports = frozenset(listener.port for listener, _, _ in attachment.hosts)
        if ports:
            places[attachment.parent.gateway] = ports | places.get(attachment.parent.gateway, frozenset())
    for_all = any(_is_own(claim.host, document.key.namespace, catalog) for claim in route.claims.claims)
    found: tuple[Problem, ...] = route.kind.idle(document, places, for_all=for_all)
    return found


def _is_own(host: str, namespace: str, catalog: Catalog) -> bool:
    """Whether a host may be that of a service of the namespace, whose routes are for everybody."""
    frontend = catalog.by_host.get(host)
    return is_wildcard(host) if frontend is None else frontend.namespace == namespace
