"""Backends that nobody serves: who has a session at one begins again elsewhere, instead of waiting for it to come back.

A canary that was taken back has a weight of 0 and no instances, and the cookies of its visitors last.
"""

from __future__ import annotations

from dataclasses import replace

from weft.mesh.memo import Memo
from weft.mesh.routes.rules import Forward, Rule, VirtualHost
from weft.mesh.services.service import BackendKey, Health, Target
from weft.mesh.views import OutboundView, TargetsView


def without_deserted(memo: Memo, view: OutboundView, targets: TargetsView) -> OutboundView:
    """`view`, in which no session is kept at a backend without a healthy endpoint in `targets`."""
    keys = memo(_kept_in, view)
    gone = deserted(keys, targets) if keys else ()
    return memo.over(_outbound, gone, view) if gone else view


def deserted(keys: tuple[BackendKey, ...], targets: TargetsView) -> tuple[BackendKey, ...]:
    """Those of `keys` whose endpoints are known, and of which none is healthy."""
    return tuple([key for key in keys if _is_deserted(targets.find(key))])


def leave_deserted(hosts: tuple[VirtualHost, ...], gone: tuple[BackendKey, ...]) -> tuple[VirtualHost, ...]:
    """`hosts` without sessions at the backends that are `gone`. Those that have none stay the same objects."""
    return tuple([_host(host, gone) if any(_kept_at(rule) for rule in host.rules) else host for host in hosts])


def session_keys(hosts: tuple[VirtualHost, ...]) -> tuple[BackendKey, ...]:
    """The backends at one of several of which a rule keeps sessions, each once."""
    return tuple(dict.fromkeys([key for host in hosts for rule in host.rules for key in _kept_at(rule)]))


def _kept_in(view: OutboundView) -> tuple[BackendKey, ...]:
    return session_keys(view.virtual_hosts)


def _kept_at(rule: Rule) -> tuple[BackendKey, ...]:
    action = rule.action
    if not isinstance(action, Forward) or len(action.backends) < 2:
        return ()
    kept = [action.session is not None or item.session is not None for item in action.backends]
    return tuple([item.backend for item, keeps in zip(action.backends, kept, strict=True) if item.backend and keeps])


def _is_deserted(target: Target | None) -> bool:
    if target is None or target.endpoints is None:
        return False
    return not any(endpoint.health is Health.HEALTHY for endpoint in target.endpoints.endpoints)


def _outbound(gone: tuple[BackendKey, ...], view: OutboundView) -> OutboundView:
    return replace(view, virtual_hosts=leave_deserted(view.virtual_hosts, gone))


def _host(host: VirtualHost, gone: tuple[BackendKey, ...]) -> VirtualHost:
    return replace(host, rules=tuple([_rule(rule, gone) for rule in host.rules]))


def _rule(rule: Rule, gone: tuple[BackendKey, ...]) -> Rule:
    left = tuple([key for key in _kept_at(rule) if key in gone])
    if not left or not isinstance(rule.action, Forward):
        return rule
    return replace(rule, action=replace(rule.action, deserted=left))
