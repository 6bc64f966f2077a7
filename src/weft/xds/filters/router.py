"""The router filter: the end of every chain. Adds no x-envoy-* headers to requests or responses."""

from __future__ import annotations

from envoy.extensions.filters.http.router.v3.router_pb2 import Router

NAME = "envoy.filters.http.router"


def listener_config() -> Router:
    """The same in every proxy."""
    return Router(suppress_envoy_headers=True)
