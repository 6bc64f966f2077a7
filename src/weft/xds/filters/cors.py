"""The CORS filter: answers preflight requests. Stands in the chain disabled; a route with a policy enables it."""

from __future__ import annotations

from envoy.extensions.filters.http.cors.v3.cors_pb2 import Cors as CorsFilter
from envoy.extensions.filters.http.cors.v3.cors_pb2 import CorsPolicy
from google.protobuf.wrappers_pb2 import BoolValue

from weft.mesh.routes.rules import Cors, Rule
from weft.xds.messages import string_matcher

NAME = "envoy.filters.http.cors"


def listener_config() -> CorsFilter:
    """No policy of its own."""
    return CorsFilter()


def route_config(rule: Rule) -> CorsPolicy | None:
    """The rule's policy."""
    return _policy(rule.cors) if rule.cors is not None else None


def _policy(cors: Cors) -> CorsPolicy:
    return CorsPolicy(
        allow_origin_string_match=[string_matcher(origin) for origin in cors.origins],
        allow_methods=",".join(cors.methods),
        allow_headers=",".join(cors.headers),
        expose_headers=",".join(cors.expose),
        max_age="" if cors.max_age is None else str(round(cors.max_age)),
        allow_credentials=BoolValue(value=cors.credentials),
        forward_not_matching_preflights=BoolValue(value=False),
    )
