"""Label selectors as text: what kubectl takes is taken, and means the same."""

from __future__ import annotations

import pytest

from weft.sources.kubernetes.selectors import SelectorError, selector_from_text


@pytest.mark.parametrize(
    ("text", "labels", "matches"),
    [
        ("team=shop", {"team": "shop"}, True),
        ("team == shop", {"team": "pay"}, False),
        ("team!=shop", {}, True),
        ("team!=shop", {"team": "shop"}, False),
        ("team in (shop, pay)", {"team": "pay"}, True),
        ("team in (shop,pay),!legacy", {"team": "pay", "legacy": ""}, False),
        ("team notin (shop)", {"team": "pay"}, True),
        ("example.org/mesh", {"example.org/mesh": ""}, True),
        ("! example.org/mesh", {"example.org/mesh": ""}, False),
        ("mesh=", {"mesh": ""}, True),
        ("kubernetes.io/metadata.name in (a,b),mesh=on", {"kubernetes.io/metadata.name": "b", "mesh": "on"}, True),
    ],
)
def test_what_matches(text: str, labels: dict[str, str], *, matches: bool) -> None:
    assert selector_from_text(text).matches(labels) is matches


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("", "it is empty, which every namespace would match; expected KEY=VALUE"),
        ("team=shop,", "found ''; expected KEY=VALUE"),
        ("team like shop", "found 'team like shop'; expected KEY=VALUE, KEY!=VALUE, KEY in (A,B)"),
        ("team in ()", "found 'team in ()'; expected values of a label between ( and )"),
        ("team in (a b)", "found 'team in (a b)'; expected values"),
        ("-team", "found '-team'; expected"),
    ],
)
def test_what_is_no_selector(text: str, found: str) -> None:
    with pytest.raises(SelectorError) as caught:
        selector_from_text(text)
    assert str(caught.value).startswith(found)
