"""What the Gateway API's kinds of routes share: parents, the hosts these mean, and references to Services.

https://gateway-api.sigs.k8s.io/reference/spec/#commonroutespec
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar, Protocol, TypeVar

from weft.mesh.policies.referencegrant import Grants
from weft.mesh.problems import one_of, problem_at
from weft.mesh.routes.claims import carries, claim_problem
from weft.mesh.routes.kind import MESH, Claim, Claims, Layer, MeshParent, ParentRef, Referent, RouteKind
from weft.mesh.services import service
from weft.mesh.services.catalog import Catalog
from weft.mesh.services.references import unknown_port, unknown_service
from weft.mesh.services.service import BackendKey, Frontend, FrontendPort
from weft.model.document import Document, ObjectKey
from weft.model.origin import FieldPath
from weft.model.problem import Problem, Severity
from weft.schema.kinds import httproute as api
from weft.schema.kinds.gateway import GATEWAY_GROUP
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
Reference = api.BackendObjectReference


class GatewayRouteKind(RouteKind[AttachedT]):
    """A kind whose documents name Gateways and Services as their parents and share hosts: their rules merge."""

    exclusive: ClassVar[bool] = False
    hostnames_in_mesh: ClassVar[bool] = False
    """Whether hostnames mean something for a Service parent, too."""

    @abstractmethod
    def references(self, spec: AttachedT) -> Iterable[Reference]:
        """Every reference of its rules to what they send requests, copies or questions to."""

    def claims(self, document: Document[AttachedT], catalog: Catalog) -> Claims:
        """The services among its parents."""
        problems: list[Problem] = []
        claims: list[Claim] = []
        for index, parent in enumerate(document.spec.parent_refs):
            if parent.kind != "Service":
                continue
            if document.spec.hostnames and not self.hostnames_in_mesh and not problems:
                problems.append(_ignored_hostnames(document))
            path: FieldPath = ("spec", "parentRefs", index)
            frontend = catalog.named(parent.name, parent.namespace or document.key.namespace)
            bad = _parent_problem(document, path, parent, frontend, catalog, self.layers(document))
            if bad is not None:
                problems.append(bad)
            elif frontend is not None:
                port = _parent_port(parent, frontend)
                claims.append(Claim(frontend.host, port.number if port else 0, path))
        return Claims(tuple(claims), tuple(problems))

    def mesh_parents(self, document: Document[AttachedT]) -> tuple[MeshParent, ...]:
        """The services among its parents."""
        namespace = document.key.namespace
        return tuple(
            MeshParent(
                ObjectKey("", "Service", parent.namespace or namespace, parent.name),
                ("spec", "parentRefs", index),
                parent.port or 0,
                parent.section_name or "",
            )
            for index, parent in enumerate(document.spec.parent_refs)
            if parent.kind == "Service"
        )

    def parents(self, document: Document[AttachedT], catalog: Catalog) -> tuple[ParentRef, ...]:  # noqa: ARG002
        """The Gateways among its parents."""
        spec, namespace = document.spec, document.key.namespace
        hosts = tuple((name.lower(), ("spec", "hostnames", place)) for place, name in enumerate(spec.hostnames))
        found = []
        for index, parent in enumerate(spec.parent_refs):
            if parent.kind != "Service":
                path: FieldPath = ("spec", "parentRefs", index)
                gateway = f"{parent.namespace or namespace}/{parent.name}"
                wanted = hosts or (("*", path),)
                section, port = parent.section_name or "", parent.port or 0
                found.append(ParentRef(gateway, path, wanted, section, port, kind=parent.kind))
        return tuple(found)

    def referents(
        self, document: Document[AttachedT], side: str, catalog: Catalog, grants: Grants
    ) -> tuple[Referent, ...]:
        """Those of `services_of`. On the mesh side a route that sends its callers to the very service they asked for
        needs nobody's leave."""
        namespace = document.key.namespace
        parents = [parent.key for parent in self.mesh_parents(document)] if side == MESH else ()
        return tuple(
            (
                frontend := catalog.named(key.name, key.namespace),
                key in parents or grants.allow((GATEWAY_GROUP, self.kind), namespace, key),
                "" if frontend else nearest_name(key.name, catalog.names_in(key.namespace)),
            )
            for key in self.services_of(document)
        )

    def services_of(self, document: Document[AttachedT]) -> tuple[ObjectKey, ...]:
        """Every service that its rules refer to, once."""
        return tuple(
            dict.fromkeys(
                service_key(document, reference)
                for reference in self.references(document.spec)
                if is_service(reference)
            )
        )


def is_service(reference: Reference) -> bool:
    """Whether it refers to a Service, the only kind of backend there is."""
    return (reference.group, reference.kind) == ("", "Service")


def service_key(document: Document[AttachedT], reference: Reference) -> ObjectKey:
    """The Service that a document's reference names."""
    return ObjectKey("", "Service", reference.namespace or document.key.namespace, reference.name)


@dataclass(frozen=True, slots=True)
class BackendFinder:
    """Finds what the references of one document of `kind` name; what is wrong is added to `problems`."""

    kind: str
    document: Document[object]
    referents: dict[ObjectKey, Referent]
    problems: list[Problem]

    def find(self, path: FieldPath, reference: Reference) -> BackendKey | None:
        """The backend, or None with a problem."""
        if not is_service(reference):
            self.problems.append(_invalid_kind(self.document, (*path, "kind"), reference))
            return None
        key = ObjectKey("", "Service", reference.namespace or self.document.key.namespace, reference.name)
        frontend, granted, nearest = self.referents[key]
        if not granted:
            message = f"{key} is in another namespace that does not allow it"
            own = self.document.key.namespace
            asked = f"a ReferenceGrant in namespace '{key.namespace}' from {self.kind} in '{own}'"
            bad = problem_at(self.document, (*path, "namespace"), "reference-not-granted", message, asked)
        elif frontend is None:
            bad = unknown_service(self.document, (*path, "name"), key.name, key.namespace, nearest)
        elif self.port_of(frontend, number := reference.port or 0) is None:
            bad = self.unknown(frontend, (*path, "port"), number)
        else:
            return BackendKey(frontend.host, number)
        self.problems.append(bad)
        return None

    def port_of(self, frontend: Frontend, number: int) -> FrontendPort | None:
        """The port of a number, of those that it is about."""
        return frontend.port(number)

    def unknown(self, frontend: Frontend, path: FieldPath, number: int) -> Problem:
        """There is no such port."""
        return unknown_port(self.document, path, frontend, number)

    def speaks_websocket(self, reference: Reference) -> bool:
        """Whether the backend is there and its port carries WebSocket."""
        if not is_service(reference):
            return False
        key = ObjectKey("", "Service", reference.namespace or self.document.key.namespace, reference.name)
        frontend, granted, _ = self.referents[key]
        port = frontend.port(reference.port) if frontend and granted and reference.port else None
        return port is not None and port.protocol is service.Protocol.WEBSOCKET


def _invalid_kind(document: Document[object], path: FieldPath, reference: Reference) -> Problem:
    what = f"{reference.kind} of {reference.group or 'the core group'}"
    message = f"{what} cannot be a backend here"
    return problem_at(document, path, "invalid-kind", message, "kind Service")


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
    frontend: Frontend | None,
    catalog: Catalog,
    layers: tuple[Layer, ...],
) -> Problem | None:
    if frontend is None:
        namespace = parent.namespace or document.key.namespace
        return unknown_service(
            document, (*path, "name"), parent.name, namespace, nearest_name(parent.name, catalog.names_in(namespace))
        )
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
