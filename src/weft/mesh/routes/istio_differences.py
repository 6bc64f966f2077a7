"""What a VirtualService says that means something else in Istio: a warning (see `weft.schema.istio_differences`)."""

from __future__ import annotations

from weft.mesh.memo import Memo
from weft.mesh.problems import problem_at
from weft.mesh.routes.kind import MESH
from weft.mesh.routes.virtualservice import VirtualServiceDocument
from weft.mesh.routes.virtualservice_matches import claimed_sides
from weft.mesh.services.catalog import Catalog
from weft.model.problem import Problem, Severity
from weft.schema.hosts import covers, is_wildcard

CODE = "differs-from-istio"


def istio_differences(_memo: Memo, document: VirtualServiceDocument, catalog: Catalog) -> tuple[Problem, ...]:
    """Hosts of other namespaces' services: routed for the callers of the document's own namespace only."""
    namespace = document.key.namespace
    if MESH not in claimed_sides(document.spec, namespace):
        return ()
    return tuple(
        _for_own_callers(document, index, owners)
        for index, host in enumerate(document.spec.hosts)
        if (owners := _other_owners(host, namespace, catalog))
    )


def _other_owners(host: str, namespace: str, catalog: Catalog) -> tuple[str, ...]:
    """The other namespaces whose services a host of a document of `namespace` names."""
    service = catalog.find(host, namespace)
    if service is not None:
        found = {service.namespace}
    elif is_wildcard(host):
        found = {each.namespace for each in catalog.frontends if covers(host, each.host)}
    else:
        found = set()
    return tuple(sorted(found - {namespace}))


def _for_own_callers(document: VirtualServiceDocument, index: int, owners: tuple[str, ...]) -> Problem:
    shown = ", ".join(f"'{each}'" for each in owners[:3]) + (" and others" if len(owners) > 3 else "")
    where = f"namespace {shown}" if len(owners) == 1 else f"namespaces {shown}"
    what = (
        f"services in {where} are among these, and for them"
        if is_wildcard(document.spec.hosts[index])
        else (f"the service is in {where}, so")
    )
    path = ("spec", "hosts", index)
    return problem_at(
        document,
        path,
        CODE,
        f"{what} this is in force for callers in '{document.key.namespace}' only (in Istio for all callers)",
        f"a document in {where}, if it is meant for all callers",
        severity=Severity.WARNING,
    )
