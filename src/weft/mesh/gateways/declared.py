"""Declared gateways: what each Gateway document comes to by itself, whichever API it is of. One maker per API."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType

from weft.mesh.gateways.certificates import Secrets
from weft.mesh.gateways.listeners import Admission, Listener
from weft.mesh.views import Certificate
from weft.model.document import Document, ObjectKey
from weft.model.labels import Labels
from weft.model.problem import Problem


@dataclass(frozen=True, slots=True, eq=False)
class DeclaredGateway:
    """A Gateway of ours, named ``namespace/name``: its `listeners` in force, and the names of all that are `written`.

    `waiting` are those whose certificate or whose clients' authority is missing: routes are attached to them, and get
    nothing there. `document` is where Problems of it stand. `gateway_class` is that of the Gateway API, empty where
    there is none, `client` the certificate that it shows to servers that it calls. Processes serve it by its name, or,
    where it has a `selector`, by their labels. `admits` says which ListenerSets add listeners to it; such a set has the
    Gateway as its `parent`. Compared by identity.
    """

    name: str
    document: Document[object]
    listeners: tuple[Listener, ...]
    written: tuple[str, ...] = ()
    gateway_class: str = ""
    client: Certificate | None = None
    selector: Labels | None = None
    parent: str = ""
    admits: Admission | None = None
    waiting: tuple[Listener, ...] = ()

    @property
    def key(self) -> ObjectKey:
        """What names the document."""
        return self.document.key


@dataclass(frozen=True, slots=True, eq=False)
class Made:
    """What the maker of one API gives: the Gateways of ours, the names of others', and what is wrong with documents."""

    gateways: tuple[DeclaredGateway, ...] = ()
    foreign: tuple[str, ...] = ()
    problems: tuple[Problem, ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class Declared:
    """All Gateway documents by name: `gateways` of the Gateway API that are ours with the ListenerSets (`sets`) for
    them, and those of Istio, `selecting` who serves them; the names of others', where those stand that have errors of
    their own, namespaces' labels, and the Secrets; `partial`: these only as far as processes need them."""

    gateways: Mapping[str, DeclaredGateway]
    selecting: Mapping[str, DeclaredGateway]
    sets: Mapping[str, DeclaredGateway]
    foreign: frozenset[str]
    refused: Mapping[str, str]
    labels: Mapping[str, Labels]
    secrets: Secrets
    problems: tuple[Problem, ...]
    partial: bool = False

    def every(self) -> tuple[DeclaredGateway, ...]:
        """All of them."""
        return (*self.gateways.values(), *self.sets.values(), *self.selecting.values())

    def takes(self, added: DeclaredGateway) -> bool:
        """Whether the Gateway of a ListenerSet takes it."""
        parent = self.gateways.get(added.parent)
        namespace = added.key.namespace
        return parent is not None and parent.admits is not None and parent.admits.admits("", namespace, self.labels)

    def find(self, name: str, *, selecting: bool) -> DeclaredGateway | None:
        """The Gateway that a route names; `selecting`: its kind means Istio's, and the Gateway API's if none."""
        found = self.selecting.get(name) if selecting else None
        return found or self.gateways.get(name)


def join_declared(
    made: tuple[Made, ...],
    refused: tuple[tuple[str, str], ...],
    labels: Mapping[str, Labels],
    secrets: Secrets,
    partial: bool,
) -> Declared:
    """The Gateways of all APIs. `refused` are the names of those that the decoder refused, and where they stand."""
    every = [each for one in made for each in one.gateways]
    gateways = {each.name: each for each in every if each.selector is None and not each.parent}
    found = Declared(
        gateways=MappingProxyType(gateways),
        sets=MappingProxyType({each.name: each for each in every if each.parent}),
        selecting=MappingProxyType({each.name: each for each in every if each.selector is not None}),
        foreign=frozenset(name for one in made for name in one.foreign) - gateways.keys(),
        refused=MappingProxyType(dict(refused)),
        labels=labels,
        secrets=secrets,
        problems=tuple([problem for one in made for problem in one.problems]),
        partial=partial,
    )
    return replace(found, problems=_of_needed(found)) if partial else found


def _of_needed(declared: Declared) -> tuple[Problem, ...]:
    """Without what ListenerSets miss that no Gateway takes: nobody has asked for their Secrets."""
    idle = {each.key for each in declared.sets.values() if not declared.takes(each)}
    return tuple([each for each in declared.problems if each.code != "unknown-secret" or each.object not in idle])
