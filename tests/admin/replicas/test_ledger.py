"""Rows that are told as they change, and to those who come late all of them."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from weft.admin.replicas.ledger import Ledger
from weft.admin.replicas.rows import Connected, Standing


def connected(*names: str) -> list[Connected]:
    return [Connected(name) for name in names]


def test_only_what_is_new_is_told() -> None:
    ledger = Ledger()
    ledger.write(Connected, connected("a", "b"))
    first = ledger.since(0)
    assert (set(first.rows), first.gone, first.whole) == (set(connected("a", "b")), (), True)
    assert not ledger.since(first.number).rows, "nothing has changed"
    ledger.write(Connected, connected("a", "c"))
    ledger.write(Standing, [Standing("Gateway shop/edge", "1", "a", "has not confirmed it yet")])
    second = ledger.since(first.number)
    assert set(second.rows) == {*connected("c"), Standing("Gateway shop/edge", "1", "a", "has not confirmed it yet")}
    assert second.gone == ("proxy b",)
    ledger.write(Standing, [Standing("Gateway shop/edge", "1", "a")])
    third = ledger.since(second.number)
    assert (third.rows, third.gone) == ((Standing("Gateway shop/edge", "1", "a"),), ())


def test_who_has_not_read_for_long_is_told_everything() -> None:
    ledger = Ledger(most_gone=2)
    ledger.write(Connected, connected("a", "b", "c", "d"))
    known = ledger.since(0).number
    ledger.write(Connected, connected("a"))
    late = ledger.since(known)
    assert (late.whole, late.rows, late.gone) == (True, tuple(connected("a")), ())


def test_a_number_of_another_process_is_none() -> None:
    ledger = Ledger()
    ledger.write(Connected, connected("a"))
    assert ledger.since(99).whole


@given(st.lists(st.tuples(st.sets(st.sampled_from("abcdefgh")), st.booleans()), max_size=12), st.integers(1, 6))
def test_parts_add_up_to_what_is_there(states: list[tuple[set[str], bool]], most_gone: int) -> None:
    ledger, known, number = Ledger(most_gone), set[str](), 0
    for state, read in states:
        ledger.write(Connected, connected(*sorted(state)))
        if not read:
            continue
        part = ledger.since(number)
        if part.whole:
            known.clear()
        known.difference_update(part.gone)
        known.update(row.id for row in part.rows)
        number = part.number
        assert known == {f"proxy {name}" for name in state}
