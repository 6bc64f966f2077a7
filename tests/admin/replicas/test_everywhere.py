"""Who waits for proxies waits for those of all replicas: those that are slow, away, gone, new, and begun anew."""

from __future__ import annotations

import asyncio
import time
from types import SimpleNamespace
from typing import Any, cast

import msgspec
import pytest

from support.waits import Asked, Here, Other, Waits, context_of, goes_on
from weft.admin.agents import BODY_LIMIT
from weft.admin.context import Compiled
from weft.admin.replicas import everywhere
from weft.admin.replicas.everywhere import confirmed_everywhere
from weft.admin.replicas.replicas import Replicas
from weft.admin.replicas.rows import Awaited, Sought
from weft.admin.waited import unread, waited
from weft.testing.polling import eventually

DOCUMENT = Sought("gateway.networking.k8s.io", "HTTPRoute", "shop", "web", "u1", 2)


@pytest.fixture(autouse=True)
def _quickly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(everywhere, "_ROUND_SECONDS", 0.1)
    monkeypatch.setattr(everywhere, "_REST_SECONDS", 0.02)


async def test_it_returns_when_the_proxies_of_the_other_have_confirmed() -> None:
    b = Other("b", "web.shop", "api.shop", concerned=["web.shop"])
    b.slow = {"web.shop"}
    one = Waits(Asked(b), "web", "api")
    async with one.waiting() as task:
        await goes_on(task, lambda: len(b.asked))
        b.revision = 9
        b.slow.clear()
        found = waited(await task)
    assert found == {"confirmed": ["web.shop"], "nacked": [], "pending": [], "stuck": []}
    first, *rest = b.asked
    assert (first.boot, first.since, first.revision, first.everybody) == ("boot-b", 5, -1, False)
    assert {ask.revision for ask in rest} == {7}, "what comes later is not waited for"
    assert one.hub.asked[0][0] == 3
    assert one.hub.asked[0][2:] == (2, ())


async def test_news_make_no_more_rounds_and_who_has_confirmed_is_asked_once_more(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Each agent that says something to a replica is news of it."""
    monkeypatch.setattr(everywhere, "_REST_SECONDS", 0.05)
    b, c = Other("b", "web.shop", concerned=["web.shop"]), Other("c", "api.shop", concerned=["api.shop"])
    b.why = "no connection can be made"
    replicas, loop = Asked(b, c), asyncio.get_running_loop()
    began = loop.time()
    async with Waits(replicas, "web", "api").waiting() as task:
        while len(b.asked) < 6:
            replicas._told()
            await asyncio.sleep(0)
        assert loop.time() - began >= 5 * 0.05
        assert len(c.asked) == 1
        b.why = ""
        assert waited(await task)["confirmed"] == ["web.shop", "api.shop"]
    assert len(c.asked) == 2


async def test_without_others_it_is_asked_once() -> None:
    hub = Here("web.shop")
    context = context_of(Replicas(boot="own"), hub, "web")
    end = asyncio.get_running_loop().time() + 600
    found = await confirmed_everywhere(context, Awaited(since=2), end, ticket={"own": 2})
    assert waited(found)["pending"] == []
    [(_, timeout, since, also)] = hub.asked
    assert (timeout > 590, since, also) == (True, 2, ())


@pytest.mark.parametrize("others", [True, False])
async def test_the_one_that_is_asked_is_named_if_it_never_had_it(others: bool) -> None:
    """It has no proxies that would be pending, and what the store has is no document that would be unread."""
    replicas = Asked(Other("b", "web.shop", concerned=["web.shop"])) if others else Replicas(boot="own")
    one = Waits(replicas, "web", hub=Here())
    one.hub.publishes = False
    found = await one.answer(0.3)
    assert [(each.replica, each.why) for each in found["unknown"]] == [
        ("(asked)", "it has not read in time what was written")
    ]
    assert found["pending"] == ["replica (asked)"]
    one.hub.publishes = True
    assert (await one.answer())["pending"] == []


async def test_one_that_cannot_be_reached_is_named_at_the_end_and_not_before() -> None:
    b = Other("b", "web.shop")
    b.why = "no connection can be made"
    one, began = Waits(Asked(b), "web"), asyncio.get_running_loop().time()
    found = await one.answer(0.3)
    assert asyncio.get_running_loop().time() - began >= 0.3
    assert found["pending"] == ["replica b"]
    assert [(each.replica, each.why) for each in found["unknown"]] == [("b", "no connection can be made")]


async def test_one_of_an_earlier_release_is_named_as_soon_as_the_others_have_answered() -> None:
    b, c = Other("b", "web.shop"), Other("c", "api.shop", "web.shop", concerned=["api.shop"])
    b.earlier, c.slow = True, {"api.shop"}
    async with Waits(Asked(b, c), "web", "api").waiting() as task:
        await goes_on(task, lambda: len(c.asked))
        c.there.discard("web.shop")
        await goes_on(task, lambda: len(c.asked))
        c.slow.clear()
        found: dict[str, Any] = waited(await asyncio.wait_for(task, 10))
    assert (found["confirmed"], found["pending"]) == (["api.shop"], ["replica b"])
    assert found["unknown"][0].why == "it is of an earlier release, which cannot be asked"


async def test_one_that_is_stopped_holds_nobody_beyond_the_end() -> None:
    b, c = Other("b", "web.shop"), Other("c", "api.shop", concerned=["api.shop"])
    b.stopped = True
    one, began = Waits(Asked(b, c), "web", "api"), asyncio.get_running_loop().time()
    found = await one.answer(0.2)
    assert asyncio.get_running_loop().time() - began < 10
    assert (found["confirmed"], found["pending"]) == (["api.shop"], ["replica b"])
    assert found["unknown"][0].why == "it does not answer in time"


async def test_one_that_has_not_read_what_was_written_is_waited_for() -> None:
    b = Other("b", "web.shop", concerned=["web.shop"])
    b.reads = False
    one = Waits(Asked(b), "web")
    written = Awaited((DOCUMENT,), since=2)
    one.context.compiled.set(Compiled(3, None, documents=(cast(Any, InForce()),)))
    async with one.waiting(0.3, awaited=written) as task:
        found = await task
    assert unread(found) == ["HTTPRoute shop/web (replica b)"]
    async with one.waiting(awaited=written) as task:
        await goes_on(task, lambda: len(b.asked))
        b.reads = True
        found = await task
    assert (unread(found), waited(found)["confirmed"]) == ([], ["web.shop"])


class InForce:
    """DOCUMENT as it was read here."""

    key = DOCUMENT.key
    generation = 2
    origin = SimpleNamespace(source="kubernetes:c/u1@4")


async def test_many_documents_are_asked_for_in_parts() -> None:
    b = Other("b")
    many = tuple(Sought("", "Secret", "shop", f"s{number}") for number in range(700))
    one = Waits(Asked(b))
    found = await one.answer(awaited=Awaited(many, since=2))
    assert found["pending"] == []
    assert [len(ask.documents) for ask in b.asked][:3] == [300, 300, 100]
    assert not any(ask.documents for ask in b.asked[3:])


async def test_no_question_is_larger_than_a_body_may_be() -> None:
    """Names may have 253 characters."""
    long, names = "x" * 240, [f"{'y' * 180}{number}.shop" for number in range(800)]
    b, c = Other("b"), Other("c", *names)
    c.missed = dict.fromkeys(names, time.monotonic())
    b.there, c.there = set(names), set()
    many = tuple(Sought("", "Service", long, f"{long}{n}", long, version="4") for n in range(300))
    one = Waits(Asked(b, c), *(name.removesuffix(".shop") for name in names))
    one.context.compiled.set(Compiled(3, None, documents=tuple(cast(Any, Long(each)) for each in many)))
    found = await one.answer(awaited=Awaited(many, since=2))
    assert (found["pending"], len(found["confirmed"])) == ([], 800)
    assert max(len(msgspec.json.encode(ask)) for ask in b.asked) < BODY_LIMIT
    assert sum(len(ask.documents) for ask in b.asked) == 300
    assert any(ask.everybody for ask in b.asked), "not all can be named"


class Long:
    """A document as it was read here."""

    generation = 0

    def __init__(self, written: Sought) -> None:
        self.key = written.key
        self.origin = SimpleNamespace(source=f"kubernetes:c/{written.uid}@4")


async def test_a_refusal_at_another_replica_is_told_with_its_name() -> None:
    b = Other("b", "web.shop", concerned=["web.shop"])
    b.refuses = {"web.shop"}
    found = await Waits(Asked(b), "web").answer()
    [nack] = found["nacked"]
    assert (nack["proxy"], nack["replica"], nack["message"]) == ("web.shop", "b", "no")
    assert (found["pending"], found["confirmed"]) == ([], [])


async def test_a_proxy_whose_replica_goes_is_waited_for_where_it_comes() -> None:
    b, c = Other("b", "web.shop", concerned=["web.shop"]), Other("c", "api.shop")
    b.slow, c.slow = {"web.shop"}, {"web.shop"}
    replicas = Asked(b, c)
    async with Waits(replicas, "web", "api").waiting() as task:
        await goes_on(task, lambda: len(b.asked))
        replicas.left(b)
        await goes_on(task, lambda: replicas.rounds)
        c.there.add("web.shop")
        await eventually("it is asked for there", lambda: c.asked[-1].moved == ("web.shop",))
        await goes_on(task, lambda: len(c.asked))
        c.slow.clear()
        assert waited(await task)["confirmed"] == ["web.shop"]


@pytest.mark.parametrize("removed", [True, False])
async def test_a_proxy_whose_replica_was_lost_before_is_waited_for_where_it_comes(removed: bool) -> None:
    b, c = Other("b", "web.shop", concerned=["web.shop"]), Other("c", "api.shop")
    b.why, b.missed, c.slow = "the connection broke", {"web.shop": time.monotonic()}, {"web.shop"}
    replicas = Asked(b, c)
    if removed:
        replicas.left(b)
    async with Waits(replicas, "web", "api").waiting() as task:
        await goes_on(task, lambda: replicas.rounds)
        if not removed:
            replicas.left(b)
        await goes_on(task, lambda: replicas.rounds)
        c.there.add("web.shop")
        await eventually("it is asked for there", lambda: c.asked[-1].moved == ("web.shop",))
        c.slow.clear()
        assert waited(await task)["confirmed"] == ["web.shop"]


async def test_a_proxy_that_was_lost_long_before_is_not_waited_for() -> None:
    b = Other("b")
    b.missed = {"web.shop": time.monotonic() - 21}
    assert (await Waits(Asked(b), "web").answer(0.5))["pending"] == []
    b.missed = {"web.shop": time.monotonic()}
    assert (await Waits(Asked(b)).answer(0.5))["pending"] == [], "its workload has ended"


async def test_a_proxy_that_comes_to_the_replica_that_is_asked() -> None:
    b, hub = Other("b", "web.shop", concerned=["web.shop"]), Here()
    b.slow = {"web.shop"}
    async with Waits(Asked(b), "web", hub=hub).waiting() as task:
        await goes_on(task, lambda: len(b.asked))
        b.there.clear()
        hub.there["web.shop"] = None
        assert waited(await task)["confirmed"] == ["web.shop"]
    assert hub.asked[-1][3] == ("web.shop",)


@pytest.mark.parametrize("registered", [True, False])
async def test_a_proxy_that_does_not_come_back_is_not_waited_for_long(
    registered: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If its workload is not there any more not at all."""
    b = Other("b", "web.shop", concerned=["web.shop"])
    b.slow = {"web.shop"}
    replicas = Asked(b)
    one = Waits(replicas, *(["web"] if registered else []))
    async with one.waiting(0.3 if registered else 20.0) as task:
        await eventually("it is asked", lambda: b.asked)
        replicas.left(b)
        found = waited(await task)
    assert found["pending"] == (["web.shop"] if registered else [])
    monkeypatch.setattr(everywhere, "MISSED_SECONDS", 0.1)
    assert (await one.answer())["pending"] == []


async def test_a_replica_that_comes_is_asked_for_everybody() -> None:
    b, c = Other("b", "web.shop", concerned=["web.shop"]), Other("c", "new.shop", boot="later")
    b.slow, c.slow = {"web.shop"}, {"new.shop"}
    replicas = Asked(b)
    async with Waits(replicas, "web", "new").waiting() as task:
        await goes_on(task, lambda: len(b.asked))
        replicas.came(c)
        b.slow.clear()
        await goes_on(task, lambda: len(c.asked))
        c.slow.clear()
        assert waited(await task)["confirmed"] == ["web.shop", "new.shop"]
    assert all(ask.everybody for ask in c.asked)


async def test_a_replica_that_begins_anew_is_asked_anew() -> None:
    """Its revisions are others, so all of its proxies are concerned."""
    b = Other("b", "web.shop", concerned=["web.shop"])
    b.slow = {"web.shop"}
    async with Waits(Asked(b), "web").waiting() as task:
        await goes_on(task, lambda: len(b.asked))
        b.boot, b.revision, b.concerned = "another", 1, set()
        await goes_on(task, lambda: len(b.asked))
        b.slow.clear()
        assert waited(await task)["confirmed"] == ["web.shop"]
    assert (b.asked[-1].boot, b.asked[-1].since, b.asked[-1].everybody) == ("another", -1, True)


async def test_one_that_begins_anew_may_not_have_read_what_the_former_had() -> None:
    b = Other("b", "web.shop", concerned=["web.shop"])
    b.slow = {"web.shop"}
    one = Waits(Asked(b), "web")
    one.context.compiled.set(Compiled(3, None, documents=(cast(Any, InForce()),)))
    async with one.waiting(awaited=Awaited((DOCUMENT,), since=2)) as task:
        await eventually("it was read", lambda: b.asked and not b.asked[-1].documents)
        b.boot, b.reads = "another", False
        await eventually("it is asked for again", lambda: b.asked[-1].documents)
        b.slow.clear()
        await goes_on(task, lambda: len(b.asked))
        b.reads = True
        assert waited(await task)["confirmed"] == ["web.shop"]


async def test_a_proxy_that_has_just_moved_is_asked_for_where_it_is() -> None:
    """Where it was, the change has concerned it; where it is, it came with it, and is loading."""
    b, c = Other("b", concerned=["web.shop"]), Other("c", "web.shop")
    c.slow = {"web.shop"}
    async with Waits(Asked(b, c), "web").waiting() as task:
        await eventually("it is asked for", lambda: c.asked and c.asked[-1].moved == ("web.shop",))
        await goes_on(task, lambda: len(c.asked))
        c.slow.clear()
        assert waited(await task)["confirmed"] == ["web.shop"]


async def test_who_comes_from_a_replica_of_which_nothing_was_known_is_waited_for() -> None:
    b, c = Other("b"), Other("c")
    b.why = "no connection can be made"
    c.slow = {"web.shop"}
    replicas = Asked(b, c)
    async with Waits(replicas, "web").waiting() as task:
        await goes_on(task, lambda: len(b.asked))
        c.there.add("web.shop")
        await eventually("it is asked for", lambda: c.asked[-1].moved == ("web.shop",))
        replicas.left(b)
        await goes_on(task, lambda: len(c.asked))
        c.slow.clear()
        assert waited(await task)["confirmed"] == ["web.shop"]


async def test_nothing_is_claimed_while_it_is_not_known_which_replicas_there_are() -> None:
    replicas = Asked()
    replicas.sure = False
    one = Waits(replicas)
    assert (await one.answer(0.2))["pending"] == ["replica ?"]
    replicas.sure = True
    assert (await one.answer())["pending"] == []


async def test_what_the_store_has_is_known_everywhere_by_one_number() -> None:
    b = Other("b", "web.shop", concerned=["web.shop"])
    one = Waits(Asked(b), "web")

    async def included(revision: int) -> int:
        return 3 if revision == 42 else -1

    one.context.__dict__["collector"] = SimpleNamespace(included=included)
    found = await one.answer(awaited=Awaited(store=42), ticket=None)
    assert found["confirmed"] == ["web.shop"]
    assert [(ask.store, ask.since, ask.everybody) for ask in b.asked] == [(42, -1, False)]
