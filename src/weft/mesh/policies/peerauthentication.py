"""PeerAuthentication: which mutual-TLS mode each port of each workload is in.

Order of Istio: the port of a policy that selects the workload, that policy, the namespace's policy, the mesh's policy
(in the root namespace), STRICT. A document that cannot be understood is STRICT for what it names. https://istio.io/latest/docs/reference/config/security/peer_authentication/
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import TypeGuard

from weft.mesh.memo import Memo
from weft.mesh.policies.scope import Breadth, Policy, Scope, applicable, scope_in, settle
from weft.mesh.problems import problem_at
from weft.mesh.services.service import MutualTlsMode
from weft.model.document import Document
from weft.model.labels import Labels, labels_from_mapping
from weft.model.origin import FieldPath, Origin
from weft.model.problem import Problem
from weft.model.unreadable import Unreadable
from weft.model.workload import Workload
from weft.schema.kinds.peerauthentication import MutualTls, PeerAuthenticationSpec

PeerSpec = PeerAuthenticationSpec | Unreadable
PeerDocument = Document[PeerSpec]
_KIND = "PeerAuthentication"
_CLOSED = PeerAuthenticationSpec(mtls=MutualTls(mode="STRICT"))


@dataclass(frozen=True, slots=True, eq=False)
class PeerPolicy:
    """The policies that can concern workloads of one namespace (empty: one without any of its own)."""

    namespace: str
    policies: tuple[Policy[PeerSpec], ...] = ()

    def mode(self, labels: Labels, port: int) -> MutualTlsMode:
        """The mode of a port of a workload with these labels."""
        return self.decide(labels, port)[0]

    def decide(self, labels: Labels, port: int) -> tuple[MutualTlsMode, tuple[Origin, ...]]:
        """The mode and the place of the document that set it (none for the default)."""
        for policy in applicable(self.policies, self.namespace, labels):
            for value, path in _settings(policy, port):
                if value.mode != "UNSET":
                    return MutualTlsMode(value.mode.lower()), (policy.document.at(*path),)
        return MutualTlsMode.STRICT, ()


def _settings(policy: Policy[PeerSpec], port: int) -> Iterable[tuple[MutualTls, FieldPath]]:
    """What a policy says of a port, the narrowest first."""
    spec = policy.document.spec
    if isinstance(spec, Unreadable):
        yield _CLOSED.mtls, ()
        return
    on_port = spec.port_level_mtls.get(port)
    # The decoder asks for a selector. Without one only a stricter port is honoured: a mistake must not open anything.
    if on_port is not None and (policy.scope.breadth is Breadth.NAMED or on_port.mode == "STRICT"):
        yield on_port, ("spec", "portLevelMtls", str(port), "mode")
    yield spec.mtls, ("spec", "mtls", "mode")


@dataclass(frozen=True, slots=True, eq=False)
class PeerPolicies:
    """Policies by namespace; `default` for namespaces that have none of their own."""

    namespaces: Mapping[str, PeerPolicy]
    default: PeerPolicy
    problems: tuple[Problem, ...] = ()

    def of(self, namespace: str) -> PeerPolicy:
        """The policy of a namespace's workloads."""
        return self.namespaces.get(namespace, self.default)


def build_peer_policies(documents: tuple[PeerDocument, ...], memo: Memo, root_namespace: str) -> PeerPolicies:
    """The policies of all namespaces. A namespace's policy stays the same object while its documents do."""
    expected = "one PeerAuthentication for each set of workloads"
    given = [memo(build_peer_policy, document, root_namespace) for document in documents]
    policies, conflicts = settle(given, ("spec", "selector"), "policy-conflict", expected)
    everywhere = [policy for policy in policies if policy.scope.breadth is Breadth.MESH]
    spaces = dict.fromkeys(policy.scope.namespace for policy in policies if policy.scope.namespace)
    found = {
        name: memo(PeerPolicy, name, (*(each for each in policies if each.scope.namespace == name), *everywhere))
        for name in spaces
    }
    problems = (
        *conflicts,
        *(_unreadable(policy) for policy in given if isinstance(policy.document.spec, Unreadable)),
    )
    return PeerPolicies(MappingProxyType(found), memo(PeerPolicy, "", tuple(everywhere)), problems)


def build_peer_policy(document: PeerDocument, root_namespace: str) -> Policy[PeerSpec]:
    """A document and what it is for."""
    spec = document.spec
    if isinstance(spec, Unreadable):
        if not spec.scoped:
            return Policy(Scope(document.key.namespace, known=False), document)
        return Policy(scope_in(document.key.namespace, root_namespace, spec.selector), document)
    selector = spec.selector
    labels = labels_from_mapping(selector.match_labels) if selector else ()
    return Policy(scope_in(document.key.namespace, root_namespace, labels), document)


def peer_policies_of(documents: Iterable[Document[object]], root_namespace: str) -> PeerPolicies:
    """The policies among `documents` of all kinds."""
    return build_peer_policies(peer_documents(documents), Memo(), root_namespace)


def peer_documents(documents: Iterable[Document[object]]) -> tuple[PeerDocument, ...]:
    """Those of this kind, understood or not."""
    return tuple(document for document in documents if _is_peer(document))


def _is_peer(document: Document[object]) -> TypeGuard[PeerDocument]:
    spec = document.spec
    return isinstance(spec, PeerAuthenticationSpec) or (isinstance(spec, Unreadable) and spec.kind == _KIND)


def changes_mode(before: PeerPolicies, after: PeerPolicies, workloads: Collection[Workload]) -> bool:
    """Whether any port of any workload is in another mode by `after`."""
    spaces = {workload.namespace for workload in workloads}
    found = {space: (before.of(space), after.of(space)) for space in spaces}
    changed = {space: pair for space, pair in found.items() if pair[0].policies != pair[1].policies}
    return any(
        old.mode(workload.labels, port.port) is not new.mode(workload.labels, port.port)
        for workload in workloads
        if workload.namespace in changed
        for old, new in (changed[workload.namespace],)
        for port in workload.ports
    )


def _unreadable(policy: Policy[PeerSpec]) -> Problem:
    whom = "the workloads it selects" if policy.scope.known else "all workloads of its namespace"
    message = f"it cannot be understood, so {whom} accept mutual TLS only until it is mended"
    expected = "a document without the errors told about it"
    return problem_at(policy.document, (), "policy-unreadable", message, expected)
