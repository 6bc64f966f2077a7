"""An agent that goes away and comes back finds its Envoy and its application running, and no request fails."""

import asyncio
import os
import signal
import sys
from pathlib import Path

import aiohttp

from support.agents import Agent, World
from weft.agent.state import read_state, stop_leftovers
from weft.testing.polling import eventually

APPLICATION = [sys.executable, str(Path(__file__).with_name("application.py"))]
AUTO = [[9080, 0]]


class Load:
    """Requests one after the other, on kept and on new connections; remembers what failed."""

    def __init__(self, world: World, agent: Agent) -> None:
        self.url = f"https://{agent.state.ports[0].inbound}/pid"
        self.context = world.client()
        self.done = 0
        self.failed: list[str] = []
        self.pids: set[str] = set()

    async def run(self) -> None:
        connector = aiohttp.TCPConnector(ssl=self.context)
        async with aiohttp.ClientSession(connector=connector) as kept:
            while True:
                async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=self.context)) as fresh:
                    for session in (kept, fresh):
                        try:
                            async with session.get(self.url) as response:
                                self.pids.add(await response.text())
                                if response.status != 200:
                                    self.failed.append(str(response.status))
                        except aiohttp.ClientError as error:
                            self.failed.append(repr(error))
                        self.done += 1
                await asyncio.sleep(0.01)


async def test_sighup_restarts_the_agent_alone(world: World) -> None:
    agent = await world.healthy(command=APPLICATION, ports=AUTO)
    before = agent.state
    load = Load(world, agent)
    work = asyncio.create_task(load.run())
    for count in (1, 2):
        agent.process.send_signal(signal.SIGHUP)
        await eventually("adoption", lambda count=count: agent.text().count("took over Envoy") == count)  # type: ignore[misc]
    after = load.done + 20
    await eventually("more requests", lambda: load.done > after)
    work.cancel()
    assert load.failed == []
    assert len(load.pids) == 1
    assert (agent.state.envoy, agent.state.application) == (before.envoy, before.application)
    assert agent.state.agent is not None
    assert agent.state.agent.pid == agent.pid
    assert set(world.control_plane.states) == {"starting", "healthy"}
    assert world.control_plane.states.count("starting") == 1
    assert await agent.stop() == 143, "it is still the parent and knows the exit code"
    assert world.processes() == []


async def test_the_exit_code_is_known_after_a_restart(world: World) -> None:
    agent = await world.healthy(command=APPLICATION, ports=AUTO)
    agent.process.send_signal(signal.SIGHUP)
    await eventually("adoption", lambda: "took over Envoy" in agent.text())
    await world.get(agent, "/exit")
    assert await agent.ended() == 7


async def test_a_sidecar_alone_is_taken_over_while_the_control_plane_is_away(world: World) -> None:
    agent = await world.start(ports=[[9080, None]], health={"kind": "none"})
    await eventually("healthy", lambda: world.control_plane.latest.get("web.default") == "healthy")
    envoy = agent.state.envoy
    agent.process.kill()
    await agent.ended()
    await world.control_plane.stop()
    second = await world.start(ports=[[9080, None]], health={"kind": "none"})
    await eventually("adoption", lambda: "took over Envoy" in second.text())
    assert second.state.envoy == envoy
    await world.control_plane.start()
    await second.stop()


async def test_a_killed_agent_is_replaced(world: World) -> None:
    first = await world.healthy(command=APPLICATION, ports=AUTO)
    before = first.state
    load = Load(world, first)
    work = asyncio.create_task(load.run())
    first.process.kill()
    await first.ended()
    states = len(world.control_plane.states)
    second = await world.start(command=APPLICATION, ports=AUTO)
    await eventually("registered again", lambda: len(world.control_plane.states) > states)
    assert world.control_plane.state == "healthy", "it never stops being healthy"
    after = load.done + 20
    await eventually("more requests", lambda: load.done > after)
    work.cancel()
    assert load.failed == []
    assert len(load.pids) == 1
    assert (second.state.envoy, second.state.application) == (before.envoy, before.application)
    application = before.application
    assert application is not None
    os.kill(application.pid, signal.SIGTERM)
    assert await second.ended() == 1, "nobody can know the exit code of another's child"
    assert "exit code is known only to" in second.text()
    assert world.processes() == []


async def test_an_adopted_workload_stops_in_order(world: World) -> None:
    first = await world.healthy(command=APPLICATION, ports=AUTO)
    first.process.kill()
    await first.ended()
    second = await world.start(command=APPLICATION, ports=AUTO)
    await eventually("adoption", lambda: "took over" in second.text())
    await eventually("registered again", lambda: world.control_plane.states.count("healthy") == 2)
    assert await second.stop() == 128 + signal.SIGTERM
    assert world.control_plane.states[-2:] == ["draining", "deregistered"]
    assert world.processes() == []


async def test_a_signal_in_the_middle_of_adoption_stops_what_was_left(world: World) -> None:
    first = await world.healthy(command=APPLICATION, ports=AUTO)
    first.process.kill()
    await first.ended()
    second = await world.start(command=APPLICATION, ports=AUTO)
    await eventually("the new agent", lambda: second.state.agent is not None and second.state.agent.pid == second.pid)
    assert await second.stop() == 128 + signal.SIGTERM
    assert world.processes() == []


async def test_other_settings_start_anew(world: World) -> None:
    first = await world.healthy(command=APPLICATION, ports=AUTO)
    before = first.state
    first.process.kill()
    await first.ended()
    world.control_plane.states.clear()
    second = await world.healthy(command=[*APPLICATION, "graceful"], ports=AUTO)
    assert "stopping what an earlier run" in second.text()
    assert before.application is not None
    assert before.envoy is not None
    assert not before.application.alive
    assert not before.envoy.alive
    assert await second.stop() == 3


async def test_only_the_application_was_left(world: World) -> None:
    first = await world.healthy(command=APPLICATION, ports=AUTO)
    before = first.state
    first.process.kill()
    await first.ended()
    assert before.envoy is not None
    os.kill(before.envoy.pid, signal.SIGKILL)
    await eventually("Envoy's end", lambda: before.envoy is not None and not before.envoy.alive)
    second = await world.start(command=APPLICATION, ports=AUTO)
    await eventually("unhealthy, then healthy", lambda: world.control_plane.states[-2:] == ["unhealthy", "healthy"])
    assert second.state.application == before.application
    assert second.state.envoy not in (None, before.envoy)
    assert await world.get(second, "/") == "ok"
    await second.stop()


async def test_adoption_without_a_control_plane(world: World) -> None:
    first = await world.healthy(command=APPLICATION, ports=AUTO)
    first.process.kill()
    await first.ended()
    await world.control_plane.stop()
    second = await world.start(command=APPLICATION, ports=AUTO)
    await eventually("adoption", lambda: "took over" in second.text())
    assert await world.get(second, "/") == "ok"
    world.control_plane.states.clear()
    await world.control_plane.start()
    await eventually("registered again", lambda: world.control_plane.state == "healthy")
    await second.stop()


async def test_leftovers_are_found_and_stopped(world: World) -> None:
    agent = await world.healthy(command=APPLICATION, ports=AUTO)
    other = await world.healthy("other", command=APPLICATION, ports=AUTO)
    assert await asyncio.to_thread(stop_leftovers, world.home) == (), "both agents look after theirs"
    agent.process.kill()
    await agent.ended()
    stopped = await asyncio.to_thread(stop_leftovers, world.home)
    assert [state.name for state in stopped] == ["web"]
    state = read_state(agent.directory)
    assert state is not None
    assert (state.envoy, state.application) == (None, None)
    assert state.ports == agent.state.ports
    assert await asyncio.to_thread(stop_leftovers, world.home) == ()
    assert await world.get(other, "/") == "ok"
    await other.stop()
    assert world.processes() == []
