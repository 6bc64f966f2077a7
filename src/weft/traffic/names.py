"""Names of edges: who called whom, and what tells edges apart."""

from __future__ import annotations

from sys import intern
from typing import NamedTuple

from weft.model.identity import DNS_SUFFIX
from weft.model.report import EdgeSum

_SERVICE_SUFFIX = f".svc.{DNS_SUFFIX}"


class EdgeName(NamedTuple):
    """Fields of `weft.traffic.edges.Edge` by which calls are told apart."""

    source: str
    source_service: str
    destination: str
    destination_workload: str
    port: int
    protocol: str
    mtls: bool | None
    route: str


class Teller(NamedTuple):
    """Who reports: a workload and the service that it counts as, both with their namespace."""

    workload: str
    service: str


def edge_name(teller: Teller, told: EdgeSum) -> EdgeName:
    """The edge that `teller` means. What it says of itself is not asked: it is who its certificate says."""
    destination = service_name(told.service)
    if told.reporter == "source":
        ends = (teller.workload, teller.service, destination or told.peer_service, told.peer)
    else:
        ends = (told.peer, told.peer_service, destination or teller.service, teller.workload)
    source, source_service, destination, destination_workload = (intern(end) for end in ends)
    return EdgeName(
        source,
        source_service,
        destination,
        destination_workload,
        told.port,
        intern(told.protocol),
        told.mtls,
        intern(told.route),
    )


def service_name(host: str) -> str:
    """``NAMESPACE/SERVICE`` of a service's full name; of any other host, the host."""
    if host.endswith(_SERVICE_SUFFIX):
        name, _, namespace = host.removesuffix(_SERVICE_SUFFIX).partition(".")
        if name and namespace and "." not in namespace:
            return f"{namespace}/{name}"
    return host
