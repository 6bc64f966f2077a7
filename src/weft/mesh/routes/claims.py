"""Claims: whether rules for a host can be in force at all."""

from __future__ import annotations

from weft.mesh.problems import problem_at
from weft.mesh.routes.kind import Layer
from weft.mesh.services.catalog import Catalog
from weft.mesh.services.hosts import SERVICE_SUFFIX
from weft.mesh.services.references import nearest_host
from weft.mesh.services.service import FrontendPort, Protocol
from weft.mesh.services.turning import carries_requests
from weft.model.document import Document
from weft.model.origin import FieldPath
from weft.model.problem import Problem, Severity
from weft.schema.hosts import is_wildcard


def carries(port: FrontendPort, layer: Layer) -> bool:
    """Whether rules of a layer can be in force on a port."""
    return carries_requests(port) if layer == "requests" else port.protocol in (Protocol.TCP, Protocol.AUTO)


def claim_problem(
    document: Document[object], path: FieldPath, host: str, catalog: Catalog, layers: tuple[Layer, ...]
) -> Problem | None:
    """Why rules for `host` cannot be in force: a service's name without a service, or one whose ports all carry what
    none of the rules is about."""
    frontend = catalog.by_host.get(host)
    if frontend is None:
        if not host.endswith(SERVICE_SUFFIX) or is_wildcard(host):
            return None
        name, _, namespace = host.removesuffix(SERVICE_SUFFIX).rpartition(".")
        short = name if namespace == document.key.namespace else f"{name}.{namespace}"
        return problem_at(
            document,
            path,
            "unknown-host",
            f"there is no Service '{name}' in namespace '{namespace}', so these rules route nothing for it",
            "the name of a Service",
            severity=Severity.WARNING,
            nearest=nearest_host(short, document.key.namespace, catalog),
        )
    if not frontend.ports or any(carries(port, layer) for port in frontend.ports for layer in layers):
        return None
    if "requests" in layers:
        message = f"every port of '{host}' carries TCP, which has no HTTP rules"
        return problem_at(document, path, "not-http", message, "a port whose appProtocol or name says http")
    message = f"every port of '{host}' carries HTTP, where rules for connections have no effect"
    return problem_at(
        document, path, "not-tcp", message, "a port whose appProtocol or name says tcp, or rules for HTTP"
    )
