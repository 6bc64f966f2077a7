"""Who may refer to what: ReferenceGrants, and listeners' allowed routes."""

from __future__ import annotations

from collections.abc import Iterable

from weft.model.document import Document, ObjectKey
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
