"""Running the agent in this process, for `weft run`, `weft host` and `weft gateway`."""

from __future__ import annotations

import logging

from weft.agent.errors import AgentError
from weft.agent.host.parameters import HostParameters
from weft.agent.parameters import GatewayParameters, RunParameters
from weft.agent.signals import HANDLED
from weft.cli.failure import FailedError
from weft.processes.signals import signals_held
from weft.telemetry.log import set_up_logging


def run_agent(parameters: RunParameters | GatewayParameters | HostParameters) -> int:
    """Run until the application ends or a signal comes; the exit code."""
    match parameters:
        case RunParameters():
            what = f"run {parameters.name}"
        case HostParameters():
            what = "host"
        case GatewayParameters():
            what = f"gateway {parameters.gateway}"
    set_up_logging(f"weft {what}", logging.WARNING if parameters.quiet else logging.INFO)
    try:
        with signals_held(HANDLED):
            if isinstance(parameters, RunParameters):
                from weft.agent.run import run_workload

                return run_workload(parameters)
            if isinstance(parameters, HostParameters):
                from weft.agent.host.host import run_host

                return run_host(parameters)
            from weft.agent.gateway import run_gateway

            return run_gateway(parameters)
    except AgentError as error:
        raise FailedError(str(error), error.exit_code) from error
