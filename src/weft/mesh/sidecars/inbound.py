"""Inbound: the application ports behind a sidecar, what they speak and what they accept."""

from __future__ import annotations

from dataclasses import replace

from weft.mesh.access.access import OPEN, Access
from weft.mesh.policies.distrust import Refused
from weft.mesh.policies.federatedtrustdomain import ForeignTrust
from weft.mesh.policies.peerauthentication import PeerPolicy
from weft.mesh.services.endpoints import port_behind
from weft.mesh.services.resilience import Overload
from weft.mesh.services.service import Frontend, MutualTlsMode, Protocol
from weft.mesh.views import InboundPort
from weft.model.origin import Origin
from weft.model.workload import SocketAddress, Workload, WorkloadPort


def build_inbound(
    frontends: tuple[Frontend, ...],
    workload: Workload,
    peers: PeerPolicy,
    overlap: PeerPolicy | None = None,
    trust: ForeignTrust | None = None,
    refused: Refused | None = None,
) -> tuple[InboundPort, ...]:
    """The workload's ports. `frontends` are the services that select it; where `overlap` has another mode than `peers`,
    both mutual TLS and plaintext are accepted. `trust` are the other trust domains that are believed, `refused` callers
    whose trust has ended."""
    ports = tuple(_inbound_port(frontends, workload, port, peers, overlap, refused) for port in workload.ports)
    return tuple(replace(port, trust=trust) for port in ports) if trust else ports


def with_accesses(ports: tuple[InboundPort, ...], accesses: tuple[Access, ...]) -> tuple[InboundPort, ...]:
    """The same ports, each with what says who may call it."""
    return tuple(
        port if access is OPEN else _with_access(port, access) for port, access in zip(ports, accesses, strict=True)
    )


def _with_access(port: InboundPort, access: Access) -> InboundPort:
    """The port without what is asked stays the same while the kinds of limits do."""
    kinds = tuple(sorted({each.kind for each in access.limits}))
    plain = replace(port, limited=kinds) if kinds else port
    return replace(plain, access=access, unasked=plain)


def with_overloads(ports: tuple[InboundPort, ...], overloads: tuple[Overload | None, ...]) -> tuple[InboundPort, ...]:
    """The same ports, each with what limits the requests that its application gets."""
    return tuple(
        port if overload is None else replace(port, overload=overload)
        for port, overload in zip(ports, overloads, strict=True)
    )


def with_http10(ports: tuple[InboundPort, ...]) -> tuple[InboundPort, ...]:
    """The same ports, each for callers that speak HTTP/1.0 too."""
    return tuple(replace(port, http10=True) for port in ports)


def _inbound_port(
    frontends: tuple[Frontend, ...],
    workload: Workload,
    port: WorkloadPort,
    peers: PeerPolicy,
    overlap: PeerPolicy | None,
    refused: Refused | None,
) -> InboundPort:
    protocols: set[Protocol] = set()
    beside: set[Protocol] = set()
    origins: list[Origin] = []
    services: list[tuple[str, int]] = []
    for frontend in frontends:
        for each in frontend.ports:
            if port_behind(frontend, each.target, workload) is port:
                protocols.add(each.protocol)
                if each.turning and each.turning.beside:
                    beside.add(each.turning.beside)
                origins.append(frontend.origin)
                services.append((frontend.host, each.number))
    mode, policy = peers.decide(workload.labels, port.port)
    if overlap is not None and overlap.mode(workload.labels, port.port) is not mode:
        mode = MutualTlsMode.PERMISSIVE
    return InboundPort(
        port=port.port,
        listen=port.inbound,
        application=port.application,
        protocol=_common(protocols | beside),
        mode=mode,
        origins=tuple(dict.fromkeys((*origins, *policy))),
        service=min(services, default=("", 0)),
        refused=refused,
        turning=_common(_requests(protocols) or _requests(beside)) if beside else None,
        led=tuple([SocketAddress(each.host, port.inbound.port) for each in workload.inbound_capture]),
        transparent=workload.transparent,
    )


def _requests(protocols: set[Protocol]) -> set[Protocol]:
    return protocols - {Protocol.TCP}


def _common(protocols: set[Protocol]) -> Protocol:
    """What services that lead to one port agree on; AUTO where they do not, or where there is none."""
    if len(protocols) == 1:
        return next(iter(protocols))
    return Protocol.WEBSOCKET if protocols == {Protocol.HTTP, Protocol.WEBSOCKET} else Protocol.AUTO
