"""The command lines with which `weft up` starts `weft serve`, `weft run` and `weft gateway`."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from weft.local.meshfile import LOOPBACK, ControlPlanePorts, GatewayEntry, MeshFile, WorkloadEntry
from weft.local.names import CONTROL_PLANE, process_name
from weft.model.identity import DEFAULT_TRUST_DOMAIN
from weft.settings.home import Home

LaunchKind = Literal["control-plane", "workload", "gateway"]
OWN_PYTHON = "{python}"
"""In the command of a workload: the Python that weft runs on."""


@dataclass(frozen=True, slots=True)
class Launch:
    """One process of a mesh: its name, arguments after ``weft``, working directory and added environment.

    Two equal ones are the same process. `key` is the namespace and name of the workload or gateway.
    """

    name: str
    arguments: tuple[str, ...]
    directory: Path
    environment: Mapping[str, str]
    kind: LaunchKind = "control-plane"
    key: tuple[str, str] = ("", "")


def mesh_launches(home: Home, mesh: MeshFile, base: Path) -> tuple[Launch, ...]:
    """Every process of a mesh, in the order of their start: control plane, workloads, gateways."""
    return (
        serve_launch(home, mesh, base),
        *(run_launch(home, workload, base, mesh.bind) for workload in mesh.workloads),
        *(gateway_launch(home, gateway, base) for gateway in mesh.gateways),
    )


def serve_launch(home: Home, mesh: MeshFile, base: Path) -> Launch:
    """``weft serve``."""
    arguments = ["serve", "--home", str(home.root)]
    for path in mesh.documents:
        arguments += ["--documents", str(base / path)]
    if mesh.trust_domain != DEFAULT_TRUST_DOMAIN:
        arguments += ["--trust-domain", mesh.trust_domain]
    if mesh.bind != LOOPBACK:
        arguments += ["--bind", mesh.bind]
    arguments += _port_arguments(mesh.ports)
    return Launch(CONTROL_PLANE, tuple(arguments), base, {})


def _port_arguments(ports: ControlPlanePorts) -> list[str]:
    given = (("--admin-port", ports.admin), ("--xds-port", ports.xds), ("--agent-port", ports.agent))
    return [word for option, port in given if port is not None for word in (option, str(port))]


def run_launch(home: Home, workload: WorkloadEntry, base: Path, bind: str = LOOPBACK) -> Launch:
    """``weft run``, reached at `bind`. The application's variables travel in the environment: they may be secret."""
    arguments = ["run", "--home", str(home.root), "--name", workload.name, "--namespace", workload.namespace]
    arguments += ["--service-account", workload.service_account]
    for key, value in workload.labels.items():
        arguments += ["--labels", f"{key}={value}"]
    for option, values in (("--port", workload.ports), ("--upstream", workload.upstreams), ("--uses", workload.uses)):
        arguments += [word for value in values for word in (option, value)]
    if bind != LOOPBACK:
        arguments += ["--inbound-address", bind]
    if workload.scope != "demand":
        arguments += ["--scope", workload.scope]
    arguments += _health_arguments(workload)
    directory = base / Path(workload.working_directory).expanduser()
    return Launch(
        process_name(workload.namespace, workload.name),
        (*arguments, "--", *(sys.executable if word == OWN_PYTHON else word for word in workload.command)),
        directory,
        dict(workload.env),
        "workload",
        (workload.namespace, workload.name),
    )


def _health_arguments(workload: WorkloadEntry) -> list[str]:
    check = workload.health_check
    if check.http is not None:
        kind = f"http:{check.http}"
    else:
        kind = "tcp" if workload.ports and check.tcp is not False else "none"
    return ["--health", kind, "--health-interval", f"{check.interval:g}", "--health-timeout", f"{check.timeout:g}"]


def gateway_launch(home: Home, gateway: GatewayEntry, base: Path) -> Launch:
    """``weft gateway``."""
    arguments = ["gateway", "--home", str(home.root), "--namespace", gateway.namespace, "--bind", gateway.bind]
    for port, where in gateway.listen.items():
        arguments += ["--listen", f"{port}={where}"]
    return Launch(
        process_name(gateway.namespace, gateway.name),
        (*arguments, gateway.name),
        base,
        {},
        "gateway",
        (gateway.namespace, gateway.name),
    )
