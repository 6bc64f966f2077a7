"""The WorkloadGroup that a workload is started from: asked for before anything starts, kept for the next start."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import replace

import msgspec

from weft.agent.certificates import CertificateFiles
from weft.agent.client import ControlPlaneClient, RefusedError, UnreachableError
from weft.agent.errors import EXIT_TIMEOUT, AgentError
from weft.agent.parameters import DEFAULT_SERVICE_ACCOUNT, HealthParameters, PortParameter, RunParameters
from weft.agent.signals import HANDLED, Signals
from weft.agent.state import read_state
from weft.model.groups import GroupAnswer
from weft.model.labels import labels_from_mapping
from weft.model.locality import NOWHERE, locality_from_text
from weft.processes.signals import hold_signals
from weft.settings.private import PermissionsError, make_private_directory, write_atomically

_LOG = logging.getLogger(__name__)
_FILE = "group.json"
_RETRY = 0.5
_SAY_EVERY = 30.0
_SCRAPE, _PORT, _PATH = "prometheus.io/scrape", "prometheus.io/port", "prometheus.io/path"


def run_grouped(parameters: RunParameters) -> RunParameters | int:
    """`parameters` with what the group says and the command line does not; an exit code if a signal came first.

    While an earlier agent's proxy or application runs, that is what they were started with. A control plane that is
    away is waited for, unless an earlier start has kept its answer, and so is a group that is not there yet. Blocks."""
    return asyncio.run(_run(parameters))


async def _run(parameters: RunParameters) -> RunParameters | int:
    signals = Signals()
    with signals.handled(lambda _: None):
        look = asyncio.create_task(_answer(parameters))
        stop = asyncio.create_task(signals.stop.wait())
        await asyncio.wait({look, stop}, return_when=asyncio.FIRST_COMPLETED)
        hold_signals(HANDLED)  # until the lifecycle handles them
        found = look.done()
        for task in (look, stop):
            task.cancel()
        answers = await asyncio.gather(look, stop, return_exceptions=True)
    if not found:
        return 128 + signals.first
    if isinstance(answers[0], BaseException):
        raise answers[0]
    return with_group(parameters, answers[0])


async def grouped(parameters: RunParameters) -> RunParameters:
    """The same where somebody else hears the signals, and gives it up."""
    return with_group(parameters, await _answer(parameters))


def with_group(parameters: RunParameters, answer: GroupAnswer) -> RunParameters:
    """`parameters` with what `answer` says and they do not."""
    said = parameters.group
    if said is None:
        return parameters
    ports = grouped_ports(parameters.ports, answer.ports)
    metrics = dict(answer.metrics)
    grouped = replace(
        parameters,
        labels=labels_from_mapping({**dict(answer.labels), **dict(parameters.labels)}),
        ports=ports,
        weight=answer.weight,
        service_account=parameters.service_account
        if said.has_account
        else answer.service_account or DEFAULT_SERVICE_ACCOUNT,
        locality=parameters.locality if parameters.locality != NOWHERE else locality_from_text(answer.locality),
        health=parameters.health if said.has_health else _health(answer, ports),
    )
    if parameters.metrics_port or metrics.get(_SCRAPE) != "true":
        return grouped
    number = metrics.get(_PORT, "")
    port = int(number) if number.isascii() and number.isdigit() else (ports[0].port if ports else 0)
    path = metrics.get(_PATH, "")
    return replace(grouped, metrics_port=port, metrics_path=path) if 0 < port < 1 << 16 else grouped


def grouped_ports(own: tuple[PortParameter, ...], group: tuple[tuple[str, int], ...]) -> tuple[PortParameter, ...]:
    """Those of the command line, which have the group's name if they have none, and those that only the group has."""
    names = {port.name for port in own if port.name}
    numbers = {port.port for port in own}
    unused = {number: name for name, number in group if name not in names}
    named = [port if port.name else replace(port, name=unused.get(port.port, "")) for port in own]
    return (*named, *(PortParameter(number, name=name) for number, name in unused.items() if number not in numbers))


def _health(answer: GroupAnswer, ports: tuple[PortParameter, ...]) -> HealthParameters:
    probe = answer.probe
    if probe is None:
        return HealthParameters("tcp" if ports else "none")
    return HealthParameters(
        probe.kind,
        probe.path,
        probe.interval,
        probe.timeout,
        probe.unhealthy_after,
        probe.healthy_after,
        probe.port,
        probe.host,
        probe.tls,
        probe.headers,
        probe.delay,
    )


async def _answer(parameters: RunParameters) -> GroupAnswer:
    name = parameters.group.name if parameters.group is not None else ""
    before = read_state(parameters.home.workload(parameters.namespace, parameters.name))
    runs = before is not None and any(one is not None and one.alive for one in (before.envoy, before.application))
    kept = _kept(parameters, name)
    if kept is not None and runs:
        return kept
    client = _client(parameters)
    clock = asyncio.get_running_loop().time
    began, said, heard = clock(), float("-inf"), ""
    while True:
        try:
            answer = await client.group(name)
        except AgentError as error:
            unknown = isinstance(error, RefusedError) and error.code == "unknown-group"
            if kept is not None and not unknown:
                _LOG.warning("%s; starting with what group %s said last", error, name)
                return kept
            if not unknown and not isinstance(error, UnreachableError):
                raise AgentError(
                    f"the control plane does not tell of group {name}: {error}", error.exit_code
                ) from error
            text = f"{error}; waiting until it is applied" if unknown else f"{error}; waiting for it{client.hint}"
        else:
            _keep(parameters, name, answer)
            return answer
        waited = clock() - began
        if parameters.timing.wait and waited >= parameters.timing.wait:
            raise AgentError(f"gave up after {parameters.timing.wait:g} s: {text}", EXIT_TIMEOUT)
        if (unknown or waited >= 1.0) and (text != heard or clock() - said >= _SAY_EVERY):
            _LOG.warning("%s", text)
            said, heard = clock(), text
        await asyncio.sleep(_RETRY)


def _client(parameters: RunParameters) -> ControlPlaneClient:
    control = parameters.control_plane
    directory = parameters.home.workload(parameters.namespace, parameters.name)
    socket = parameters.home.agent_socket if not control.socket else type(directory)(control.socket)
    return ControlPlaneClient(control, socket, CertificateFiles(directory), parameters.namespace, parameters.name)


class _Kept(msgspec.Struct, frozen=True):
    """What is kept: which group, and what it said."""

    group: str
    answer: GroupAnswer


def _kept(parameters: RunParameters, name: str) -> GroupAnswer | None:
    try:
        text = (parameters.home.workload(parameters.namespace, parameters.name) / _FILE).read_bytes()
        kept = msgspec.json.decode(text, type=_Kept)
    except (OSError, msgspec.DecodeError):
        return None
    return kept.answer if kept.group == name else None


def _keep(parameters: RunParameters, name: str, answer: GroupAnswer) -> None:
    home = parameters.home
    directory = home.workload(parameters.namespace, parameters.name)
    try:
        for path in (home.root, home.workloads, directory.parent, directory):
            make_private_directory(path)
        write_atomically(directory / _FILE, msgspec.json.encode(_Kept(name, answer)))
    except (PermissionsError, OSError) as error:
        raise AgentError(f"cannot use {directory}: {error}") from error
