"""Tables that are patched equal tables that are made anew, and only what changed is computed."""

from __future__ import annotations

from collections.abc import Iterable

from hypothesis import given
from hypothesis import strategies as st

from weft.mesh.differences import changed_rows, exchanged
from weft.mesh.memo import Memo


class Node:
    """Compared by identity; `number` says which it is."""

    def __init__(self, number: int) -> None:
        self.number = number


NODES = [Node(number) for number in range(12)]
PLACES = st.sampled_from(range(12))
SEQUENCES = st.lists(st.lists(PLACES, unique=True), min_size=1, max_size=6)
REPEATING = st.lists(st.lists(PLACES, max_size=9), min_size=1, max_size=6)
TABLES = st.lists(st.lists(st.tuples(PLACES, PLACES, PLACES), max_size=9), min_size=1, max_size=6)


def moved(sequence: list[int], moves: list[tuple[int, int]]) -> list[int]:
    """The sequence after some of its items moved elsewhere, one after the other."""
    found = list(sequence)
    for source, target in moves:
        found.insert(target % (len(found) + 1), found.pop(source % len(found)))
    return found


MOVES = st.builds(
    lambda sequence, moves: [sequence, *(moved(sequence, moves[: end + 1]) for end in range(len(moves)))],
    st.lists(PLACES, unique=True, min_size=2),
    st.lists(st.tuples(PLACES, PLACES), max_size=6),
)


def squared(memo: Memo, node: Node, factor: int) -> tuple[Node, int]:
    return node, node.number * factor


def pair(node: Node) -> Iterable[tuple[int, Node]]:
    return ((node.number, node),)


def thirds(node: Node) -> Iterable[int]:
    return (node.number % 3, 10 + node.number % 2)


def number(node: Node) -> int:
    return node.number


@given(SEQUENCES)
def test_patched_tables_equal_those_made_anew(sequences: list[list[int]]) -> None:
    memo = Memo()
    for places in sequences:
        memo.begin()
        items = tuple(NODES[place] for place in places)
        assert memo.rows(squared, (items,), 3) == Memo().rows(squared, (items,), 3)
        assert memo.table(pair, items) == {node.number: node for node in items}
        assert memo.groups(thirds, number, items) == Memo().groups(thirds, number, items)
        memo.end()


@given(MOVES)
def test_items_that_move_are_found_again(sequences: list[list[int]]) -> None:
    test_patched_tables_equal_those_made_anew.hypothesis.inner_test(sequences)  # type: ignore[attr-defined]


@given(REPEATING, st.lists(st.booleans(), min_size=6, max_size=6))
def test_items_may_be_there_more_than_once(sequences: list[list[int]], ends: list[bool]) -> None:
    memo = Memo()
    for places, ended in zip(sequences, ends, strict=False):
        memo.begin()
        items = tuple(NODES[place] for place in places)
        assert memo.rows(squared, (items,), 3) == Memo().rows(squared, (items,), 3)
        assert memo.groups(thirds, number, items) == Memo().groups(thirds, number, items)
        if ended:
            memo.sweep()


@given(TABLES, st.lists(st.sampled_from((1, 2)), min_size=6, max_size=6))
def test_tables_of_any_length_columns_and_shared_arguments(
    tables: list[list[tuple[int, int, int]]], factors: list[int]
) -> None:
    memo = Memo()
    for rows, factor in zip(tables, factors, strict=False):
        columns = tuple([NODES[row[column]] for row in rows] for column in range(3))
        memo.begin()
        expected = tuple((*(NODES[place] for place in row), factor) for row in rows)
        assert memo.rows(_row, columns, factor) == expected
        assert memo.rows(_remembered_row, columns, factor) == expected


def _row(_memo: Memo, *row: object) -> object:
    return row


def _remembered_row(memo: Memo, *row: object) -> object:
    return tuple(memo(_itself, each) for each in row)


def _itself(value: object) -> object:
    return value


@given(SEQUENCES, SEQUENCES)
def test_rows_of_several_columns_follow_every_column(first: list[list[int]], second: list[list[int]]) -> None:
    memo = Memo()
    for left, right in zip(first, second, strict=False):
        size = min(len(left), len(right))
        columns = ([NODES[place] for place in left[:size]], [NODES[place] for place in right[:size]])
        memo.begin()
        assert memo.rows(lambda _memo, one, other: (one, other), columns) == tuple(zip(*columns, strict=True))


def test_only_what_changed_is_computed() -> None:
    calls: list[int] = []

    def computed(memo: Memo, node: Node) -> object:
        calls.append(node.number)
        return memo(object)

    memo = Memo()
    before = memo.rows(computed, (tuple(NODES[:5]),))
    calls.clear()
    memo.begin()
    other = Node(2)
    after = memo.rows(computed, ((*NODES[:2], other, *NODES[3:5]),))
    assert calls == [2]
    assert [one is two for one, two in zip(before, after, strict=True)] == [True] * 5  # the row's own memo kept it
    memo.begin()
    memo.rows(computed, ((NODES[7], *NODES[:2], *NODES[3:5]),))
    assert calls == [2, 7]


def test_what_did_not_change_is_the_same_object() -> None:
    memo = Memo()
    items = tuple(NODES)
    found = memo.rows(squared, (items,), 1), memo.table(pair, items), memo.groups(thirds, number, items)
    memo.begin()
    again = tuple(NODES)
    assert memo.rows(squared, (again,), 1) is found[0]
    assert memo.table(pair, again) is found[1]
    groups = memo.groups(thirds, number, again)
    assert groups is found[2]
    memo.begin()
    fewer = memo.groups(thirds, number, tuple(NODES[1:]))
    assert fewer[1] is groups[1]
    assert fewer[0] == groups[0][1:]


def test_differences_of_sequences() -> None:
    a, b, c, d = NODES[:4]
    assert changed_rows(([a, b, c],), ([a, d, c],)) == ([1], None)
    assert changed_rows(([a, c],), ([a, b, c],)) == ([1], [0, -1, 1])
    assert changed_rows(([a, b, c],), ([a, c],)) == ([], [0, 2])
    assert exchanged([a, b, c], [b, c]) == ([a], [])
    assert exchanged([a, b], [a, b, d]) == ([], [d])


def test_what_rows_remember_outlives_what_they_share() -> None:
    calls: list[int] = []

    def inner(node: Node) -> Node:
        calls.append(node.number)
        return node

    def outer(memo: Memo, node: Node, shared: Node) -> tuple[Node, Node]:
        return memo(inner, node), shared

    memo = Memo()
    items = tuple(NODES[:3])
    for shared in (Node(20), Node(21), Node(22)):
        memo.begin()
        assert memo.rows(outer, (items,), shared) == tuple((node, shared) for node in items)
        memo.end()
    memo.begin()
    last = Node(23)
    assert memo.rows(outer, ((NODES[2], NODES[0]),), last) == ((NODES[2], last), (NODES[0], last))
    assert calls == [0, 1, 2]
