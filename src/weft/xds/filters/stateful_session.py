"""The stateful session filter: sends the requests of a session to the instance that its first went to.

It is run by the composite filter of guards (`guard`), so that a proxy without sessions has none.
https://www.envoyproxy.io/docs/envoy/latest/configuration/http/http_filters/stateful_session_filter
"""

from __future__ import annotations

from envoy.config.core.v3.extension_pb2 import TypedExtensionConfig
from envoy.extensions.filters.http.stateful_session.v3.stateful_session_pb2 import StatefulSession
from envoy.extensions.http.stateful_session.cookie.v3.cookie_pb2 import CookieBasedSessionState
from envoy.extensions.http.stateful_session.header.v3.header_pb2 import HeaderBasedSessionState
from envoy.type.http.v3.cookie_pb2 import Cookie, CookieAttribute

from weft.mesh.routes.rules import Session
from weft.xds.messages import duration, packed

NAME = "envoy.filters.http.stateful_session"
_COOKIE = "envoy.http.stateful_session.cookie"
_HEADER = "envoy.http.stateful_session.header"
"""Envoy finds these two by their names."""
_SAME_SITE = CookieAttribute(name="SameSite", value="Lax")
"""A link on another page leads back into the session; what such a page sends by itself does not."""


def stateful_session(session: Session) -> StatefulSession:
    """The filter for the requests of one backend. A session whose instance is gone begins again with another."""
    if session.kind == "header":
        state = TypedExtensionConfig(name=_HEADER, typed_config=packed(HeaderBasedSessionState(name=session.name)))
    else:
        state = TypedExtensionConfig(
            name=_COOKIE, typed_config=packed(CookieBasedSessionState(cookie=_cookie(session)))
        )
    return StatefulSession(session_state=state)


def _cookie(session: Session) -> Cookie:
    cookie = Cookie(name=session.name, path=session.path, attributes=[_SAME_SITE])
    if session.lifetime:
        cookie.ttl.CopyFrom(duration(session.lifetime))
    if session.secure:
        cookie.attributes.add(name="Secure")
    return cookie
