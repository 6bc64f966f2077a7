"""The order of leases, against a plain dictionary."""

from pathlib import Path
from typing import NoReturn

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from weft.store.leases import LeaseTable
from weft.store.memory import MemoryStore
from weft.store.protocol import Delete, Put
from weft.store.sqlite import open_sqlite

STEPS = st.lists(
    st.tuples(st.sampled_from("abcd"), st.one_of(st.none(), st.integers(0, 20)), st.integers(0, 20)), max_size=40
)


@given(STEPS)
@example([("a", 2, 0), ("b", 1, 0), ("a", 0, 0), ("a", 2, 2)])
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


class Unscannable(dict[str, float]):
    """A table of which single keys may be asked, but not all."""

    def _refuse(self, *_: object) -> NoReturn:
        raise AssertionError("the whole table was looked through")

    __iter__ = keys = values = items = copy = _refuse


@pytest.mark.parametrize("kind", ["memory", "sqlite"])
async def test_no_operation_looks_through_all_leases(kind: str, tmp_path: Path) -> None:
    store = MemoryStore() if kind == "memory" else await open_sqlite(tmp_path / "weft.db")
    names = [f"ns/w{number}" for number in range(20)]
    await store.write([Put("workloads", key, b"") for key in names], leases=dict.fromkeys(names, 50.0))
    store._leases.ends = Unscannable(store._leases.ends)
    assert await store.extend({"ns/w1": 90.0, "ns/unknown": 90.0}) == {"ns/unknown"}
    await store.write([Put("workloads", "ns/new", b"")], leases={"ns/new": 95.0})
    await store.write([Delete("workloads", "ns/w2")])
    assert await store.leases(["ns/w1", "ns/w2"]) == {"ns/w1": 90.0}
    assert await store.expire(10.0) == ((), 50.0)
    ended, first = await store.expire(60.0)
    assert (len(ended), first) == (18, 90.0)
    await store.close()
