"""Sessions of rules in routes: a route per backend for who has a session there, before those for all others."""

from __future__ import annotations

from dataclasses import dataclass, replace

from envoy.config.route.v3.route_components_pb2 import HeaderMatcher, RouteMatch
from envoy.type.matcher.v3.string_pb2 import StringMatcher

from weft.mesh.routes.rules import Forward, Session, WeightedBackend
from weft.mesh.routes.sessions import session_names
from weft.xds.messages import regex
from weft.xds.routes.rewrites import quote


@dataclass(frozen=True, slots=True)
class Arm:
    """A backend of a rule, with the session of who is there."""

    backend: WeightedBackend
    session: Session | None


def backend_arms(forward: Forward, scheme: str) -> tuple[Arm, ...]:
    """Each backend with its session, as clients that speak `scheme` have it."""
    session = forward.session
    if session is None:
        return tuple([Arm(backend, None) for backend in forward.backends])
    if session.kind == "cookie" and scheme == "https":
        session = replace(session, secure=True)
    names = session_names(forward, session)
    return tuple(Arm(item, replace(session, name=name)) for item, name in zip(forward.backends, names, strict=True))


def with_cookie(match: RouteMatch, session: Session) -> RouteMatch:
    """`match`, for requests that bring back the session's cookie."""
    found = RouteMatch()
    found.CopyFrom(match)
    pattern = regex(f"(?:.*; ?)?{quote(session.name)}=.*")
    found.headers.append(HeaderMatcher(name="cookie", string_match=StringMatcher(safe_regex=pattern)))
    return found
