"""Whether an application uses its proxy: who is warned, who is left in peace."""

from __future__ import annotations

import sys
from pathlib import Path

import aiohttp
import pytest

from support.agents import World
from weft.agent.envoy_admin import EnvoyAdmin
from weft.agent.usage import Expected, run_usage
from weft.testing.polling import eventually

APPLICATION = [sys.executable, str(Path(__file__).with_name("application.py"))]


class Counters(EnvoyAdmin):
    """Envoy's counters, one step per question; the last one stays, and an application that is left alone long enough
    calls somebody in the end."""

    def __init__(self, *steps: dict[str, int]) -> None:
        super().__init__(Path("nowhere"))
        self._steps = list(steps)
        self._asked = 0

    async def gauges(self, pattern: str) -> dict[str, int] | None:
        self._asked += 1
        if self._asked > 12:
            return {"http.outbound.downstream_cx_total": 1}
        return self._steps.pop(0) if len(self._steps) > 1 else self._steps[0]


def served(requests: int, errors: int = 0, **more: int) -> dict[str, int]:
    counters = {"http.inbound.downstream_rq_total": requests, "http.inbound.downstream_rq_5xx": errors}
    return counters | {name.replace("__", "."): value for name, value in more.items()}


DECLARED, UNDECLARED = Expected(True, True, 0.003), Expected(False, True, 0.003)
CLIENT = Expected(True, False, 0.003)
TOLD = [True, False]


@pytest.mark.parametrize(
    ("expected", "steps", "reports"),
    [
        pytest.param(DECLARED, [served(0), served(3)], TOLD, id="says what it uses and was called"),
        pytest.param(DECLARED, [{"tcp.inbound.downstream_cx_total": 1}], TOLD, id="serves TCP"),
        pytest.param(DECLARED, [served(0)], [], id="nobody has called it"),
        pytest.param(DECLARED, [served(3, http__outbound__downstream_cx_total=1)], [], id="uses its proxy"),
        pytest.param(DECLARED, [served(3, tcp__upstream__downstream_cx_total=1)], [], id="uses an upstream"),
        pytest.param(UNDECLARED, [served(3)], [], id="only serves"),
        pytest.param(UNDECLARED, [served(3, 2)], [], id="some errors"),
        pytest.param(UNDECLARED, [served(3, 3)], TOLD, id="nothing but errors"),
        pytest.param(CLIENT, [{}], TOLD, id="serves nothing and says what it uses"),
        pytest.param(Expected(False, False, 0.003), [{}], [], id="a shell"),
    ],
)
async def test_who_is_warned(expected: Expected, steps: list[dict[str, int]], reports: list[bool]) -> None:
    found: list[bool] = []
    await run_usage(Counters(*steps), expected, found.append)
    assert found == reports


async def test_the_agent_says_so_until_the_proxy_is_used(world: World) -> None:
    agent = await world.healthy(command=APPLICATION, ports=[[9080, 0]], uses=["ratings"], timing={"unused": 0.3})
    assert await world.get(agent) == "ok"
    await eventually(
        "a warning", lambda: "has not used its proxy in 0.3 s, though it says what it uses" in agent.text()
    )
    await eventually("the control plane knows", lambda: world.control_plane.unused_proxy)
    async with (
        aiohttp.ClientSession() as session,
        session.get("http://ratings/", proxy=f"http://127.0.0.1:{agent.state.outbound}") as answer,
    ):
        assert answer.status == 503
    await eventually("it is used now", lambda: not world.control_plane.unused_proxy)
    await agent.stop()
