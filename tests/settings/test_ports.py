"""Which ports weft chooses from."""

from __future__ import annotations

from pathlib import Path

import pytest

from support.envoy import free_port
from weft.agent import ports as agent_ports
from weft.agent.errors import AgentError
from weft.agent.ports import PortAllocator, allocate_dns_port, bind_metrics
from weft.controlplane.ports import Ports
from weft.controlplane.settings import ServeError
from weft.settings.home import Home
from weft.settings.ports import VARIABLE, own_ports


def test_a_range_of_ones_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "21000-21200")
    assert own_ports() == range(21000, 21201)
    monkeypatch.delenv(VARIABLE)
    assert own_ports().start == 20000


@pytest.mark.parametrize("text", ["x", "20000", "20000-20010", "30000-20000", "60000-70000", "-1-5000", "0-5000"])
async def test_what_is_no_range_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, text: str) -> None:
    monkeypatch.setenv(VARIABLE, text)
    said = "expected more than 100 ports such as 20000-24999"
    with pytest.raises(ValueError, match=said):
        own_ports()
    with pytest.raises(AgentError, match=said):
        PortAllocator(set())
    with pytest.raises(ServeError, match=said):
        await Ports(Home(tmp_path), awaited=False).bind("xds", "127.0.0.1", 0, 0, "--xds-port")


async def test_a_range_of_ones_own_leaves_the_usual_port_to_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would be another mesh's while this one does not run, and this one could not start again."""
    usual = free_port()
    ports = Ports(Home(tmp_path), awaited=False)
    monkeypatch.setenv(VARIABLE, "21000-21200")
    with await ports.bind("xds", "127.0.0.1", None, usual, "--xds-port") as bound:
        assert bound.getsockname()[1] in own_ports()
    with await ports.bind("xds", "0.0.0.0", None, usual, "--xds-port") as bound:
        assert bound.getsockname()[1] == usual, "firewalls of other hosts know it"
    monkeypatch.delenv(VARIABLE)
    with await ports.bind("xds", "127.0.0.1", None, usual, "--xds-port") as bound:
        assert bound.getsockname()[1] == usual


def test_an_agent_leaves_the_usual_ports_of_loopback_to_nobody_as_well(monkeypatch: pytest.MonkeyPatch) -> None:
    usual = free_port()
    monkeypatch.setattr(agent_ports, "DEFAULT_PORT", usual)
    monkeypatch.setattr(agent_ports, "DNS_PORT", usual)
    monkeypatch.setenv(VARIABLE, "21000-21200")
    allocator = PortAllocator(set())
    with bind_metrics(allocator, "127.0.0.1", 0) as bound:
        assert bound.getsockname()[1] in own_ports()
    assert allocate_dns_port(0, allocator, 0) in own_ports()
    assert allocate_dns_port(0, allocator, usual) == usual, "what it had before it keeps"
    monkeypatch.delenv(VARIABLE)
    with bind_metrics(PortAllocator(set()), "127.0.0.1", 0) as bound:
        assert bound.getsockname()[1] == usual
    assert allocate_dns_port(0, PortAllocator(set()), 0) == usual
