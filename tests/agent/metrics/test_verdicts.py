"""What policies decided, as metrics."""

from __future__ import annotations

from weft.agent.metrics.envoy import envoy_families
from weft.agent.metrics.verdicts import VERDICTS

RBAC = "http.inbound.rbac."
COUNTERS = {
    f"{RBAC}allow.allowed": 9,
    f"{RBAC}allow.denied": 2,
    f"{RBAC}allow.policy.AuthorizationPolicy/shop/web.v1/0.allowed": 4,
    f"{RBAC}allow.policy.AuthorizationPolicy/shop/web.v1/12.allowed": 5,
    f"{RBAC}deny.policy.AuthorizationPolicy/istio-system/no-admin/0.denied": 3,
    "http.gateway.rbac.deny.policy.AuthorizationPolicy/istio-system/no-admin/0.denied": 1,
    f"{RBAC}dry_run_deny.policy.AuthorizationPolicy/shop/try/0.shadow_denied": 7,
    f"{RBAC}audit.policy.AuthorizationPolicy/shop/note/0.allowed": 6,
    f"{RBAC}deny.policy.closed/AuthorizationPolicy/shop/bad.denied": 8,
    f"{RBAC}deny.policy.host-not-well-formed.denied": 1,
    "weft.limit.shop/api,shop/web.http_local_rate_limit.rate_limited": 3,
    "weft.limit.shop/api,shop/web.http_local_rate_limit.ok": 5,
    "weft.limit.shop/api,shop/web.http_local_rate_limit.enabled": 8,
    "weft.limit.shop/try.v1.dry.http_local_rate_limit.rate_limited": 2,
}


def test_verdicts_are_counted_by_policy() -> None:
    families = {family.name: family for family in envoy_families(COUNTERS, {})}
    assert [(dict(sample.labels), sample.value) for sample in families[VERDICTS].samples] == [
        ({"kind": kind, "policy": policy, "verdict": verdict, "mode": mode}, value)
        for kind, policy, verdict, mode, value in (
            ("authorization", "AuthorizationPolicy istio-system/no-admin", "denied", "enforced", 4),
            ("authorization", "AuthorizationPolicy shop/bad", "closed", "enforced", 8),
            ("authorization", "AuthorizationPolicy shop/note", "noted", "enforced", 6),
            ("authorization", "AuthorizationPolicy shop/try", "denied", "dry_run", 7),
            ("authorization", "AuthorizationPolicy shop/web.v1", "allowed", "enforced", 9),
            ("rate_limit", "RateLimitPolicy shop/api,shop/web", "allowed", "enforced", 5),
            ("rate_limit", "RateLimitPolicy shop/api,shop/web", "limited", "enforced", 3),
            ("rate_limit", "RateLimitPolicy shop/try.v1", "limited", "dry_run", 2),
        )
    ]
    others = {name for name in families if name != VERDICTS}
    assert others == {
        "envoy_http_rbac_allow_allowed",
        "envoy_http_rbac_allow_denied",
        "envoy_http_rbac_deny_policy_host_not_well_formed_denied",
    }


def test_without_policies_there_is_no_family() -> None:
    assert VERDICTS not in {family.name for family in envoy_families({f"{RBAC}allow.allowed": 9}, {})}
