"""The order of HTTP filters, the places where each stands, and each filter's per-route configuration.

A filter that only some routes need stands in the chain disabled, and the routes enable it: a change of routes then
never changes a listener, and connections that are already open follow the new rules at once.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from envoy.config.route.v3.route_components_pb2 import FilterConfig
from envoy.extensions.filters.network.http_connection_manager.v3.http_connection_manager_pb2 import HttpFilter
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.message import Message

from weft.mesh.routes.rules import Rule
from weft.mesh.views import InboundPort
from weft.xds.filters import cdn_loop, cors, fault, forward_proxy, on_demand, router
from weft.xds.messages import packed


class Place(enum.Enum):
    """Where a chain of filters stands."""

    OUTBOUND = "on an application's way out"
    INBOUND = "before an application"
    GATEWAY = "at the edge"


CALLING = (Place.OUTBOUND, Place.GATEWAY)
EVERYWHERE = tuple(Place)
_NOTHING: Mapping[str, Message] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Filter:
    """One HTTP filter. `listener` gives what stands in the chain; None if that is not the same everywhere, then it
    stands in chains for which it is given. `rule` gives the configuration of a rule's routes (places of callers),
    `port` that of the route to an application's port (inbound), or None if the filter is not used there. An `optional`
    one stands only in chains that ask for it by name; an `enabled` one needs no route that enables it."""

    name: str
    places: tuple[Place, ...]
    listener: Callable[[], Message] | None
    rule: Callable[[Rule], Message | None] | None = None
    port: Callable[[InboundPort], Message | None] | None = None
    optional: bool = False
    enabled: bool = False


FILTERS = (
    # A request in a circle does nothing else here, and its answer is nobody's fault.
    Filter(cdn_loop.NAME, CALLING, None, enabled=True),
    # Preflight requests carry no credentials and are not the application's business: answered before anything else.
    Filter(cors.NAME, CALLING, cors.listener_config, rule=cors.route_config),
    # Faults stand for what the callee does, so they come after everything that is the caller's side.
    Filter(fault.NAME, CALLING, fault.listener_config, rule=fault.route_config),
    # Looks up the host, which may take long: after all that may answer without it.
    Filter(forward_proxy.NAME, (Place.OUTBOUND,), forward_proxy.listener_config, optional=True),
    # Waits until the control plane has sent the cluster: last before the router, which needs it.
    Filter(on_demand.NAME, (Place.OUTBOUND,), on_demand.listener_config, optional=True, enabled=True),
    Filter(router.NAME, EVERYWHERE, router.listener_config, enabled=True),
)


def http_filters(place: Place, *wanted: str, given: Mapping[str, Message] = _NOTHING) -> list[HttpFilter]:
    """The chain of a place, with those of its optional filters that are `wanted`, and those whose configuration is
    `given`."""
    chain: list[HttpFilter] = []
    for each in FILTERS:
        config = given.get(each.name) if each.listener is None else each.listener()
        if config is not None and place in each.places and (not each.optional or each.name in wanted):
            chain.append(HttpFilter(name=each.name, typed_config=packed(config), disabled=not each.enabled))
    return chain


def rule_filters(place: Place, rule: Rule) -> dict[str, AnyMessage]:
    """The filters that the routes of a rule enable, with their configuration."""
    return _enabled({each.name: each.rule(rule) for each in FILTERS if each.rule and place in each.places})


def port_filters(port: InboundPort) -> dict[str, AnyMessage]:
    """The filters that the route to an application's port enables, with their configuration."""
    return _enabled({each.name: each.port(port) for each in FILTERS if each.port and Place.INBOUND in each.places})


def enable_forward_proxy() -> dict[str, AnyMessage]:
    """What the catch-all route says to have unknown hosts resolved."""
    return {forward_proxy.NAME: packed(FilterConfig(config=AnyMessage()))}


def _enabled(configs: dict[str, Message | None]) -> dict[str, AnyMessage]:
    return {name: packed(config) for name, config in configs.items() if config is not None}
