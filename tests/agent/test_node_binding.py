"""Whom a node names: nobody is taken for told before the control plane has heard, and nobody waits for it."""

from __future__ import annotations

import asyncio

from weft.agent.errors import AgentError
from weft.agent.host.binding import Binding, Names, Seat, node_binding
from weft.model.network_namespace import NetworkNamespace
from weft.model.workload import NodeBinding
from weft.testing.polling import eventually

A = frozenset({Seat("a.default")})
AB = A | {Seat("b.default")}


class ControlPlane:
    """Answers when it is `up`; refuses while it is told to."""

    def __init__(self) -> None:
        self.up = asyncio.Event()
        self.refuses = False
        self.heard: list[Names] = []
        self.named: list[Names] = []
        self.binding = Binding(self.enrol, A)

    async def enrol(self, wait: float | None = None) -> None:
        await self.up.wait()
        self.heard.append(self.binding.names)
        self.named.append(self.binding.able)
        if self.refuses:
            raise AgentError("refused")


async def test_who_was_refused_is_not_told_and_is_asked_for_again() -> None:
    plane = ControlPlane()
    plane.up.set()
    plane.refuses = True
    running = asyncio.create_task(plane.binding.run())
    plane.binding.ask(AB)
    await eventually("it was refused", lambda: plane.heard == [AB])
    assert plane.binding.told == A
    plane.refuses = False
    plane.binding.ask(A)
    plane.binding.ask(AB)
    await eventually("both are told", lambda: plane.binding.told == AB)
    assert plane.heard == [AB, AB]
    running.cancel()


async def test_while_the_control_plane_is_away_nobody_waits_and_the_last_word_counts() -> None:
    plane = ControlPlane()
    running = asyncio.create_task(plane.binding.run(due=True))
    plane.binding.ask(AB)
    await asyncio.sleep(0)
    assert plane.binding.told == A
    plane.binding.ask(frozenset())
    assert not plane.heard
    plane.up.set()
    await eventually("it names nobody", lambda: plane.heard == [AB, frozenset()])
    assert plane.binding.told == frozenset()
    running.cancel()


async def test_who_has_no_key_yet_is_told_and_not_named() -> None:
    plane = ControlPlane()
    plane.up.set()
    running = asyncio.create_task(plane.binding.run())
    plane.binding.ask(AB, A)
    await eventually("it may be started", lambda: plane.binding.told == AB)
    assert plane.named == [A]
    plane.binding.ask(AB, AB)
    await eventually("it has its key", lambda: plane.named == [A, AB])
    assert plane.binding.told == AB
    running.cancel()


async def test_a_name_whose_removal_may_have_been_heard_is_told_no_more() -> None:
    plane = ControlPlane()
    plane.up.set()
    plane.refuses = True
    plane.binding.ask(frozenset())
    running = asyncio.create_task(plane.binding.run())
    await eventually("it was refused", lambda: plane.heard == [frozenset()])
    assert plane.binding.told == frozenset()
    running.cancel()


def test_who_moves_may_be_where_it_was_and_where_it_goes() -> None:
    there = NetworkNamespace("/run/netns/b", "4-1")
    assert node_binding(AB) == NodeBinding(("a.default", "b.default"))
    moving = node_binding(AB | {Seat("b.default", there)})
    assert moving == NodeBinding(("a.default", "b.default"), (("b.default", None), ("b.default", there)))
    gone = node_binding(A | {Seat("b.default", there)})
    assert gone == NodeBinding(("a.default", "b.default"), (("b.default", there),))
