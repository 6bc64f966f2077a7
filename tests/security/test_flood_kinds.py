"""Ten floods against every port of a running mesh that speaks HTTP: a bystander's requests go on, memory stays within
its bound, nothing trips up, and the server answers after. No time is asserted."""

from __future__ import annotations

import asyncio
import time

import pytest

from support.bystander import bystander, processes, weighed
from support.doors import DOORS, PAGE, door
from support.mesh import Mesh, alive

SECONDS = 1.0
TRIES = 10
"""On a busy machine a hand-shake may take the whole second."""
MORE_MEGABYTES = 100
"""What a process may come to weigh more under the floods of one door. The control plane came to 35 at most, a
quarter for each of a hundred connections that have begun a hand-shake; all others to 25."""


@pytest.mark.parametrize("where", DOORS)
async def test_floods_cost_no_bystander_a_request(target: Mesh, where: str) -> None:
    log, pids = target.processes["control-plane"].log, processes(target)
    said = log.read_text().count("Traceback")
    with target.applied(PAGE):
        around = bystander(target)
        async with weighed(pids) as most, around.calling():
            for name, flood in DOORS[where].items():
                to = door(target, where)
                for _ in range(TRIES):
                    await flood(to, time.monotonic() + SECONDS)
                    if to.sent:
                        break
                assert to.sent > 0, name
                assert around.failures == [], name
                await asyncio.sleep(0.1)
    assert around.failures == []
    assert len(around.seconds) > 10 * len(around.calls)
    assert [name for name, more in most.items() if more > MORE_MEGABYTES] == [], most
    assert all(alive(pid) for pid in pids.values())
    assert log.read_text().count("Traceback") == said
    assert target.api("health") == {"status": "ok"}
