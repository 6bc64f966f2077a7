"""Replicas as a test says that they are, and one who waits for their proxies."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Collection, Iterable, Iterator
from types import SimpleNamespace
from typing import Any, cast

from weft.admin.context import ApiContext, Compiled
from weft.admin.replicas.everywhere import Everywhere, confirmed_everywhere
from weft.admin.replicas.links import LinkError, NotServedError
from weft.admin.replicas.replicas import Replicas
from weft.admin.replicas.rows import Awaited, Found
from weft.admin.waited import waited
from weft.aio.cell import Cell
from weft.discovery.status import Nack, WaitResult
from weft.model.workload import Workload
from weft.testing.polling import eventually


class Other:
    """Another replica, as a test says that it is: the proxies that are connected to it, and what they hold. `slow` are
    those that have not confirmed, `concerned` those that the change has concerned."""

    def __init__(self, name: str, *proxies: str, boot: str = "", concerned: Iterable[str] = ()) -> None:
        self.name = name
        self.boot = boot or f"boot-{name}"
        self.there = set(proxies)
        self.concerned = set(concerned)
        self.slow: set[str] = set()
        self.refuses: set[str] = set()
        self.revision = 7
        self.reads = True
        self.why = ""
        self.stopped = False
        self.earlier = False
        self.is_own = False
        self.asked: list[Awaited] = []
        self.missed: dict[str, float] = {}

    @property
    def counts(self) -> bool:
        return not self.is_own

    @property
    def known(self) -> bool:
        return not self.why

    def proxies(self) -> Collection[str]:
        return () if self.why else tuple(self.there)

    @contextlib.contextmanager
    def waiting(self) -> Iterator[bool]:
        yield True

    async def ask(self, _method: str, path: str, _answer: type, *, body: Awaited, patience: float) -> Found:
        assert (path, patience > body.wait) == ("/confirmed", True)
        self.asked.append(body)
        if self.stopped:
            await asyncio.Event().wait()
        if self.earlier:
            raise NotServedError("it is of an earlier release, which cannot be asked")
        if self.why:
            raise LinkError(self.why)
        if body.documents and not self.reads:
            await asyncio.sleep(body.wait)
            return Found(self.boot, known=False, unread=tuple(str(one.key) for one in body.documents))
        own = body.boot == self.boot
        everybody = body.everybody or (not own and body.since >= 0)
        about = (self.there if everybody else self.concerned | set(body.moved)) & self.there
        if about & self.slow:
            await asyncio.sleep(body.wait)
            about &= self.there
        nacked = tuple(Nack(name, "Listener", "x", "no", ()) for name in sorted(about & self.refuses))
        return Found(
            self.boot,
            revision=body.revision if own and body.revision >= 0 else self.revision,
            confirmed=tuple(sorted((about & self.there) - self.slow - self.refuses)),
            nacked=nacked,
            pending=tuple(sorted(about & self.slow & self.there)),
            gone=tuple(sorted((self.concerned | set(body.moved)) - self.there)),
        )


class Asked(Replicas):
    """The replica that is asked, beside others."""

    def __init__(self, *others: Other) -> None:
        super().__init__(boot="own")
        self.others = list(others)
        self.sure = True
        self.rounds = 0

    def whereabouts(self) -> dict[str, str]:
        self.rounds += 1
        return super().whereabouts()

    @property
    def links(self) -> list[Any]:
        return [one for one in self.others if one.counts]

    @property
    def alone(self) -> bool:
        return False

    @property
    def counted(self) -> bool:
        return self.sure

    def left(self, one: Other) -> None:
        """Its Pod is gone."""
        self.others.remove(one)
        self._missed |= {proxy: (one.name, since) for proxy, since in one.missed.items()}
        self._told()

    def came(self, one: Other) -> None:
        """There is another Pod."""
        self.others.append(one)
        self._told()


class Here:
    """The hub of the replica that is asked."""

    def __init__(self, *proxies: str) -> None:
        self.there = dict.fromkeys(proxies)
        self.publishes = True
        self.asked: list[tuple[int, float, int | None, tuple[str, ...]]] = []

    def connected(self) -> Collection[str]:
        return self.there.keys()

    async def wait_revision(
        self, revision: int, timeout: float, since: int | None = None, also: tuple[str, ...] = ()
    ) -> WaitResult:
        self.asked.append((revision, timeout, since, also))
        if not self.publishes:
            await asyncio.sleep(timeout)
            return WaitResult((), (), (), published=False)
        return WaitResult(tuple(also), (), ())


def context_of(replicas: Replicas, hub: Here, *names: str) -> ApiContext:
    workloads = tuple(Workload(name, "shop", "default") for name in names)
    compiled = Cell(Compiled(3, None, documents=(), workloads=workloads))
    collector = SimpleNamespace(snapshot=SimpleNamespace(left_out=frozenset()))
    return cast(ApiContext, SimpleNamespace(replicas=replicas, hub=hub, compiled=compiled, collector=collector))


class Waits:
    """One who waits, while a test changes things."""

    def __init__(self, replicas: Replicas, *names: str, hub: Here | None = None) -> None:
        self.hub = hub or Here()
        self.context = context_of(replicas, self.hub, *names)
        self.task: asyncio.Task[Everywhere]

    @contextlib.asynccontextmanager
    async def waiting(self, timeout: float = 20.0, **about: Any) -> AsyncIterator[asyncio.Task[Everywhere]]:
        awaited = about.pop("awaited", Awaited(since=2))
        ticket = about.pop("ticket", {"own": 2, "boot-b": 5, "boot-c": 6})
        end = asyncio.get_running_loop().time() + timeout
        task = asyncio.create_task(confirmed_everywhere(self.context, awaited, end, ticket=ticket))
        try:
            yield task
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def answer(self, timeout: float = 20.0, **about: Any) -> dict[str, Any]:
        async with self.waiting(timeout, **about) as task:
            return waited(await task)


async def goes_on(task: asyncio.Task[Everywhere], rounds: Callable[[], int]) -> None:
    """Some more rounds, in which nothing is claimed."""
    seen = rounds()
    await eventually("it is asked again", lambda: rounds() >= seen + 3 or task.done())
    assert not task.done()
