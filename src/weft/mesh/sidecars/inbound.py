"""Inbound: the application ports behind a sidecar, what they speak and what they accept."""

from __future__ import annotations

from weft.mesh.policies.peerauthentication import PeerPolicy
from weft.mesh.services.endpoints import port_behind
from weft.mesh.services.service import Frontend, MutualTlsMode, Protocol
from weft.mesh.views import InboundPort
from weft.model.origin import Origin
from weft.model.workload import Workload, WorkloadPort


def build_inbound(
    frontends: tuple[Frontend, ...], workload: Workload, peers: PeerPolicy, overlap: PeerPolicy | None = None
) -> tuple[InboundPort, ...]:
    """The workload's ports. `frontends` are the services that select it; where `overlap` has another mode than `peers`,
    both mutual TLS and plaintext are accepted."""
    return tuple(_inbound_port(frontends, workload, port, peers, overlap) for port in workload.ports)


def _inbound_port(
    frontends: tuple[Frontend, ...],
    workload: Workload,
    port: WorkloadPort,
    peers: PeerPolicy,
    overlap: PeerPolicy | None,
) -> InboundPort:
    protocols: set[Protocol] = set()
    origins: list[Origin] = []
    for frontend in frontends:
        for each in frontend.ports:
            if port_behind(frontend, each.target, workload) is port:
                protocols.add(each.protocol)
                origins.append(frontend.origin)
    mode, policy = peers.decide(workload.labels, port.port)
    if overlap is not None and overlap.mode(workload.labels, port.port) is not mode:
        mode = MutualTlsMode.PERMISSIVE
    return InboundPort(
        port=port.port,
        listen=port.inbound,
        application=port.application,
        protocol=_common(protocols),
        mode=mode,
        origins=tuple(dict.fromkeys((*origins, *policy))),
    )


def _common(protocols: set[Protocol]) -> Protocol:
    """What services that lead to one port agree on; AUTO where they do not, or where there is none."""
    if len(protocols) == 1:
        return next(iter(protocols))
    return Protocol.WEBSOCKET if protocols == {Protocol.HTTP, Protocol.WEBSOCKET} else Protocol.AUTO
