"""What can be read of a security document that cannot be understood: whom it is about."""

from __future__ import annotations

from collections.abc import Mapping

from weft.model.labels import Labels, labels_from_mapping
from weft.model.unreadable import TargetName, Unreadable
from weft.schema.wording import nearest_name
from weft.schema.yaml_nodes import Node

_SCOPE = ("selector", "targetRef", "targetRefs")


def unreadable_spec(kind: str, entries: Mapping[str, Node]) -> Unreadable:
    """`entries` are those of the document. A part that cannot be read makes the scope wider, never narrower."""
    spec = entries.get("spec")
    if spec is None or spec.value is None:
        return Unreadable(kind)
    if not isinstance(spec.value, dict):
        return Unreadable(kind, scoped=False)
    fields = {key: node for key, node in spec.value.items() if node.value is not None}
    selector, targets = _selector(fields.get("selector")), _targets(fields)
    if selector is None or targets is None or _misspelt(fields):
        return Unreadable(kind, scoped=False)
    return Unreadable(kind, selector, targets)


def _misspelt(fields: Mapping[str, Node]) -> bool:
    """Whether another field may be meant as a selector or a targetRef."""
    return any(key not in _SCOPE and nearest_name(key, (*_SCOPE, "matchLabels")) for key in fields)


def _selector(node: Node | None) -> Labels | None:
    """The labels that can be read; None when there should be some and there are none."""
    if node is None:
        return ()
    if not isinstance(node.value, dict):
        return None
    if not node.value:
        return ()
    labels = node.value.get("matchLabels")
    pairs = labels.value if labels is not None and isinstance(labels.value, dict) else {}
    found = {key: child.value for key, child in pairs.items() if isinstance(child.value, str)}
    return labels_from_mapping(found) if found else None


def _targets(fields: Mapping[str, Node]) -> tuple[TargetName, ...] | None:
    found: list[TargetName] = []
    given = [fields["targetRef"]] if "targetRef" in fields else []
    many = fields.get("targetRefs")
    if many is not None:
        if not isinstance(many.value, list):
            return None
        given += many.value
    for node in given:
        parts = node.value if isinstance(node.value, dict) else {}
        texts = {key: child.value for key, child in parts.items() if isinstance(child.value, str)}
        if not texts.get("kind") or not texts.get("name"):
            return None
        found.append(TargetName(texts.get("group", ""), texts["kind"], texts["name"]))
    return tuple(found)
