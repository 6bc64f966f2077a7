"""What agents and the control plane say to each other: JSON over the agent API (see docs/architecture.md).

Field names on the wire are these names. PEM texts are str. Times are seconds.
"""

from __future__ import annotations

from dataclasses import dataclass

from weft.model.workload import Workload, WorkloadState


@dataclass(frozen=True, slots=True)
class RegisterRequest:
    """``POST /v1/workloads``: register (or take over again) a workload and ask for its certificate.

    On the unix socket the caller may name any identity. Over TLS it authenticates with a join token
    (``Authorization: Bearer``) or with its current certificate, which must name the same workload. `csr` is a PEM
    PKCS#10 request: only its public key is used.
    """

    workload: Workload
    csr: str


@dataclass(frozen=True, slots=True)
class Issued:
    """A certificate chain (leaf first, then the intermediate), the trust bundle, and the times of the leaf."""

    chain: str
    bundle: str
    not_before: float
    not_after: float


@dataclass(frozen=True, slots=True)
class RegisterResponse:
    """`xds` is ``HOST:PORT`` of the xDS server, `xds_identity` the SPIFFE URI it proves; `lease` how long the
    registration lasts unless renewed; `trust_domain` that of the mesh; `agent_api` the TLS agent API (HOST:PORT);
    `problems` say what of the registration names nothing in the mesh."""

    issued: Issued
    xds: str
    xds_identity: str
    trust_domain: str
    lease: float
    agent_api: str
    problems: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class RenewRequest:
    """``POST /v1/workloads/{namespace}/{name}/lease``: still here, in this state. 404 means: register again.
    `unused_proxy` is the workload's."""

    state: WorkloadState
    unused_proxy: bool = False


@dataclass(frozen=True, slots=True)
class RenewResponse:
    """Renew again within `lease` seconds, best at a third of it, or at any change. While the workload's proxy is
    connected to the control plane, that may be much longer than `RegisterResponse.lease`; an agent that sees its proxy
    lose the connection renews at once, and then as often as that says. 0: as `RegisterResponse` said."""

    lease: float = 0.0


@dataclass(frozen=True, slots=True)
class CertificateRequest:
    """``POST /v1/workloads/{namespace}/{name}/certificate``: a new certificate for the same identity -> Issued."""

    csr: str


@dataclass(frozen=True, slots=True)
class DrainResponse:
    """``POST /v1/workloads/{namespace}/{name}/drain?wait=SECONDS``: marked draining; `confirmed` when every proxy that
    was sent the change has acknowledged it, else `pending` names those that have not."""

    confirmed: bool
    pending: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ReachResponse:
    """``POST /v1/workloads/{namespace}/{name}/reach``: whether the control plane, as any caller would, reaches the
    workload's inbound listeners. `failures` has the address of each that it does not, and why. `seen` is the address
    that the request came from: only listeners there are tried, `tried` of them."""

    seen: str
    tried: int
    failures: tuple[tuple[str, str], ...] = ()
