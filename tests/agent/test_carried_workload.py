"""One workload of a host in the event loop of all: what blocks, blocks nobody else, and is stopped all the same."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from weft.agent import lifecycle
from weft.agent.host import carried
from weft.agent.host.carried import CarriedWorkload
from weft.agent.lifecycle import Lifecycle
from weft.agent.parameters import RunParameters
from weft.agent.signals import Signals
from weft.settings.home import Home
from weft.testing.polling import eventually


class Life:
    """Takes its time to be made; then it says how it was asked to end."""

    def __init__(self) -> None:
        self.begun = threading.Event()
        self.loop_turned = threading.Event()
        self.signals = Signals()
        self.proxy: Any = SimpleNamespace(parameters=SimpleNamespace(carrier=None), state=None)
        self.ended_by = ""

    def make(self, *_: object, **__: object) -> Life:
        self.begun.set()
        assert self.loop_turned.wait(60), "the event loop stood still"
        return self

    async def run_asked(self) -> int:
        asked = {"stop": self.signals.stop, "restart": self.signals.restart, "hurry": self.signals.hurry}
        self.ended_by = " ".join(name for name, event in asked.items() if event.is_set())
        return 0


@pytest.fixture
def life(monkeypatch: pytest.MonkeyPatch) -> Iterator[Life]:
    made = Life()
    monkeypatch.setattr(carried, "workload_lifecycle", made.make)
    yield made
    made.loop_turned.set()


@pytest.mark.parametrize(
    ("asked", "ended_by"), [(("stop",), "stop"), (("leave",), "restart"), (("stop", "hurry"), "stop hurry")]
)
async def test_one_that_is_being_made_is_asked_to_end_in_order(
    life: Life, tmp_path: Path, asked: tuple[str, ...], ended_by: str
) -> None:
    node: Any = SimpleNamespace(parameters=SimpleNamespace(home=Home(tmp_path)))
    workload = CarriedWorkload(RunParameters(home=Home(tmp_path), name="a"), node)
    running = asyncio.create_task(workload.run())
    await eventually("it is being made", life.begun.is_set)
    for word in asked:
        getattr(workload, word)()
    life.loop_turned.set()
    await running
    assert life.ended_by == ended_by


async def test_processes_of_a_faulty_life_are_stopped_beside_the_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    class Faulty(Lifecycle):
        async def live(self) -> int:
            raise ZeroDivisionError

    threads: list[threading.Thread] = []
    monkeypatch.setattr(lifecycle, "stop_processes", lambda *_: threads.append(threading.current_thread()))
    with pytest.raises(BaseExceptionGroup):
        await Faulty(Life().proxy).run_asked()
    assert threads
    assert threading.current_thread() not in threads
