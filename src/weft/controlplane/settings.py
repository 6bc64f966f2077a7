"""What a control plane is started with."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass, field
from pathlib import Path

from weft.admin.local_users import LocalUser
from weft.admin.people.oidc import OidcSettings
from weft.controlplane.cluster_authority import ClusterAuthoritySettings
from weft.discovery.limits import Limits
from weft.mesh.policies.selector import Selector
from weft.model.revisions import USUAL, Revision
from weft.model.snapshot import MeshSettings
from weft.model.workload import SocketAddress
from weft.schema.annotations import SERVICE_TYPES
from weft.settings.home import Home
from weft.sources.imports.settings import ImportSettings
from weft.sources.kubernetes.kubeconfig import KubeconfigFile

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
DEFAULT_BIND = "127.0.0.1"
DEFAULT_LEASE = 15.0
DEFAULT_CERTIFICATE_TTL = 24 * 3600.0


class ServeError(Exception):
    """The control plane cannot start or go on; the message says why and what to do."""


@dataclass(frozen=True, slots=True)
class RemoteAdmin:
    """How the admin API is reached from other hosts: over TLS at `host` and `port`, under `names`, with a certificate
    of the mesh or that of the two files; `client_ca` has the roots of client certificates besides the mesh's. With
    `users` those of the cluster are taken, too, by its own rules."""

    host: str
    port: int
    names: tuple[str, ...] = ()
    certificate: Path | None = None
    key: Path | None = None
    client_ca: Path | None = None
    users: bool = False


@dataclass(frozen=True, slots=True)
class GatewaySettings:
    """What the processes of a cluster's Gateways have: the type of their Services where a document does not say it, and
    between how many pods the autoscaler chooses (`most` 0: there is none). Whether they are `made` at all."""

    service_type: str = SERVICE_TYPES[0]
    fewest: int = 1
    most: int = 5
    made: bool = True


@dataclass(frozen=True, slots=True)
class ReplicaSettings:
    """Where other replicas of the control plane are: the Pods with `labels` (a selector) in a namespace."""

    namespace: str
    labels: str


@dataclass(frozen=True, slots=True)
class WebhookSettings:
    """What an API server asks: at `port` (None: the usual one), if it `serves`. `image` is that of sidecars in pods
    (empty: none are put in), `revision` what labels call this control plane, by which its configurations are called,
    too; `native` sidecars, or containers; `cni`: pods are captured by the agents of their nodes. The `gateways` of the
    cluster run with the same image."""

    port: int | None = None
    serves: bool = False
    image: str = ""
    pull_policy: str = "IfNotPresent"
    revision: Revision = USUAL
    native: bool = True
    cni: bool = False
    gateways: GatewaySettings = GatewaySettings()


@dataclass(frozen=True, slots=True)
class ServeSettings:
    """Settings of ``weft serve``.

    `follow` are files and directories of documents that are followed live. `bind` is the address of the xDS server and
    of the agent API and of the metrics; the admin API is always on loopback. A port of None means the one used last in
    this home, else the usual one if it is free, else any (off loopback: an error); 0 means the one used last, else any
    free one. `advertise` is the host that agents on other hosts use (empty: the address they connected to). `lease` and
    `certificate_ttl` in seconds. `prometheus` is the URL of one that questions about traffic go to (empty: to the
    control plane's own window). `shared_socket` is a second unix socket of the agent API, for other `users` of this
    host. `store_key` names what encrypts the secrets of the store (empty: a file in the home; see
    `weft.store.sealing.wrappers`), `former_store_key` what did before. `rate_limit_store` is the URL of the Redis that
    keeps the counts of shared rate limits, or ``file:PATH`` of one (empty: memory). `remote_admin`: also serve the
    admin API to other hosts; `oidc`: whose bearer tokens are taken there. `ca_vault` is the settings file of the Vault
    that signs the mesh's intermediate. `bundle_endpoint` is where the trust bundle is published (None: nowhere), with
    the certificate and key of `bundle_certificate` (None: with the control plane's own); `bundle_networks` are those
    from which other trust domains' bundles are fetched, besides public addresses. `identity_from` is the unix socket of
    a Workload API whose roots vouch for workloads too (empty: the mesh's authority alone does). `imports` are the
    registries whose services the mesh has beside its own, `probe_networks` those in which instances without an agent
    are asked for their health. With `kubernetes` documents come from the API server that it names, not from the store;
    what the mesh says of them is written there with `kubernetes_writes`, by the one control plane that has the Lease in
    that namespace. `webhooks` are what that one asks. Of its namespaces those are in view that one of the
    `discovery_selectors` matches (none: all). `shared` is the namespace where control planes keep what would be in the
    home, so that there may be several, of which the one that has the state's Lease there does what is done once (None:
    it is in the home, of one control plane). `ca_cluster` says who in the cluster signs the mesh's intermediate.
    `replicas` are the control planes of the same mesh beside this one. `drain`: for how many seconds it serves on when
    it is told to stop, while proxies leave for others.
    """

    home: Home
    follow: tuple[Path, ...] = ()
    mesh: MeshSettings = field(default_factory=MeshSettings)
    namespace: str = "default"
    bind: str = DEFAULT_BIND
    xds_port: int | None = None
    agent_api_port: int | None = None
    admin_port: int | None = None
    metrics_port: int | None = None
    advertise: str = ""
    lease: float = DEFAULT_LEASE
    certificate_ttl: float = DEFAULT_CERTIFICATE_TTL
    limits: Limits = field(default_factory=Limits)
    prometheus: str = ""
    shared_socket: Path | None = None
    users: tuple[LocalUser, ...] = ()
    store_key: str = ""
    former_store_key: str = ""
    rate_limit_store: str = ""
    remote_admin: RemoteAdmin | None = None
    oidc: OidcSettings | None = None
    ca_vault: Path | None = None
    ca_cluster: ClusterAuthoritySettings | None = None
    bundle_endpoint: SocketAddress | None = None
    bundle_certificate: tuple[Path, Path] | None = None
    bundle_networks: tuple[Network, ...] = ()
    identity_from: str = ""
    imports: tuple[ImportSettings, ...] = ()
    probe_networks: tuple[Network, ...] = ()
    kubernetes: KubeconfigFile | None = None
    kubernetes_writes: str | None = None
    webhooks: WebhookSettings | None = None
    replicas: ReplicaSettings | None = None
    drain: float = 0.0
    discovery_selectors: tuple[Selector, ...] = ()
    shared: str | None = None
