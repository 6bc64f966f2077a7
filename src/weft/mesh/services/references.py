"""References to services: what is wrong when a document names one that is not there, and what may be meant."""

from __future__ import annotations

from collections.abc import Iterable

from weft.mesh.problems import one_of, problem_at
from weft.mesh.services.catalog import Catalog
from weft.mesh.services.service import Frontend
from weft.model.document import Document
from weft.model.origin import FieldPath
from weft.model.problem import Problem, Severity
from weft.schema.hosts import clean_host, covers, service_of_host
from weft.schema.wording import nearest_name

_OF_GATEWAYS = "-istio"


def unknown_service(document: Document[object], path: FieldPath, name: str, namespace: str, nearest: str) -> Problem:
    """There is no Service `namespace`/`name`. Those that Istio makes for Gateways on Kubernetes are written here."""
    message = f"there is no Service '{name}' in namespace '{namespace}'"
    expected = "the name of a Service"
    if name.endswith(_OF_GATEWAYS) and not nearest:
        selector = f"gateway.networking.k8s.io/gateway-name: {name.removesuffix(_OF_GATEWAYS)}"
        expected += f"; before a Gateway's process one with the selector {selector}"
    return problem_at(document, path, "unknown-service", message, expected, nearest=nearest)


def unknown_host(
    document: Document[object],
    path: FieldPath,
    host: str,
    nearest: str,
    effect: str = "",
    severity: Severity = Severity.ERROR,
) -> Problem:
    """The host names no Service. `effect` says what follows."""
    service = service_of_host(host, document.key.namespace)
    expected = "the name of a Service"
    if service is None:
        message = f"'{host}' is outside the mesh: no ServiceEntry names it"
    elif host.count(".") == 1 and not nearest:
        message = f"'{host}' is no Service ('{service.name}' in namespace '{service.namespace}')"
        expected += "; a host outside the mesh needs a ServiceEntry"
    else:
        message = f"there is no Service '{service.name}' in namespace '{service.namespace}'"
    return problem_at(document, path, "unknown-host", message + effect, expected, severity=severity, nearest=nearest)


def nearest_host(host: str, namespace: str, catalog: Catalog) -> str:
    """The host of a service closest to `host` in a document of `namespace`, as long or short as that is written."""
    service = service_of_host(host, namespace)
    near = nearest_name(service.name, catalog.names_in(service.namespace)) if service else ""
    return near + clean_host(host)[len(service.name) :] if service and near else ""


def referents_of(
    hosts: Iterable[str], namespace: str, catalog: Catalog
) -> tuple[tuple[Frontend | None, bool, str], ...]:
    """What a document of `namespace` finds under names of `hosts` that anybody may send to: a service, or the nearest
    name."""
    return tuple(
        (frontend := catalog.find(host, namespace), True, "" if frontend else nearest_host(host, namespace, catalog))
        for host in hosts
    )


def is_routed_outside(host: str, outside: tuple[str, ...]) -> bool:
    """Whether `host` is among the hosts `outside` the mesh (or wildcards) that documents route."""
    return any(covers(pattern, clean_host(host)) for pattern in outside)


def unknown_port(
    document: Document[object], path: FieldPath, frontend: Frontend, port: int, effect: str = ""
) -> Problem:
    """The service has no such port. `effect` says what follows."""
    message = f"{frontend.key} has no port {port}{effect}"
    return problem_at(document, path, "unknown-port", message, one_of(frontend.port_numbers().split(", "), "a port"))
