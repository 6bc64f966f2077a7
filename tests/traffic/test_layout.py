"""The layout: callers left, callees right, and nobody moves because another came."""

from __future__ import annotations

import itertools
import random

from hypothesis import given, settings
from hypothesis import strategies as st

from weft.traffic.layout import Layout, extent, lay_out, position

CHAIN = [("edge", "page"), ("page", "reviews"), ("page", "details"), ("reviews", "ratings")]
NAMES = ["edge", "page", "details", "ratings", "reviews"]


def columns(layout: Layout) -> dict[str, int]:
    return {name: slot.column for name, slot in layout.slots.items()}


def test_callers_stand_left_of_callees() -> None:
    assert columns(lay_out(NAMES, CHAIN)) == {"edge": 0, "page": 1, "details": 2, "reviews": 2, "ratings": 3}


def test_a_circle_has_a_place_for_everybody_and_a_call_to_itself_none() -> None:
    layout = lay_out(["a", "b", "c"], [("a", "b"), ("b", "c"), ("c", "a"), ("b", "b")])
    assert columns(layout) == {"a": 0, "b": 1, "c": 2}


def test_who_neither_calls_nor_is_called_stands_under_the_others() -> None:
    layout = lay_out([*NAMES, "alone"], CHAIN)
    lowest = max(position(layout.slots[name], layout)[1] for name in NAMES)
    assert layout.slots["alone"].quiet
    assert position(layout.slots["alone"], layout)[1] > lowest


def test_a_crossing_is_avoided() -> None:
    layout = lay_out(["a", "b", "y", "z"], [("a", "z"), ("b", "y")])
    assert (layout.slots["a"].row < layout.slots["b"].row) is (layout.slots["z"].row < layout.slots["y"].row)


def test_a_newcomer_moves_nobody() -> None:
    before = lay_out(NAMES, CHAIN)
    after = lay_out([*NAMES, "basket", "cart"], [*CHAIN, ("page", "basket"), ("basket", "cart")], before)
    assert {name: after.slots[name] for name in NAMES} == before.slots
    assert columns(after)["basket"] == 2
    assert columns(after)["cart"] == 3


def test_who_leaves_comes_back_to_the_same_place() -> None:
    before = lay_out(NAMES, CHAIN)
    without = lay_out(NAMES[:-1], CHAIN[:2], before)
    assert lay_out(NAMES, CHAIN, without).slots == before.slots


def test_callers_under_ever_new_names_do_not_fill_the_picture() -> None:
    layout = lay_out(["page"], [])
    for number in range(300):
        names = ["page", *(f"job-{number}-{one}" for one in range(3))]
        layout = lay_out(names, [(name, "page") for name in names[1:]], layout)
    assert len(layout.slots) < 40
    assert layout.quiet_from < 40
    assert extent(layout, ["page"])[1] < 4000


def test_when_traffic_ends_nobody_moves() -> None:
    names = [f"s{number}" for number in range(12)]
    before = lay_out(names, list(itertools.pairwise(names)))
    assert max(columns(before).values()) == 11
    assert lay_out(names, [], before).slots == before.slots


def test_who_call_each_other_by_turns_do_not_wander_off() -> None:
    layout = lay_out(["a", "b"], [("a", "b")])
    for turn in range(50):
        layout = lay_out(["a", "b"], [("b", "a") if turn % 2 else ("a", "b")], layout)
        assert max(columns(layout).values()) <= 5


def test_who_is_called_by_one_further_right_moves_and_nobody_else() -> None:
    before = lay_out(["reviews", "ratings", "edge", "page"], [("reviews", "ratings"), ("edge", "page")])
    after = lay_out(
        ["reviews", "ratings", "edge", "page"], [("reviews", "ratings"), ("edge", "page"), ("page", "reviews")], before
    )
    assert columns(after) == {"edge": 0, "page": 1, "reviews": 2, "ratings": 3}
    assert {name: after.slots[name] for name in ("edge", "page")} == {
        name: before.slots[name] for name in ("edge", "page")
    }


def test_nothing_is_an_empty_picture() -> None:
    layout = lay_out([], [])
    assert layout.slots == {}
    assert extent(layout, ()) > (0, 0)


def test_five_hundred_services_have_a_place_each() -> None:
    chance = random.Random(7)
    names = [f"s{number:03}" for number in range(500)]
    tree = {(names[chance.randrange(index)], name) for index, name in enumerate(names) if index}
    calls = sorted(tree | {(chance.choice(names), chance.choice(names)) for _ in range(1500)})
    layout = lay_out(names, calls)
    assert len(set(layout.slots.values())) == 500


pairs = st.tuples(st.sampled_from("abcdefgh"), st.sampled_from("abcdefgh"))


@settings(deadline=None)
@given(first=st.sets(pairs, max_size=12), more=st.sets(pairs, max_size=6))
def test_places_are_always_distinct_and_follow_from_the_input(
    first: set[tuple[str, str]], more: set[tuple[str, str]]
) -> None:
    names = list("abcdefgh")
    before = lay_out(names, sorted(first))
    assert before.slots == lay_out(names, sorted(first)).slots
    after = lay_out(names, sorted(first | more), before)
    assert len({position(slot, after) for slot in after.slots.values()}) == len(names)
    assert after.slots == lay_out(names, sorted(first | more), after).slots
