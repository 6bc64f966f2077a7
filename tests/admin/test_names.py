"""Names through the agent API: told when they change, to those who asked for them, to so many at once."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import cast

import msgspec
import pytest
from aiohttp import web
from aiohttp.test_utils import make_mocked_request

from support.dns_names import TABLE
from support.meshdocs import workload
from weft.admin.callers import Caller
from weft.admin.context import ApiContext
from weft.admin.names import AGAIN_SECONDS, Names
from weft.admin.registered import Registered
from weft.admin.replies import Refused
from weft.model.names import NamesAnswer, NameTable
from weft.model.workload import Workload
from weft.testing.polling import eventually
from weft.xds.names import EncodedNames, encode_names

NOBODY = cast(Caller, None)


class Published:
    """As the hub: the names of one proxy, and whoever waits for the next publication."""

    def __init__(self, names: EncodedNames | None) -> None:
        self.names = names
        self.waiting = 0
        self._next = asyncio.Event()

    def names_of(self, proxy: str) -> EncodedNames | None:
        return self.names if proxy == "client-v1.default" else None

    async def next_publication(self, timeout: float) -> None:
        assert timeout > 0
        self.waiting += 1
        await self._next.wait()

    def publish(self, names: EncodedNames | None) -> None:
        self.names = names
        published, self._next = self._next, asyncio.Event()
        published.set()


def handler(hub: Published, registered: Workload) -> Names:
    async def own(_request: web.Request, _caller: Caller) -> Registered:
        return Registered("default/client-v1", registered)

    return Names(cast(ApiContext, SimpleNamespace(hub=hub)), own)


async def asked(names: Names, version: str = "", wait: float = 0.0) -> NamesAnswer:
    request = make_mocked_request("GET", f"/names?version={version}&wait={wait:g}")
    response = await names.names(request, NOBODY)
    return msgspec.json.decode(cast(bytes, response.body), type=NamesAnswer)


async def test_names_are_told_once_and_again_when_they_are_others() -> None:
    hub = Published(encode_names(TABLE))
    names = handler(hub, workload("client", dns=True))
    first = await asked(names)
    assert first.table == TABLE
    assert await asked(names, first.version) == NamesAnswer(first.version)
    waiting = asyncio.create_task(asked(names, first.version, 60))
    await eventually("it waits", lambda: hub.waiting)
    hub.publish(encode_names(TABLE))
    await eventually("equal names are no news", lambda: hub.waiting == 2)
    hub.publish(encode_names(NameTable()))
    assert (await waiting).table == NameTable()


async def test_a_proxy_that_is_not_connected_yet_is_waited_for() -> None:
    hub = Published(None)
    names = handler(hub, workload("client", dns=True))
    assert await asked(names) == NamesAnswer("")
    waiting = asyncio.create_task(asked(names, "", 60))
    await eventually("it waits", lambda: hub.waiting)
    hub.publish(encode_names(TABLE))
    assert (await waiting).table == TABLE


async def test_who_is_run_without_names_is_told_so() -> None:
    with pytest.raises(Refused, match="without --dns"):
        await asked(handler(Published(None), workload("client")))


async def test_so_many_wait_and_others_come_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("weft.admin.names.WAITING_AT_ONCE", 2)
    hub = Published(encode_names(TABLE))
    names, version = handler(hub, workload("client", dns=True)), encode_names(TABLE).version
    waiting = [asyncio.create_task(asked(names, version, 60)) for _ in range(2)]
    await eventually("both wait", lambda: hub.waiting == 2)
    assert await asked(names, version, 60) == NamesAnswer(version, again=AGAIN_SECONDS)
    assert (await asked(names, "", 60)).table == TABLE
    hub.publish(encode_names(NameTable()))
    assert [(await one).table for one in waiting] == [NameTable()] * 2
    assert await asked(names, encode_names(NameTable()).version) == NamesAnswer(encode_names(NameTable()).version)
