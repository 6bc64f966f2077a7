"""The basic authentication filter: a client shows a user and password, or gets 401.

https://www.envoyproxy.io/docs/envoy/latest/configuration/http/http_filters/basic_auth_filter
"""

from __future__ import annotations

from envoy.config.core.v3.base_pb2 import DataSource
from envoy.extensions.filters.http.basic_auth.v3.basic_auth_pb2 import BasicAuth

from weft.mesh.access.guard import Passwords

NAME = "envoy.filters.http.basic_auth"


def basic_auth(passwords: Passwords) -> BasicAuth:
    """The filter that knows `passwords`."""
    return BasicAuth(users=DataSource(inline_bytes=passwords.users), forward_username_header=passwords.forward)
