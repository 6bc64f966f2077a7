"""`weft host`: many applications of a host behind one proxy."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import click

from weft.cli.failure import FailedError
from weft.cli.options import command, home_option, namespace_option
from weft.cli.run import control_plane_of, run, run_parameters
from weft.settings.home import Home

if TYPE_CHECKING:
    from weft.agent.parameters import RunParameters
    from weft.local.commands import Launch
    from weft.local.host_tokens import Tokens
    from weft.local.hostfile import HostFile

_NOTHING_ELSE = {"join_proof": (), "identity_from": ""}
_LOOK_EVERY = 0.5
_LOG = logging.getLogger(__name__)


@command(
    "host",
    "weft host weft.yaml",
    "weft host /etc/weft/host.yaml --name vm-7 --control-plane 10.0.0.5:15013 --ca-fingerprint sha256:... \\",
    "         --tokens /etc/weft/tokens",
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
@click.option(
    "--control-plane",
    metavar="HOST:PORT|unix:PATH",
    default="",
    help="Agent API of a control plane on another host, or its socket for other users of this one.  [default: the one "
    "of --home]",
)
@click.option("--ca-fingerprint", default="", help="sha256:HEX of the CA, as `weft token create` prints it.")
@click.option(
    "--tokens",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    metavar="DIR",
    help="Join tokens, for the first start: a file for the proxy and one for each workload, called NAME, or "
    "NAME.NAMESPACE outside of `default`.  [default: WEFT_TOKEN for all, or systemd's credentials]",
)
@click.option("--quiet", is_flag=True, help="Print only warnings and errors.")
@click.argument("file", type=click.Path(path_type=Path))
def host(
    *,
    home: Home,
    name: str,
    namespace: str,
    service_account: str,
    control_plane: str,
    ca_fingerprint: str,
    tokens: Path | None,
    quiet: bool,
    file: Path,
) -> int:
    """Run applications of this host behind one shared proxy.

    FILE is a weft.yaml, of which the workloads count: all but those with `proxy: sidecar`. When it is saved, what
    changed is started and stopped, and nothing else. Each workload keeps its identity, its ports, its policies and its
    signals; one Envoy and this process serve them all, for workloads that trust each other (docs/shared-proxy.md).
    """
    from weft.agent.host.parameters import HostParameters
    from weft.cli.agents import run_agent
    from weft.local.host_tokens import Tokens
    from weft.local.hostfile import HostFile
    from weft.local.meshfile import MeshFileError

    known = Tokens(tokens) if control_plane and not control_plane.startswith("unix:") else None
    if tokens is not None and known is None:
        raise click.UsageError("--tokens goes with --control-plane HOST:PORT")
    where = {"control_plane": control_plane, "ca_fingerprint": ca_fingerprint}
    token = _token(known, name, namespace) if known is not None else ""
    plane = control_plane_of(home, {**_NOTHING_ELSE, **where, "token": token})
    source = HostFile(file, home)
    more = (*(("--control-plane", control_plane) if control_plane else ()), *(("--quiet",) if quiet else ()))
    more += ("--ca-fingerprint", ca_fingerprint) if ca_fingerprint else ()
    try:
        _wait_for(source, home.workload(namespace, name), lambda: _workloads(source.read(), more, known))
    except MeshFileError as error:
        raise FailedError(f"{file} cannot be used\n{error}") from error
    if known is not None:
        _tell_strangers(known, [(name, namespace), *((each.key[1], each.key[0]) for each in source.read())])
    wanted = _follow(source, more, known)
    return run_agent(HostParameters(home, wanted, name, namespace, service_account, plane, quiet=quiet))


def _token(tokens: Tokens, name: str, namespace: str) -> str:
    """Somebody's join token; none, and why is said, if its file cannot be used: who has joined does not need it."""
    from weft.local.host_tokens import TokenFileError

    try:
        return tokens.of(name, namespace)
    except TokenFileError as error:
        click.echo(f"weft host: --tokens: {error}", err=True)
        return ""


def _tell_strangers(tokens: Tokens, owners: list[tuple[str, str]]) -> None:
    from weft.local.host_tokens import TokenFileError

    try:
        found = tokens.strangers(owners)
    except TokenFileError as error:
        found = (str(error),)
    for text in found:
        click.echo(f"weft host: --tokens: {text}", err=True)


def _wait_for(source: HostFile, directory: Path, read: Callable[[], object]) -> None:
    """Until the file can be used, where its workloads run already: an agent that is only replaced must not end over
    it. MeshFileError or click's errors where nothing runs yet."""
    from weft.agent.state import read_state
    from weft.local.meshfile import MeshFileError

    state = read_state(directory)
    runs = state is not None and state.envoy is not None and state.envoy.alive
    if state is not None and state.agent is not None and state.agent.alive:
        runs = runs and state.agent.pid == os.getpid()  # else another one looks after it
    while True:
        try:
            read()
        except (MeshFileError, click.ClickException) as error:
            if not runs:
                raise
            if source.is_news(str(error)):
                said = f"{source.path} cannot be used; what runs goes on, without an agent"
                click.echo(f"weft host: {said}\n{error}", err=True)
            time.sleep(_LOOK_EVERY)
        else:
            return


def _follow(
    source: HostFile, more: tuple[str, ...], tokens: Tokens | None
) -> Callable[[], tuple[RunParameters, ...] | None]:
    """What the file wants, as `weft run` would be asked for each of its workloads; None while it cannot be used."""
    from weft.local.meshfile import MeshFileError

    launches: tuple[Launch, ...] | None = None
    found: tuple[RunParameters, ...] = ()

    def wanted() -> tuple[RunParameters, ...] | None:
        nonlocal launches, found
        try:
            now = source.read()
            if now is not launches:  # asked twice a second, it mostly was not saved
                launches, found = now, _workloads(now, more, tokens)
                if not found:
                    _LOG.warning("%s has no workload that shares a proxy; waiting until it has", source.path)
            return found
        except (MeshFileError, click.ClickException) as error:
            if source.is_news(str(error)):
                _LOG.error("%s cannot be used, and nothing was changed\n%s", source.path, error)
            return None

    return wanted


def _workloads(launches: tuple[Launch, ...], more: tuple[str, ...], tokens: Tokens | None) -> tuple[RunParameters, ...]:
    """What is wanted of each. Raises click's errors, for what the environment adds."""
    return tuple(_parameters((*more, *launch.arguments[1:]), launch, tokens) for launch in launches)


def _parameters(arguments: tuple[str, ...], launch: Launch, tokens: Tokens | None) -> RunParameters:
    from dataclasses import replace

    from weft.agent.parameters import NamespaceParameters

    with run.make_context("weft run", list(arguments)) as context:
        found = run_parameters(**context.params)
    led = found.capture or found.inbound_capture or found.dns
    if led is not None or found.control_plane.identity_from:
        raise click.UsageError(
            f"{found.name}: WEFT_CAPTURE, WEFT_INBOUND_CAPTURE, WEFT_ANSWER_NAMES and WEFT_IDENTITY_FROM are not for "
            "workloads that share a proxy; found one of them in the environment"
        )
    if tokens is not None:
        plane = replace(found.control_plane, token=_token(tokens, found.name, found.namespace))
        found = replace(found, control_plane=plane)
    path = launch.network_namespace
    where = NamespaceParameters(path, launch.place) if path else None
    environment = tuple(launch.environment.items())
    return replace(found, environment=environment, directory=str(launch.directory), network_namespace=where)
