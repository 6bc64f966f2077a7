"""Ports that agents and control planes choose: what one has promised the other does not take, nor do other homes."""

from __future__ import annotations

import json
import random
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from weft.agent.ports import LOOPBACK, PortAllocator, allocate_dns_port, allocating, bind_metrics
from weft.agent.state import State, write_state
from weft.controlplane.ports import Ports
from weft.settings.home import Home
from weft.settings.ports import VARIABLE, Reservations, own_ports, remembered_ports, usual_port


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> range:
    """A part of this worker's ports, for all who choose."""
    ports = own_ports()
    first = random.Random().randrange(ports.start, ports.stop - 101)
    monkeypatch.setenv(VARIABLE, f"{first}-{first + 100}")
    return own_ports()


@pytest.fixture
def home(tmp_path: Path) -> Home:
    found = Home(tmp_path / "home")
    found.control_plane.mkdir(parents=True)
    return found


@pytest.fixture
def reservations() -> Iterator[Reservations]:
    found = Reservations()
    yield found
    found.release()


def promise(home: Home, ports: list[int]) -> None:
    """The state of a gateway that is to listen there, and does not yet."""
    directory = home.workload("default", "front")
    directory.mkdir(parents=True)
    write_state(directory, State("front", "default", listen=tuple((port, port) for port in ports)))


async def test_a_control_plane_takes_no_port_that_an_agent_has_promised(home: Home, few: range) -> None:
    promised = [*few][1:]
    promise(home, promised)
    ports = Ports(home, awaited=False)
    with await ports.bind("xds", LOOPBACK, None, promised[0], "--xds-port") as bound:
        assert bound.getsockname()[1] not in promised
    with await ports.bind("xds", LOOPBACK, promised[0], 0, "--xds-port") as bound:
        assert bound.getsockname()[1] == promised[0], "who says which has it"


def test_an_agent_takes_no_port_that_a_control_plane_comes_back_to(home: Home, few: range) -> None:
    *remembered, left = few
    home.ports.write_text(json.dumps({str(port): port for port in remembered}))
    assert set(remembered_ports(home).values()) == set(remembered)
    with allocating(home, home.workload("default", "a")) as allocator:
        assert not any(allocator.may(port) for port in remembered)
        assert allocator.may(left)
        assert allocator.free(LOOPBACK, remembered[0]) == left


@pytest.mark.parametrize("text", ["", "[]", "{", '{"xds": "1"}', '{"xds": 0}', '{"xds": 70000}'])
def test_nonsense_is_not_remembered(home: Home, text: str) -> None:
    home.ports.write_text(text)
    assert remembered_ports(home) == {}


async def test_what_one_home_has_chosen_no_other_does_until_somebody_listens_there(
    home: Home, tmp_path: Path, few: range, reservations: Reservations
) -> None:
    other = Home(tmp_path / "other")
    other.control_plane.mkdir(parents=True)
    with allocating(home, home.workload("default", "a"), reservations) as allocator:
        chosen = allocator.free(LOOPBACK)
    with allocating(other, other.workload("default", "a")) as allocator:
        assert allocator.free(LOOPBACK, chosen) != chosen
    with await Ports(other, awaited=False).bind("xds", LOOPBACK, 0, chosen, "--xds-port") as bound:
        assert bound.getsockname()[1] != chosen
    reservations.release()
    with allocating(other, other.workload("default", "a")) as allocator:
        assert allocator.free(LOOPBACK, chosen) == chosen
    assert chosen in few


def test_a_port_that_is_not_free_is_reserved_for_nobody(few: range, reservations: Reservations) -> None:
    with socket.create_server((LOOPBACK, 0)) as taken:
        port = taken.getsockname()[1]
        assert PortAllocator(set(), reservations).free(LOOPBACK, port) in few
        other = Reservations()
        assert other.add(port)
        assert not reservations.add(port)
        other.release()
        assert reservations.add(port)


def test_no_usual_port_is_used_where_a_variable_says_which_to_use(home: Home, few: range) -> None:
    assert usual_port(15012) == 0
    allocator = PortAllocator(set())
    assert allocate_dns_port(0, allocator, 0) in few
    with bind_metrics(allocator, LOOPBACK, 0) as bound:
        assert bound.getsockname()[1] in few
    with bind_metrics(PortAllocator(set()), LOOPBACK, few[50]) as bound:
        assert bound.getsockname()[1] == few[50]
    assert home.ports.exists() is False


def test_the_usual_ports_are_used_where_none_does(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    assert usual_port(15012) == 15012


async def test_a_control_plane_uses_no_usual_port_of_loopback_either(home: Home, few: range) -> None:
    with socket.create_server((LOOPBACK, 0)) as probe:
        usual = probe.getsockname()[1]  # free a moment later, as a usual port is
    ports = Ports(home, awaited=False)
    with await ports.bind("admin", LOOPBACK, None, usual, "--admin-port") as bound:
        assert bound.getsockname()[1] in few
    with await ports.bind("xds", "0.0.0.0", None, usual, "--xds-port") as bound:
        assert bound.getsockname()[1] == usual, "other hosts have to know it"
