"""Running the agent in this process, for `weft run`, `weft host`, `weft gateway` and `weft pod proxy`."""

from __future__ import annotations

import logging

from weft.agent.errors import AgentError
from weft.agent.host.parameters import HostParameters
from weft.agent.parameters import GatewayParameters, RunParameters
from weft.agent.pod.environment import PodParameters
from weft.agent.signals import HANDLED
from weft.cli.failure import FailedError
from weft.processes.signals import signals_held
from weft.telemetry.log import set_up_logging


def run_agent(parameters: RunParameters | GatewayParameters | HostParameters | PodParameters) -> int:
    """Run until the application ends or a signal comes; the exit code."""
    match parameters:
        case RunParameters():
            what = f"run {parameters.name}"
        case HostParameters():
            what = "host"
        case GatewayParameters():
            what = f"gateway {parameters.gateway}"
        case PodParameters():
            what = "pod"
    quiet = not isinstance(parameters, PodParameters) and parameters.quiet
    level = logging.WARNING if quiet else logging.INFO
    set_up_logging(f"weft {what}", level, timed=isinstance(parameters, PodParameters))
    try:
        with signals_held(HANDLED):
            if isinstance(parameters, RunParameters):
                from weft.agent.run import run_workload

                return run_workload(parameters)
            if isinstance(parameters, HostParameters):
                from weft.agent.host.host import run_host

                return run_host(parameters)
            if isinstance(parameters, PodParameters):
                from weft.agent.pod.sidecar import run_pod

                return run_pod(parameters)
            from weft.agent.gateway import run_gateway

            return run_gateway(parameters)
    except AgentError as error:
        raise FailedError(str(error), error.exit_code) from error
