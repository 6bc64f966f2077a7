"""What agents and the control plane say to each other: JSON over the agent API (see docs/architecture.md).

Field names on the wire are these names. PEM texts are str. Times are seconds.
"""

from __future__ import annotations

from dataclasses import dataclass

from weft.model.telemetry import UNCHANGED, MetricSettings
from weft.model.workload import ONE_WORKER, Workload, WorkloadState


@dataclass(frozen=True, slots=True)
class Proof:
    """What a join token may demand besides itself (`weft.ca.attestation`). Signatures are of `proof_message`, base64:
    by `key` (a public key in PEM), and by that of a previous certificate's `chain`. `document` is the identity document
    that a cloud gives to an instance (with AWS, `document_signature` is what belongs to it). Without a token a workload
    joins by its SVID of the mesh's other source of identities: `svid` is the chain (PEM)."""

    nonce: str
    key: str = ""
    signature: str = ""
    chain: str = ""
    chain_signature: str = ""
    document: str = ""
    document_signature: str = ""
    svid: str = ""
    svid_signature: str = ""


def proof_message(nonce: str, csr: str) -> bytes:
    """What is signed: the server's nonce and the request for a certificate, so that it serves for nothing else."""
    return b"weft join 1\0" + nonce.encode(errors="replace") + b"\0" + csr.encode(errors="replace")


@dataclass(frozen=True, slots=True)
class NonceResponse:
    """``GET /v1/nonce``: to be signed within a minute."""

    nonce: str


@dataclass(frozen=True, slots=True)
class RegisterRequest:
    """``POST /v1/workloads``: register (or take over again) a workload and ask for its certificate.

    On the unix socket the caller may name any identity. Over TLS it authenticates with a join token
    (``Authorization: Bearer``) or with its current certificate, which must name the same workload. `csr` is a PEM
    PKCS#10 request: only its public key is used. `clock` is the agent's time when it asks (epoch seconds, 0 unknown),
    `version` its weft's; `proof` what the token demands.

    A proxy in a Pod shows the token of the Pod's service account instead, bound to the Pod and for the audience
    ``weft``, or its certificate. Then `workload` says who it is by `name`, `namespace` and `service_account`, which
    must be the Pod's; `pod`, `gateway`, `node`, `carrier`, `network_namespace`, `group`, `upstreams` and `uses` are
    empty. Of its ports, labels, capture, state and all else the API server's word counts, not the agent's. Nothing of
    it is kept in the store. Answers with status 409, 425, 429 and 503 mean: try again.
    """

    workload: Workload
    csr: str
    clock: float = 0.0
    version: str = ""
    proof: Proof | None = None


@dataclass(frozen=True, slots=True)
class Issued:
    """A certificate chain (leaf first, then the intermediate), the roots of the mesh's authority, the times of the
    leaf, and the roots of `others` that vouch for workloads (`weft serve --identity-from`)."""

    chain: str
    bundle: str
    not_before: float
    not_after: float
    others: str = ""


@dataclass(frozen=True, slots=True)
class RegisterResponse:
    """`xds` is ``HOST:PORT`` of the xDS server, `xds_identity` the SPIFFE URI it proves; `lease` how long the
    registration lasts unless renewed; `trust_domain` that of the mesh; `agent_api` the TLS agent API (HOST:PORT);
    `problems` say what of the registration names nothing in the mesh, `metrics` what documents change of those that the
    agent serves, `workers` with how many worker threads documents have Envoy started (0: one for each core)."""

    issued: Issued
    xds: str
    xds_identity: str
    trust_domain: str
    lease: float
    agent_api: str
    problems: tuple[str, ...] = ()
    metrics: MetricSettings = UNCHANGED
    workers: int = ONE_WORKER


@dataclass(frozen=True, slots=True)
class RenewRequest:
    """``POST /v1/workloads/{namespace}/{name}/lease``: still here, in this state. 404 means: register again.
    `unused_proxy` is the workload's; `clock` and `version` as when it registers. `trust` is the digest of the bundle
    that its Envoy has in use (`weft.model.trust`), `issuer` the SHA-256 (hex) of the certificate that signed the one in
    use; both empty if that is not known."""

    state: WorkloadState
    unused_proxy: bool = False
    clock: float = 0.0
    version: str = ""
    trust: str = ""
    issuer: str = ""


@dataclass(frozen=True, slots=True)
class RenewResponse:
    """Renew again within `lease` seconds, best at a third of it, or at any change. While the workload's proxy is
    connected to the control plane, that may be much longer than `RegisterResponse.lease`; an agent that sees its proxy
    lose the connection renews at once, and then as often as that says. 0: as `RegisterResponse` said. `metrics` as
    there. `certificate_due`: get a new certificate and bundle now, since those in use are to be replaced."""

    lease: float = 0.0
    metrics: MetricSettings = UNCHANGED
    certificate_due: bool = False


@dataclass(frozen=True, slots=True)
class CertificateRequest:
    """``POST /v1/workloads/{namespace}/{name}/certificate``: a new certificate for the same identity -> Issued."""

    csr: str


@dataclass(frozen=True, slots=True)
class RevokedResponse:
    """``GET /v1/revoked``: which certificates hand-shakes refuse: a revocation list in PEM (empty: none), and its
    `version`, which `RequestsAnswer` tells."""

    version: str
    revoked: str


@dataclass(frozen=True, slots=True)
class DrainResponse:
    """``POST /v1/workloads/{namespace}/{name}/drain?wait=SECONDS``: marked draining; `confirmed` when every proxy that
    was sent the change has acknowledged it, else `pending` names those that have not. A Pod is draining when the API
    server says that it is being deleted; 409 (``not-draining``) if it does not say so within some seconds."""

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
