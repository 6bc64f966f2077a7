"""What a keeper of Gateways does where they cannot be planned."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator
from typing import cast

import msgspec
import pytest

from provision.test_parameters import PODS, written
from support.meshdocs import documents
from weft.admin.context import Compiled
from weft.admin.kubernetes.duty import Duty
from weft.aio.cell import Cell
from weft.controlplane import gateways
from weft.controlplane.gateways import GatewayKeeper
from weft.mesh.build import build_mesh
from weft.mesh.memo import Memo
from weft.model.snapshot import ConfigSnapshot
from weft.provision.plan import GatewayPlan, Plans
from weft.sources.kubernetes.client import Answer, ApiClient
from weft.testing.polling import eventually

DOCUMENTS = tuple(sorted(documents(written()), key=lambda each: each.key))
GATEWAY = next(each.key for each in DOCUMENTS if each.key.kind == "Gateway")
PLANS = Plans((GatewayPlan(GATEWAY, "the-uid", "weft", ()),))


OURS = {
    "metadata": {
        "uid": "1",
        "labels": {"app.kubernetes.io/managed-by": "weft"},
        "ownerReferences": [{"uid": "the-uid"}],
    },
    "spec": {"type": "LoadBalancer"},
    "status": {"loadBalancer": {"ingress": [{"ip": "192.0.2.1"}]}},
}


class _Server:
    """Has everything that is the Gateway's, and takes everything."""

    async def __aenter__(self) -> _Server:
        return self

    async def __aexit__(self, *_: object) -> None:
        return

    def __init__(self) -> None:
        self.said = msgspec.json.encode(OURS)
        self.asked = 0

    async def get(self, _: str) -> Answer:
        self.asked += 1
        return Answer(self.said)

    async def send(self, *_: object) -> bytes:
        return b"{}"


def _compiled(revision: int) -> Compiled:
    return Compiled(revision, build_mesh(ConfigSnapshot(revision, DOCUMENTS), Memo()))


def _planner(answers: Iterator[Plans | Exception]) -> object:
    def plan(*_: object) -> Plans:
        answer = next(answers)
        if isinstance(answer, Exception):
            raise answer
        return answer

    return plan


async def test_a_fault_of_planning_ends_nothing_and_keeps_what_was_planned(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    answers = iter((TypeError("a"), PLANS, TypeError("b"), TypeError("c"), PLANS))
    monkeypatch.setattr(gateways, "plans_of", _planner(answers))
    compiled, there = Cell(_compiled(1)), [DOCUMENTS]
    keeper = GatewayKeeper(
        lambda: cast("ApiClient", _Server()), compiled, lambda: there[0], lambda: PODS, Duty(lambda: True)
    )

    def told() -> list[str]:
        return [each.message for each in keeper.problems()]

    fault = ["the processes of Gateways cannot be planned (TypeError); please report it"]
    task = asyncio.create_task(keeper.run())
    try:
        await eventually("the fault is told", lambda: told() == fault)
        assert keeper.reached(GATEWAY) is None, "nobody knows yet"
        compiled.set(_compiled(2))
        await eventually("a plan", lambda: not told() and keeper.reached(GATEWAY) == ("192.0.2.1",))
        compiled.set(_compiled(3))
        await eventually("it is told again", lambda: told() == fault)
        assert keeper.reached(GATEWAY) == ("192.0.2.1",)
        there[0] = tuple([each for each in DOCUMENTS if each.key != GATEWAY])
        compiled.set(_compiled(4))
        await eventually("a document that is gone takes its plan along", lambda: keeper.reached(GATEWAY) == ())
        assert told() == fault
        compiled.set(_compiled(5))
        await eventually("it is over", lambda: not told())
        assert not task.done()
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
    assert [each.exc_info is not None for each in caplog.records if "cannot be planned" in each.message] == [True, True]


async def test_what_cannot_be_taken_away_ends_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    left = Plans(left=frozenset((GATEWAY,)))
    monkeypatch.setattr(gateways, "plans_of", _planner(iter((PLANS, left))))
    compiled, server = Cell(_compiled(1)), _Server()
    keeper = GatewayKeeper(
        lambda: cast("ApiClient", server), compiled, lambda: DOCUMENTS, lambda: PODS, Duty(lambda: True)
    )
    task = asyncio.create_task(keeper.run())
    try:
        await eventually("a plan", lambda: keeper.reached(GATEWAY) == ("192.0.2.1",))
        server.said, before = b"[]", server.asked
        compiled.set(_compiled(2))
        await eventually("it is looked at again and again", lambda: task.done() or server.asked > before + 1)
        assert not task.done()
        server.said = msgspec.json.encode(OURS)
        await eventually("it is gone", lambda: keeper.reached(GATEWAY) == ())
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
