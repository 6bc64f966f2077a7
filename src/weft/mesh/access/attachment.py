"""Attachment: which policies hold before which ports, and the Access that they come to there.

A policy is for the whole mesh, a namespace, workloads by their labels, the ports behind a Service, or a gateway. All
that cover a port are in force together; none beats another. Ports that the same policies cover share one Access.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from weft.mesh.access.access import OPEN, Access
from weft.mesh.access.policy import AccessPolicy, Action, Closed
from weft.mesh.access.tokens import TokenPolicy
from weft.mesh.memo import Memo
from weft.mesh.policies.scope import Scope
from weft.mesh.services.endpoints import port_behind
from weft.mesh.services.service import Frontend
from weft.mesh.services.workloads import gateway_of, workload_source
from weft.model.document import ObjectKey
from weft.model.labels import Labels
from weft.model.origin import Origin
from weft.model.problem import Problem
from weft.model.workload import Workload, WorkloadPort
from weft.schema.annotations import DEFAULT_ACCESS

ALLOW, DENY = "allow", "deny"
"""What the annotation and the label say where nobody may call until a policy says so."""


Attachable = AccessPolicy | Closed | TokenPolicy


@dataclass(frozen=True, slots=True, eq=False)
class Attachment:
    """A policy and where it holds. Compared by identity."""

    scope: Scope
    policy: Attachable


@dataclass(frozen=True, slots=True, eq=False)
class Attached:
    """What a document comes to: the same policy at one place or more, and what is wrong with it."""

    attachments: tuple[Attachment, ...]
    problems: tuple[Problem, ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class NamespaceAccess:
    """The policies that can concern workloads of one namespace (empty: one without any of its own). `default` is the
    policy that allows nobody, where that is so by default. Compared by identity."""

    attachments: tuple[Attachment, ...]
    default: AccessPolicy | None

    def covering(self, namespace: str, labels: Labels, targets: Iterable[str]) -> tuple[Attachable, ...]:
        """What holds for a workload with these labels, or for what is one of these targets."""
        found = [
            each.policy
            for each in self.attachments
            if (each.scope.target in targets if each.scope.target else each.scope.covers(namespace, labels))
        ]
        return tuple(dict.fromkeys(found))


@dataclass(frozen=True, slots=True, eq=False)
class AccessPolicies:
    """All policies by namespace; `elsewhere` is for namespaces that have none of their own. `classes` are the
    GatewayClasses of Gateways by ``namespace/name``. Compared by identity."""

    namespaces: Mapping[str, NamespaceAccess]
    elsewhere: NamespaceAccess
    classes: Mapping[str, str]
    trust_domain: str
    problems: tuple[Problem, ...] = ()

    def of(self, namespace: str) -> NamespaceAccess:
        """Those of a namespace's workloads."""
        return self.namespaces.get(namespace, self.elsewhere)


def attach_all(
    memo: Memo, attachments: Iterable[Attachment], defaults: Mapping[str, AccessPolicy | None]
) -> tuple[Mapping[str, NamespaceAccess], NamespaceAccess]:
    """The policies by namespace, and of all others. `defaults` are the default policies of namespaces, and that of the
    mesh under the empty name. A namespace's stays the same object while what is in it does."""
    spaces: dict[str, list[Attachment]] = {name: [] for name in ("", *defaults)}
    for each in attachments:
        spaces.setdefault(each.scope.namespace, []).append(each)
    everywhere, mesh = spaces.pop(""), defaults.get("")
    found = {
        name: memo(NamespaceAccess, memo.same((*given, *everywhere)), defaults.get(name, mesh))
        for name, given in spaces.items()
    }
    return MappingProxyType(found), memo(NamespaceAccess, memo.same(everywhere), mesh)


def port_accesses(
    memo: Memo, space: NamespaceAccess, trust_domain: str, frontends: tuple[Frontend, ...], workload: Workload
) -> tuple[Access, ...]:
    """What is asked before each port of a workload that these Services select."""
    default = _workload_default(workload) or space.default
    return tuple(
        _access(memo, space, workload, _targets(frontends, workload, port), default, port.port, trust_domain)
        for port in workload.ports
    )


def gateway_accesses(
    memo: Memo,
    space: NamespaceAccess,
    trust_domain: str,
    gateway_class: str,
    workload: Workload,
    ports: tuple[int, ...],
) -> tuple[Access, ...]:
    """What is asked at each of these ports of the Gateway that a workload serves. Only the process itself may be shut
    by default: whom a Gateway lets in is what its routes say."""
    name = gateway_of(workload)
    targets = (f"Gateway {name}", f"GatewayClass {gateway_class}")
    default = _workload_default(workload)
    return tuple(_access(memo, space, workload, targets, default, port, trust_domain) for port in ports)


def _access(
    memo: Memo,
    space: NamespaceAccess,
    workload: Workload,
    targets: tuple[str, ...],
    default: AccessPolicy | None,
    port: int,
    trust_domain: str,
) -> Access:
    found = space.covering(workload.namespace, workload.labels, targets)
    if default is not None:
        found = (*found, default)
    return memo.over(build_access, found, port, trust_domain) if found else OPEN


def build_access(found: tuple[Attachable, ...], port: int, trust_domain: str) -> Access:
    """What these come to at a port."""
    policies = tuple(each for each in found if isinstance(each, AccessPolicy))
    closed = tuple(each for each in found if isinstance(each, Closed))
    tokens = tuple(each for each in found if isinstance(each, TokenPolicy))
    return Access(policies, closed, port, trust_domain, tokens)


def _targets(frontends: tuple[Frontend, ...], workload: Workload, port: WorkloadPort) -> tuple[str, ...]:
    """What a port is one of: the service account of its workload, and the Services that lead to it."""
    services = tuple(
        f"Service {frontend.namespace}/{frontend.name}"
        for frontend in frontends
        if any(port_behind(frontend, each.target, workload) is port for each in frontend.ports)
    )
    return (f"ServiceAccount {workload.namespace}/{workload.service_account}", *services)


def nobody(key: ObjectKey, origin: Origin) -> AccessPolicy:
    """The policy that allows no call, said by `key` at `origin`."""
    return AccessPolicy(key, origin, Action.ALLOW, ())


def _workload_default(workload: Workload) -> AccessPolicy | None:
    """That of a workload whose label shuts it, by any word but `allow`. A label never opens anything."""
    if dict(workload.labels).get(DEFAULT_ACCESS, ALLOW) == ALLOW:
        return None
    return nobody(ObjectKey("", "Workload", workload.namespace, workload.name), Origin(workload_source(workload)))
