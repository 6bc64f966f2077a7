"""The command lines with which `weft up` starts `weft serve`, `weft run` and `weft gateway`."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from weft.agent.parameters import DEFAULT_SERVICE_ACCOUNT
from weft.local.control_plane_entries import control_plane_arguments, secret_variables
from weft.local.meshfile import LOOPBACK, ControlPlanePorts, GatewayEntry, MeshFile, WorkloadEntry
from weft.local.names import CONTROL_PLANE, process_name
from weft.local.shared_proxy import HOST
from weft.model.identity import DEFAULT_TRUST_DOMAIN
from weft.model.network_namespace import namespace_path
from weft.settings.home import Home

LaunchKind = Literal["control-plane", "workload", "gateway", "host"]
MESH_FILE = "weft.yaml"
OWN_PYTHON = "{python}"
"""In the command of a workload: the Python that weft runs on."""


@dataclass(frozen=True, slots=True)
class Launch:
    """One process of a mesh: its name, arguments after ``weft``, working directory and added environment.

    Two equal ones are the same process. `key` is the namespace and name of the workload or gateway. `hidden` names
    variables that it is started without: they are secrets of the control plane's. `network_namespace` is the path of
    the one that the workload lives in, and `place` the line that says so.
    """

    name: str
    arguments: tuple[str, ...]
    directory: Path
    environment: Mapping[str, str]
    kind: LaunchKind = "control-plane"
    key: tuple[str, str] = ("", "")
    hidden: tuple[str, ...] = field(default=(), compare=False)
    network_namespace: str = ""
    place: str = field(default="", compare=False)


def mesh_launches(home: Home, mesh: MeshFile, base: Path, file: Path | None = None) -> tuple[Launch, ...]:
    """Every process of a mesh, in the order of their start: control plane, workloads (those that share a proxy as one
    process, which reads `file` itself; default: that of `base`), gateways."""
    sidecars = mesh.workloads if mesh.proxy == "sidecar" else [one for one in mesh.workloads if one.proxy == "sidecar"]
    agents = (
        *((host_launch(home, file or base / MESH_FILE),) if mesh.proxy == "shared" else ()),
        *(run_launch(home, workload, base, mesh.bind) for workload in sidecars),
        *(gateway_launch(home, gateway, base) for gateway in mesh.gateways),
    )
    hidden = secret_variables(mesh)
    return (serve_launch(home, mesh, base), *(replace(one, hidden=hidden) if hidden else one for one in agents))


def serve_launch(home: Home, mesh: MeshFile, base: Path) -> Launch:
    """``weft serve``."""
    arguments = ["serve", "--home", str(home.root)]
    for path in mesh.documents:
        arguments += ["--documents", str(base / path)]
    if mesh.trust_domain != DEFAULT_TRUST_DOMAIN:
        arguments += ["--trust-domain", mesh.trust_domain]
    if mesh.bind != LOOPBACK:
        arguments += ["--bind", mesh.bind]
    arguments += [*_port_arguments(mesh.ports), *control_plane_arguments(mesh, base)]
    return Launch(CONTROL_PLANE, tuple(arguments), base, {})


def _port_arguments(ports: ControlPlanePorts) -> list[str]:
    given = (
        ("--admin-port", ports.admin),
        ("--xds-port", ports.xds),
        ("--agent-port", ports.agent),
        ("--metrics-port", ports.metrics),
    )
    return [word for option, port in given if port is not None for word in (option, str(port))]


def run_launch(home: Home, workload: WorkloadEntry, base: Path, bind: str = LOOPBACK) -> Launch:
    """``weft run``, reached at `bind`. The application's variables travel in the environment: they may be secret."""
    arguments = ["run", "--home", str(home.root), "--name", workload.name, "--namespace", workload.namespace]
    if workload.group:
        arguments += ["--group", workload.group]
    if workload.service_account or not workload.group:
        arguments += ["--service-account", workload.service_account or DEFAULT_SERVICE_ACCOUNT]
    for key, value in workload.labels.items():
        arguments += ["--labels", f"{key}={value}"]
    for option, values in (("--port", workload.ports), ("--upstream", workload.upstreams), ("--uses", workload.uses)):
        arguments += [word for value in values for word in (option, value)]
    if bind != LOOPBACK:
        arguments += ["--inbound-address", bind]
    if workload.scope != "demand":
        arguments += ["--scope", workload.scope]
    if workload.locality:
        arguments += ["--locality", workload.locality]
    arguments += _health_arguments(workload)
    if workload.proxy_auth != "auto":
        arguments += ["--proxy-auth", workload.proxy_auth]
    if workload.identity_from:
        arguments += ["--identity-from", workload.identity_from]
    arguments += _names_and_capture(workload)
    if workload.metrics is not None:
        arguments += ["--metrics-port", str(workload.metrics.port), "--metrics-path", workload.metrics.path]
    directory = base / Path(workload.working_directory).expanduser()
    return Launch(
        process_name(workload.namespace, workload.name),
        (*arguments, "--", *(sys.executable if word == OWN_PYTHON else word for word in workload.command)),
        directory,
        dict(workload.env),
        "workload",
        (workload.namespace, workload.name),
        network_namespace=namespace_path(workload.network_namespace),
    )


def host_launch(home: Home, file: Path) -> Launch:
    """``weft host``."""
    return Launch(HOST, ("host", "--home", str(home.root), str(file)), file.parent, {}, "host", ("default", HOST))


def _names_and_capture(workload: WorkloadEntry) -> list[str]:
    found = ["--capture", workload.capture] if workload.capture != "off" else []
    if workload.inbound_capture != "off":
        found += ["--inbound-capture", workload.inbound_capture]
    if workload.dns != "off":
        found += [
            "--dns",
            workload.dns,
            *[word for each in workload.dns_upstreams for word in ("--dns-upstream", each)],
        ]
    return found


def _health_arguments(workload: WorkloadEntry) -> list[str]:
    check = workload.health_check
    if workload.group and check.http is None and check.tcp is None:
        return []
    if check.http is not None:
        kind = f"http:{check.http}"
    else:
        kind = "tcp" if workload.ports and check.tcp is not False else "none"
    return ["--health", kind, "--health-interval", f"{check.interval:g}", "--health-timeout", f"{check.timeout:g}"]


def gateway_launch(home: Home, gateway: GatewayEntry, base: Path) -> Launch:
    """``weft gateway``."""
    arguments = ["gateway", "--home", str(home.root), "--namespace", gateway.namespace, "--bind", gateway.bind]
    for key, value in gateway.labels.items():
        arguments += ["--labels", f"{key}={value}"]
    for port, where in gateway.listen.items():
        arguments += ["--listen", f"{port}={where}"]
    if gateway.locality:
        arguments += ["--locality", gateway.locality]
    if gateway.identity_from:
        arguments += ["--identity-from", gateway.identity_from]
    return Launch(
        process_name(gateway.namespace, gateway.name),
        (*arguments, gateway.name),
        base,
        {},
        "gateway",
        (gateway.namespace, gateway.name),
    )
