"""The order of leases, against a plain dictionary."""

from hypothesis import given
from hypothesis import strategies as st

from weft.store.leases import LeaseTable

STEPS = st.lists(
    st.tuples(st.sampled_from("abcd"), st.one_of(st.none(), st.integers(0, 20)), st.integers(0, 20)), max_size=40
)


@given(STEPS)
def test_what_is_over_is_what_a_scan_finds(steps: list[tuple[str, int | None, int]]) -> None:
    table, plain = LeaseTable(), dict[str, float]()
    for key, end, now in steps:
        if end is None:
            table.drop(key)
            plain.pop(key, None)
        else:
            table.set(key, end)
            plain[key] = end
        over = table.over(now)
        assert set(over) == {name for name, at in plain.items() if at <= now}
        assert len(over) == len(set(over))
        assert table.first() == min(plain.values(), default=float("inf"))
        assert table.ends == plain


def test_renewals_do_not_grow_the_order() -> None:
    table = LeaseTable({"a": 1.0, "b": 2.0})
    for number in range(10_000):
        table.set("b", 3.0 + number)
        table.drop("c")
        table.set("c", 5.0 + number)
    assert len(table._queue) == 3
    assert table.first() == 1.0
