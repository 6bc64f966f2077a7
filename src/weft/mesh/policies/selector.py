"""Label selectors of Kubernetes in full: labels that must be equal, and expressions.

https://kubernetes.io/docs/concepts/overview/working-with-objects/labels/
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from weft.model.labels import Labels, labels_from_mapping
from weft.schema.kinds.gateway import LabelSelector


@dataclass(frozen=True, slots=True)
class Expression:
    """A condition on one label."""

    key: str
    operator: Literal["In", "NotIn", "Exists", "DoesNotExist"]
    values: tuple[str, ...] = ()

    def holds(self, labels: Mapping[str, str]) -> bool:
        """Whether `labels` meet it. What is absent is not in any list."""
        value = labels.get(self.key)
        match self.operator:
            case "In":
                return value is not None and value in self.values
            case "NotIn":
                return value is None or value not in self.values
            case "Exists":
                return value is not None
            case _:
                return value is None


@dataclass(frozen=True, slots=True)
class Selector:
    """All conditions must hold; the empty selector holds for everything."""

    equal: Labels = ()
    expressions: tuple[Expression, ...] = ()

    def matches(self, labels: Mapping[str, str]) -> bool:
        """Whether it holds for `labels`."""
        return all(labels.get(key) == value for key, value in self.equal) and all(
            expression.holds(labels) for expression in self.expressions
        )


def selector_from_api(selector: LabelSelector) -> Selector:
    """A LabelSelector of a document."""
    return Selector(
        labels_from_mapping(selector.match_labels),
        tuple(Expression(each.key, each.operator, each.values) for each in selector.match_expressions),
    )
