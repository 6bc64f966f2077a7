"""The dynamic forward proxy filter: resolves hosts that no document names. Enabled on the catch-all route only."""

from __future__ import annotations

from envoy.config.cluster.v3.cluster_pb2 import Cluster
from envoy.extensions.common.dynamic_forward_proxy.v3.dns_cache_pb2 import DnsCacheConfig
from envoy.extensions.filters.http.dynamic_forward_proxy.v3.dynamic_forward_proxy_pb2 import FilterConfig
from google.protobuf.wrappers_pb2 import UInt32Value

NAME = "envoy.filters.http.dynamic_forward_proxy"
_MAX_HOSTS = 1024


def listener_config() -> FilterConfig:
    """The filter with the cache that it shares with the forward-proxy cluster."""
    return FilterConfig(dns_cache_config=dns_cache())


def dns_cache() -> DnsCacheConfig:
    """The cache of resolved hosts; filter and cluster must be given the same."""
    return DnsCacheConfig(
        name="forward-proxy", dns_lookup_family=Cluster.V4_PREFERRED, max_hosts=UInt32Value(value=_MAX_HOSTS)
    )
