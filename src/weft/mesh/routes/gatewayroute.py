"""What the Gateway API's kinds of routes share: parents, the hosts these mean, and references to Services.

https://gateway-api.sigs.k8s.io/reference/spec/#commonroutespec
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable
from typing import ClassVar, Protocol, TypeVar

from weft.mesh.policies.referencegrant import Grants
from weft.mesh.problems import one_of, problem_at
from weft.mesh.routes.backendrefs import Reference, find_referent, reference_key
from weft.mesh.routes.claims import carries, claim_problem
from weft.mesh.routes.kind import MESH, Claim, Claims, Layer, MeshParent, ParentRef, Referent, RouteKind
from weft.mesh.services.catalog import Catalog
from weft.mesh.services.references import unknown_port, unknown_service
from weft.mesh.services.service import Frontend, FrontendPort
from weft.model.document import Document, ObjectKey
from weft.model.origin import FieldPath
from weft.model.problem import Problem, Severity
from weft.schema.hosts import covers
from weft.schema.kinds import httproute as api
from weft.schema.wording import nearest_name


class AttachedSpec(Protocol):
    """A specification with parents and hostnames."""

    @property
    def parent_refs(self) -> tuple[api.ParentReference, ...]:
        """What it attaches to."""
        ...

    @property
    def hostnames(self) -> tuple[str, ...]:
        """The hosts it wants at Gateways."""
        ...


AttachedT = TypeVar("AttachedT", bound=AttachedSpec)
_IN_MESH = ("Service", "ServiceEntry")
"""The kinds of parents whose callers' sidecars have the rules."""


class GatewayRouteKind(RouteKind[AttachedT]):
    """A kind whose documents name Gateways and Services as their parents and share hosts: their rules merge."""

    exclusive: ClassVar[bool] = False
    hostnames_in_mesh: ClassVar[bool] = False
    """Whether hostnames mean something for a Service parent, too."""

    @abstractmethod
    def references(self, spec: AttachedT) -> Iterable[Reference]:
        """Every reference of its rules to what they send requests, copies or questions to."""

    def claims(self, document: Document[AttachedT], catalog: Catalog) -> Claims:
        """The services among its parents, and the hosts of ServiceEntries."""
        problems: list[Problem] = []
        claims: list[Claim] = []
        for index, parent in enumerate(document.spec.parent_refs):
            if not in_mesh(parent):
                continue
            path: FieldPath = ("spec", "parentRefs", index)
            if parent.kind == "Service" and document.spec.hostnames and not self.hostnames_in_mesh and not problems:
                problems.append(_ignored_hostnames(document))
            found = self._frontends(document, path, parent, catalog)
            if isinstance(found, Problem):
                problems.append(found)
                continue
            for frontend in found:
                bad = _parent_problem(document, path, parent, frontend, catalog, self.layers(document))
                if bad is not None:
                    problems.append(bad)
                else:
                    port = _parent_port(parent, frontend)
                    claims.append(Claim(frontend.host, port.number if port else 0, path))
        return Claims(tuple(claims), tuple(problems))

    def _frontends(
        self, document: Document[AttachedT], path: FieldPath, parent: api.ParentReference, catalog: Catalog
    ) -> tuple[Frontend, ...] | Problem:
        """What a parent declares that callers of the document's namespace are told of; of the hosts of a ServiceEntry
        those that are among the hostnames, if there are any: as a whole, for rules are those of a host."""
        key = parent_key(document, parent)
        if parent.kind == "Service":
            frontend = catalog.named(key.name, key.namespace)
            if frontend is not None:
                return (frontend,)
            near = nearest_name(key.name, catalog.names_in(key.namespace))
            return unknown_service(document, (*path, "name"), key.name, key.namespace, near)
        own = document.key.namespace
        told = [each for each in catalog.declared_by(key) if own == key.namespace or catalog.tells(each, own)]
        if not told:
            return _unknown_entry(document, (*path, "name"), key, catalog)
        wanted = () if self.hostnames_in_mesh else document.spec.hostnames
        meant = [each for each in told if not wanted or any(covers(name, each.called) for name in wanted)]
        if not meant:
            hosts = ", ".join(each.called for each in told)
            message = f"none of the hostnames is a host of {key}, so these rules route nothing for it"
            return problem_at(document, path, "no-matching-host", message, f"one of {hosts} in hostnames")
        return tuple(meant)

    def mesh_parents(self, document: Document[AttachedT]) -> tuple[MeshParent, ...]:
        """The Services and ServiceEntries among its parents."""
        return tuple(
            MeshParent(
                parent_key(document, parent),
                ("spec", "parentRefs", index),
                parent.port or 0,
                parent.section_name or "",
            )
            for index, parent in enumerate(document.spec.parent_refs)
            if in_mesh(parent)
        )

    def parents(self, document: Document[AttachedT], catalog: Catalog) -> tuple[ParentRef, ...]:  # noqa: ARG002
        """The Gateways among its parents."""
        spec, namespace = document.spec, document.key.namespace
        hosts = tuple((name.lower(), ("spec", "hostnames", place)) for place, name in enumerate(spec.hostnames))
        found = []
        for index, parent in enumerate(spec.parent_refs):
            if not in_mesh(parent):
                path: FieldPath = ("spec", "parentRefs", index)
                gateway = f"{parent.namespace or namespace}/{parent.name}"
                wanted = hosts or (("*", path),)
                section, port = parent.section_name or "", parent.port or 0
                found.append(ParentRef(gateway, path, wanted, section, port, kind=parent.kind))
        return tuple(found)

    def referents(
        self, document: Document[AttachedT], side: str, catalog: Catalog, grants: Grants
    ) -> tuple[Referent, ...]:
        """Those of `referred`. On the mesh side a route that sends its callers to the very service they asked for
        needs nobody's leave."""
        namespace = document.key.namespace
        parents = [parent.key for parent in self.mesh_parents(document)] if side == MESH else []
        return tuple(
            find_referent(self.kind, key, namespace, parents, catalog, grants) for key in self.referred(document)
        )

    def referred(self, document: Document[AttachedT]) -> tuple[ObjectKey, ...]:
        """Everything that its rules refer to and that can be a backend, once."""
        keys = (reference_key(document, reference) for reference in self.references(document.spec))
        return tuple(dict.fromkeys(key for key in keys if key is not None))


def in_mesh(parent: api.ParentReference) -> bool:
    """Whether rules for this parent are those of its callers' sidecars; all others are Gateways."""
    return parent.kind in _IN_MESH


def parent_key(document: Document[AttachedT], parent: api.ParentReference) -> ObjectKey:
    """The object that a parent on the mesh side names."""
    return ObjectKey(parent.group, parent.kind, parent.namespace or document.key.namespace, parent.name)


def mirror_percent(mirror: api.RequestMirror) -> float:
    """The share of requests that are copied, 0 to 100."""
    if mirror.fraction is not None:
        return min(100.0, 100.0 * mirror.fraction.numerator / mirror.fraction.denominator)
    return 100.0 if mirror.percent is None else float(mirror.percent)


def _ignored_hostnames(document: Document[AttachedT]) -> Problem:
    message = "hostnames have no meaning for a Service parent and are ignored there"
    path: FieldPath = ("spec", "hostnames")
    return problem_at(document, path, "hostnames-ignored", message, "no hostnames", severity=Severity.WARNING)


def _parent_problem(
    document: Document[AttachedT],
    path: FieldPath,
    parent: api.ParentReference,
    frontend: Frontend,
    catalog: Catalog,
    layers: tuple[Layer, ...],
) -> Problem | None:
    if parent.port is None and parent.section_name is None:
        return claim_problem(document, path, frontend.host, catalog, layers)
    field = "port" if parent.section_name is None else "sectionName"
    port = _parent_port(parent, frontend)
    if port is None and parent.section_name is not None:
        return _unknown_section(document, (*path, field), parent, frontend)
    if port is None:
        return unknown_port(document, (*path, field), frontend, parent.port or 0)
    return _layer_problem(document, (*path, field), port, frontend, layers)


def _layer_problem(
    document: Document[AttachedT], path: FieldPath, port: FrontendPort, frontend: Frontend, layers: tuple[Layer, ...]
) -> Problem | None:
    """Why rules of these layers cannot be in force on a port."""
    if any(carries(port, layer) for layer in layers):
        return None
    if "requests" in layers:
        message = f"port {port.number} of {frontend.key} carries TCP, which has no HTTP rules"
        expected = "a port whose appProtocol or name says http"
        return problem_at(document, path, "not-http", message, expected)
    message = f"port {port.number} of {frontend.key} carries HTTP, where rules for connections have no effect"
    return problem_at(document, path, "not-tcp", message, "a port whose appProtocol or name says tcp")


def _parent_port(parent: api.ParentReference, frontend: Frontend) -> FrontendPort | None:
    """The port of a Service parent that `port` and `sectionName` (the port's name) choose together."""
    if parent.port is None and parent.section_name is None:
        return None
    chosen = (
        port
        for port in frontend.ports
        if parent.port in (None, port.number) and parent.section_name in (None, port.name)
    )
    return next(chosen, None)


def _unknown_section(
    document: Document[AttachedT], path: FieldPath, parent: api.ParentReference, frontend: Frontend
) -> Problem:
    section = parent.section_name or ""
    names = [port.name for port in frontend.ports if port.name]
    number = f" with number {parent.port}" if parent.port is not None and section in names else ""
    message = f"{frontend.key} has no port called '{section}'{number}"
    near = "" if section in names else nearest_name(section, names)
    return problem_at(document, path, "unknown-port", message, one_of(names, "a port with a name"), nearest=near)


def _unknown_entry(document: Document[AttachedT], path: FieldPath, key: ObjectKey, catalog: Catalog) -> Problem:
    """There is no such ServiceEntry, nobody of this namespace is told of it, or all of its hosts are others'."""
    names = {each.key.name for each in catalog.by_namespace.get(key.namespace, ()) if each.key.kind == key.kind}
    message = f"there is no ServiceEntry '{key.name}' with a host of its own in namespace '{key.namespace}'"
    near = nearest_name(key.name, sorted(names - {key.name}))
    return problem_at(document, path, "unknown-service", message, "the name of a ServiceEntry", nearest=near)
