"""Workloads behind a shared proxy, for whoever takes one for a process of its own."""

from __future__ import annotations

from weft.agent.state import read_state, workload_directories
from weft.settings.home import Home


def carrier_of(home: Home, name: str) -> str:
    """The proxy name of the host that carries the workload of this name (``NAME`` or ``NAME.NAMESPACE``), as its agent
    has written it down; empty if none does."""
    for directory in workload_directories(home):
        state = read_state(directory)
        if state is not None and state.carrier and name in _names(state.name, state.namespace):
            return state.carrier
    return ""


def carried_text(name: str, carrier: str) -> str:
    """What to do instead of restarting or stopping it."""
    host, _, namespace = carrier.partition(".")
    host = host if namespace == "default" else carrier
    return (
        f"'{name}' is no process of its own: '{host}' carries it. When the file of that is saved with another entry, "
        f"or without it, '{name}' alone is started anew, or stopped; '{host}' itself is the process of all"
    )


def _names(name: str, namespace: str) -> tuple[str, ...]:
    return (f"{name}.{namespace}", *((name,) if namespace == "default" else ()))
