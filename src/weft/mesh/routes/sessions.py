"""Sessions: the requests of one go to the instance that its first went to (Gateway API, GEP-1619).

A client brings back what tells the instance. Where a rule divides requests over several backends, each has a name of
its own for that, so that the backend is known before the instance: whatever the weights are by then.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import replace

from weft.mesh.problems import problem_at
from weft.mesh.routes.precedence import literal_text
from weft.mesh.routes.rules import Action, Forward, RequestMatch, Rule, Session, TextMatch, WeightedBackend
from weft.model.document import Document
from weft.model.origin import FieldPath
from weft.model.problem import Problem
from weft.schema.kinds.sessionpersistence import CookieConfig, SessionPersistence

_NAME = "weft-session"

ServiceSession = tuple[str, str, float | None]
"""A service that keeps clients at an instance, by full name, the name of its cookie and for how many seconds that is
kept. Of scalars, so that the same sessions are the same to a `Memo`, however often they are made."""
ServiceSessions = tuple[ServiceSession, ...]


def build_session(
    document: Document[object], path: FieldPath, spec: SessionPersistence | None, backends: int, problems: list[Problem]
) -> Session | None:
    """The session of the rule at `path`, which has so many backends; what is wrong is added to `problems`."""
    if spec is None:
        return None
    if spec.type == "Header" and backends > 1:
        message = "a header tells the instance and not the backend, so no session is kept over several backends"
        where: FieldPath = (*path, "sessionPersistence", "type")
        problems.append(problem_at(document, where, "session-split", message, "type: Cookie, or one backend"))
        return None
    permanent = (spec.cookie_config or CookieConfig()).lifetime_type == "Permanent"
    name = spec.session_name or f"{_NAME}-{_digest(f'{document.key}{path}')}"
    lifetime = spec.absolute_timeout if permanent else None
    return Session("header" if spec.type == "Header" else "cookie", name, lifetime)


def service_session(spec: SessionPersistence, host: str, *, alone: bool) -> ServiceSession:
    """The session of a service, whatever rule leads to it; `alone`: no other has one of the same name."""
    permanent = (spec.cookie_config or CookieConfig()).lifetime_type == "Permanent"
    name = spec.session_name or _NAME
    own = spec.session_name is not None and alone
    return host, name if own else f"{name}-{_digest(host)}", spec.absolute_timeout if permanent else None


def with_service_sessions(rule: Rule, sessions: Mapping[str, Session]) -> Rule:
    """`rule`, each of whose backends has the session of its service, unless the rule has one."""
    action = rule.action
    if not sessions or not isinstance(action, Forward) or action.session is not None:
        return rule
    backends = tuple([_with_session_of(item, sessions) for item in action.backends])
    return rule if backends == action.backends else replace(rule, action=replace(action, backends=backends))


def _with_session_of(item: WeightedBackend, sessions: Mapping[str, Session]) -> WeightedBackend:
    found = sessions.get(item.backend.host) if item.backend is not None else None
    return item if found is None else replace(item, session=found)


def backend_sessions(forward: Forward) -> tuple[Session | None, ...]:
    """The session of each backend: as the rule says it, or its service, each under a name of its own. Two subsets are
    two backends."""
    if forward.session is not None:
        return tuple([replace(forward.session, name=name) for name in session_names(forward, forward.session)])
    found: list[Session | None] = []
    names: set[str] = set()
    for place, item in enumerate(forward.backends):
        session = item.session
        if session is not None and session.name in names:
            name = f"{session.name}-{_digest(_where(item))}"
            session = replace(session, name=name if name not in names else f"{name}-{place}")
        names |= {session.name} if session is not None else set()
        found.append(session)
    return tuple(found)


def with_session(action: Action, session: Session | None, match: RequestMatch) -> Action:
    """What a rule does with the requests that meet `match`. Its cookies are for the paths of the match."""
    if session is None or not isinstance(action, Forward):
        return action
    return replace(action, session=replace(session, path=_cookie_path(match.path)))


def session_names(forward: Forward, session: Session) -> tuple[str, ...]:
    """What tells the instance, for each backend of a rule. The first has the session's own name, so that a session
    stays where it is when a second backend is added."""
    names: dict[str, None] = {}
    for place, item in enumerate(forward.backends):
        name = session.name if not place else f"{session.name}-{_digest(_where(item))}"
        names[name if name not in names else f"{name}-{place}"] = None
    return tuple(names)


def _where(item: WeightedBackend) -> str:
    key = item.backend
    return f"{key.host}|{key.port}|{key.subset}" if key is not None else ""


def _cookie_path(path: TextMatch | None) -> str:
    if path is None or path.ignore_case:
        return "/"
    if path.kind == "regex":
        return literal_text(path.value).rpartition("/")[0] or "/"
    return path.value or "/"


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:8]
