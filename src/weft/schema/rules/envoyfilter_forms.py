"""EnvoyFilter in its normal form: old names of filters, conditions that say nothing, neighbours that nobody names."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from weft.schema.findings import Finding, deprecated
from weft.schema.kinds.envoyfilter import (
    ClusterMatch,
    ConfigPatch,
    FilterChainMatch,
    FilterMatch,
    ListenerMatch,
    Operation,
    RouteConfigurationMatch,
    RouteMatch,
    SubFilterMatch,
    VirtualHostMatch,
)

_NETWORK = "http_connection_manager tcp_proxy mongo_proxy redis_proxy ratelimit ext_authz client_ssl_auth echo"
_HTTP = "router cors fault lua buffer ext_authz gzip grpc_web health_check rate_limit csrf squash grpc_json_transcoder"
_OLD_NETWORK = {f"envoy.{name}": f"envoy.filters.network.{name}" for name in _NETWORK.split()}
_OLD_HTTP = {f"envoy.{name}": f"envoy.filters.http.{name}" for name in _HTTP.split()} | {
    "envoy.rate_limit": "envoy.filters.http.ratelimit",
}
_WITHOUT_NEIGHBOUR: Mapping[str, Operation] = {"INSERT_BEFORE": "INSERT_FIRST", "INSERT_AFTER": "ADD"}

Normal = tuple[object, tuple[Finding, ...]]


def _said(value: Any) -> Normal:
    """An empty condition is none."""
    empty = {each.name: None for each in dataclasses.fields(value) if getattr(value, each.name) == ""}
    return (replace(value, **empty) if empty else value), ()


def _named(old: Mapping[str, str]) -> Callable[[Any], Normal]:
    def normal(value: Any) -> Normal:
        name = old.get(value.name)
        if name is None:
            return value, ()
        return replace(value, name=name), (deprecated(("name",), f"{value.name} is the old name", name),)

    return normal


def _inserted(value: ConfigPatch) -> Normal:
    """Before no filter or route that is named is before the first, after none is after the last, as in Istio."""
    instead = _WITHOUT_NEIGHBOUR.get(value.patch.operation)
    if instead is None or _neighbour(value):
        return value, ()
    return replace(value, patch=replace(value.patch, operation=instead)), ()


def _neighbour(value: ConfigPatch) -> bool:
    """Whether it is said beside what something is put."""
    if value.apply_to == "HTTP_ROUTE":
        host = value.match.route_configuration.vhost if value.match.route_configuration else None
        route = host.route if host else None
        return route is not None and (route.name is not None or route.action != "ANY")
    chain = value.match.listener.filter_chain if value.match.listener else None
    found = chain.filter if chain else None
    if value.apply_to == "HTTP_FILTER":
        return found is not None and found.sub_filter is not None
    return found is not None or value.apply_to != "NETWORK_FILTER"


NORMALISERS: Mapping[type, Callable[[Any], Normal]] = {
    ConfigPatch: _inserted,
    FilterMatch: _named(_OLD_NETWORK),
    SubFilterMatch: _named(_OLD_HTTP),
    **dict.fromkeys(
        (ListenerMatch, FilterChainMatch, RouteMatch, VirtualHostMatch, RouteConfigurationMatch, ClusterMatch), _said
    ),
}
