"""At which address callers reach a workload: the one given, or this host's on the way to the control plane."""

from __future__ import annotations

import os
from pathlib import Path

from weft.agent.diagnosis import connection_failure
from weft.agent.errors import EXIT_UNREACHABLE, EXIT_USAGE, AgentError
from weft.agent.parameters import RunParameters
from weft.agent.state import State
from weft.model.addresses import is_ip_address, is_loopback, is_wildcard
from weft.settings.addresses import is_of_this_host, local_address_towards

_LOOPBACK = "127.0.0.1"
_OPTION = "--inbound-address"
_TOWARDS = "towards:"
"""In front of ``HOST:PORT``: this host's address on the way there, where no control plane on another host says it."""
_CAP_NET_ADMIN = 12


def inbound_address(parameters: RunParameters, before: State | None) -> str:
    """The IP address of the inbound listeners. Resolves the control plane's name, and blocks meanwhile.

    A workload that was here before (`before`) keeps its address while its Envoy runs, which is to be adopted whatever
    becomes of routes, and while that name does not resolve. AgentError when no address can be chosen, or when callers
    cannot reach the one given.
    """
    given = parameters.proxy_host
    if given.startswith(_TOWARDS):
        host, colon, port = given.removeprefix(_TOWARDS).rpartition(":")
        if not host or not colon or not (port.isascii() and port.isdecimal() and 0 < int(port) < 65536):
            raise AgentError(f"{_OPTION} {given}: expected {_TOWARDS}HOST:PORT", EXIT_USAGE)
        return _on_the_way((host.strip("[]"), int(port)), given.removeprefix(_TOWARDS), before)
    if given:
        _check_given(given)
    if not parameters.control_plane.server:
        return given or _LOOPBACK
    if given and not is_loopback(given):
        return given
    control_plane = parameters.control_plane
    chosen = _on_the_way(control_plane.address, f"the control plane at {control_plane.server}", before)
    if given and parameters.ports and not is_loopback(chosen):
        raise AgentError(
            f"{_OPTION} {given}: callers on other hosts cannot reach loopback; leave the option out to be reached at "
            f"{chosen}, or give another address of this host",
            EXIT_USAGE,
        )
    return given or chosen


def check_inbound_capture(parameters: RunParameters, host: str) -> None:
    """AgentError where callers that connect to `host` cannot be led to the proxy, or would not be served there."""
    led = parameters.inbound_capture
    if led is None:
        return
    if is_loopback(host):
        raise AgentError(
            f"--inbound-capture: callers connect to {host}, where the application itself is; give {_OPTION}, an "
            "address of this host that is not loopback",
            EXIT_USAGE,
        )
    if led.transparent and ":" in host:
        raise AgentError(
            f"--inbound-capture tproxy: callers connect to {host}, the application is at {_LOOPBACK}, and no address "
            f"is kept from one family to the other; give {_OPTION}, an IPv4 address, or --inbound-capture on",
            EXIT_USAGE,
        )
    if led.transparent and not _may_be_transparent():
        raise AgentError(
            "--inbound-capture tproxy: the proxy needs CAP_NET_ADMIN and has no such right; give it by systemd "
            "(AmbientCapabilities=CAP_NET_ADMIN) or by `setpriv --inh-caps +net_admin --ambient-caps +net_admin weft "
            "run …`"
        )


def _may_be_transparent() -> bool:
    """Whether a program that is started now has CAP_NET_ADMIN, as root or by an ambient capability."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return False
    wanted = "CapBnd:" if os.geteuid() == 0 else "CapAmb:"
    held = next((int(line.split()[1], 16) for line in lines if line.startswith(wanted)), 0)
    return bool(held >> _CAP_NET_ADMIN & 1)


def _check_given(given: str) -> None:
    if not is_ip_address(given):
        raise AgentError(f"{_OPTION} {given}: expected an IP address of this host", EXIT_USAGE)
    if is_wildcard(given):
        raise AgentError(f"{_OPTION} {given}: expected the one address at which callers reach this host", EXIT_USAGE)
    if not is_of_this_host(given):
        raise AgentError(f"{_OPTION} {given}: this is no address of this host; `ip address` shows those", EXIT_USAGE)


def _on_the_way(address: tuple[str, int], what: str, before: State | None) -> str:
    host, port = address
    known = before.ports[0].inbound.host if before is not None and before.ports else ""
    if known and (is_loopback(known) or not is_of_this_host(known)):
        known = ""
    if known and before is not None and before.envoy is not None and before.envoy.alive:
        return known
    try:
        return local_address_towards(host, port)
    except OSError as error:
        if known:
            return known
        raise AgentError(
            f"no way to {what}: {connection_failure(error)}",
            EXIT_UNREACHABLE,
        ) from error
