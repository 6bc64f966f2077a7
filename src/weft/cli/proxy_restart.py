"""`weft proxy restart`: another Envoy takes over from the one of a workload or gateway of this host."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING

import click

from weft.cli.complete import complete_own_proxy
from weft.cli.failure import FailedError
from weft.cli.options import command, home_option
from weft.settings.home import Home

if TYPE_CHECKING:
    from weft.agent.state import State

_POLL = 0.05


@command(
    "restart",
    "weft proxy restart reviews-v2",
    "weft proxy restart public.ingress",
    "weft proxy restart --all",
)
@click.argument("name", required=False, shell_complete=complete_own_proxy)
@click.option("--all", "everyone", is_flag=True, help="Every workload and gateway of this home, one after the other.")
@click.option(
    "--timeout", type=click.FloatRange(1, 3600), default=60.0, show_default=True, help="Seconds to wait for each."
)
@home_option
def restart(name: str | None, everyone: bool, timeout: float, home: Home) -> int:
    """Have another Envoy take over, without losing a request.

    NAME is that of a workload or gateway of this host, or NAME.NAMESPACE. Its agent starts anew, too, as it is
    installed now; the application goes on. The Envoy before has the seconds of --drain for what it has begun.
    """
    if (name is None) is not everyone:
        raise click.UsageError("give the NAME of a workload or gateway, or --all")
    for directory in _directories(home, name):
        _restart(directory, timeout)
    return 0


def _directories(home: Home, name: str | None) -> tuple[Path, ...]:
    from weft.agent.state import workload_directories

    found = {f"{directory.name}.{directory.parent.name}": directory for directory in workload_directories(home)}
    if name is None:
        return tuple(directory for directory in found.values() if _agent(directory) is not None)
    wanted = name if name in found else f"{name}.default"
    if wanted not in found:
        near = get_close_matches(name, [*found, *(one.partition(".")[0] for one in found)], 1)
        hint = f"; did you mean {near[0]}?" if near else ""
        raise FailedError(f"no workload or gateway '{name}' has run in {home.root}{hint}")
    return (found[wanted],)


def _agent(directory: Path) -> State | None:
    """The state, if an agent looks after it."""
    from weft.agent.state import read_state

    state = read_state(directory)
    return state if state is not None and state.agent is not None and state.agent.alive else None


def _restart(directory: Path, timeout: float) -> None:
    from weft.agent.hot_restart import request_restart
    from weft.agent.state import read_state

    name = f"{directory.name}.{directory.parent.name}"
    known, before = read_state(directory), _agent(directory)
    if known is not None and known.carrier:
        raise FailedError(f"{name}: its Envoy is that of {known.carrier}; weft proxy restart {known.carrier}")
    if before is None or before.agent is None:
        raise FailedError(f"{name}: no agent runs, so there is nobody to start another Envoy")
    if before.envoy is None or before.hot is None:
        raise FailedError(f"{name}: its Envoy was not started so that another can take over; restart the workload")
    request_restart(directory)
    with contextlib.suppress(ProcessLookupError):
        os.kill(before.agent.pid, signal.SIGHUP)
    deadline = time.monotonic() + timeout
    while time.monotonic() < deadline:
        now = _agent(directory)
        if now is not None and now.envoy is not None and now.envoy != before.envoy:
            click.echo(f"{name}: Envoy {now.envoy.pid} has taken over from {before.envoy.pid}")
            return
        time.sleep(_POLL)
    raise FailedError(f"{name}: no other Envoy has taken over in {timeout:g} s; what its agent says tells why")
