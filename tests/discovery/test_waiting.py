"""Publications are found again by revision, and cost little; waiting ends with the last proxy."""

from __future__ import annotations

from weft.discovery.history import History
from weft.discovery.waiting import Waiter


def test_a_revision_is_covered_by_the_publication_that_brought_it() -> None:
    history = History(size=2)
    assert history.latest == -1
    history.add(3, ["a"])
    history.add(7, ["b"])
    for revision, changed in ((3, {"a"}), (4, {"b"}), (7, {"b"})):
        found = history.covering(revision)
        assert found is not None
        assert found.changed == changed
    assert history.covering(2) is None
    assert history.covering(8) is None
    history.add(8, [])
    assert history.latest == 8
    assert history.covering(3) is None, "forgotten"


def test_changes_that_concern_the_same_proxies_hold_their_names_once() -> None:
    history = History()
    names = [f"proxy-{number}" for number in range(100)]
    for revision in range(1, 50):
        history.add(revision, names if revision % 2 else names[:50])
    publications = [history.covering(revision) for revision in range(1, 50)]
    assert len({id(one.changed) for one in publications if one is not None}) == 2


def test_waiting_ends_with_the_last_proxy() -> None:
    waiter = Waiter(1, frozenset({"a", "b"}))
    waiter.settle("a")
    assert not waiter.done.is_set()
    waiter.settle("b", gone=True)
    assert waiter.done.is_set()
    assert waiter.gone == {"b"}
    assert Waiter(1, frozenset()).done.is_set()


def test_whom_changes_since_a_revision_concerned() -> None:
    history = History()
    for revision, changed in ((3, {"a"}), (5, {"b"}), (6, set()), (9, {"a", "c"})):
        history.add(revision, changed)
    assert history.changed_between(3, 6) == {"b"}
    assert history.changed_between(2, 5) == {"a", "b"}
    assert history.changed_between(6, 7) == {"a", "c"}  # one publication brought 7, 8 and 9
    assert history.changed_between(9, 9) == frozenset()


def test_since_when_it_is_known_whom_changes_concerned() -> None:
    history = History(size=3)
    assert not history.reaches(0)
    history.add(2, {"web.shop"})
    history.add(3, ())
    assert [history.reaches(after) for after in (0, 1, 2, 3, 4)] == [True, True, True, True, False]
    history.add(4, ())
    history.add(7, ())
    assert [history.reaches(after) for after in (0, 1, 2, 3, 7, 900)] == [False, False, True, True, True, False]
