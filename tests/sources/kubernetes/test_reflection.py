"""The reflection of one kind against scripts of events, as an API server sends them."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from weft.sources.kubernetes.reflection import Changes, Name, Reflection, Told, WatchError

LIST = {"sendInitialEvents": "true", "resourceVersionMatch": "NotOlderThan", "allowWatchBookmarks": "true"}


def event(kind: str, name: str = "", version: str = "1", **more: Any) -> bytes:
    metadata = {"namespace": "shop", "name": name, "uid": more.pop("uid", f"uid-{name}"), "resourceVersion": version}
    return json.dumps({"type": kind, "object": {"kind": "Service", "metadata": metadata, **more}}).encode()


def bookmark(version: str, *, end: bool = False) -> bytes:
    annotations = {"k8s.io/initial-events-end": "true"} if end else None
    metadata = {"resourceVersion": version, "annotations": annotations}
    return json.dumps({"type": "BOOKMARK", "object": {"metadata": metadata}}).encode()


def failure(code: int, message: str = "no") -> bytes:
    return json.dumps({"type": "ERROR", "object": {"kind": "Status", "code": code, "message": message}}).encode()


class Script:
    """A reflection whose values are the versions of objects, and what was decoded for it."""

    def __init__(self, keeps: Callable[[Name], bool] = lambda _: True) -> None:
        self.decoded: list[str] = []
        self.reflection = Reflection(self._decode, keeps)

    def _decode(self, told: Told, before: str | None) -> str:
        self.decoded.append(told.name)
        assert json.loads(told.text)["metadata"]["name"] == told.name
        return f"{told.name}@{told.version}" + (f" after {before.partition(' ')[0]}" if before else "")

    def take(self, *lines: bytes) -> list[Changes[str] | None]:
        return [self.reflection.take(line) for line in lines]

    def listed(self, *names: str, version: str = "10") -> Changes[str]:
        assert self.reflection.begin() == LIST
        *quiet, last = self.take(*(event("ADDED", name) for name in names), bookmark(version, end=True))
        assert not any(quiet), "nothing counts before the list is whole"
        assert last is not None
        return last


def names(changes: Changes[str] | None) -> tuple[list[str], list[str]]:
    assert changes is not None
    return [name for _, name in changes.come], [name for _, name in changes.gone]


def test_a_list_counts_when_it_is_whole_and_is_followed_from_there() -> None:
    assert not Script().reflection.whole
    script = Script()
    assert names(script.listed("a", "b")) == (["a", "b"], [])
    assert script.reflection.whole
    assert script.reflection.begin()["resourceVersion"] == "10"
    [changed, added, gone] = script.take(
        event("MODIFIED", "a", "11"), event("ADDED", "c", "12"), event("DELETED", "b", "13")
    )
    assert changed == Changes({("shop", "a"): "a@11 after a@1"})
    assert names(added) == (["c"], [])
    assert gone == Changes(gone={("shop", "b"): "b@1"})
    assert script.reflection.begin() == {"allowWatchBookmarks": "true", "resourceVersion": "13"}


def test_an_empty_list_is_known_too() -> None:
    script = Script()
    assert names(script.listed()) == ([], [])
    assert script.reflection.whole


def test_bookmarks_move_the_place() -> None:
    script = Script()
    script.listed("a")
    script.reflection.begin()
    assert script.take(bookmark("200")) == [None]
    assert script.reflection.begin()["resourceVersion"] == "200"


def test_a_list_that_breaks_off_is_begun_anew_and_leaves_no_trace() -> None:
    script = Script()
    script.reflection.begin()
    script.take(event("ADDED", "a"))
    assert script.reflection.begin() == LIST
    assert names(script.listed("b")) == (["b"], [])


def test_listing_again_gives_what_differs_and_decodes_nothing_else() -> None:
    script = Script()
    script.listed("same", "changed", "gone", "made-anew")
    script.reflection.begin()
    with pytest.raises(WatchError, match="too old") as raised:
        script.take(failure(410, "too old resource version"))
    assert raised.value.status == 410
    script.decoded.clear()
    assert script.reflection.begin() == LIST
    assert script.reflection.whole, "what was known stays in force"
    lines = [event("ADDED", "same"), event("ADDED", "changed", "40"), event("ADDED", "new", "41")]
    lines.append(event("ADDED", "made-anew", uid="another"))
    *_, changes = script.take(*lines, bookmark("50", end=True))
    assert changes is not None
    assert dict(changes.come) == {
        ("shop", "changed"): "changed@40 after changed@1",
        ("shop", "new"): "new@41",
        ("shop", "made-anew"): "made-anew@1 after made-anew@1",
    }
    assert dict(changes.gone) == {("shop", "gone"): "gone@1"}
    assert script.decoded == ["changed", "new", "made-anew"]


def test_what_happens_while_it_lists_counts_with_the_list() -> None:
    script = Script()
    script.listed("a")
    script.reflection.forget()
    script.reflection.begin()
    script.take(event("ADDED", "a"), event("ADDED", "b"), event("MODIFIED", "a", "20"), event("DELETED", "b", "21"))
    [changes] = script.take(bookmark("30", end=True))
    assert changes == Changes({("shop", "a"): "a@20 after a@1"})


def test_another_error_keeps_the_place() -> None:
    script = Script()
    script.listed("a")
    script.reflection.begin()
    with pytest.raises(WatchError, match="etcd is away") as raised:
        script.take(failure(500, "etcd is away"))
    assert raised.value.status == 500
    assert script.reflection.begin()["resourceVersion"] == "10"


@pytest.mark.parametrize(
    "line",
    [b"{", b"[]", b'{"type": "ADDED"}', b'{"type": "ADDED", "object": {}}', b'{"type": 3, "object": {}}', b"\xff"],
)
def test_what_cannot_be_read_ends_the_stream_and_lists_again(line: bytes) -> None:
    script = Script()
    script.listed("a")
    script.reflection.begin()
    with pytest.raises(WatchError):
        script.take(line)
    assert script.reflection.begin() == LIST
    assert dict(script.reflection.values) == {("shop", "a"): "a@1"}


def test_an_unknown_type_of_event_lists_again() -> None:
    script = Script()
    script.listed("a")
    script.reflection.begin()
    with pytest.raises(WatchError, match="unknown type 'MOVED'"):
        script.take(event("MOVED", "a", "11"))
    assert script.reflection.begin() == LIST


def test_a_kind_that_is_no_more_takes_its_objects_along() -> None:
    script = Script()
    script.listed("a", "b")
    assert names(script.reflection.clear()) == ([], ["a", "b"])
    assert script.reflection.begin() == LIST


def test_a_deletion_of_what_nobody_knew_is_none() -> None:
    script = Script()
    script.listed("a")
    script.reflection.begin()
    assert script.take(event("DELETED", "b", "11"), event("MODIFIED", "a", "1")) == [None, None]


def test_only_what_is_kept_is_decoded_and_known() -> None:
    script = Script(keeps=lambda name: name[1] != "b")
    assert names(script.listed("a", "b")) == (["a"], [])
    assert script.take(event("MODIFIED", "b", "11"), event("DELETED", "b", "12")) == [None, None]
    assert script.decoded == ["a"]
    assert script.reflection.begin()["resourceVersion"] == "12"


def test_what_is_kept_no_more_is_dropped() -> None:
    script = Script()
    script.listed("a", "b")
    assert script.reflection.drop(lambda name: name[1] == "a") == {("shop", "a"): "a@1"}
    assert [name for _, name in script.reflection.values] == ["b"]
    assert not script.reflection.drop(lambda name: name[1] == "a")


def is_current(script: Script) -> bool:
    return script.reflection.current


def test_a_list_that_began_before_more_was_wanted_is_worth_nothing() -> None:
    script = Script()
    script.listed("a")
    assert is_current(script)
    script.reflection.relist()
    assert not is_current(script)
    [changed] = script.take(event("MODIFIED", "a", "11"))
    assert names(changed) == (["a"], []), "until the next stream begins this one counts"
    assert script.reflection.begin() == LIST
    script.reflection.relist()
    assert script.take(event("ADDED", "a", "11"), bookmark("12", end=True)) == [None, None]
    assert not is_current(script)
    assert names(script.listed("a", "b", version="13")) == (["a", "b"], [])
    assert is_current(script)
    assert script.reflection.lists == 2
