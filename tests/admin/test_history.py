"""The change history: what is recorded, what is never recorded, differences, undo, and a store that fails."""

from __future__ import annotations

import asyncio
import base64
import io
from functools import partial
from typing import Any

import msgspec
import pytest

from support.control import Rig
from weft.admin.history import shelf
from weft.admin.history.record import ChangedObject, Outcome, Record, Versions
from weft.admin.history.recorder import Recorder
from weft.admin.history.resources import Watch
from weft.admin.history.shelf import Shelf
from weft.discovery.status import WaitResult
from weft.schema.decode import decode_documents
from weft.store.memory import MemoryStore
from weft.store.protocol import ConflictError, Put, StoreError
from weft.testing.polling import eventually

SERVICE = """\
apiVersion: v1
kind: Service
metadata: {name: NAME}
spec:
  selector: {app: NAME}
  ports:
  - port: PORT
"""
SECRET = """\
apiVersion: v1
kind: Secret
metadata: {name: s, annotations: {note: ANNOTATED}}
stringData: {password: VALUE}
"""


def service(name: str, port: int = 80) -> str:
    return SERVICE.replace("NAME", name).replace("PORT", str(port))


async def call(rig: Rig, method: str, path: str, status: int = 200, text: str = "") -> Any:
    headers = {"X-Weft-Source": "routes.yaml"} if text else {}
    async with (
        rig.session(**headers) as session,
        session.request(method, path, data=io.BytesIO(text.encode()) if text else None) as response,
    ):
        body = await response.json()
        assert response.status == status, body
        return body


async def apply(rig: Rig, text: str) -> None:
    await call(rig, "POST", "/v1/documents?wait=5", text=text)


async def revisions(rig: Rig, count: int, path: str = "/v1/history") -> list[dict[str, Any]]:
    """The history, oldest first, when it has so many revisions whose outcome is known."""
    found: list[dict[str, Any]] = []

    async def there() -> bool:
        nonlocal found
        found = (await call(rig, "GET", path))["revisions"][::-1]
        return len(found) >= count and all(one["final"] for one in found)

    await eventually("the revisions are written", there)
    assert len(found) == count, found
    return found


async def test_every_change_is_a_revision_with_who_what_and_the_place(rig: Rig) -> None:
    await apply(rig, service("a"))
    await apply(rig, service("a"))
    await apply(rig, service("a", 81) + "---\n" + service("b"))
    await call(rig, "DELETE", "/v1/documents/service/default/a?wait=5")
    found = await revisions(rig, 3)
    assert [(one["revision"], one["who"], one["action"]) for one in found] == [
        (1, "admin token", "apply"),
        (2, "admin token", "apply"),
        (3, "admin token", "delete"),
    ], "what changes nothing is no revision"
    told = [[(each["name"], each["change"], each["owner"]) for each in one["objects"]] for one in found]
    assert told == [
        [("a", "created", "api")],
        [("a", "changed", "api"), ("b", "created", "api")],
        [("a", "deleted", "api")],
    ]
    assert (found[0]["objects"][0]["source"], found[0]["objects"][0]["line"]) == ("routes.yaml", 1)
    shown = await call(rig, "GET", "/v1/history/2")
    assert "-  - port: 80\n+  - port: 81\n" in shown["documents"][0]["diff"]
    assert shown["documents"][1]["diff"].startswith("--- before\n+++ routes.yaml:")
    only = await call(rig, "GET", "/v1/history?kind=Service&name=b")
    assert [one["revision"] for one in only["revisions"]] == [2]
    assert [one["revision"] for one in (await call(rig, "GET", "/v1/history?limit=1"))["revisions"]] == [3]


async def test_changes_that_are_published_together_are_revisions_of_their_own(rig: Rig) -> None:
    await asyncio.gather(*(apply(rig, service(f"s{index}")) for index in range(6)))
    found = await revisions(rig, 6)
    assert sorted(each["name"] for one in found for each in one["objects"]) == [f"s{index}" for index in range(6)]
    assert {(one["who"], one["action"], one["object_count"]) for one in found} == {("admin token", "apply", 1)}
    order = [one["store_revision"] for one in found]
    assert order == sorted(order), "in the order in which they were written"
    for one in found:
        later = one["together_with"]
        assert later is None or later > one["revision"]


async def test_a_saved_file_is_a_revision_of_its_path(rig: Rig) -> None:
    path = rig.files / "mesh.yaml"
    path.write_text(service("a"))
    (first,) = await revisions(rig, 1)
    path.write_text(service("a", 81))
    _, second = await revisions(rig, 2)
    assert (first["action"], second["action"], second["who"]) == ("edit", "edit", str(path))
    assert [(one["owner"], one["change"]) for one in second["objects"]] == [("file", "changed")]
    path.unlink()
    third = (await revisions(rig, 3))[-1]
    assert [(one["owner"], one["change"]) for one in third["objects"]] == [("file", "deleted")]
    for revision in (2, 3):
        answer = await call(rig, "POST", f"/v1/history/{revision}/undo", 409)
        assert answer["code"] == "owned-by-file"
        assert str(path) in answer["error"]
    assert "port: 81" in answer["files"][0]["before"]


async def test_values_of_secrets_are_nowhere_and_a_change_of_one_shows(rig: Rig) -> None:
    values = ["hunter2-first", "hunter2-second"]
    for value in values:
        await apply(rig, SECRET.replace("VALUE", value).replace("ANNOTATED", f"it-is-{value}"))
    await revisions(rig, 2)
    shown = await call(rig, "GET", "/v1/history/2")
    changed = [line for line in shown["documents"][0]["diff"].splitlines() if line[:1] in "+-"]
    assert any(
        line.startswith("+  password: '(hidden, ") or line.startswith("+  password: (hidden, ") for line in changed
    )
    entries = [
        entry.value
        for bucket in (shelf.RECORDS, shelf.DOCUMENTS, shelf.RESOURCES, shelf.OBJECTS)
        for entry in (await rig.store.list(bucket))[1]
    ]
    for value in (*values, *(base64.b64encode(one.encode()).decode() for one in values)):
        assert value not in str(shown)
        assert not any(value.encode() in entry for entry in entries)
    answer = await call(rig, "POST", "/v1/history/2/undo", 409)
    assert (answer["code"], "values of secrets are not kept" in answer["error"]) == ("not-kept", True)
    undone = await call(rig, "POST", "/v1/history/1/undo?force=1&dry_run=1")
    assert undone["documents"][0]["change"] == "deleted", "what was not there needs no value"


async def test_the_difference_of_two_revisions_leaves_out_what_came_and_went(rig: Rig) -> None:
    await apply(rig, service("a"))
    await apply(rig, service("a", 81) + "---\n" + service("b"))
    await apply(rig, service("a", 82))
    await call(rig, "DELETE", "/v1/documents/service/default/b?wait=5")
    await revisions(rig, 4)
    answer = await call(rig, "GET", "/v1/diff?from=1&to=4")
    (only,) = answer["documents"]
    assert (only["key"]["name"], only["change"]) == ("a", "changed")
    assert "-  - port: 80\n+  - port: 82\n" in only["diff"]
    assert only["diff"].startswith("--- revision 1\n+++ revision 4\n")
    assert [one["revision"] for one in answer["revisions"]] == [2, 3, 4]
    whole = await call(rig, "GET", "/v1/diff?from=0")
    assert [(one["key"]["name"], one["change"]) for one in whole["documents"]] == [("a", "created")]


@pytest.mark.parametrize(
    ("path", "status", "told"),
    [
        ("/v1/history/7", 404, "there is no revision 7; revisions 1 to 1 are kept"),
        ("/v1/history/x", 400, "revision='x': expected a number"),
        ("/v1/diff?from=1&to=9", 404, "there is no revision 9"),
        ("/v1/diff?from=1&to=0", 400, "expected the earlier revision first"),
        ("/v1/diff", 400, "expected a number"),
    ],
)
async def test_what_is_asked_wrongly(rig: Rig, path: str, status: int, told: str) -> None:
    await apply(rig, service("a"))
    await revisions(rig, 1)
    assert told in (await call(rig, "GET", path, status))["error"]


def changes_of(answer: dict[str, Any]) -> list[tuple[str, str]]:
    return [(one["key"]["name"], one["change"]) for one in answer["documents"]]


async def test_undo_applies_what_was_before(rig: Rig) -> None:
    await apply(rig, service("a"))
    await apply(rig, service("a", 81) + "---\n" + service("b"))
    await revisions(rig, 2)
    planned = await call(rig, "POST", "/v1/history/2/undo?dry_run=1")
    assert [(one["key"]["name"], one["change"]) for one in planned["documents"]] == [
        ("a", "configured"),
        ("b", "deleted"),
    ]
    assert "-  - port: 81\n+  - port: 80\n" in planned["documents"][0]["diff"]
    assert len(await revisions(rig, 2)) == 2, "a dry run changes nothing"
    answer = await call(rig, "POST", "/v1/history/2/undo?wait=5")
    assert (answer["wait"]["pending"], answer["revision"]) == ([], 3)
    documents = (await call(rig, "GET", "/v1/documents?kind=service"))["documents"]
    assert [(one["key"]["name"], one["document"]["spec"]["ports"], one["line"]) for one in documents] == [
        ("a", [{"port": 80}], 1)
    ]
    third = (await revisions(rig, 3))[-1]
    assert (third["action"], third["revision"]) == ("undo 2", 3)
    events = [(one.who, one.action, one.object) for one in await rig.audited()]
    assert ("admin token", "undo 2", "Service default/b") in events
    again = await call(rig, "POST", "/v1/history/3/undo?wait=5")
    assert [(one["key"]["name"], one["change"]) for one in again["documents"]] == [
        ("a", "configured"),
        ("b", "created"),
    ]
    assert {one["key"]["name"] for one in (await call(rig, "GET", "/v1/documents"))["documents"]} == {"a", "b"}


async def test_undo_is_refused_where_an_object_was_changed_since(rig: Rig) -> None:
    await apply(rig, service("a"))
    await apply(rig, service("a", 81))
    await apply(rig, service("a", 82))
    await revisions(rig, 3)
    answer = await call(rig, "POST", "/v1/history/2/undo", 409)
    assert answer["code"] == "changed-since"
    assert [(one["name"], one["revision"]) for one in answer["conflicts"]] == [("a", 3)]
    assert "Service a by revision 3" in answer["error"]
    forced = await call(rig, "POST", "/v1/history/2/undo?force=1&wait=5")
    assert [one["change"] for one in forced["documents"]] == ["configured"]
    (document,) = (await call(rig, "GET", "/v1/documents?kind=service"))["documents"]
    assert document["document"]["spec"]["ports"] == [{"port": 80}]


async def test_a_store_that_takes_no_history_is_a_problem_and_stops_nothing(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    add = Shelf.add
    broken = True

    async def sometimes(self: Shelf, *arguments: Any) -> Record:
        if broken:
            raise StoreError("the disk is full")
        return await add(self, *arguments)

    monkeypatch.setattr(Shelf, "add", sometimes)
    monkeypatch.setattr("weft.admin.history.recorder._RETRY_SECONDS", 0.01)
    await apply(rig, service("a"))

    async def told() -> bool:
        problems = (await call(rig, "GET", "/v1/problems"))["problems"]
        return [one["code"] for one in problems if "disk is full" in one["message"]] == ["history-not-written"]

    await eventually("the problem is told", told)
    assert (await call(rig, "GET", "/v1/services"))["services"][0]["name"] == "a"
    await apply(rig, service("b"))
    broken = False
    found = await revisions(rig, 2)
    assert [[each["name"] for each in one["objects"]] for one in found] == [["a"], ["b"]]
    assert (await call(rig, "GET", "/v1/problems"))["problems"] == []


async def written_at_the_end(*, leads: bool) -> tuple[Record, ...]:
    """What a recorder that ends at once has written of a first publication."""
    store = MemoryStore()

    async def nobody(revision: int, seconds: float) -> WaitResult:
        return WaitResult((), (), ())

    recorder = Recorder(store, Watch(), nobody, leads=lambda: leads)
    running = asyncio.create_task(recorder.run())
    await asyncio.sleep(0)
    documents = decode_documents(service("a"), "a.yaml").documents
    recorder.begin(documents)
    recorder.published(documents, 1, 0)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    return await Shelf(store).records()


async def test_what_is_published_when_it_ends_is_still_written() -> None:
    (one,) = await written_at_the_end(leads=True)
    assert (one.action, one.who) == ("start", "a.yaml")


async def test_who_does_not_lead_leaves_what_is_published_when_it_ends_to_who_does() -> None:
    assert await written_at_the_end(leads=False) == ()


async def test_of_several_control_planes_one_writes_and_the_next_goes_on_with_what_is_missing() -> None:
    """A change that the first was killed before it could write is in the history of the second."""
    store = MemoryStore()

    async def nobody(revision: int, seconds: float) -> WaitResult:
        return WaitResult((), (), ())

    leading = {"first"}
    first, second = (
        Recorder(store, Watch(), nobody, leads=partial(leading.__contains__, name)) for name in ("first", "second")
    )
    texts = [service("a"), service("a") + "---\n" + service("b"), service("a", 81) + "---\n" + service("b")]
    versions = [decode_documents(text, "a.yaml").documents for text in texts]
    running = [asyncio.create_task(each.run()) for each in (first, second)]

    async def names() -> list[tuple[str, list[str]]]:
        found = reversed(await Shelf(store).records())
        return [(one.action, [each.name for each in one.objects]) for one in found]

    async def has(count: int) -> bool:
        return len(await names()) == count

    for revision, documents in enumerate(versions, 1):
        for each in (first, second) if revision < 3 else (second,):
            each.begin(documents)
            each.published(documents, revision, 0)
        if revision < 3:
            await eventually("it is written", partial(has, revision))
    leading.add("second")
    await eventually("the second writes what is missing", lambda: has(3))
    assert await names() == [("start", ["a"]), ("edit", ["b"]), ("start", ["a"])]
    for task in running:
        task.cancel()
    await asyncio.gather(*running, return_exceptions=True)


@pytest.mark.parametrize("leads", [True, False])
async def test_what_is_written_late_is_not_written_again(leads: bool) -> None:
    """The first led when it began to write, and the second had the same in the history before that arrived. Whether the
    first `leads` again or not, it writes down only what is missing."""
    late = MemoryStore()
    leading, write = {"first"}, late.write

    async def nobody(revision: int, seconds: float) -> WaitResult:
        return WaitResult((), (), ())

    first, second = (
        Recorder(late, Watch(), nobody, leads=partial(leading.__contains__, name)) for name in ("first", "second")
    )
    running = [asyncio.create_task(first.run())]
    documents = decode_documents(service("a"), "a.yaml").documents

    async def has_one() -> bool:
        return len(await Shelf(late).records()) == 1

    async def held_up(changes: Any, expect: Any = None, leases: Any = None) -> int:
        if any(one.bucket == shelf.RECORDS for one in changes):
            late.write = write  # type: ignore[method-assign]
            leading.add("second")
            running.append(asyncio.create_task(second.run()))
            second.begin(documents)
            second.published(documents, 1, 0)
            await eventually("the second has written it", has_one)
            leading.remove("second" if leads else "first")
        return await write(changes, expect, leases)

    late.write = held_up  # type: ignore[method-assign]
    first.begin(documents)
    first.published(documents, 1, 0)
    await eventually("the second came between", lambda: (len(running), len(leading)) == (2, 1))
    more = decode_documents(service("b"), "b.yaml").documents
    await eventually("it is written", has_one)
    for each in (first, second):
        each.begin((*documents, *more))
        each.published((*documents, *more), 2, 0)

    async def names() -> list[list[str]]:
        return [[each.name for each in one.objects] for one in reversed(await Shelf(late).records())]

    async def both() -> bool:
        return len(await names()) == 2

    await eventually("what comes then is written, too", both)
    for task in running:
        task.cancel()
    await asyncio.gather(*running, return_exceptions=True)
    assert await names() == [["a"], ["b"]]


def record(name: str, size: int = 0) -> tuple[Record, tuple[Versions, ...]]:
    one = ChangedObject("", "Service", "default", name, "created", "api", "x.yaml", after="1")
    return Record(0, 1.0, "me", "apply", (one,), 1, size=size), (Versions(),)


async def test_the_oldest_are_forgotten_by_number_and_by_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shelf, "_TRIM_AFTER", 1)
    store = MemoryStore()
    few = Shelf(store, keep=3)
    for index in range(5):
        await few.add(*record(f"s{index}"), {})
    assert [one.revision for one in await few.records()] == [5, 4, 3]
    assert {len((await store.list(bucket))[1]) for bucket in (shelf.RECORDS, shelf.DOCUMENTS)} == {3}
    small = Shelf(store, keep_bytes=1200)
    await small.add(*record("last"), {})
    kept = await small.records()
    assert [one.revision for one in kept] == [6, 5]
    assert sum(one.size for one in kept) <= 1200


async def test_two_control_planes_take_different_numbers() -> None:
    store = MemoryStore()
    one, other = Shelf(store), Shelf(store)
    await one.add(*record("a"), {})
    await other.add(*record("b"), {})
    with pytest.raises(ConflictError):
        await one.add(*record("b"), {})
    third = await one.add(*record("c"), {})
    assert third.revision == 3
    assert await one.hash_key() == await other.hash_key()


async def test_what_came_of_a_forgotten_revision_is_not_written() -> None:
    store = MemoryStore()
    where = Shelf(store)
    written = await where.add(*record("a"), {})
    await store.write([])
    await where.settle(msgspec.structs.replace(written, revision=9), Outcome(final=True))
    assert [one.revision for one in await where.records()] == [1]


async def test_a_document_too_large_to_be_kept_is_counted_and_not_undone(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shelf, "REVISION_BYTES", 400)
    await apply(rig, service("a"))
    await apply(rig, service("a", 81).replace("spec:", "spec:\n  sessionAffinity: None") + "---\n" + service("b" * 60))
    found = await revisions(rig, 2)
    assert [one["object_count"] for one in found] == [1, 2]
    shown = await call(rig, "GET", "/v1/history/2")
    assert "(too large to be kept)\n" in [one["diff"] for one in shown["documents"]]


@pytest.mark.parametrize("damage", [b"\x00{", b"{}", b'{"revision": "one"}', b"\xff\xfe"])
async def test_what_cannot_be_read_takes_nothing_else_with_it(rig: Rig, damage: bytes) -> None:
    await apply(rig, service("a"))
    await eventually("it is written, and will not be written again", lambda: _is_final(rig))
    for bucket in (shelf.RECORDS, shelf.DOCUMENTS, shelf.RESOURCES, shelf.OBJECTS):
        _, entries = await rig.store.list(bucket)
        await rig.store.write([Put(bucket, entry.key, damage) for entry in entries])
    assert (await call(rig, "GET", "/v1/history"))["revisions"] == []
    await call(rig, "GET", "/v1/history/1", 404)
    await apply(rig, service("b"))
    await eventually("the next one is written", lambda: _count(rig, 1))
    (one,) = (await call(rig, "GET", "/v1/history"))["revisions"]
    assert one["revision"] == 2
    explained = {"from": "x", "url": "http://a/"}
    async with rig.session() as session, session.post("/v1/explain", json=explained) as response:
        assert response.status < 500


async def _is_final(rig: Rig) -> bool:
    return [one["final"] for one in (await call(rig, "GET", "/v1/history"))["revisions"]] == [True]


async def _count(rig: Rig, count: int) -> bool:
    return len((await call(rig, "GET", "/v1/history"))["revisions"]) == count
