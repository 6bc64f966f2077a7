"""The entry in a list of plugins: put in where a runtime wants it, and taken out as if it had never been there."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from weft.agent.cni.chain import ChainError, configurations, entry_text, has_entry, with_entry, without_entry

ENTRY = entry_text(Path("/run/weft-cni/agent.sock"))
BRIDGE = {"type": "bridge", "ipam": {"ranges": [[{"subnet": "10.0.0.0/24"}]]}}


def text_of(*plugins: dict[str, Any], indent: int | None = 2, **more: Any) -> str:
    return json.dumps({"cniVersion": "1.0.0", "name": "pods", "plugins": list(plugins), **more}, indent=indent) + "\n"


def types(text: str) -> list[str]:
    return [each["type"] for each in json.loads(text)["plugins"]]


def test_it_is_the_last_and_asks_for_annotations() -> None:
    text = with_entry(text_of(BRIDGE, {"type": "portmap"}), ENTRY)
    assert types(text) == ["bridge", "portmap", "weft-cni"]
    assert json.loads(text)["plugins"][-1]["capabilities"] == {"io.kubernetes.cri.pod-annotations": True}
    assert has_entry(text)
    assert with_entry(text, ENTRY) == text


_NAMES = st.text(st.characters(codec="utf-8", exclude_categories=["Cs"]), max_size=8) | st.sampled_from(
    ["]", "[]", '"]']
)
_PLUGIN = st.fixed_dictionaries({"type": _NAMES.filter(lambda name: name != "weft-cni"), "plugins": st.lists(_NAMES)})


@given(st.lists(_PLUGIN, min_size=1, max_size=3), st.sampled_from([None, 1, 4]), st.lists(_NAMES, max_size=2))
def test_all_else_stays_as_it_is_written(plugins: list[dict[str, Any]], indent: int | None, more: list[str]) -> None:
    text = text_of(*plugins, indent=indent, also=more)
    made = with_entry(text, ENTRY)
    assert types(made) == [*(each["type"] for each in plugins), "weft-cni"]
    assert without_entry(made) == text
    assert without_entry(text) == text


def test_another_agents_entry_goes() -> None:
    earlier = with_entry(text_of(BRIDGE), entry_text(Path("/run/other/agent.sock")))
    assert with_entry(earlier, ENTRY) == with_entry(text_of(BRIDGE), ENTRY)


def test_an_entry_that_somebody_else_has_written_anew_goes_too() -> None:
    anew = json.dumps(json.loads(with_entry(text_of(BRIDGE), ENTRY)), indent=8, sort_keys=True)
    assert json.loads(without_entry(anew)) == json.loads(text_of(BRIDGE))


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ('{"type": "bridge"}', "it is no list of plugins"),
        ('{"plugins": []}', "expected a .conflist with a field 'plugins'"),
        ("[]", "it is no list of plugins"),
        ('{"plugins": [', "it is no JSON"),
    ],
)
def test_what_is_no_list_is_refused(text: str, told: str) -> None:
    with pytest.raises(ChainError, match=told):
        with_entry(text, ENTRY)
    assert not has_entry(text)


def test_the_runtime_takes_the_first_by_name(tmp_path: Path) -> None:
    for name in ("20-b.conflist", "10-a.conf", "00-note.txt", ".05-half.conflist", "30-c.json"):
        (tmp_path / name).touch()
    assert [each.name for each in configurations(tmp_path)] == ["10-a.conf", "20-b.conflist", "30-c.json"]
