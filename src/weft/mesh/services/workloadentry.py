"""WorkloadEntry: instances that documents describe, for those who select them, and as endpoints.

https://istio.io/latest/docs/reference/config/networking/workload-entry/
"""

from __future__ import annotations

from dataclasses import replace

from weft.mesh.memo import Memo
from weft.mesh.problems import problem_at
from weft.mesh.services.member import Member
from weft.model.document import Document
from weft.model.labels import labels_from_mapping
from weft.model.locality import locality_from_text, locality_of, with_topology
from weft.model.origin import FieldPath
from weft.model.problem import Problem, Severity
from weft.model.workload import WorkloadState
from weft.schema.kinds.workloadentry import WorkloadEntrySpec

WorkloadEntryDocument = Document[WorkloadEntrySpec]
TLS_MODE = "security.istio.io/tlsMode"
"""The label by which an instance says that a proxy of the mesh stands before it."""


def build_entry_member(_memo: Memo, document: WorkloadEntryDocument, sick: bool) -> Member:
    """The instance that a WorkloadEntry describes. Its labels are those of its spec, over those of the document.
    `sick`: it does not pass its probe."""
    member = build_member(document, document.spec, ("spec",), dict(document.labels))
    return replace(member, state=WorkloadState.UNHEALTHY) if sick else member


def build_member(
    document: Document[object], spec: WorkloadEntrySpec, path: FieldPath, given: dict[str, str] | None = None
) -> Member:
    """An instance that stands at a field of a document."""
    labels = labels_from_mapping({**(given or {}), **spec.labels})
    locality = locality_of(locality_from_text(spec.locality), labels)
    return Member(
        key=document.key,
        origin=document.at(*path),
        address=spec.address,
        ports=tuple(sorted(spec.ports.items())),
        labels=with_topology(labels, locality),
        locality=locality,
        weight=spec.weight or 1,
        account=spec.service_account,
        meshed=dict(labels).get(TLS_MODE) == "istio",
    )


def entry_problems(_memo: Memo, document: WorkloadEntryDocument) -> tuple[Problem, ...]:
    """What is wrong with a WorkloadEntry alone."""
    labels = {**dict(document.labels), **document.spec.labels}
    if labels.get(TLS_MODE) != "istio" or document.spec.service_account:
        return ()
    message = "nobody can prove to be it, since its certificate's serviceAccount is missing"
    expected = f"serviceAccount, or no label {TLS_MODE}"
    return (problem_at(document, ("spec",), "no-account", message, expected, severity=Severity.WARNING),)
