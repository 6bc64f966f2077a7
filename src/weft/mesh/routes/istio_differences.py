"""What a VirtualService says that means something else in Istio: a warning (see `weft.schema.istio_differences`)."""

from __future__ import annotations

from collections.abc import Iterator

from weft.mesh.routes.kind import MESH
from weft.mesh.routes.virtualservice import VirtualServiceDocument
from weft.mesh.routes.virtualservice_matches import claimed_sides
from weft.mesh.services.catalog import Catalog
from weft.model.problem import Problem, Severity

CODE = "differs-from-istio"


def istio_differences(documents: tuple[VirtualServiceDocument, ...], catalog: Catalog) -> tuple[Problem, ...]:
    """Hosts of other namespaces' services: routed for the callers of the document's own namespace only."""
    return tuple(problem for document in documents for problem in _foreign_hosts(document, catalog))


def _foreign_hosts(document: VirtualServiceDocument, catalog: Catalog) -> Iterator[Problem]:
    namespace = document.key.namespace
    if MESH not in claimed_sides(document.spec, namespace):
        return
    for index, host in enumerate(document.spec.hosts):
        service = catalog.find(host, namespace)
        if service is None or service.namespace == namespace:
            continue
        yield Problem(
            Severity.WARNING,
            CODE,
            f"the service is in namespace '{service.namespace}', so this is in force for callers in '{namespace}' only "
            "(in Istio for all callers)",
            document.at("spec", "hosts", index),
            document.key,
            ("spec", "hosts", index),
            f"a document in namespace '{service.namespace}', if it is meant for all callers",
        )
