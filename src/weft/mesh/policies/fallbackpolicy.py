"""FallbackPolicy: which services take the calls of another, and why one cannot."""

from __future__ import annotations

from collections.abc import Iterator

from weft.mesh.policies.referencegrant import Grants
from weft.mesh.problems import problem_at
from weft.mesh.services.catalog import Catalog
from weft.mesh.services.references import unknown_port
from weft.mesh.services.resilience import Key
from weft.mesh.services.service import BY_CALLER, BY_DNS, Frontend, Location, Protocol
from weft.model.document import Document, ObjectKey
from weft.model.problem import Problem
from weft.schema.kinds.fallbackpolicy import FallbackPolicySpec, FallbackReference
from weft.schema.kinds.meshconfig import WEFT_GROUP
from weft.schema.wording import nearest_name

_SOURCE = (WEFT_GROUP, "FallbackPolicy")


def fallbacks_of(
    document: Document[FallbackPolicySpec], frontend: Frontend, port: int, catalog: Catalog, grants: Grants
) -> tuple[Key, ...]:
    """Where calls to a port of `frontend` go instead, in order; those that are no fallback for it are left out."""
    found = [
        (other.host, reference.port or port, "")
        for reference in document.spec.fallback_refs
        if (other := _find(document, reference, catalog)) is not None
        and _granted(document, other, grants)
        and not any(_unfit(frontend, port, other, reference.port or port))
    ]
    return tuple(dict.fromkeys(found))


def fallback_problems(
    document: Document[FallbackPolicySpec], frontend: Frontend, ports: tuple[int, ...], catalog: Catalog, grants: Grants
) -> Iterator[Problem]:
    """Why a fallback is none for these `ports` of `frontend`."""
    for index, reference in enumerate(document.spec.fallback_refs):
        path = ("spec", "fallbackRefs", index)
        namespace = reference.namespace or document.key.namespace
        other = _find(document, reference, catalog)
        if other is None:
            near = nearest_name(reference.name, catalog.names_in(namespace))
            message = f"there is no Service '{reference.name}' in namespace '{namespace}'"
            yield problem_at(
                document, (*path, "name"), "unknown-service", message, "the name of a Service", nearest=near
            )
            continue
        if not _granted(document, other, grants):
            message = f"namespace '{namespace}' does not grant references to Service '{reference.name}'"
            yield problem_at(document, (*path, "namespace"), "reference-not-granted", message, "a ReferenceGrant there")
            continue
        for port in ports:
            wanted = reference.port or port
            if other.port(wanted) is None:
                yield unknown_port(document, (*path, "port"), other, wanted, f", to which port {port} would fall back")
                continue
            for message, expected in _unfit(frontend, port, other, wanted):
                yield problem_at(document, (*path, "name"), "no-fallback", message, expected)


def _find(document: Document[FallbackPolicySpec], reference: FallbackReference, catalog: Catalog) -> Frontend | None:
    return catalog.named(reference.name, reference.namespace or document.key.namespace)


def _granted(document: Document[FallbackPolicySpec], other: Frontend, grants: Grants) -> bool:
    to = ObjectKey("", "Service", other.namespace, other.name)
    return grants.allow(_SOURCE, document.key.namespace, to)


def _unfit(frontend: Frontend, port: int, other: Frontend, wanted: int) -> Iterator[tuple[str, str]]:
    """Why a port of `other` cannot stand in for one of `frontend`, and what could."""
    own, its = frontend.port(port), other.port(wanted)
    if own is None or its is None:
        yield f"{other.key} has no port {wanted}", "a port that it has"
        return
    if other is frontend and port == wanted:
        yield f"port {port} of {frontend.key} would fall back to itself", "another Service or port"
    for each in (frontend, other):
        if each.location is Location.OUTSIDE or each.resolution in (*BY_DNS, *BY_CALLER):
            yield f"the instances of {each.key} are outside the mesh, so their health is not known", "a Service in it"
    if (own.protocol is Protocol.TCP) != (its.protocol is Protocol.TCP):
        message = f"port {port} of {frontend.key} carries {own.protocol}, port {wanted} of {other.key} {its.protocol}"
        yield message, "a port of the same protocol"
