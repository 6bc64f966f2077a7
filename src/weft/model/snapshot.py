"""A ConfigSnapshot: every accepted document and every registered workload at one revision."""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass, field

from weft.model.bundles import ForeignBundle
from weft.model.distrust import Distrust
from weft.model.document import Document, ObjectKey
from weft.model.identity import DEFAULT_TRUST_DOMAIN
from weft.model.instance import Instance
from weft.model.jwks import KeySet
from weft.model.names import Assigned
from weft.model.openid import OpenIdEndpoints
from weft.model.problem import Problem
from weft.model.trials import Trial
from weft.model.workload import Workload


class OutboundPolicy:
    """What a sidecar does with a host that no document names (Istio's outboundTrafficPolicy)."""

    ALLOW_ANY = "ALLOW_ANY"
    REGISTRY_ONLY = "REGISTRY_ONLY"


@dataclass(frozen=True, slots=True)
class MeshSettings:
    """Mesh-wide settings: in a snapshot those the control plane was started with, in a Mesh those in force, with what
    the documents say over them. An empty trust domain stands for none that runs yet. `cookie_key` is the control
    plane's own, of which the keys are made that seal sessions in cookies. `trust_epoch` counts the roots that were
    dropped: connections of an earlier epoch are closed. With `secrets_as_needed` Secrets are there only where a process
    is that needs them."""

    trust_domain: str = DEFAULT_TRUST_DOMAIN
    root_namespace: str = "istio-system"
    outbound_policy: str = OutboundPolicy.ALLOW_ANY
    cookie_key: bytes = field(default=b"", repr=False)
    trust_epoch: int = 0
    secrets_as_needed: bool = False


@dataclass(frozen=True, slots=True)
class ConfigSnapshot:
    """The input of the compiler. Documents are sorted by key, workloads by namespace and name; unchanged ones are the
    same objects as in the snapshot before. `revision` grows with every change; `problems` are those of decoding;
    `keys` those that issuers' tokens are checked with, by address, `endpoints` what OpenID providers said of
    themselves, `bundles` those of other trust domains, by name. `distrusted` are the ends of trust,
    `sick` the WorkloadEntries whose instances do not pass their probes, `trials` what a real Envoy said to documents,
    `assigned` the numbers that services have for their virtual addresses, `instances` what a cluster tells of that has
    no agent, sorted by namespace, `left_out` the namespaces of a cluster that are not in view."""

    revision: int
    documents: tuple[Document[object], ...] = ()
    workloads: tuple[Workload, ...] = ()
    problems: tuple[Problem, ...] = ()
    settings: MeshSettings = MeshSettings()
    keys: tuple[KeySet, ...] = ()
    endpoints: tuple[OpenIdEndpoints, ...] = ()
    bundles: tuple[ForeignBundle, ...] = ()
    distrusted: tuple[Distrust, ...] = ()
    trials: tuple[Trial, ...] = ()
    assigned: tuple[Assigned, ...] = ()
    sick: tuple[ObjectKey, ...] = ()
    instances: tuple[Instance, ...] = ()
    left_out: frozenset[str] = frozenset()

    def workload(self, proxy: str) -> Workload | None:
        """The registered workload of a proxy (`Workload.proxy`)."""
        name, _, namespace = proxy.partition(".")
        index = bisect_left(self.workloads, (namespace, name), key=workload_order)
        found = self.workloads[index] if index < len(self.workloads) else None
        return found if found is not None and found.proxy == proxy else None


def workload_order(workload: Workload) -> tuple[str, str]:
    """The sort key of workloads in a snapshot."""
    return workload.namespace, workload.name
