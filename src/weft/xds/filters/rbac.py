"""Envoy's RBAC filter, three times: policies that note, that deny, and that allow. Who is refused gets 403.

https://www.envoyproxy.io/docs/envoy/latest/configuration/http/http_filters/rbac_filter

A filter that allows ends in a refusal by itself: who matches none of its rules is refused, also where it has none. Dry
runs are its shadow rules: their verdict is in the request's metadata and in counters, and changes nothing.
"""

from __future__ import annotations

from collections.abc import Iterable

from envoy.extensions.filters.http.rbac.v3 import rbac_pb2

from weft.mesh.access.access import Access
from weft.mesh.access.policy import AccessPolicy, Action, Attribute
from weft.xds.access.rules import encode_rules, looks_at, refuse_all, refuse_bad_hosts, refuse_bad_paths

AUDIT = "weft.access.audit"
DENY = "weft.access.deny"
ALLOW = "weft.access.allow"


def listener_config(prefix: str) -> rbac_pb2.RBAC:
    """Nothing but the `prefix` of its counters: it stands disabled, and routes enable it."""
    return rbac_pb2.RBAC(rules_stat_prefix=prefix, shadow_rules_stat_prefix=f"dry_run_{prefix}")


def audit_config(access: Access) -> rbac_pb2.RBACPerRoute | None:
    """Notes calls, whatever becomes of them."""
    policies, dry = _split(access, Action.AUDIT)
    if not policies and not dry:
        return None
    config = _config("audit")
    config.rbac.rules.CopyFrom(encode_rules(access, (*policies, *dry), Action.AUDIT))
    return config


def deny_config(access: Access) -> rbac_pb2.RBACPerRoute | None:
    """Refuses whoever matches a rule, and everybody where the place is closed."""
    if not access.policies and not access.closed:
        return None
    policies, dry = _split(access, Action.DENY)
    deciding = [policy for policy in access.policies if policy.decides]
    bad_hosts, bad_paths = (looks_at(each, deciding) for each in (Attribute.HOST, Attribute.PATH))
    config = _config("deny")
    if policies or access.closed or bad_hosts or bad_paths:
        rules = encode_rules(access, policies, Action.DENY)
        refuse_all(rules, (closed.rule_id for closed in access.closed))
        if bad_hosts:
            refuse_bad_hosts(rules)
        if bad_paths:
            refuse_bad_paths(rules)
        config.rbac.rules.CopyFrom(rules)
    if dry:
        config.rbac.shadow_rules.CopyFrom(encode_rules(access, dry, Action.DENY))
    return config if config.rbac.HasField("rules") or dry else None


def allow_config(access: Access) -> rbac_pb2.RBACPerRoute | None:
    """Refuses whoever matches no rule, where there is a policy that allows."""
    policies, dry = _split(access, Action.ALLOW)
    if not policies and not dry:
        return None
    config = _config("allow")
    if policies:
        config.rbac.rules.CopyFrom(encode_rules(access, policies, Action.ALLOW))
    if dry:
        config.rbac.shadow_rules.CopyFrom(encode_rules(access, dry, Action.ALLOW))
    return config


def _split(access: Access, action: Action) -> tuple[list[AccessPolicy], list[AccessPolicy]]:
    """The policies of an action: those in force, and dry runs."""
    given: Iterable[AccessPolicy] = [policy for policy in access.policies if policy.action is action]
    return [each for each in given if not each.dry_run], [each for each in given if each.dry_run]


def _config(what: str) -> rbac_pb2.RBACPerRoute:
    """Here the prefixes are those of the keys in a request's metadata: `deny_enforced_effective_policy_id`,
    `dry_run_deny_shadow_effective_policy_id`. For counters Envoy takes those of the listener."""
    return rbac_pb2.RBACPerRoute(
        rbac=rbac_pb2.RBAC(
            rules_stat_prefix=f"{what}_", shadow_rules_stat_prefix=f"dry_run_{what}_", track_per_rule_stats=True
        )
    )
