"""A kind of route: what a document of it says, in the questions that the mesh asks of every kind.

One file per kind answers all of them (`httproute`, `virtualservice`); `kinds` lists the files. Nothing else asks what
kind a route document is.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Generic, Literal, TypeVar

from weft.mesh.policies.referencegrant import Grants
from weft.mesh.routes.connections import ConnectionRule
from weft.mesh.routes.reach import Attempt
from weft.mesh.routes.rules import Rule
from weft.mesh.services.catalog import Catalog
from weft.mesh.services.exports import ALL_NAMESPACES, Exports
from weft.mesh.services.service import Frontend
from weft.model.document import Document, ObjectKey
from weft.model.labels import Labels
from weft.model.origin import FieldPath
from weft.model.problem import Problem

MESH = "mesh"
"""The side of sidecars, as VirtualService writes it; gateways are ``namespace/name``."""
THE_MESH = ObjectKey("", "Mesh", "", MESH)
"""What a document is attached to that is for all sidecars."""
RulePrecedence = tuple[float | str, ...]
"""Sort key among the rules of one host; the smaller, the earlier it is tried."""
RouteDocument = Document[object]
SpecT = TypeVar("SpecT")
Layer = Literal["requests", "connections"]
"""What rules are about. A port that speaks HTTP has rules for requests, one that carries TCP rules for connections, and
one of which nobody knows has both."""
LAYERS: tuple[Layer, ...] = ("requests", "connections")


@dataclass(frozen=True, slots=True)
class Claim:
    """A host that a document routes on the mesh side (full name, wildcard, or a host outside), on a port (0: all of
    them), said at field `path`."""

    host: str
    port: int
    path: FieldPath


@dataclass(frozen=True, slots=True)
class Claims:
    """The claims of a document, and what is wrong with the others it makes."""

    claims: tuple[Claim, ...] = ()
    problems: tuple[Problem, ...] = ()


@dataclass(frozen=True, slots=True)
class MeshParent:
    """Something on the mesh side that a document wants to be attached to, named at field `path`: a Service, a
    ServiceEntry or `THE_MESH`; `port` and `section` as written."""

    key: ObjectKey
    path: FieldPath
    port: int = 0
    section: str = ""


@dataclass(frozen=True, slots=True)
class ParentRef:
    """A document's reference to a Gateway (or a ListenerSet, by `kind`; ``namespace/name``) at field `path`. `section`
    and `port` narrow it to some listeners; `hosts` are the hosts it wants there, each with its field. `selecting`: a
    Gateway of Istio, and one of the Gateway API only if there is none."""

    gateway: str
    path: FieldPath
    hosts: tuple[tuple[str, FieldPath], ...]
    section: str = ""
    port: int = 0
    selecting: bool = False
    kind: str = "Gateway"


Referent = tuple[Frontend | None, bool, str]
"""What a reference names (None: no such service), whether the document may refer to it, and the nearest name if there
is no such service."""


@dataclass(frozen=True, slots=True)
class SubsetUse:
    """A rule sends to a subset of the service called `host` (full name): said at field `path`."""

    host: str
    subset: str
    path: FieldPath


@dataclass(frozen=True, slots=True, eq=False)
class Converted:
    """The rules of one document for one port and side, in the order they are tried, each with its `precedence`."""

    rules: tuple[Rule, ...] = ()
    precedence: tuple[RulePrecedence, ...] = ()
    problems: tuple[Problem, ...] = ()
    subsets: tuple[SubsetUse, ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class ConnectionRules:
    """The rules of one document for the connections of one port and side, in the order they are tried."""

    rules: tuple[ConnectionRule, ...] = ()
    problems: tuple[Problem, ...] = ()
    subsets: tuple[SubsetUse, ...] = ()


NO_RULES = ConnectionRules()


class RouteKind(ABC, Generic[SpecT]):
    """The questions. Answers depend on the arguments only."""

    kind: ClassVar[str]
    exclusive: ClassVar[bool]
    """Whether a document shares its hosts inside the mesh with nobody, and at gateways with its own kind only."""
    specificity: ClassVar[int] = 0
    """Of the kinds that are not exclusive, one whose documents are attached to a port of a service takes it from those
    less specific (GEP-1426: GRPCRoute 4, HTTPRoute 3, TLSRoute 2, TCPRoute 1). Their rules never merge."""
    alone_in_mesh: ClassVar[bool] = False
    """Of a kind that is not exclusive: whether one document has a port of a service alone among those of its kind."""
    alone_at_gateways: ClassVar[bool] = False
    """The same for a host of a listener."""

    @abstractmethod
    def claims(self, document: Document[SpecT], catalog: Catalog) -> Claims:
        """The hosts that the document routes for sidecars."""

    @abstractmethod
    def mesh_parents(self, document: Document[SpecT]) -> tuple[MeshParent, ...]:
        """What it wants to be attached to on the mesh side."""

    @abstractmethod
    def parents(self, document: Document[SpecT], catalog: Catalog) -> tuple[ParentRef, ...]:
        """The gateways that it wants to be attached to."""

    @abstractmethod
    def referents(self, document: Document[SpecT], side: str, catalog: Catalog, grants: Grants) -> tuple[Referent, ...]:
        """The services it sends requests or copies to, each once, in the order that `rules` expects."""

    @abstractmethod
    def rules(self, document: Document[SpecT], port: int, side: str, referents: tuple[Referent, ...]) -> Converted:
        """The rules in force on a service port or gateway port of a side (``mesh`` or the gateway's name)."""

    @abstractmethod
    def fields(self, document: Document[SpecT], index: int, place: int) -> tuple[FieldPath, FieldPath]:
        """Where rule `index` is written, and where its match `place` is (there, if the rule has no other)."""

    @abstractmethod
    def attempts(self, document: Document[SpecT]) -> tuple[Attempt, ...]:
        """Every match of its rules on whatever port and side, in the order in which they are tried."""

    def layers(self, document: Document[SpecT]) -> tuple[Layer, ...]:  # noqa: ARG002 - see selectors
        """What it has rules for. It claims its hosts for these only."""
        return ("requests",)

    def carried_by(
        self,
        document: Document[SpecT],  # noqa: ARG002 - see selectors
        protocol: str,
        *,
        opened: bool,  # noqa: ARG002
    ) -> bool:
        """Whether a Gateway's listener of a protocol carries what its rules are about; `opened`: TLS ends there."""
        return protocol in ("HTTP", "HTTPS")

    def connections(
        self,
        document: Document[SpecT],  # noqa: ARG002 - see selectors
        port: int,  # noqa: ARG002
        side: str,  # noqa: ARG002
        tls: bool | None,  # noqa: ARG002
        referents: tuple[Referent, ...],  # noqa: ARG002
    ) -> ConnectionRules:
        """The rules for connections in force on a port of a side. `tls`: whether it carries TLS that nobody opens, None
        if that is not known."""
        return NO_RULES

    def outside_connections(
        self,
        document: Document[SpecT],  # noqa: ARG002 - see selectors
    ) -> tuple[tuple[int, bool], ...]:
        """The ports on which it routes connections to hosts that are no services, and whether these carry TLS."""
        return ()

    def idle(
        self,
        document: Document[SpecT],  # noqa: ARG002 - see selectors
        places: Mapping[str, frozenset[int]],  # noqa: ARG002
        *,
        for_all: bool,  # noqa: ARG002
    ) -> tuple[Problem, ...]:
        """Warnings for what holds nowhere. `places` are the sides on which the document is in force, each with its
        ports; `for_all`: inside the mesh it is for callers of every namespace, not only of its own."""
        return ()

    def exports(self, document: Document[SpecT], default: tuple[str, ...]) -> Exports:  # noqa: ARG002 - see selectors
        """The namespaces whose callers (and Gateways) it is for; `default` are the mesh's words."""
        return ALL_NAMESPACES

    def subsets(
        self,
        document: Document[SpecT],  # noqa: ARG002 - see selectors
        referents: tuple[Referent, ...],  # noqa: ARG002
    ) -> tuple[tuple[str, str], ...]:
        """(full name of the service, subset) of every subset that it sends to, on whatever side."""
        return ()

    def mentioned(self, document: Document[SpecT]) -> tuple[tuple[str, FieldPath], ...]:  # noqa: ARG002 - see selectors
        """Gateways (``namespace/name``) that it names without wanting to be attached there, each with its field."""
        return ()

    def selectors(self, document: Document[SpecT]) -> tuple[Labels, ...]:  # noqa: ARG002 - most kinds have none
        """The labels of callers that its rules ask for."""
        return ()
