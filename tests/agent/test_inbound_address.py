"""At which address callers reach a workload, and which addresses are refused."""

from __future__ import annotations

import dataclasses
import os
import socket
from pathlib import Path

import pytest

from weft.agent.errors import EXIT_UNREACHABLE, EXIT_USAGE, AgentError
from weft.agent.inbound_address import check_inbound_capture, inbound_address
from weft.agent.parameters import ControlPlane, InboundCaptureParameters, PortParameter, RunParameters
from weft.agent.state import State
from weft.model.addresses import host_and_port, is_loopback, is_wildcard, plain_address
from weft.model.workload import SocketAddress, WorkloadPort
from weft.processes.name import name_of
from weft.settings.addresses import local_address_towards
from weft.settings.home import Home

PORT = (PortParameter(9080),)
LED = InboundCaptureParameters()
FAR = "203.0.113.9:15013"
OURS = "127.0.0.9"
"""Stands for an address that is not loopback: every host of a test has it."""
KNOWN = WorkloadPort(9080, SocketAddress("127.0.0.1", 9080), SocketAddress(OURS, 23456))
BEFORE = State("web", "default", ports=(KNOWN,))


def asked(given: str = "", server: str = "", ports: tuple[PortParameter, ...] = PORT) -> RunParameters:
    return RunParameters(
        Home(Path("/nowhere")), "web", ports=ports, proxy_host=given, control_plane=ControlPlane(server)
    )


@pytest.fixture
def route(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("weft.agent.inbound_address.local_address_towards", lambda host, port: OURS)
    monkeypatch.setattr("weft.agent.inbound_address.is_loopback", lambda host: host in {"127.0.0.1", "::1"})


def test_without_another_host_it_is_loopback() -> None:
    assert inbound_address(asked(), None) == "127.0.0.1"
    assert inbound_address(asked(server="127.0.0.1:15013"), None) == "127.0.0.1"
    assert inbound_address(asked("127.0.0.1", "localhost:15013"), None) == "127.0.0.1"
    assert inbound_address(asked(OURS), None) == OURS


@pytest.mark.usefixtures("route")
def test_with_another_host_it_is_the_address_on_the_way() -> None:
    assert inbound_address(asked(server=FAR), None) == OURS
    assert inbound_address(asked("127.0.0.8", FAR), None) == "127.0.0.8"
    with pytest.raises(AgentError, match=rf"cannot reach loopback.*{OURS}") as told:
        inbound_address(asked("127.0.0.1", FAR), None)
    assert told.value.exit_code == EXIT_USAGE
    assert inbound_address(asked("127.0.0.1", FAR, ports=()), None) == "127.0.0.1", "nobody calls it"


def test_a_running_envoy_keeps_its_address(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("weft.agent.inbound_address.local_address_towards", lambda host, port: "127.0.0.8")
    monkeypatch.setattr("weft.agent.inbound_address.is_loopback", lambda host: host == "127.0.0.1")
    assert inbound_address(asked(server=FAR), BEFORE) == "127.0.0.8"
    running = dataclasses.replace(BEFORE, envoy=name_of(os.getpid()))
    assert inbound_address(asked(server=FAR), running) == OURS
    gone = WorkloadPort(9080, SocketAddress("127.0.0.1", 9080), SocketAddress("203.0.113.7", 23456))
    assert inbound_address(asked(server=FAR), dataclasses.replace(running, ports=(gone,))) == "127.0.0.8"


@pytest.mark.parametrize(
    ("given", "words"),
    [("web", "expected an IP address"), ("0.0.0.0", "the one address"), ("203.0.113.7", "no address of this host")],
)
def test_addresses_that_cannot_be(given: str, words: str) -> None:
    with pytest.raises(AgentError, match=words):
        inbound_address(asked(given), None)


def test_a_name_that_does_not_resolve(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(host: str, port: int) -> str:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr("weft.agent.inbound_address.local_address_towards", fail)
    server = "control.example:15013"
    with pytest.raises(AgentError, match=r"control\.example:15013: DNS") as told:
        inbound_address(asked(server=server), None)
    assert told.value.exit_code == EXIT_UNREACHABLE
    monkeypatch.setattr("weft.agent.inbound_address.is_loopback", lambda host: host == "127.0.0.1")
    assert inbound_address(asked(server=server), BEFORE) == OURS
    with pytest.raises(AgentError, match="HOST:PORT"):
        inbound_address(asked(server="control.example"), None)


def test_of_both_kinds_of_address_ipv4_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    both = [
        (family, socket.SOCK_DGRAM, 17, "", (host, 9))
        for family, host in ((socket.AF_INET6, "::1"), (socket.AF_INET, "127.0.0.1"))
    ]
    monkeypatch.setattr("weft.settings.addresses.socket.getaddrinfo", lambda *_, **__: both)
    assert local_address_towards("both", 9) == "127.0.0.1"


def test_addresses() -> None:
    assert local_address_towards("127.0.0.1", 9) == "127.0.0.1"
    assert [is_loopback(one) for one in ("::1", "[::1]", "Localhost", "10.0.0.1", "name")] == [True] * 3 + [False] * 2
    assert is_loopback("::ffff:127.0.0.1")
    assert not is_loopback("::ffff:10.0.0.1")
    assert [is_wildcard(one) for one in ("0.0.0.0", "::", "10.0.0.1", "name")] == [True, True, False, False]
    assert is_wildcard("::ffff:0.0.0.0")
    assert [plain_address(one) for one in ("::ffff:10.0.0.7", "fd00::7", "10.0.0.7", "unknown")] == [
        "10.0.0.7", "fd00::7", "10.0.0.7", "unknown",
    ]  # fmt: skip
    assert host_and_port("fd00::1", 80) == "[fd00::1]:80"
    assert host_and_port("name", "80") == "name:80"


def test_callers_who_cannot_be_led_are_told_of_before_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    plain = dataclasses.replace(asked(), inbound_capture=LED)
    kept = dataclasses.replace(asked(), inbound_capture=InboundCaptureParameters(transparent=True))
    check_inbound_capture(asked(), "127.0.0.1")
    check_inbound_capture(plain, "fd00::5")
    with pytest.raises(AgentError, match="where the application itself is; give --inbound-address"):
        check_inbound_capture(plain, "127.0.0.1")
    with pytest.raises(AgentError, match="no address is kept from one family to the other"):
        check_inbound_capture(kept, "fd00::5")
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    with pytest.raises(AgentError, match="the proxy needs CAP_NET_ADMIN"):
        check_inbound_capture(kept, "10.0.0.5")
