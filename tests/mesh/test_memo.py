"""Memo: what is remembered, for how long, and by what."""

from __future__ import annotations

import pytest

from weft.mesh.memo import Memo
from weft.mesh.services.service import Protocol


class Node:
    """Something compared by identity."""


def pair(first: object, second: object) -> list[object]:
    return [first, second]


def test_the_same_arguments_give_the_same_object_and_equal_ones_do_not() -> None:
    memo, node = Memo(), Node()
    found = memo(pair, node, ("a", node))
    assert memo(pair, node, ("a", node)) is found
    assert memo(pair, Node(), ("a", node)) is not found
    assert memo(pair, node, ("b", node)) is not found
    assert memo.misses == 3


def test_scalars_count_by_value_and_words_of_an_enumeration_are_not_texts() -> None:
    memo = Memo()
    assert memo(pair, "".join(["x", "y"]), 1000001) is memo(pair, "xy", int("1000001"))
    assert memo(pair, Protocol.HTTP, 0) is not memo(pair, "http", 0)


def test_what_a_build_did_not_use_is_forgotten() -> None:
    memo, node = Memo(), Node()
    found = memo(pair, node, 1)
    memo.begin()
    assert memo(pair, node, 1) is found
    memo.begin()
    memo.begin()
    assert memo(pair, node, 1) is not found


def test_calls_inside_a_remembered_call_are_kept_with_it() -> None:
    memo, node = Memo(), Node()

    def outer(inside: Node) -> list[object]:
        return memo(pair, inside, "inner")

    inner = memo(outer, node)
    for _ in range(5):
        memo.begin()
        assert memo(outer, node) is inner
        assert memo.misses == 0
    memo.begin()
    assert memo(pair, node, "inner") is inner


def test_a_tuple_of_the_same_nodes_is_the_same_tuple() -> None:
    memo, nodes = Memo(), [Node(), Node()]
    assert memo.same(nodes) is memo.same(tuple(nodes))
    assert memo.same(reversed(nodes)) is not memo.same(nodes)


def test_numbers_that_equal_each_other_are_different_arguments() -> None:
    memo = Memo()
    results = [memo(pair, value, None) for value in (1, True, 1.0)]
    assert [[type(item) for item in result[:1]] for result in results] == [[int], [bool], [float]]


def test_a_number_is_not_the_id_of_a_node() -> None:
    memo, node = Memo(), Node()
    assert memo(pair, node, 0) is not memo(pair, id(node), 0)


def test_a_build_that_has_ended_keeps_only_what_it_used() -> None:
    memo, kept, dropped = Memo(), Node(), Node()
    first, second = memo(pair, kept, 0), memo(pair, dropped, 0)
    memo.begin()
    assert memo(pair, kept, 0) is first
    memo.end()
    assert memo(pair, dropped, 0) is not second
    memo.begin()
    assert memo(pair, kept, 0) is first


def test_arguments_by_name_are_refused() -> None:
    with pytest.raises(TypeError, match="by position"):
        Memo()(pair, Node(), second=Node())
