"""PeerAuthentication: which mutual-TLS mode each port of each workload is in.

Order of Istio: the port of a policy that selects the workload, that policy, the namespace's policy, the mesh's policy
(in the root namespace), STRICT. In one scope the oldest document wins. A document that cannot be understood is STRICT
for what it names and wins over the others of its scope; if its selector cannot be read, over all of its namespace.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import TypeGuard

from weft.mesh.memo import Memo
from weft.mesh.services.service import MutualTlsMode
from weft.model.document import Document
from weft.model.labels import Labels, labels_from_mapping, selects
from weft.model.origin import Origin
from weft.model.problem import Problem, Severity
from weft.model.unreadable import Unreadable
from weft.model.workload import Workload
from weft.schema.kinds.peerauthentication import MutualTls, PeerAuthenticationSpec

PeerDocument = Document[PeerAuthenticationSpec] | Document[Unreadable]
_KIND = "PeerAuthentication"


@dataclass(frozen=True, slots=True, eq=False)
class PeerPolicy:
    """The policies that can concern workloads of one namespace, oldest first within `selected`. `closed` goes before
    all others."""

    closed: PeerDocument | None = None
    mesh: PeerDocument | None = None
    namespace: PeerDocument | None = None
    selected: tuple[tuple[Labels, PeerDocument], ...] = ()

    def mode(self, labels: Labels, port: int) -> MutualTlsMode:
        """The mode of a port of a workload with these labels."""
        return self.decide(labels, port)[0]

    def decide(self, labels: Labels, port: int) -> tuple[MutualTlsMode, tuple[Origin, ...]]:
        """The mode and the place of the document that set it (none for the default)."""
        if self.closed is not None:
            return MutualTlsMode.STRICT, (self.closed.origin,)
        chosen = next((document for selector, document in self.selected if selects(selector, labels)), None)
        for document, value, path in self._settings(chosen, port):
            if value.mode != "UNSET":
                return MutualTlsMode(value.mode.lower()), (document.at(*path),)
        return MutualTlsMode.STRICT, ()

    def _settings(
        self, chosen: PeerDocument | None, port: int
    ) -> Iterable[tuple[PeerDocument, MutualTls, tuple[str | int, ...]]]:
        """Settings from the narrowest scope to the widest."""
        for document in (chosen, self.namespace, self.mesh):
            if document is None:
                continue
            spec = _spec(document)
            on_port = spec.port_level_mtls.get(port)
            # Without a selector only a stricter port is honoured: a mistake must not open anything.
            if on_port is not None and (document is chosen or on_port.mode == "STRICT"):
                yield document, on_port, ("spec", "portLevelMtls", str(port), "mode")
            yield document, spec.mtls, ("spec", "mtls", "mode")


@dataclass(frozen=True, slots=True, eq=False)
class PeerPolicies:
    """Policies by namespace; `default` for namespaces that have none of their own."""

    namespaces: Mapping[str, PeerPolicy]
    default: PeerPolicy
    problems: tuple[Problem, ...] = ()

    def of(self, namespace: str) -> PeerPolicy:
        """The policy of a namespace's workloads."""
        return self.namespaces.get(namespace, self.default)


def build_peer_policy(mesh: PeerDocument | None, documents: tuple[PeerDocument, ...]) -> PeerPolicy:
    """The policy of one namespace from its documents (oldest first) and the mesh-wide one."""
    closed = next((document for document in documents if not _is_scoped(document)), None)
    wide = next((document for document in documents if not _selector(document)), None)
    return PeerPolicy(closed, mesh, wide, tuple((_selector(item), item) for item in documents if _selector(item)))


def group_peer_documents(
    documents: tuple[PeerDocument, ...], root_namespace: str
) -> tuple[PeerDocument | None, dict[str, list[PeerDocument]], tuple[Problem, ...]]:
    """The mesh-wide document, those of each namespace oldest first, and what is wrong with any."""
    mesh: PeerDocument | None = None
    groups: dict[str, list[PeerDocument]] = {}
    owners: dict[tuple[str, Labels], PeerDocument] = {}
    problems: list[Problem] = []
    for document in sorted(documents, key=lambda item: (not isinstance(item.spec, Unreadable), item.precedence)):
        selector, namespace = _selector(document), document.key.namespace
        if isinstance(document.spec, Unreadable):
            problems.append(_unreadable(document))
            if not document.spec.scoped:
                groups.setdefault(namespace, []).append(document)
                continue
        owner = owners.setdefault((namespace, selector), document)
        if owner is not document:
            problems.append(_conflict(document, owner))
            continue
        if _spec(document).port_level_mtls and not selector:
            problems.append(_port_without_selector(document))
        if namespace == root_namespace and not selector:
            mesh = document
        else:
            groups.setdefault(namespace, []).append(document)
    return mesh, groups, tuple(problems)


def build_peer_policies(documents: tuple[PeerDocument, ...], memo: Memo, root_namespace: str) -> PeerPolicies:
    """The policies of all namespaces. A namespace's policy stays the same object while its documents do."""
    mesh, groups, problems = group_peer_documents(documents, root_namespace)
    found = {namespace: memo(build_peer_policy, mesh, tuple(group)) for namespace, group in groups.items()}
    return PeerPolicies(MappingProxyType(found), memo(build_peer_policy, mesh, ()), problems)


def peer_policies_of(documents: Iterable[Document[object]], root_namespace: str) -> PeerPolicies:
    """The policies among `documents` of all kinds."""
    return build_peer_policies(peer_documents(documents), Memo(), root_namespace)


def peer_documents(documents: Iterable[Document[object]]) -> tuple[PeerDocument, ...]:
    """Those of this kind, understood or not."""
    return tuple(document for document in documents if _is_peer(document))


def _is_peer(document: Document[object]) -> TypeGuard[PeerDocument]:
    spec = document.spec
    return isinstance(spec, PeerAuthenticationSpec) or (isinstance(spec, Unreadable) and spec.kind == _KIND)


def changes_mode(before: PeerPolicies, after: PeerPolicies, workloads: Iterable[Workload]) -> bool:
    """Whether any port of any workload is in another mode by `after`."""
    return any(
        before.of(workload.namespace).mode(workload.labels, port.port)
        is not after.of(workload.namespace).mode(workload.labels, port.port)
        for workload in workloads
        for port in workload.ports
    )


_CLOSED = PeerAuthenticationSpec(mtls=MutualTls(mode="STRICT"))


def _spec(document: PeerDocument) -> PeerAuthenticationSpec:
    return _CLOSED if isinstance(document.spec, Unreadable) else document.spec


def _selector(document: PeerDocument) -> Labels:
    if isinstance(document.spec, Unreadable):
        return document.spec.selector
    selector = document.spec.selector
    return labels_from_mapping(selector.match_labels) if selector else ()


def _is_scoped(document: PeerDocument) -> bool:
    """Whether it is known which workloads it selects."""
    return not isinstance(document.spec, Unreadable) or document.spec.scoped


def _unreadable(document: PeerDocument) -> Problem:
    whom = "the workloads it selects" if _is_scoped(document) else "all workloads of its namespace"
    return Problem(
        Severity.ERROR,
        "policy-unreadable",
        f"it cannot be understood, so {whom} accept mutual TLS only until it is mended",
        document.origin,
        document.key,
        expected="a document without the errors told about it",
    )


def _conflict(document: PeerDocument, owner: PeerDocument) -> Problem:
    why = "cannot be understood" if isinstance(owner.spec, Unreadable) else "is older"
    return Problem(
        Severity.ERROR,
        "policy-conflict",
        f"{owner.key} ({owner.origin}) {why} and already governs the same workloads, so this one is not in force",
        document.origin,
        document.key,
        ("spec", "selector"),
        "one PeerAuthentication for each set of workloads",
    )


def _port_without_selector(document: PeerDocument) -> Problem:
    return Problem(
        Severity.ERROR,
        "port-without-selector",
        "portLevelMtls needs a selector; without one only its STRICT ports are in force",
        document.at("spec", "portLevelMtls"),
        document.key,
        ("spec", "portLevelMtls"),
        "spec.selector.matchLabels naming the workloads that have these ports",
    )
