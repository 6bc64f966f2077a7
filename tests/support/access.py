"""Access policies for tests, small enough to read."""

from __future__ import annotations

from typing import Any

from weft.mesh.access.access import Access
from weft.mesh.access.policy import (
    AccessPolicy,
    AccessRule,
    Action,
    Attribute,
    Condition,
    Pattern,
    PatternKind,
)
from weft.model.document import ObjectKey
from weft.model.origin import Origin

PLACE = Origin("policies.yaml", 3)
SHOP = "cluster.local/ns/shop/sa/web"
OTHER = "cluster.local/ns/other/sa/job"


def exact(attribute: Attribute, *values: str, negated: bool = False, key: tuple[str, ...] = ()) -> Condition:
    """A condition on exactly these values."""
    return Condition(attribute, tuple(Pattern(PatternKind.EXACT, value) for value in values), negated, key)


def rule(number: int = 0, **changes: Any) -> AccessRule:
    """A rule; without more it matches every call."""
    return AccessRule(number, Origin("policies.yaml", 10 + number), **changes)


def policy(name: str, action: Action, *rules: AccessRule, **changes: Any) -> AccessPolicy:
    """A policy of namespace shop."""
    key = ObjectKey("security.istio.io", "AuthorizationPolicy", "shop", name)
    return AccessPolicy(key, PLACE, action, rules, **changes)


GET = rule(operations=((exact(Attribute.METHOD, "GET"),),))
FROM_SHOP = rule(sources=((exact(Attribute.NAMESPACE, "shop"),),))


def access(*policies: AccessPolicy, **changes: Any) -> Access:
    """What is asked at a port of the trust domain cluster.local."""
    return Access(policies, **({"trust_domain": "cluster.local"} | changes))
