"""The Mesh: the meaning of one ConfigSnapshot."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from weft.mesh.gateways.gateway import Gateways
from weft.mesh.policies.destinationrule import DestinationRules
from weft.mesh.policies.meshconfig import TrafficDefaults
from weft.mesh.policies.peerauthentication import PeerPolicies
from weft.mesh.policies.referencegrant import Grants
from weft.mesh.routes.claims import MeshRoutes
from weft.mesh.services.catalog import Catalog
from weft.mesh.services.service import Service
from weft.model.problem import Problem
from weft.model.snapshot import MeshSettings
from weft.model.workload import Workload


@dataclass(frozen=True, slots=True, eq=False)
class Mesh:
    """Services with their endpoints, and every document attached to what it is about.

    `settings` and `defaults` are those in force: of the MeshConfig, over what the control plane was started with.
    `services` are sorted by namespace and name, `index` holds them by full name. `problems` are those of the meaning
    (dangling names, conflicts), not those of decoding. `overlap` are policies that callers may still, or already, act
    on. Compared by identity.
    """

    revision: int
    settings: MeshSettings
    defaults: TrafficDefaults
    services: tuple[Service, ...]
    index: Mapping[str, Service]
    workloads: tuple[Workload, ...]
    catalog: Catalog
    destination_rules: DestinationRules
    routes: MeshRoutes
    gateways: Gateways
    grants: Grants
    peers: PeerPolicies
    problems: tuple[Problem, ...] = ()
    overlap: PeerPolicies | None = None
