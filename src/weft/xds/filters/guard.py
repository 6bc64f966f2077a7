"""Guards: what the requests of a rule meet before anything else is done with them, in two steps.

Envoy leaves out what stands in a composite filter behind a filter that had to wait, so each of the two ends with the
one that may wait (tests/envoy_facts/test_composite.py).
"""

from __future__ import annotations

from collections.abc import Iterator

from google.protobuf.message import Message

from weft.mesh.access.guard import NO_GUARD, ApiKeys, Guard, Login, PartT, Passwords, SameSite
from weft.mesh.routes.rules import Forward, Rule
from weft.xds.filters import api_key_auth, basic_auth, composite, csrf, ext_authz, oauth2, stateful_session

LOGIN = "weft.login"
NAME = "weft.guard"


def login_config(rule: Rule) -> Message | None:
    """What browsers meet at a gateway; None if nothing."""
    return composite.route_config(list(_login(rule.guard or NO_GUARD)))


def rule_config(rule: Rule) -> Message | None:
    """What the requests of a rule meet after that; None if nothing."""
    return composite.route_config(list(_steps(rule)))


def _login(guard: Guard) -> Iterator[tuple[str, Message]]:
    # Refuses without asking anybody, and what it refuses is no login's business.
    if (same_site := _part(guard, SameSite)) is not None:
        yield csrf.NAME, csrf.csrf(same_site)
    # May wait for the provider.
    if (login := _part(guard, Login)) is not None:
        yield oauth2.NAME, oauth2.oauth2(login)


def _steps(rule: Rule) -> Iterator[tuple[str, Message]]:
    guard = rule.guard or NO_GUARD
    if (keys := _part(guard, ApiKeys)) is not None:
        yield api_key_auth.NAME, api_key_auth.api_key_auth(keys)
    if (passwords := _part(guard, Passwords)) is not None:
        yield basic_auth.NAME, basic_auth.basic_auth(passwords)
    # Says where the request goes, and waits for nobody.
    if isinstance(rule.action, Forward) and rule.action.session is not None:
        yield stateful_session.NAME, stateful_session.stateful_session(rule.action.session)
    # Asks about clients that are known by now, and waits for the answer.
    if rule.authorizer is not None:
        yield ext_authz.NAME, ext_authz.ext_authz(rule.authorizer)


def _part(guard: Guard, kind: type[PartT]) -> PartT | None:
    return next((each.part for each in guard.demands if isinstance(each.part, kind)), None)
