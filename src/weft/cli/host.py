"""`weft host`: many applications of a host behind one proxy."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from weft.cli.failure import FailedError
from weft.cli.options import command, home_option, namespace_option
from weft.cli.run import control_plane_of, control_plane_options, run, run_parameters
from weft.settings.home import Home

if TYPE_CHECKING:
    from weft.agent.parameters import RunParameters
    from weft.local.hostfile import HostFile

_LOG = logging.getLogger(__name__)


@command(
    "host",
    "weft host weft.yaml",
    "weft host /etc/weft/host.yaml --name vm-7 --home /var/lib/weft",
)
@home_option
@click.option("--name", default="host", show_default=True, help="Name of the shared proxy, unique in its namespace.")
@namespace_option
@click.option(
    "--service-account",
    default="weft-host",
    show_default=True,
    help="Service account of the proxy itself. Its workloads have their own.",
)
@control_plane_options
@click.argument("file", type=click.Path(path_type=Path))
def host(home: Home, name: str, namespace: str, service_account: str, file: Path, quiet: bool, **given: Any) -> int:
    """Run applications of this host behind one shared proxy.

    FILE is a weft.yaml, of which the workloads count: all but those with `proxy: sidecar`. When it is saved, what
    changed is started and stopped, and nothing else. Each workload keeps its identity, its ports, its policies and its
    signals; one Envoy and this process serve them all, for workloads that trust each other (docs/shared-proxy.md).
    """
    from weft.agent.host.parameters import HostParameters
    from weft.cli.agents import run_agent
    from weft.local.hostfile import HostFile
    from weft.local.meshfile import MeshFileError

    if given["control_plane"] and not given["control_plane"].startswith("unix:"):
        raise click.UsageError(
            "--control-plane: expected unix:PATH; workloads behind a shared proxy join a control plane of this host, "
            "and one on another host takes `weft run` for each"
        )
    if given["identity_from"]:
        raise click.UsageError("--identity-from: not with a shared proxy; use `weft run` for such a workload")
    plane = control_plane_of(home, given)
    source = HostFile(file, home)
    try:
        source.read()
    except MeshFileError as error:
        raise FailedError(f"{file} cannot be used\n{error}") from error
    wanted = _follow(source, given["control_plane"], quiet)
    return run_agent(HostParameters(home, wanted, name, namespace, service_account, plane, quiet=quiet))


def _follow(source: HostFile, control_plane: str, quiet: bool) -> Callable[[], tuple[RunParameters, ...] | None]:
    """What the file wants, as `weft run` would be asked for each of its workloads; None while it cannot be used."""
    from weft.local.meshfile import MeshFileError

    more = (*(("--control-plane", control_plane) if control_plane else ()), *(("--quiet",) if quiet else ()))

    def wanted() -> tuple[RunParameters, ...] | None:
        try:
            launches = source.read()
        except MeshFileError as error:
            if source.is_news(str(error)):
                _LOG.error("%s cannot be used, and nothing was changed\n%s", source.path, error)
            return None
        try:
            return tuple(_parameters((*more, *launch.arguments[1:]), launch) for launch in launches)
        except click.ClickException as error:
            if source.is_news(str(error)):
                _LOG.error("%s cannot be used, and nothing was changed: %s", source.path, error.format_message())
            return None

    return wanted


def _parameters(arguments: tuple[str, ...], launch: Any) -> RunParameters:
    from dataclasses import replace

    with run.make_context("weft run", list(arguments)) as context:
        found = run_parameters(**context.params)
    return replace(found, environment=tuple(launch.environment.items()), directory=str(launch.directory))
