"""What is said of dataclasses beside their types is said of kinds only, and found for each."""

from __future__ import annotations

from weft.schema.rules import NORMALISERS, RULES
from weft.schema.said import Said, said_of
from weft.schema.upstream import NO_EFFECT_FIELDS, UNSUPPORTED_FIELDS, UNSUPPORTED_VALUES


def test_all_that_is_said_is_found() -> None:
    for kind in {
        *RULES,
        *NORMALISERS,
        *NO_EFFECT_FIELDS,
        *UNSUPPORTED_FIELDS,
        *(kind for kind, _ in UNSUPPORTED_VALUES),
    }:
        said = said_of(kind)
        assert said.rules == RULES.get(kind, ()), kind
        assert said.normalise is NORMALISERS.get(kind), kind
        assert said.no_effect == NO_EFFECT_FIELDS.get(kind, {}), kind
        assert said.unsupported == UNSUPPORTED_FIELDS.get(kind, {}), kind
        assert said.unsupported_values == {
            name: values for (each, name), values in UNSUPPORTED_VALUES.items() if each is kind
        }, kind


def test_nothing_is_said_of_others() -> None:
    assert said_of(Said) == Said()
