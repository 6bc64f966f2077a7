"""TrafficSplit of the Service Mesh Interface: a Service's requests and connections, divided over Services.

https://github.com/servicemeshinterface/smi-spec/blob/main/apis/traffic-split/v1alpha4/traffic-split.md
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from weft.mesh.memo import Memo
from weft.mesh.policies.referencegrant import Grants
from weft.mesh.problems import one_of, problem_at
from weft.mesh.routes.claims import claim_problem
from weft.mesh.routes.connections import ConnectionRule, Layer4Route, weighted_target
from weft.mesh.routes.kind import (
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
from weft.mesh.routes.rules import Forward, NamedMatch, RequestMatch, Respond, Rule, TextMatch, WeightedBackend
from weft.mesh.services.catalog import Catalog
from weft.mesh.services.references import referents_of, unknown_host, unknown_port
from weft.mesh.services.service import BackendKey, Frontend
from weft.model.document import Document
from weft.model.origin import FieldPath
from weft.model.problem import Problem
from weft.schema.hosts import service_of_host
from weft.schema.kinds.smi import HttpRouteGroupSpec, SmiMatch, TrafficSplitSpec
from weft.schema.wording import nearest_name

GroupDocument = Document[HttpRouteGroupSpec]
MISSING = 503


@dataclass(frozen=True, slots=True)
class JoinedSplit:
    """A TrafficSplit with the HTTPRouteGroups that it names, in its order; None for one that is not there. `known` are
    the names of its namespace's."""

    split: TrafficSplitSpec
    groups: tuple[GroupDocument | None, ...] = ()
    known: tuple[str, ...] = ()


JoinedDocument = Document[JoinedSplit]


def join_splits(
    documents: tuple[Document[TrafficSplitSpec], ...], memo: Memo, groups: tuple[GroupDocument, ...]
) -> tuple[JoinedDocument, ...]:
    """The TrafficSplits, each with what it names. They stay the same objects while these do."""
    by_space: dict[str, list[GroupDocument]] = {}
    for group in groups:
        by_space.setdefault(group.key.namespace, []).append(group)
    wanted = [by_space.get(each.key.namespace, []) if each.spec.matches else [] for each in documents]
    return tuple([memo.over(_join, given, each) for given, each in zip(wanted, documents, strict=True)])


def _join(groups: tuple[GroupDocument, ...], document: Document[TrafficSplitSpec]) -> JoinedDocument:
    by_name = {group.key.name: group for group in groups}
    found = tuple(by_name.get(match.name) for match in document.spec.matches)
    return replace(document, spec=JoinedSplit(document.spec, found, tuple(sorted(by_name))))  # type: ignore[return-value, arg-type]


class TrafficSplitKind(RouteKind[JoinedSplit]):
    """A TrafficSplit has its Service alone."""

    kind = "TrafficSplit"
    exclusive = True

    def claims(self, document: JoinedDocument, catalog: Catalog) -> Claims:
        """Its Service."""
        path: FieldPath = ("spec", "service")
        host = catalog.meant(document.spec.split.service, document.key.namespace)
        bad = claim_problem(document, path, host, catalog, self.layers(document))
        return Claims(problems=(bad,)) if bad is not None else Claims((Claim(host, 0, path),))

    def layers(self, document: JoinedDocument) -> tuple[Layer, ...]:
        """Connections too, unless only some requests are meant."""
        return ("requests",) if document.spec.split.matches else ("requests", "connections")

    def mesh_parents(self, document: JoinedDocument) -> tuple[MeshParent, ...]:
        """Its Service."""
        key = service_of_host(document.spec.split.service, document.key.namespace)
        return () if key is None else (MeshParent(key, ("spec", "service")),)

    def parents(self, document: JoinedDocument, catalog: Catalog) -> tuple[ParentRef, ...]:  # noqa: ARG002
        """None: it knows no gateways."""
        return ()

    def referents(
        self,
        document: JoinedDocument,
        side: str,  # noqa: ARG002 - there is the mesh only
        catalog: Catalog,
        grants: Grants,  # noqa: ARG002 - all of its own namespace
    ) -> tuple[Referent, ...]:
        """Its backends, and its Service."""
        return referents_of(_hosts(document), document.key.namespace, catalog)

    def rules(
        self,
        document: JoinedDocument,
        port: int,
        side: str,  # noqa: ARG002
        referents: tuple[Referent, ...],
    ) -> Converted:
        """The matches of its groups, then all requests."""
        problems: list[Problem] = []
        targets = list(_targets(document, port, referents, problems))
        backends = tuple(WeightedBackend(key, weight) for key, _, weight in targets)
        divided = Forward(backends, missing_status=MISSING) if any(key for key, _, _ in targets) else Respond(MISSING)
        rules = [_rule(document, match, divided, place) for place, match in enumerate(_matches(document))]
        if document.spec.split.matches:
            problems += _unknown_groups(document)
            root = referents[-1][0]
            own = BackendKey(root.host, port) if root is not None and root.port(port) else None
            rest = Forward((WeightedBackend(own),)) if own is not None else Respond(MISSING)
            rules.append(_rule(document, RequestMatch(), rest, len(rules)))
        order = tuple((place,) for place in range(len(rules)))
        return Converted(tuple(rules), order, tuple(dict.fromkeys(problems)))

    def connections(
        self,
        document: JoinedDocument,
        port: int,
        side: str,  # noqa: ARG002
        tls: bool | None,  # noqa: ARG002
        referents: tuple[Referent, ...],
    ) -> ConnectionRules:
        """All connections, divided."""
        if document.spec.split.matches:
            return ConnectionRules()
        problems: list[Problem] = []
        targets = _targets(document, port, referents, problems)
        shares = tuple(weighted_target(key, frontend, weight) for key, frontend, weight in targets)
        route = Layer4Route(shares, document.at("spec", "backends"), document.key)
        return ConnectionRules((ConnectionRule(route),), tuple(dict.fromkeys(problems)))

    def fields(
        self,
        document: JoinedDocument,  # noqa: ARG002 - always the same
        index: int,  # noqa: ARG002
        place: int,  # noqa: ARG002
    ) -> tuple[FieldPath, FieldPath]:
        """``spec.backends``."""
        return ("spec", "backends"), ("spec", "backends")

    def attempts(self, document: JoinedDocument) -> tuple[Attempt, ...]:  # noqa: ARG002 - alternatives of one rule
        """None that could hide another."""
        return ()


def _hosts(document: JoinedDocument) -> tuple[str, ...]:
    split = document.spec.split
    return (*(backend.service for backend in split.backends), split.service)


def _targets(
    document: JoinedDocument, port: int, referents: tuple[Referent, ...], problems: list[Problem]
) -> Iterator[tuple[BackendKey | None, Frontend | None, int]]:
    for index, (backend, (frontend, _, nearest)) in enumerate(
        zip(document.spec.split.backends, referents, strict=False)
    ):
        path: FieldPath = ("spec", "backends", index, "service")
        if frontend is None:
            problems.append(unknown_host(document, path, backend.service, nearest, "; its share is refused"))
            yield None, None, backend.weight
            continue
        number = frontend.ports[0].number if len(frontend.ports) == 1 else port
        if frontend.port(number) is None:
            problems.append(unknown_port(document, path, frontend, number, "; its share is refused"))
            yield None, None, backend.weight
        else:
            yield BackendKey(frontend.host, number), frontend, backend.weight


def _matches(document: JoinedDocument) -> Iterable[RequestMatch]:
    if not document.spec.split.matches:
        return (RequestMatch(),)
    groups = [group for group in document.spec.groups if group is not None]
    return [_match(match) for group in groups for match in group.spec.matches]


def _match(match: SmiMatch) -> RequestMatch:
    """Regular expressions are met by the whole text, as Envoy takes them."""
    methods = () if "*" in match.methods else match.methods
    return RequestMatch(
        path=TextMatch("regex", match.path_regex) if match.path_regex else None,
        method=TextMatch("regex", "|".join(methods)) if methods else None,
        headers=tuple(
            NamedMatch(name.lower(), TextMatch("regex", text)) for name, text in sorted(match.headers.items())
        ),
    )


def _rule(document: JoinedDocument, match: RequestMatch, action: Forward | Respond, place: int) -> Rule:
    return Rule(
        name=f"{document.key.namespace}/{document.key.name}",
        match=match,
        action=action,
        origin=document.at("spec", "backends"),
        object=document.key,
        place=place,
    )


def _unknown_groups(document: JoinedDocument) -> Iterator[Problem]:
    for index, (match, group) in enumerate(zip(document.spec.split.matches, document.spec.groups, strict=True)):
        if group is None:
            message = f"there is no HTTPRouteGroup '{match.name}', so none of its requests is divided"
            known = document.spec.known
            yield problem_at(
                document,
                ("spec", "matches", index, "name"),
                "unknown-target",
                message,
                one_of(known, "an HTTPRouteGroup of this namespace"),
                nearest=nearest_name(match.name, known),
            )
