"""The port to which connections are led: free in both families, and the same after a restart."""

from __future__ import annotations

import socket

import pytest

from weft.agent.errors import AgentError
from weft.agent.ports import PortAllocator, allocate_capture_port, held_ports
from weft.agent.state import State


@pytest.mark.parametrize(("family", "host"), [(socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")])
def test_a_taken_port_is_refused_where_it_is_asked_for_and_passed_over_where_it_is_not(
    family: socket.AddressFamily, host: str
) -> None:
    with socket.create_server((host, 0), family=family) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(AgentError, match=f"--capture: port {port} of 127.0.0.1 is taken"):
            allocate_capture_port(port, PortAllocator(set()), 0)
        assert allocate_capture_port(0, PortAllocator({15001}), port) not in (port, 15001)


def test_the_port_of_before_is_taken_again_and_nobody_else_is_given_it() -> None:
    port = allocate_capture_port(0, PortAllocator({15001}), 0)
    assert allocate_capture_port(0, PortAllocator(set()), port) == port
    assert port in held_ports(State("a", "default", capture=port))
    assert allocate_capture_port(0, PortAllocator({15001, port}), port) not in (port, 15001)
