"""Instances without an agent behind services: those that a cluster tells of as Members, and Members as endpoints."""

from __future__ import annotations

from weft.mesh.memo import Memo
from weft.mesh.services.member import Member, PortNames
from weft.mesh.services.service import Endpoint, Frontend, FrontendPort, Health, Location
from weft.model.identity import SpiffeId
from weft.model.instance import Instance
from weft.model.locality import locality_of, with_topology
from weft.model.workload import SocketAddress, WorkloadState

HEALTH = {
    WorkloadState.HEALTHY: Health.HEALTHY,
    WorkloadState.UNHEALTHY: Health.UNHEALTHY,
    WorkloadState.DRAINING: Health.DRAINING,
}
"""What callers are told of an instance; of one that starts, nothing."""
_ANYHOW = {**HEALTH, WorkloadState.STARTING: Health.HEALTHY, WorkloadState.UNHEALTHY: Health.HEALTHY}


def health_of(state: WorkloadState, *, unready: bool) -> Health | None:
    """What callers of a service are told of an instance; None: nothing. With `unready` it is called before it is ready,
    as a Service's publishNotReadyAddresses asks for. One that ends is not."""
    return (_ANYHOW if unready else HEALTH).get(state)


def build_instance_member(_memo: Memo, instance: Instance) -> Member:
    """The instance that a cluster tells of."""
    locality = locality_of(instance.locality, instance.labels)
    return Member(
        key=instance.key,
        origin=instance.origin,
        address=instance.address,
        ports=instance.ports,
        labels=with_topology(instance.labels, locality),
        locality=locality,
        account=instance.account,
        meshed=bool(instance.account),
        state=instance.state,
        names=PortNames.ONLY if instance.service else PortNames.TARGET,
        service=instance.service,
    )


def build_member_endpoint(
    memo: Memo, member: Member, port: FrontendPort, location: Location, trust_domain: str, unready: bool = False
) -> Endpoint | None:
    """Where an instance serves a port of a service; None if it does not."""
    number = member.port(port.name, port.target, port.number)
    health = health_of(member.state, unready=unready)
    if number is None or health is None:
        return None
    meshed = member.meshed and location is Location.MESH
    return Endpoint(
        workload=member.name,
        address=SocketAddress(member.address, number),
        health=health,
        identity=memo(SpiffeId, trust_domain, member.key.namespace, member.account)
        if meshed and member.account
        else None,
        labels=member.labels,
        mutual_tls=meshed,
        locality=member.locality,
        weight=member.weight,
    )


def member_endpoints(
    memo: Memo, members: tuple[Member, ...], port: FrontendPort, frontend: Frontend, trust_domain: str
) -> list[Endpoint]:
    """The endpoints of those that serve a port of a service."""
    told = (port, frontend.location, trust_domain, frontend.unready)
    found = [memo(build_member_endpoint, memo, member, *told) for member in members]
    return [endpoint for endpoint in found if endpoint is not None]
