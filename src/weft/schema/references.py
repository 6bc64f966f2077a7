"""References between documents, checked without a running mesh: what is named must be there and may be named."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TypeVar, cast

from weft.model.document import Document, ObjectKey
from weft.model.identity import DNS_SUFFIX
from weft.model.labels import Labels
from weft.model.origin import FieldPath
from weft.model.problem import Problem, Severity
from weft.schema.findings import printable
from weft.schema.grants import grant_allows, listener_allows
from weft.schema.hosts import covers, intersection, is_wildcard, service_of_host
from weft.schema.kinds.core import NamespaceSpec, SecretSpec, ServiceSpec
from weft.schema.kinds.destinationrule import DestinationRuleSpec, TrafficPolicy
from weft.schema.kinds.gateway import (
    BUILT_IN_CLASSES,
    CONTROLLER_NAME,
    GATEWAY_GROUP,
    GatewayClassSpec,
    GatewaySpec,
    ListenerSpec,
    ReferenceGrantSpec,
    SecretReference,
)
from weft.schema.kinds.httproute import BackendObjectReference, HttpRouteSpec, ParentReference
from weft.schema.kinds.virtualservice import Destination, VirtualServiceSpec
from weft.schema.wording import nearest_name

REFERENCE_CODES = frozenset(
    (
        "unknown-service", "unknown-host", "unknown-port", "unknown-subset", "unknown-gateway", "unknown-secret",
        "unknown-class", "foreign-class", "bad-certificate", "reference-not-granted", "not-allowed",
        "no-matching-listener", "no-matching-host",
    )
)  # fmt: skip
"""Codes of problems that another document can mend: they say nothing against the document alone."""

SpecT = TypeVar("SpecT")


def check_references(documents: Iterable[Document[object]], severity: Severity = Severity.ERROR) -> tuple[Problem, ...]:
    """Every reference among `documents` that leads nowhere or is not allowed, in the order of the documents."""
    given = tuple(documents)
    check = _Check(_Index.build(given), severity)
    for document in given:
        if isinstance(document.spec, VirtualServiceSpec):
            check.virtual_service(document, document.spec)
        elif isinstance(document.spec, DestinationRuleSpec):
            check.destination_rule(document, document.spec)
        elif isinstance(document.spec, HttpRouteSpec):
            check.http_route(document, document.spec)
        elif isinstance(document.spec, GatewaySpec):
            check.gateway(document, document.spec)
        elif isinstance(document.spec, GatewayClassSpec):
            check.gateway_class(document, document.spec)
    return tuple(check.problems)


@dataclass(frozen=True, slots=True)
class _Index:
    """The documents by what refers to them."""

    services: dict[ObjectKey, ServiceSpec]
    gateways: dict[tuple[str, str], GatewaySpec]
    classes: frozenset[str]
    secrets: dict[ObjectKey, SecretSpec]
    grants: tuple[Document[ReferenceGrantSpec], ...]
    namespaces: dict[str, Labels]
    subsets: dict[ObjectKey, frozenset[str]]

    @staticmethod
    def build(documents: Iterable[Document[object]]) -> _Index:
        given = tuple(documents)
        subsets: dict[ObjectKey, frozenset[str]] = {}
        wildcards: list[tuple[str, frozenset[str]]] = []
        for document in _of(given, DestinationRuleSpec):
            service = service_of_host(document.spec.host, document.key.namespace)
            names = frozenset(subset.name for subset in document.spec.subsets)
            if service is not None:
                subsets[service] = subsets.get(service, frozenset()) | names
            elif names and is_wildcard(document.spec.host):
                wildcards.append((document.spec.host, names))
        services = {document.key: document.spec for document in _of(given, ServiceSpec)}
        for key in services if wildcards else ():
            if key not in subsets:  # a rule of its own takes the place of a wildcard's
                host = f"{key.name}.{key.namespace}.svc.{DNS_SUFFIX}"
                subsets[key] = frozenset().union(*(names for pattern, names in wildcards if covers(pattern, host)))
        return _Index(
            services=services,
            gateways={(each.key.namespace, each.key.name): each.spec for each in _of(given, GatewaySpec)},
            classes=frozenset(each.key.name for each in _of(given, GatewayClassSpec)).union(BUILT_IN_CLASSES),
            secrets={document.key: document.spec for document in _of(given, SecretSpec)},
            grants=tuple(_of(given, ReferenceGrantSpec)),
            namespaces={document.key.name: document.labels for document in _of(given, NamespaceSpec)},
            subsets=subsets,
        )


def _of(documents: Iterable[Document[object]], spec: type[SpecT]) -> list[Document[SpecT]]:
    return [cast(Document[SpecT], document) for document in documents if isinstance(document.spec, spec)]


@dataclass(slots=True)
class _Check:
    index: _Index
    severity: Severity
    problems: list[Problem] = field(default_factory=list)

    def _report(
        self,
        document: Document[object],
        path: FieldPath,
        code: str,
        message: str,
        expected: str,
        *,
        nearest: str = "",
    ) -> None:
        origin = document.at(*path)
        self.problems.append(Problem(self.severity, code, message, origin, document.key, path, expected, nearest))

    def virtual_service(self, document: Document[object], spec: VirtualServiceSpec) -> None:
        self._gateways(document, ("spec", "gateways"), spec.gateways)
        for number, rule in enumerate(spec.http):
            path: FieldPath = ("spec", "http", number)
            for index, match in enumerate(rule.match):
                self._gateways(document, (*path, "match", index, "gateways"), match.gateways)
            for index, each in enumerate(rule.route):
                self._destination(document, (*path, "route", index, "destination"), each.destination)
            if rule.mirror is not None:
                self._destination(document, (*path, "mirror"), rule.mirror)
            for index, mirror in enumerate(rule.mirrors):
                self._destination(document, (*path, "mirrors", index, "destination"), mirror.destination)

    def _gateways(self, document: Document[object], path: FieldPath, names: Iterable[str]) -> None:
        for index, text in enumerate(names):
            namespace, slash, name = text.rpartition("/")
            where = namespace if slash else document.key.namespace
            if text != "mesh" and (where, name) not in self.index.gateways:
                self._unknown_gateway(document, (*path, index), where, name)

    def _unknown_gateway(self, document: Document[object], path: FieldPath, namespace: str, name: str) -> None:
        known = [other for space, other in self.index.gateways if space == namespace]
        message = f"there is no Gateway '{name}' in namespace '{namespace}'"
        self._report(
            document, path, "unknown-gateway", message, "the name of a Gateway", nearest=nearest_name(name, known)
        )

    def _destination(self, document: Document[object], path: FieldPath, destination: Destination) -> None:
        service = self._service(document, (*path, "host"), destination.host)
        if service is None:
            return
        if destination.port is not None:
            self._port(document, (*path, "port", "number"), service, destination.port.number)
        subsets = self.index.subsets.get(service, frozenset())
        if destination.subset and destination.subset not in subsets:
            message = f"no DestinationRule for {service} has a subset '{destination.subset}'"
            expected = "one of " + ", ".join(sorted(subsets)) if subsets else "a DestinationRule with this subset"
            near = nearest_name(destination.subset, subsets)
            self._report(document, (*path, "subset"), "unknown-subset", message, expected, nearest=near)

    def _service(self, document: Document[object], path: FieldPath, host: str) -> ObjectKey | None:
        service = service_of_host(host, document.key.namespace)
        if service is not None and service in self.index.services:
            return service
        if service is None:
            self._report(document, path, "unknown-host", f"the host '{host}' names no Service", "a Service's name")
        else:
            self._unknown_service(document, path, service, "unknown-host")
        return None

    def _unknown_service(
        self, document: Document[object], path: FieldPath, service: ObjectKey, code: str = "unknown-service"
    ) -> None:
        known = [other.name for other in self.index.services if other.namespace == service.namespace]
        message = f"there is no Service '{service.name}' in namespace '{service.namespace}'"
        near = nearest_name(service.name, known)
        self._report(document, path, code, message, "the name of a Service", nearest=near)

    def _port(self, document: Document[object], path: FieldPath, service: ObjectKey, port: int) -> None:
        ports = [each.port for each in self.index.services[service].ports]
        if ports and port not in ports:
            expected = "one of " + ", ".join(map(str, ports))
            self._report(document, path, "unknown-port", f"{service} has no port {port}", expected)

    def destination_rule(self, document: Document[object], spec: DestinationRuleSpec) -> None:
        if is_wildcard(spec.host):
            return
        service = self._service(document, ("spec", "host"), spec.host)
        if service is None:
            return
        self._policy_ports(document, ("spec", "trafficPolicy"), service, spec.traffic_policy)
        for index, subset in enumerate(spec.subsets):
            path: FieldPath = ("spec", "subsets", index, "trafficPolicy")
            self._policy_ports(document, path, service, subset.traffic_policy)

    def _policy_ports(
        self, document: Document[object], path: FieldPath, service: ObjectKey, policy: TrafficPolicy | None
    ) -> None:
        for index, each in enumerate(policy.port_level_settings if policy is not None else ()):
            where: FieldPath = (*path, "portLevelSettings", index, "port", "number")
            self._port(document, where, service, each.port.number)

    def http_route(self, document: Document[object], spec: HttpRouteSpec) -> None:
        for index, parent in enumerate(spec.parent_refs):
            path: FieldPath = ("spec", "parentRefs", index)
            if parent.kind == "Service":
                namespace = parent.namespace or document.key.namespace
                service = ObjectKey("", "Service", namespace, parent.name)
                if service not in self.index.services:
                    self._unknown_service(document, (*path, "name"), service)
                elif parent.port is not None:
                    self._port(document, (*path, "port"), service, parent.port)
            else:
                self._gateway_parent(document, path, parent, spec.hostnames)
        for number, rule in enumerate(spec.rules):
            path = ("spec", "rules", number)
            for index, each in enumerate(rule.filters):
                if each.request_mirror is not None:
                    where: FieldPath = (*path, "filters", index, "requestMirror", "backendRef")
                    self._backend(document, where, each.request_mirror.backend_ref)
            for index, backend in enumerate(rule.backend_refs):
                self._backend(document, (*path, "backendRefs", index), backend)

    def _gateway_parent(
        self, document: Document[object], path: FieldPath, parent: ParentReference, hostnames: tuple[str, ...]
    ) -> None:
        namespace = parent.namespace or document.key.namespace
        gateway = self.index.gateways.get((namespace, parent.name))
        if gateway is None:
            self._unknown_gateway(document, path, namespace, parent.name)
            return
        listeners = self._listeners(document, path, parent, gateway)
        labels = self.index.namespaces.get(document.key.namespace, ())
        allowed = [each for each in listeners if listener_allows(each, namespace, document.key.namespace, labels)]
        if listeners and not allowed:
            message = f"Gateway '{parent.name}' does not let routes of namespace '{document.key.namespace}' attach"
            self._report(document, path, "not-allowed", message, "allowedRoutes.namespaces in the listener")
        elif (
            allowed
            and hostnames
            and not any(intersection(listener.hostname, hostname) for listener in allowed for hostname in hostnames)
        ):
            message = f"no hostname fits a listener of Gateway '{parent.name}'"
            expected = "a host within " + ", ".join(sorted({each.hostname for each in allowed}))
            self._report(document, path, "no-matching-host", message, expected)

    def _listeners(
        self, document: Document[object], path: FieldPath, parent: ParentReference, gateway: GatewaySpec
    ) -> list[ListenerSpec]:
        """The listeners that the reference names, after telling when there are none."""
        listeners = list(gateway.listeners)
        if parent.section_name is not None:
            names = [each.name for each in listeners]
            listeners = [each for each in listeners if each.name == parent.section_name]
            if not listeners:
                message = f"Gateway '{parent.name}' has no listener '{parent.section_name}'"
                expected, near = "one of " + ", ".join(names), nearest_name(parent.section_name, names)
                self._report(document, path, "no-matching-listener", message, expected, nearest=near)
                return []
        if parent.port is not None:
            ports = sorted({each.port for each in listeners})
            listeners = [each for each in listeners if each.port == parent.port]
            if not listeners:
                message = f"Gateway '{parent.name}' has no such listener on port {parent.port}"
                expected = "one of " + ", ".join(map(str, ports))
                self._report(document, path, "no-matching-listener", message, expected)
        return listeners

    def _backend(self, document: Document[object], path: FieldPath, backend: BackendObjectReference) -> None:
        service = ObjectKey("", "Service", backend.namespace or document.key.namespace, backend.name)
        own_parent = service in _parent_services(document)
        if not own_parent and not self._granted(document, (*path, "namespace"), "HTTPRoute", service):
            return
        if service not in self.index.services:
            self._unknown_service(document, (*path, "name"), service)
        elif backend.port is not None:
            self._port(document, (*path, "port"), service, backend.port)

    def _granted(self, document: Document[object], path: FieldPath, kind: str, to: ObjectKey) -> bool:
        """Whether the reference is allowed. If not, nothing else is told about the other namespace."""
        namespace = document.key.namespace
        if grant_allows(self.index.grants, GATEWAY_GROUP, kind, namespace, to):
            return True
        message = f"{to} is in another namespace, and no ReferenceGrant there lets {kind}s of '{namespace}' use it"
        expected = f"a ReferenceGrant in namespace '{to.namespace}'"
        self._report(document, path, "reference-not-granted", message, expected)
        return False

    def gateway(self, document: Document[object], spec: GatewaySpec) -> None:
        if spec.gateway_class_name not in self.index.classes:
            message = f"there is no GatewayClass '{spec.gateway_class_name}'"
            expected = "one of " + ", ".join(sorted(self.index.classes))
            near = nearest_name(spec.gateway_class_name, self.index.classes)
            self._report(document, ("spec", "gatewayClassName"), "unknown-class", message, expected, nearest=near)
        for number, listener in enumerate(spec.listeners):
            for index, ref in enumerate(listener.tls.certificate_refs if listener.tls is not None else ()):
                self._certificate(document, ("spec", "listeners", number, "tls", "certificateRefs", index), ref)

    def _certificate(self, document: Document[object], path: FieldPath, ref: SecretReference) -> None:
        key = ObjectKey("", "Secret", ref.namespace or document.key.namespace, ref.name)
        if not self._granted(document, (*path, "namespace"), "Gateway", key):
            return
        secret = self.index.secrets.get(key)
        if secret is None:
            known = [other.name for other in self.index.secrets if other.namespace == key.namespace]
            message = f"there is no Secret '{key.name}' in namespace '{key.namespace}'"
            near = nearest_name(key.name, known)
            self._report(document, (*path, "name"), "unknown-secret", message, "the name of a Secret", nearest=near)
        elif not {"tls.crt", "tls.key"} <= secret.data.keys():
            message = f"{key} holds no certificate"
            self._report(document, path, "bad-certificate", message, "a Secret with tls.crt and tls.key")

    def gateway_class(self, document: Document[object], spec: GatewayClassSpec) -> None:
        if spec.controller_name != CONTROLLER_NAME:
            message = f"the class belongs to '{printable(spec.controller_name[:80])}': weft leaves its Gateways alone"
            path = ("spec", "controllerName")
            origin = document.at("spec", "controllerName")
            self.problems.append(
                Problem(Severity.WARNING, "foreign-class", message, origin, document.key, path, CONTROLLER_NAME)
            )


def _parent_services(document: Document[object]) -> set[ObjectKey]:
    """The services a route is attached to: to these it may send their own callers without a grant (on a gateway it may
    not, which the mesh tells)."""
    spec, namespace = document.spec, document.key.namespace
    parents = spec.parent_refs if isinstance(spec, HttpRouteSpec) else ()
    return {
        ObjectKey("", "Service", item.namespace or namespace, item.name) for item in parents if item.kind == "Service"
    }
