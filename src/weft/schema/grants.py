"""Who may refer to what: ReferenceGrants, listeners' allowed routes, hosts as references to services."""

from __future__ import annotations

from collections.abc import Iterable

from weft.model.document import Document, ObjectKey
from weft.model.identity import DNS_SUFFIX
from weft.model.labels import Labels, label_value
from weft.schema.kinds.gateway import LabelExpression, LabelSelector, ListenerSpec, ReferenceGrantSpec

NAMESPACE_NAME_LABEL = "kubernetes.io/metadata.name"
"""A label that every namespace has: its name."""


def grant_allows(
    grants: Iterable[Document[ReferenceGrantSpec]], from_group: str, from_kind: str, from_namespace: str, to: ObjectKey
) -> bool:
    """Whether an object of that kind and namespace may refer to `to`: it is in the same namespace, or a ReferenceGrant
    in the namespace of `to` says so."""
    if from_namespace == to.namespace:
        return True
    return any(
        any(
            (each.group, each.kind, each.namespace) == (from_group, from_kind, from_namespace)
            for each in grant.spec.from_
        )
        and any(
            (each.group, each.kind) == (to.group, to.kind) and each.name in (None, to.name) for each in grant.spec.to
        )
        for grant in grants
        if grant.key.namespace == to.namespace
    )


def listener_allows(
    listener: ListenerSpec, gateway_namespace: str, route_namespace: str, namespace_labels: Labels
) -> bool:
    """Whether routes of `route_namespace`, which has these labels, may attach to the listener."""
    allowed = listener.allowed_routes.namespaces
    if allowed.from_ == "Selector":
        if label_value(namespace_labels, NAMESPACE_NAME_LABEL) is None:
            namespace_labels = (*namespace_labels, (NAMESPACE_NAME_LABEL, route_namespace))
        return allowed.selector is not None and selector_matches(allowed.selector, namespace_labels)
    return allowed.from_ == "All" or gateway_namespace == route_namespace


def selector_matches(selector: LabelSelector, labels: Labels) -> bool:
    """Whether every condition holds; an empty selector matches everything, as in Kubernetes."""
    return all(label_value(labels, key) == value for key, value in selector.match_labels.items()) and all(
        _expression_matches(each, labels) for each in selector.match_expressions
    )


def _expression_matches(expression: LabelExpression, labels: Labels) -> bool:
    value = label_value(labels, expression.key)
    if expression.operator == "In":
        return value is not None and value in expression.values
    if expression.operator == "NotIn":
        return value is None or value not in expression.values
    return (value is not None) == (expression.operator == "Exists")


def hostnames_intersect(one: str, other: str) -> bool:
    """Whether some host matches both hostnames, each exact, with a leading ``*.``, or empty for every host."""
    if not one or not other or one == other:
        return True
    if one.startswith("*.") and other.startswith("*."):
        return one.endswith(other[1:]) or other.endswith(one[1:])
    if one.startswith("*."):
        return other.endswith(one[1:])
    return other.startswith("*.") and one.endswith(other[1:])


def service_of_host(host: str, namespace: str) -> ObjectKey | None:
    """The Service that `host` names in a document of `namespace`: ``reviews``, ``reviews.ns``, ``reviews.ns.svc`` or
    ``reviews.ns.svc.cluster.local``. None for names outside the mesh."""
    stem = host.lower().removesuffix(".").removesuffix("." + DNS_SUFFIX)
    parts = stem.split(".")
    if len(parts) == 1:
        return ObjectKey("", "Service", namespace, parts[0])
    if len(parts) == 2 or (len(parts) == 3 and parts[2] == "svc"):
        return ObjectKey("", "Service", parts[1], parts[0])
    return None
