"""What changed between two pictures; applied to the old one it gives the new one."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from weft.admin.dashboard.delta import changes


def applied(old: dict[str, Any], delta: dict[str, Any]) -> dict[str, Any]:
    """What live.js does."""
    new = {**old, **delta.get("set", {})}
    for part, patch in delta.get("patch", {}).items():
        value = {**new[part], **patch["set"]}
        for name, members in (("nodes", ("id",)), ("edges", ("from", "to"))):
            rows = {" ".join(str(row.get(one, "")) for one in members): row for row in new[part].get(name, [])}
            for gone in patch["gone"].get(name, []):
                del rows[gone]
            for row in patch["items"].get(name, []):
                rows[" ".join(str(row.get(one, "")) for one in members)] = row
            if name in new[part]:
                value[name] = list(rows.values())
        new[part] = value
    return new


def ordered(picture: dict[str, Any]) -> dict[str, Any]:
    graph = picture["graph"]
    return {
        **picture,
        "graph": {**graph, "nodes": sorted(graph["nodes"], key=str), "edges": sorted(graph["edges"], key=str)},
    }


_NAMES = st.sampled_from(["a/a", "a/b", "b/c", "workload a/w"])
_NODES = st.dictionaries(_NAMES, st.integers(0, 3)).map(
    lambda of: [{"id": key, "rate": rate} for key, rate in of.items()]
)
_EDGES = st.dictionaries(st.tuples(_NAMES, _NAMES), st.integers(0, 3)).map(
    lambda of: [{"from": key[0], "to": key[1], "rate": rate} for key, rate in of.items()]
)
_GRAPHS = st.fixed_dictionaries({"nodes": _NODES, "edges": _EDGES, "width": st.integers(0, 2)})
_PICTURES = st.fixed_dictionaries({"graph": _GRAPHS, "health": st.fixed_dictionaries({"errors": st.integers(0, 2)})})


@given(_PICTURES, _PICTURES)
def test_the_old_picture_and_the_changes_give_the_new_one(old: dict[str, Any], new: dict[str, Any]) -> None:
    assert ordered(applied(old, changes(old, new))) == ordered(new)


def test_nothing_changed_is_nothing() -> None:
    picture = {"health": {"errors": 1}, "graph": {"nodes": [{"id": "a"}], "edges": []}}
    assert changes(picture, {**picture}) == {}


def test_one_edge_that_changed_is_all_that_is_sent() -> None:
    edges = [{"from": "a", "to": str(number), "rate": 1} for number in range(500)]
    old = {"graph": {"nodes": [], "edges": edges}}
    new = {"graph": {"nodes": [], "edges": [*edges[:-1], {**edges[-1], "rate": 2}]}}
    assert changes(old, new) == {
        "patch": {"graph": {"set": {}, "items": {"edges": [{"from": "a", "to": "499", "rate": 2}]}, "gone": {}}}
    }


def test_tuples_are_lists_too() -> None:
    old = {"graph": {"nodes": ({"id": "a", "rate": 1}, {"id": "b", "rate": 1}), "edges": ()}}
    new = {"graph": {"nodes": ({"id": "a", "rate": 1}, {"id": "b", "rate": 2}), "edges": ()}}
    assert changes(old, new)["patch"]["graph"]["items"] == {"nodes": [{"id": "b", "rate": 2}]}
