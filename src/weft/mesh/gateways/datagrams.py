"""Datagrams at gateways: the UDP ports of a gateway proxy, and who gets which share of their sessions."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from weft.mesh.access.access import OPEN, Access
from weft.mesh.gateways.gateway import GatewayHost, GatewayModel
from weft.mesh.gateways.layer4 import build_chains
from weft.mesh.gateways.listeners import Listener
from weft.mesh.gateways.view import bound_of
from weft.mesh.memo import Memo
from weft.mesh.routes.connections import Layer4Route, WeightedTarget
from weft.mesh.services.endpoints import Services
from weft.mesh.services.service import Endpoint, Service
from weft.mesh.views import DatagramPort, DatagramShare
from weft.model.workload import ONE_WORKER, Workload


def build_datagrams(
    memo: Memo,
    workload: Workload,
    gateway: GatewayModel,
    services: Services,
    accesses: tuple[tuple[int, Access], ...],
) -> tuple[DatagramPort, ...]:
    """The UDP ports that the gateway proxy `workload` has open. Nobody who sends a datagram can be asked who they are:
    a port of which any policy says who may call it stays closed."""
    asked = dict(accesses)
    found = [
        _port(memo, workload, gateway, listener, services.by_host)
        for listener in gateway.listeners
        if listener.datagrams and not asked.get(listener.port, OPEN).refuses
    ]
    return memo.same(found)


def _port(
    memo: Memo, workload: Workload, gateway: GatewayModel, listener: Listener, services: Mapping[str, Service]
) -> DatagramPort:
    hosts = tuple(each for each in gateway.hosts[listener.port] if each.server == listener.server)
    route = memo.over(_route, hosts, memo, listener, workload.namespace)
    needed = [services.get(each.backend.host) for each in route.backends if each.backend is not None]
    return memo.over(_open, [each for each in needed if each is not None], workload, listener, route)


def _route(hosts: tuple[GatewayHost, ...], memo: Memo, listener: Listener, namespace: str) -> Layer4Route:
    [chain] = build_chains(memo, listener, hosts, namespace, ())
    return chain.route


def _open(services: tuple[Service, ...], workload: Workload, listener: Listener, route: Layer4Route) -> DatagramPort:
    by_host = {service.host: service for service in services}
    return DatagramPort(
        port=listener.port,
        listen=bound_of(workload, listener.port, listener.bind),
        shares=tuple(_shares(route.backends, by_host)),
        object=listener.object,
        origin=listener.origin,
        route=route.origin,
        shared=workload.workers != ONE_WORKER,
    )


def _shares(targets: tuple[WeightedTarget, ...], services: Mapping[str, Service]) -> Iterator[DatagramShare]:
    for target in targets:
        service = services.get(target.backend.host) if target.backend else None
        yield DatagramShare(target.weight, _endpoints(service, target.backend.port) if target.backend else ())


def _endpoints(service: Service | None, port: int) -> tuple[Endpoint, ...]:
    return dict(service.datagrams).get(port, ()) if service is not None else ()
