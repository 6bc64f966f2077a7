"""The order of HTTP filters, and each filter's per-route configuration.

A filter that only some routes need stands in the chain disabled, and the routes enable it: a change of routes then
never changes a listener, and connections that are already open follow the new rules at once.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from envoy.config.route.v3.route_components_pb2 import FilterConfig
from envoy.extensions.filters.network.http_connection_manager.v3.http_connection_manager_pb2 import HttpFilter
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.message import Message

from weft.mesh.routes.rules import Rule
from weft.xds.filters import cors, fault, forward_proxy, router
from weft.xds.messages import packed


@dataclass(frozen=True, slots=True)
class Filter:
    """One HTTP filter. `route` gives a rule's configuration, or None if the rule does not use the filter."""

    name: str
    listener: Callable[[], Message]
    route: Callable[[Rule], Message | None] | None = None


ROUTED = (
    # Preflight requests carry no credentials and are not the application's business: answered before anything else.
    Filter(cors.NAME, cors.listener_config, cors.route_config),
    # Faults stand for what the callee does, so they come after everything that is the caller's side.
    Filter(fault.NAME, fault.listener_config, fault.route_config),
)
FORWARDING = (
    # Looks up the host, which may take long: last before the router.
    Filter(forward_proxy.NAME, forward_proxy.listener_config),
)
_ROUTER = Filter(router.NAME, router.listener_config)


def outbound_filters(*, allow_any: bool) -> list[HttpFilter]:
    """The chain of a sidecar's outbound side; `allow_any` adds what unknown hosts need."""
    return _chain(ROUTED + (FORWARDING if allow_any else ()))


def gateway_filters() -> list[HttpFilter]:
    """The chain of a gateway."""
    return _chain(ROUTED)


def inbound_filters() -> list[HttpFilter]:
    """The chain before the application: faults and CORS are done by callers' proxies."""
    return _chain(())


def route_filters(rule: Rule) -> dict[str, AnyMessage]:
    """The filters that a rule enables, with their configuration."""
    enabled = {}
    for each in ROUTED:
        config = each.route(rule) if each.route is not None else None
        if config is not None:
            enabled[each.name] = packed(config)
    return enabled


def enable_forward_proxy() -> dict[str, AnyMessage]:
    """What the catch-all route says to have unknown hosts resolved."""
    return {forward_proxy.NAME: packed(FilterConfig(config=AnyMessage()))}


def _chain(filters: tuple[Filter, ...]) -> list[HttpFilter]:
    chain = [HttpFilter(name=each.name, typed_config=packed(each.listener()), disabled=True) for each in filters]
    chain.append(HttpFilter(name=_ROUTER.name, typed_config=packed(_ROUTER.listener())))
    return chain
