"""Structural schemas take whatever the decoder takes, and are such as an API server wants them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from weft.schema.forms import FORMS, FormError
from weft.schema.registry import KINDS, find_kind
from weft.schema.structural import PATTERNS, kind_schema

PIECES = (
    "a z9 - . * / : 0 1 1.5 .5 s m h ms us µs https:// http:// 127.0.0.1 localhost example.com _ X x-user 403 503 "
    "spiffe ~ { é"
)
WORDS = st.lists(st.sampled_from([" ", *PIECES.split()]), max_size=5).map("".join)


@pytest.mark.parametrize("name", sorted(PATTERNS))
@given(text=WORDS)
@example(text="*.example.com")
@example(text="1h30m")
@example(text="https://id.example.com/x?y")
@example(text="/oauth2/callback")
@example(text="503")
def test_a_pattern_takes_what_its_form_takes(name: str, text: str) -> None:
    pattern, most = PATTERNS[name]
    try:
        FORMS[name].read(text)
    except FormError:
        return
    assert re.search(pattern, text)
    assert not most or len(text) <= most


def nodes(schema: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield schema
    below = [*schema.get("properties", {}).values(), schema.get("items"), schema.get("additionalProperties")]
    for each in below:
        if each is not None:
            yield from nodes(each)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.full_word)
def test_every_node_says_its_type_and_nothing_twice(kind: Any) -> None:
    for node in nodes(kind_schema(kind)["properties"]["spec"]):
        free = node.get("x-kubernetes-preserve-unknown-fields") or node.get("x-kubernetes-int-or-string")
        assert free or node["type"] in ("object", "array", "string", "integer", "number", "boolean")
        assert not ("properties" in node and "additionalProperties" in node)
        assert node.get("properties") != {}
        assert set(node.get("required", ())) <= node.get("properties", {}).keys()


def test_what_a_schema_says() -> None:
    spec = kind_schema(find_kind("healthcheckpolicies"))["properties"]["spec"]
    assert spec["required"] == ["targetRefs"]
    assert spec["x-kubernetes-validations"][0]["message"] == "exactly one of http, grpc, tcp"
    interval = spec["properties"]["interval"]
    assert interval["description"] == "A duration of at least 1ms, such as 1.5s, 2m or 100ms. Default: 10s."
    assert spec["properties"]["port"] == {"type": "integer", "minimum": 1, "maximum": 65535}
    assert spec["properties"]["http"]["properties"]["host"]["pattern"].startswith("^$|")
    assert kind_schema(find_kind("meshconfigs")).get("required") is None
