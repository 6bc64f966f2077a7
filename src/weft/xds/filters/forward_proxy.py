"""The dynamic forward proxy filter: resolves hosts that documents do not name, or by a wildcard only, where routes lead
to such."""

from __future__ import annotations

from envoy.config.cluster.v3.cluster_pb2 import Cluster
from envoy.config.route.v3.route_components_pb2 import FilterConfig as RouteFilterConfig
from envoy.extensions.common.dynamic_forward_proxy.v3.dns_cache_pb2 import DnsCacheConfig
from envoy.extensions.filters.http.dynamic_forward_proxy.v3.dynamic_forward_proxy_pb2 import FilterConfig
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.wrappers_pb2 import UInt32Value

from weft.mesh.routes.rules import Forward, Rule

NAME = "envoy.filters.http.dynamic_forward_proxy"
_MAX_HOSTS = 1024


def listener_config() -> FilterConfig:
    """The filter with the cache that it shares with the forward-proxy cluster."""
    return FilterConfig(dns_cache_config=dns_cache())


def route_config(rule: Rule) -> RouteFilterConfig | None:
    """Where one of a rule's backends takes its address from the request. The filter does nothing for the others."""
    action = rule.action
    if not isinstance(action, Forward) or not any(each.by_caller for each in action.backends):
        return None
    return enabled()


def enabled() -> RouteFilterConfig:
    """What a route says to have its requests' hosts resolved."""
    return RouteFilterConfig(config=AnyMessage())


def dns_cache() -> DnsCacheConfig:
    """The cache of resolved hosts; filter and cluster must be given the same."""
    return DnsCacheConfig(
        name="forward-proxy", dns_lookup_family=Cluster.V4_PREFERRED, max_hosts=UInt32Value(value=_MAX_HOSTS)
    )
