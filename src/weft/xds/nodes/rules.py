"""The rules of a port said of a neighbour, who has proven who it is by the listener that it came through and has no
certificate. What could not be said of one is not said at all."""

from __future__ import annotations

from collections.abc import Iterable

from envoy.config.rbac.v3.rbac_pb2 import RBAC, Permission, Principal
from envoy.config.route.v3.route_pb2 import RouteConfiguration
from envoy.extensions.filters.http.rbac.v3.rbac_pb2 import RBACPerRoute
from envoy.type.matcher.v3.filter_state_pb2 import FilterStateMatcher
from envoy.type.matcher.v3.string_pb2 import StringMatcher
from google.protobuf.any_pb2 import Any as AnyMessage

from weft.xds.messages import packed

_XFCC = "x-forwarded-client-cert"


class _CannotBeSaidError(Exception):
    """A rule asks for what is known of connections from other hosts only."""


def told_rules(routes: RouteConfiguration, key: str) -> RouteConfiguration | None:
    """Routes with their rules, asking for the filter state `key` where they ask for a certificate's identity; None if a
    rule asks for anything else that a neighbour's connection does not have, or a filter is asked that has no rules."""
    try:
        _change_filters(routes.typed_per_filter_config, key)
        for host in routes.virtual_hosts:
            _change_filters(host.typed_per_filter_config, key)
            for route in host.routes:
                _change_filters(route.typed_per_filter_config, key)
    except _CannotBeSaidError:
        return None
    return routes


def _change_filters(filters: object, key: str) -> None:
    held: dict[str, AnyMessage] = filters  # type: ignore[assignment]
    for name in list(held):
        config = RBACPerRoute()
        if not held[name].Unpack(config) or config.rbac.HasField("matcher") or config.rbac.HasField("shadow_matcher"):
            raise _CannotBeSaidError
        for rules in (config.rbac.rules, config.rbac.shadow_rules):
            _change_rules(rules, key)
        held[name].CopyFrom(packed(config))


def _change_rules(rules: RBAC, key: str) -> None:
    for policy in rules.policies.values():
        if policy.HasField("condition") or policy.HasField("checked_condition"):
            raise _CannotBeSaidError
        _check_permissions(policy.permissions)
        for principal in policy.principals:
            _change_principal(principal, key)


def _change_principal(principal: Principal, key: str) -> None:
    match principal.WhichOneof("identifier"):
        case "any":
            return
        case "authenticated":
            asked = (
                principal.authenticated.principal_name if principal.authenticated.HasField("principal_name") else None
            )
            someone = FilterStateMatcher(key=key, string_match=asked or StringMatcher(prefix="spiffe://"))
            principal.filter_state.CopyFrom(someone)
        case "header" if principal.header.name.lower() != _XFCC:
            return
        case "and_ids":
            _change_all(principal.and_ids.ids, key)
        case "or_ids":
            _change_all(principal.or_ids.ids, key)
        case "not_id":
            _change_principal(principal.not_id, key)
        case _:
            raise _CannotBeSaidError


def _change_all(principals: Iterable[Principal], key: str) -> None:
    for each in principals:
        _change_principal(each, key)


def _check_permissions(permissions: Iterable[Permission]) -> None:
    for each in permissions:
        match each.WhichOneof("rule"):
            case "any" | "url_path" | "uri_template":
                continue
            case "header" if each.header.name.lower() != _XFCC:
                continue
            case "and_rules":
                _check_permissions(each.and_rules.rules)
            case "or_rules":
                _check_permissions(each.or_rules.rules)
            case "not_rule":
                _check_permissions((each.not_rule,))
            case _:
                raise _CannotBeSaidError
