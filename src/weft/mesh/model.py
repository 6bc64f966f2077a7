"""The Mesh: the meaning of one ConfigSnapshot."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from weft.mesh.access.attachment import AccessPolicies
from weft.mesh.gateways.gateway import Gateways
from weft.mesh.policies.destinationrule import DestinationRules
from weft.mesh.policies.distrust import Refused
from weft.mesh.policies.envoyfilter import NO_FILTERS, EnvoyFilters
from weft.mesh.policies.federatedtrustdomain import NO_FEDERATION, Federation
from weft.mesh.policies.guards import NO_GUARDS, Guards
from weft.mesh.policies.meshconfig import TrafficDefaults
from weft.mesh.policies.peerauthentication import PeerPolicies
from weft.mesh.policies.proxyconfig import ProxyConfigs
from weft.mesh.policies.ratelimitpolicy import NO_LIMITS, RateLimits
from weft.mesh.policies.servicepolicies import NO_SERVICE_POLICIES, ServicePolicies
from weft.mesh.policies.sidecar import NO_SIDECARS, Sidecars
from weft.mesh.policies.telemetry import Telemetries
from weft.mesh.routes.acceptance import RouteStatus
from weft.mesh.routes.table import RouteTable
from weft.mesh.services.addresses import UNKNOWN, Addresses
from weft.mesh.services.backends import Targets
from weft.mesh.services.catalog import Catalog
from weft.mesh.services.credentials import NO_CREDENTIALS, Credentials
from weft.mesh.services.endpoints import Services
from weft.mesh.sidecars.outbound import Entry
from weft.model.problem import Problem
from weft.model.snapshot import MeshSettings
from weft.model.workload import Workload


@dataclass(frozen=True, slots=True, eq=False)
class Mesh:
    """Services with their endpoints, and every document attached to what it is about.

    `settings` and `defaults` are those in force: of the MeshConfig, over what the control plane was started with.
    `targets` are the backends of all services, `entries` how callers of other namespaces reach each. `acceptance` says
    of each route and parent whether it is attached. `guards` are what clients of Gateways meet, and who is asked;
    `limits` how many requests pass; `sidecars` say what proxies are told of, `proxies` how they are started and whether
    they take HTTP/1.0. `problems` are those of the meaning (dangling names, conflicts), not those of decoding; `idle`
    tell what has no effect until a workload is there (see `weft.mesh.idle`). `overlap` are policies that callers may
    still, or already, act on; `refused` are callers whose trust has ended, `credentials` what callers show to servers
    outside, `addresses` those of services. Compared by identity.
    """

    revision: int
    settings: MeshSettings
    defaults: TrafficDefaults
    catalog: Catalog
    services: Services
    workloads: tuple[Workload, ...]
    destination_rules: DestinationRules
    routes: RouteTable
    targets: Targets
    entries: Mapping[str, Entry]
    gateways: Gateways
    peers: PeerPolicies
    access: AccessPolicies
    telemetries: Telemetries
    proxies: ProxyConfigs
    sidecars: Sidecars = NO_SIDECARS
    acceptance: tuple[RouteStatus, ...] = ()
    guards: Guards = NO_GUARDS
    filters: EnvoyFilters = NO_FILTERS
    limits: RateLimits = NO_LIMITS
    federation: Federation = NO_FEDERATION
    problems: tuple[Problem, ...] = ()
    idle: tuple[Problem, ...] = ()
    overlap: PeerPolicies | None = None
    refused: Refused | None = None
    credentials: Credentials = NO_CREDENTIALS
    service_policies: ServicePolicies = NO_SERVICE_POLICIES
    addresses: Addresses = UNKNOWN
