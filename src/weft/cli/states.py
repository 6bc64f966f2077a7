"""The state of a workload of this host that was started with an option."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from weft.cli.failure import FailedError
from weft.settings.home import Home

if TYPE_CHECKING:
    from weft.agent.state import State


def state_with(option: str, has: Callable[[State], object], home: Home, namespace: str, workload: str) -> State:
    """What `workload` has written of itself; FailedError unless it was started with `option`, by which it `has`
    something: says who was."""
    from weft.agent.state import read_state, workload_directories

    known = [state for path in workload_directories(home) if (state := read_state(path)) is not None]
    here = {state.name: state for state in known if state.namespace == namespace}
    found = here.get(workload)
    if found is not None and has(found):
        return found
    others = sorted(name for name, state in here.items() if has(state))
    so = f"{', '.join(others)} {'was' if len(others) == 1 else 'were'}" if others else "none of its namespace was"
    what = "was not started with" if found else "is no workload of this host; start one with"
    raise FailedError(f"{namespace}/{workload} {what} `weft run {option}`" + (f"; {so}" if found or others else ""))
