"""Sessions of rules in routes: a route per backend for who has a session there, before those for all others."""

from __future__ import annotations

from dataclasses import dataclass, replace

from envoy.config.route.v3.route_components_pb2 import HeaderMatcher, RouteMatch
from envoy.type.matcher.v3.string_pb2 import StringMatcher

from weft.mesh.routes.rules import Forward, Session, WeightedBackend
from weft.mesh.routes.sessions import backend_sessions
from weft.xds.messages import regex
from weft.xds.routes.rewrites import quote


@dataclass(frozen=True, slots=True)
class Arm:
    """A backend of a rule, with the session of who is there."""

    backend: WeightedBackend
    session: Session | None


def backend_arms(forward: Forward, scheme: str) -> tuple[Arm, ...]:
    """Each backend with its session, as clients that speak `scheme` have it."""
    arms = zip(forward.backends, backend_sessions(forward), strict=True)
    return tuple([Arm(item, _over(scheme, session)) for item, session in arms])


def _over(scheme: str, session: Session | None) -> Session | None:
    """Cookies of clients that speak TLS come back over TLS only."""
    if session is None or session.kind != "cookie" or scheme != "https":
        return session
    return replace(session, secure=True)


def with_cookie(match: RouteMatch, session: Session) -> RouteMatch:
    """`match`, for requests that bring back the session's cookie."""
    found = RouteMatch()
    found.CopyFrom(match)
    pattern = regex(f"(?:.*; ?)?{quote(session.name)}=.*")
    found.headers.append(HeaderMatcher(name="cookie", string_match=StringMatcher(safe_regex=pattern)))
    return found
