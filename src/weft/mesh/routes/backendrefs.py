"""References of the Gateway API's routes to what they send to: Services, and hosts by name as Istio writes them.

https://gateway-api.sigs.k8s.io/reference/spec/#backendref and https://istio.io/latest/docs/tasks/traffic-management/egress/egress-control/
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from weft.mesh.policies.referencegrant import Grants
from weft.mesh.problems import problem_at
from weft.mesh.routes.kind import Referent
from weft.mesh.services import service
from weft.mesh.services.catalog import Catalog
from weft.mesh.services.references import nearest_host, unknown_host, unknown_port, unknown_service
from weft.mesh.services.service import BackendKey, Frontend, FrontendPort
from weft.model.document import Document, ObjectKey
from weft.model.origin import FieldPath
from weft.model.problem import Problem
from weft.schema.kinds import httproute as api
from weft.schema.kinds.gateway import GATEWAY_GROUP
from weft.schema.wording import nearest_name

Reference = api.BackendObjectReference


def reference_key(document: Document[object], reference: Reference) -> ObjectKey | None:
    """What a document's reference names: a Service, or a host, which is in no namespace. None: no kind of backend."""
    match reference.group, reference.kind:
        case "", "Service":
            return ObjectKey("", "Service", reference.namespace or document.key.namespace, reference.name)
        case api.HOST_GROUP, api.HOST_KIND:
            return ObjectKey(api.HOST_GROUP, api.HOST_KIND, "", reference.name)
        case _:
            return None


def find_referent(
    kind: str, key: ObjectKey, namespace: str, parents: Iterable[ObjectKey], catalog: Catalog, grants: Grants
) -> Referent:
    """What a route of `namespace` means by `key`. A Service of another namespace takes a grant, also where it is named
    by its host; a ServiceEntry says itself, by its exports, who may call it. What is among its `parents` a route may
    name in any case."""
    if key.kind == api.HOST_KIND:
        frontend = catalog.find(key.name, namespace)
        near = "" if frontend else nearest_host(key.name, namespace, catalog)
        asked = frontend.key if frontend is not None and frontend.is_service else None
    else:
        frontend = catalog.named(key.name, key.namespace)
        near = "" if frontend else nearest_name(key.name, catalog.names_in(key.namespace))
        asked = key
    granted = asked is None or asked in parents or grants.allow((GATEWAY_GROUP, kind), namespace, asked)
    return frontend, granted, near


@dataclass(frozen=True, slots=True)
class BackendFinder:
    """Finds what the references of one document of `kind` name; what is wrong is added to `problems`."""

    kind: str
    document: Document[object]
    referents: dict[ObjectKey, Referent]
    problems: list[Problem]

    def find(self, path: FieldPath, reference: Reference) -> BackendKey | None:
        """The backend, or None with a problem."""
        key = reference_key(self.document, reference)
        if key is None:
            self.problems.append(_invalid_kind(self.document, (*path, "kind"), reference))
            return None
        frontend, granted, nearest = self.referents[key]
        if not granted:
            bad = self._not_granted(path, key if frontend is None else frontend.key, by_host=not key.namespace)
        elif frontend is None and key.kind == api.HOST_KIND:
            bad = unknown_host(self.document, (*path, "name"), key.name, nearest)
        elif frontend is None:
            bad = unknown_service(self.document, (*path, "name"), key.name, key.namespace, nearest)
        elif self.port_of(frontend, number := reference.port or 0) is None:
            bad = self.unknown(frontend, (*path, "port"), number)
        else:
            return BackendKey(frontend.host, number)
        self.problems.append(bad)
        return None

    def frontend_of(self, reference: Reference) -> Frontend | None:
        """What a reference names, if it is there and may be referred to."""
        key = reference_key(self.document, reference)
        frontend, granted, _ = self.referents[key] if key is not None else (None, False, "")
        return frontend if granted else None

    def port_of(self, frontend: Frontend, number: int) -> FrontendPort | None:
        """The port of a number, of those that it is about."""
        return frontend.port(number)

    def unknown(self, frontend: Frontend, path: FieldPath, number: int) -> Problem:
        """There is no such port."""
        return unknown_port(self.document, path, frontend, number)

    def speaks_websocket(self, reference: Reference) -> bool:
        """Whether the backend is there and its port carries WebSocket."""
        frontend = self.frontend_of(reference)
        port = frontend.port(reference.port) if frontend and reference.port else None
        return port is not None and port.protocol is service.Protocol.WEBSOCKET

    def _not_granted(self, path: FieldPath, key: ObjectKey, *, by_host: bool) -> Problem:
        message = f"{key} is in another namespace that does not allow it"
        own = self.document.key.namespace
        asked = f"a ReferenceGrant in namespace '{key.namespace}' from {self.kind} in '{own}'"
        field = "name" if by_host else "namespace"
        return problem_at(self.document, (*path, field), "reference-not-granted", message, asked)


def _invalid_kind(document: Document[object], path: FieldPath, reference: Reference) -> Problem:
    what = f"{reference.kind} of {reference.group or 'the core group'}"
    message = f"{what} cannot be a backend here"
    return problem_at(document, path, "invalid-kind", message, "kind Service, or Hostname of networking.istio.io")
