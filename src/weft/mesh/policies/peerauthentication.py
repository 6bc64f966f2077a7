"""PeerAuthentication: which mutual-TLS mode each port of each workload is in.

Order of Istio: the port of a policy that selects the workload, that policy, the namespace's policy, the mesh's policy
(in the root namespace), STRICT. https://istio.io/latest/docs/reference/config/security/peer_authentication/
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from weft.mesh.memo import Memo
from weft.mesh.policies.scope import Breadth, Policy, applicable, scope_in, settle
from weft.mesh.problems import problem_at
from weft.mesh.services.service import MutualTlsMode
from weft.model.document import Document
from weft.model.labels import Labels, labels_from_mapping
from weft.model.origin import FieldPath, Origin
from weft.model.problem import Problem
from weft.model.workload import Workload
from weft.schema.kinds.peerauthentication import MutualTls, PeerAuthenticationSpec

PeerDocument = Document[PeerAuthenticationSpec]


@dataclass(frozen=True, slots=True, eq=False)
class PeerPolicy:
    """The policies that can concern workloads of one namespace (empty: one without any of its own)."""

    namespace: str
    policies: tuple[Policy[PeerAuthenticationSpec], ...] = ()

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


def _settings(policy: Policy[PeerAuthenticationSpec], port: int) -> Iterable[tuple[MutualTls, FieldPath]]:
    """What a policy says of a port, the narrowest first."""
    spec = policy.document.spec
    on_port = spec.port_level_mtls.get(port)
    # Without a selector only a stricter port is honoured: a mistake must not open anything.
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
    problems = (*conflicts, *(_port_without_selector(policy.document) for policy in policies if _opens_ports(policy)))
    return PeerPolicies(MappingProxyType(found), memo(PeerPolicy, "", tuple(everywhere)), problems)


def build_peer_policy(document: PeerDocument, root_namespace: str) -> Policy[PeerAuthenticationSpec]:
    """A document and what it is for."""
    selector = document.spec.selector
    labels = labels_from_mapping(selector.match_labels) if selector else ()
    return Policy(scope_in(document.key.namespace, root_namespace, labels), document)


def peer_policies_of(documents: Iterable[Document[object]], root_namespace: str) -> PeerPolicies:
    """The policies among `documents` of all kinds."""
    found = tuple(item for item in documents if isinstance(item.spec, PeerAuthenticationSpec))
    return build_peer_policies(found, Memo(), root_namespace)  # type: ignore[arg-type]


def changes_mode(before: PeerPolicies, after: PeerPolicies, workloads: Iterable[Workload]) -> bool:
    """Whether any port of any workload is in another mode by `after`."""
    return any(
        before.of(workload.namespace).mode(workload.labels, port.port)
        is not after.of(workload.namespace).mode(workload.labels, port.port)
        for workload in workloads
        for port in workload.ports
    )


def _opens_ports(policy: Policy[PeerAuthenticationSpec]) -> bool:
    return bool(policy.document.spec.port_level_mtls) and policy.scope.breadth is not Breadth.NAMED


def _port_without_selector(document: PeerDocument) -> Problem:
    return problem_at(
        document,
        ("spec", "portLevelMtls"),
        "port-without-selector",
        "portLevelMtls needs a selector; without one only its STRICT ports are in force",
        "spec.selector.matchLabels naming the workloads that have these ports",
    )
