"""The CSRF filter: requests that change something come from pages of the same host, or get 403.

https://www.envoyproxy.io/docs/envoy/latest/configuration/http/http_filters/csrf_filter
"""

from __future__ import annotations

from envoy.config.core.v3.base_pb2 import RuntimeFractionalPercent
from envoy.extensions.filters.http.csrf.v3.csrf_pb2 import CsrfPolicy
from envoy.type.matcher.v3.string_pb2 import StringMatcher

from weft.mesh.access.guard import SameSite
from weft.xds.messages import share

NAME = "envoy.filters.http.csrf"


def csrf(policy: SameSite) -> CsrfPolicy:
    """The filter that lets pages of the same host, and of the policy's, change something."""
    return CsrfPolicy(
        filter_enabled=RuntimeFractionalPercent(default_value=share(100)),
        additional_origins=[_host(origin) for origin in policy.origins],
    )


def _host(origin: str) -> StringMatcher:
    """Envoy compares the host of the origin, with its port if it is not the scheme's."""
    return StringMatcher(suffix=origin[1:]) if origin.startswith("*.") else StringMatcher(exact=origin)
