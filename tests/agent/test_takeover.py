"""One Envoy takes over from another when the bootstrap has changed: also where the one that runs, or the one that is to
take over, is cut off or stuck, and where an agent ends half-way."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import json
import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from support.agents import World
from weft.agent import envoy as module
from weft.agent import envoy_admin
from weft.agent.binary import find_envoy
from weft.agent.envoy import Envoy, Standing, Wish
from weft.agent.envoy_place import EnvoyPlace
from weft.agent.hot_restart import executed_by, request_restart, requested
from weft.agent.state import write_state
from weft.processes.name import name_of
from weft.testing.polling import eventually

CHANGED = Wish("the bootstrap has changed", needed=True)
NOWHERE = {
    "name": "nowhere",
    "connect_timeout": "1s",
    "typed_extension_protocol_options": {
        "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
            "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
            "explicit_http_config": {"http2_protocol_options": {}},
        }
    },
    "load_assignment": {
        "cluster_name": "nowhere",
        "endpoints": [
            {"lb_endpoints": [{"endpoint": {"address": {"socket_address": {"address": "127.0.0.1", "port_value": 1}}}}]}
        ],
    },
}
"""A control plane that is not there."""


class Rig:
    """An Envoy that is followed, and what was told of it."""

    def __init__(self, directory: Path) -> None:
        self.directory, self.told = directory, list[Standing]()
        self.early: set[bool] = set()
        self.envoy = Envoy(EnvoyPlace(find_envoy(), directory, directory / "a.sock", 1), self._hear, lambda: 1)

    def _hear(self, now: Standing) -> None:
        known = {one for before in self.told for one in (before.envoy, before.successor)}
        for name in {now.envoy, now.successor} - known:
            if name is not None:
                self.early.add(executed_by(name).readlink().name.startswith("python"))
        self.told.append(now)

    def write(self, number: int, *, ads: bool = False, waits: bool = False) -> None:
        """A bootstrap like no other. `ads`: from a control plane that is not there, for which it `waits`."""
        fetched = {"ads": {}, "initial_fetch_timeout": "0s", "resource_api_version": "V3"}
        services = [{"envoy_grpc": {"cluster_name": "nowhere"}}]
        api = {"api_type": "GRPC", "transport_api_version": "V3", "grpc_services": services}
        bootstrap: dict[str, Any] = {
            "admin": {"address": {"pipe": {"path": str(self.envoy.place.admin_socket), "mode": 0o600}}},
            "node": {"id": f"n{number}", "cluster": "c"},
        }
        if ads:
            bootstrap["static_resources"] = {"clusters": [NOWHERE]}
            bootstrap["dynamic_resources"] = {"ads_config": api, **({"lds_config": fetched} if waits else {})}
        (self.directory / "bootstrap.json").write_text(json.dumps(bootstrap))

    async def serves(self, number: int) -> None:
        """Wait until the one that serves has this bootstrap."""
        wanted = json.dumps(f"n{number}").encode()

        async def found() -> bool:
            return self.envoy.standing.successor is None and wanted in await self.envoy.admin.body("/server_info")

        async with asyncio.timeout(60):
            while not await found():  # noqa: ASYNC110
                await asyncio.sleep(0.02)


@pytest.fixture
async def rig(tmp_path: Path) -> AsyncIterator[Rig]:
    rig = Rig(tmp_path)
    rig.write(0, ads=True)
    rig.envoy.start()
    await rig.envoy.wait_ready((), 60)
    running = asyncio.create_task(rig.envoy.run((), 60))
    yield rig
    await rig.envoy.stop(5)
    with contextlib.suppress(asyncio.CancelledError):
        await running


async def test_one_that_is_cut_off_is_replaced_and_a_successor_that_has_become_obsolete_too(rig: Rig) -> None:
    assert await rig.envoy.admin.cut_off()
    rig.write(1, ads=True, waits=True)
    rig.envoy.restart(CHANGED)
    hot = rig.envoy.standing.hot
    assert hot is not None

    async with asyncio.timeout(60):
        while await rig.envoy.admin.state(hot.next.epoch) in ("", "LIVE"):  # noqa: ASYNC110
            await asyncio.sleep(0.02)
    first, waiting = rig.envoy.standing.envoy, rig.envoy.standing.successor
    assert first is not None
    assert waiting is not None
    assert first.alive, "it goes on while the other one waits for its configuration"
    rig.write(2)
    rig.envoy.restart(CHANGED)
    await rig.serves(2)
    now = rig.envoy.standing
    assert now.envoy not in (None, first, waiting)
    assert (now.hot, now.bootstrap, now.successor_bootstrap) == (hot.next, rig.envoy.place.bootstrap_digest(), "")
    await eventually("the end of the one that waited", lambda: not waiting.alive)
    await eventually("the end of the first", lambda: name_of(first.pid) != first and rig.envoy.standing.former is None)
    assert rig.envoy.standing.envoy == now.envoy, "what has the bootstrap is not replaced again"
    assert rig.early == {True}, "each was noted before it was Envoy"


async def test_where_none_can_begin_beside_it_envoy_is_restarted(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_BEGIN_PATIENCE", 0.5)
    monkeypatch.setattr(module, "_FORMER_GRACE", 0.5)
    monkeypatch.setattr(envoy_admin, "_TIMEOUT", 0.3)
    first = rig.envoy.standing.envoy
    assert first is not None
    os.kill(first.pid, signal.SIGSTOP)  # it hands over nothing
    rig.write(1)
    rig.envoy.restart(CHANGED)
    await rig.serves(1)
    assert not first.alive
    assert rig.envoy.standing.hot is not None
    assert rig.envoy.standing.hot.epoch == 0


async def test_a_bootstrap_that_the_last_agent_wrote_and_did_not_use_is_used(world: World) -> None:
    asked: dict[str, Any] = {"ports": [[9080, None]], "health": {"kind": "none"}}
    first = await world.healthy(**asked)
    before = first.state
    assert before.bootstrap
    first.process.kill()
    await first.ended()
    write_state(first.directory, dataclasses.replace(before, bootstrap=""))  # as an earlier version left it
    second = await world.healthy(**asked)
    await eventually("noted", lambda: second.state.bootstrap == before.bootstrap)
    await eventually("registered", lambda: world.control_plane.calls.count("POST /v1/workloads") >= 2)
    second.process.kill()
    await second.ended()
    assert second.state.envoy == before.envoy
    assert second.state.successor is None
    assert "takes over" not in second.text()
    write_state(first.directory, dataclasses.replace(second.state, bootstrap="of another"))
    third = await world.start(**asked)
    await eventually("another Envoy", lambda: third.state.envoy != before.envoy)
    assert third.state.bootstrap == before.bootstrap
    assert "bootstrap has changed" in third.text()
    await third.stop()
    assert world.processes() == []


async def test_what_was_asked_for_is_still_asked_for_when_an_agent_ends_before_it_is_done(world: World) -> None:
    """As when the agent is restarted in the moment in which it has seen the request: the one who asks would wait."""
    asked: dict[str, Any] = {"ports": [[9080, None]], "health": {"kind": "none"}, "bootstrap": "cut off"}
    first = await world.healthy(**asked)
    before = first.state
    request_restart(first.directory)
    first.process.send_signal(signal.SIGHUP)
    waits = "asked for another Envoy; this waits until there is a connection to a control plane"
    await eventually("the request is seen", lambda: waits in first.text())
    first.process.kill()
    await first.ended()
    second = await world.healthy(**asked)
    await eventually("it is seen again", lambda: waits in second.text())
    envoy = before.envoy
    assert envoy is not None
    os.kill(envoy.pid, signal.SIGKILL)
    await eventually("another Envoy", lambda: second.state.envoy not in (None, envoy))
    assert not requested(second.directory), "this is another one"
    await second.stop()
    assert world.processes() == []
