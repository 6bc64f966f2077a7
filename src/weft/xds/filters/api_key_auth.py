"""The API key filter: a client shows one of the keys that are known, or gets 401.

https://www.envoyproxy.io/docs/envoy/latest/configuration/http/http_filters/api_key_auth_filter
"""

from __future__ import annotations

from envoy.extensions.filters.http.api_key_auth.v3.api_key_auth_pb2 import ApiKeyAuth, Credential, Forwarding, KeySource

from weft.mesh.access.guard import ApiKeys

NAME = "envoy.filters.http.api_key_auth"


def api_key_auth(keys: ApiKeys) -> ApiKeyAuth:
    """The filter that knows `keys`."""
    sources = [KeySource(header=name) for name in keys.headers]
    sources += [KeySource(query=name) for name in keys.params]
    sources += [KeySource(cookie=name) for name in keys.cookies]
    return ApiKeyAuth(
        credentials=[Credential(client=client, key=key) for client, key in keys.clients],
        key_sources=sources,
        forwarding=Forwarding(header=keys.forward, hide_credentials=keys.sanitize),
    )
