"""Adoption: a new agent takes over the Envoy and the application that an earlier one started."""

from __future__ import annotations

import dataclasses
import logging

from weft.agent.state import State, stop_processes
from weft.model.workload import WorkloadState
from weft.processes.name import ProcessName

_LOG = logging.getLogger(__name__)


def adoptable(before: State | None, plan: str, grace: float, *, carried: bool = False) -> State | None:
    """The processes and ports of `before` that can be taken over, or None.

    With another `plan` (command, ports, gateway) what still runs is stopped instead: application, then Envoy. Blocks
    while it does. `carried`: its Envoy is not its own to adopt or to stop.
    """
    if before is None:
        return None
    envoy, application = _alive(before.envoy), _alive(before.application)
    found = dataclasses.replace(
        before,
        envoy=envoy,
        application=application,
        responder=_alive(before.responder),
        successor=_alive(before.successor),
        former=_alive(before.former),
        confinement=_alive(before.confinement),
    )
    if envoy is None and found.successor is not None and found.hot is not None and not found.hot.has_beginner:
        # It has taken over while no agent looked, and the one before has ended as it should.
        envoy = found.successor
        found = dataclasses.replace(
            found, envoy=envoy, successor=None, hot=found.hot.next, bootstrap=found.successor_bootstrap
        )
    if envoy is None:  # what was to take over from it, or has not ended yet, has its ports
        stop_processes(dataclasses.replace(found, application=None, responder=None, confinement=None), grace)
        found = dataclasses.replace(found, successor=None, former=None)
    if envoy is None and application is None:
        stop_processes(found, grace)
        return None
    if before.plan != plan:
        _LOG.info("stopping what an earlier run with other settings has left")
        stop_processes(found, grace)
        return None
    return dataclasses.replace(found, state=_state(found, carried))


def _state(found: State, carried: bool) -> WorkloadState:
    """What to tell the control plane until the next health check."""
    if found.state not in (WorkloadState.HEALTHY, WorkloadState.UNHEALTHY):
        return WorkloadState.STARTING
    return found.state if found.envoy is not None or carried else WorkloadState.UNHEALTHY


def _alive(name: ProcessName | None) -> ProcessName | None:
    return name if name is not None and name.alive else None
