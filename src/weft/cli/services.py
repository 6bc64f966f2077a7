"""`weft enable` and `weft disable`: weft as services of systemd."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from weft.cli.failure import FailedError
from weft.cli.group import Group
from weft.cli.options import CommandT, command

if TYPE_CHECKING:
    from weft.local.service_files import Plan
    from weft.local.services import Service

LOCAL_SOCKET = "/run/weft/agents.sock"
_EXAMPLES = {
    "control-plane": ("weft enable control-plane", "weft enable control-plane -- --bind 10.0.0.5"),
    "host": (
        "weft enable host",
        "weft enable host --tokens /etc/weft/tokens -- --control-plane 10.0.0.5:15013 --ca-fingerprint sha256:...",
    ),
    "gateway": (
        "weft enable gateway public -- --control-plane 10.0.0.5:15013 --ca-fingerprint sha256:... --bind 10.0.0.7",
        "weft enable gateway public --dry-run",
    ),
    "workload": (
        "weft enable workload reviews -- --labels app=reviews --port 9080 --control-plane 10.0.0.5:15013 \\",
        "         --ca-fingerprint sha256:...",
    ),
}
_HELP = {
    "control-plane": "Run the control plane as a service; what stands after -- goes to `weft serve`.",
    "host": "Run the workloads of /etc/weft/host.yaml behind one shared proxy, as a service; what stands after -- goes "
    "to `weft host`.",
    "gateway": "Run the proxy of the Gateway NAME as a service; what stands after -- goes to `weft gateway`.",
    "workload": "Run the proxy of the workload NAME as a service, for an application that has a unit of its own; what "
    "stands after -- goes to `weft run`.",
}


@click.group(cls=Group)
def enable() -> None:
    """Run weft as a service of systemd.

    Writes what a package has not brought: a unit in /etc/systemd/system and the options in /etc/weft; then the service
    is enabled and started. Written again it is restarted, with the options that are given then.
    """


@click.group(cls=Group)
def disable() -> None:
    """End a service of systemd that `weft enable` has made.

    Its unit and options are removed; its state stays: keys, certificates, documents.
    """


def _where_options(function: CommandT) -> CommandT:
    for option in (
        click.option(
            "--root",
            type=click.Path(file_okay=False, path_type=Path),
            metavar="DIR",
            help="Write below this directory, for an image, and tell no systemd.",
        ),
        click.option("--dry-run", is_flag=True, help="Only show what would be written and run."),
        click.option("--user", "own", is_flag=True, help="A service of this user's own systemd, without root."),
    ):
        function = option(function)
    return function


def _carry_out(plan: Plan, *, own: bool, root: Path | None, dry_run: bool) -> int:
    from weft.local.service_files import carry_out, systemd_runs

    if dry_run:
        _show(plan)
        return 0
    if root is None and not own and os.geteuid() != 0:
        raise FailedError("services of the system are root's: use sudo, or --user for one of your own")
    if root is None and not systemd_runs(own=own):
        raise FailedError("no systemd runs here; --dry-run shows the files, and --root DIR writes them elsewhere")
    try:
        carry_out(plan)
    except subprocess.CalledProcessError as error:
        raise FailedError(f"`{' '.join(error.cmd)}` gave {error.returncode}; the lines above say why") from error
    for path, _, _ in plan.write:
        click.echo(path)
    for path in plan.remove:
        click.echo(f"removed {path}")
    return 0


def _show(plan: Plan) -> None:
    for path, text, mode in plan.write:
        click.echo(f"# {path} (mode {mode:04o})\n{'(a secret)' if mode == 0o600 else text.rstrip()}\n")
    for path in plan.remove:
        click.echo(f"# remove {path}")
    for words in plan.commands:
        click.echo(f"# run: {' '.join(words)}")


def _service(kind: str, name: str, *, own: bool) -> Service:
    from weft.local.services import KINDS, Service, ServiceError

    try:
        return Service(next(one for one in KINDS if one == kind), name, own)
    except ServiceError as error:
        raise click.UsageError(str(error)) from error


def _checked(kind: str, name: str, options: tuple[str, ...]) -> click.Context:
    """How the command that the unit runs understands these options. UsageError where it would refuse them."""
    from weft.cli.run import control_plane_of
    from weft.cli.serve import serve

    if any(word == "--token" or word.startswith("--token=") for word in options):
        raise click.UsageError("--token would be seen by every user: give it by WEFT_TOKEN or --token-file")
    if kind == "control-plane":
        return serve.make_context("weft serve", [*options])
    understood = _checked_proxy(kind, name, options)
    given = {"join_proof": (), "identity_from": "", **understood.params, "token": ""}
    if given["control_plane"]:
        control_plane_of(given["home"], given)
    return understood


def _checked_proxy(kind: str, name: str, options: tuple[str, ...]) -> click.Context:
    from weft.cli.host import host
    from weft.cli.run import gateway, run

    if kind == "host":
        return host.make_context("weft host", [*options, "host.yaml"])
    if kind == "gateway":
        return gateway.make_context("weft gateway", [*options, name])
    if "--" in options:
        raise click.UsageError("a service has no application: give that a unit of its own, After= this one")
    return run.make_context("weft run", ["--name", name, *options])


def _is_local(service: Service, understood: click.Context) -> bool:
    """Whether it joins the control plane that is a service of this host."""
    return service.kind != "control-plane" and not service.own and not understood.params["control_plane"]


def _say_who_is_let_in(service: Service, understood: click.Context, *, dry_run: bool) -> None:
    """What the control plane of this host has to be told of a proxy that is another user's."""
    from weft.local.service_files import proxy_uid

    given = understood.params
    account = given["service_account"] or (service.name if service.kind == "gateway" else "default")
    uid = proxy_uid()
    who = "UID" if uid is None else uid
    accounts = [(given["namespace"], account), *(_accounts_of_host(service) if service.kind == "host" else ())]
    options = " ".join(f"--allow-uid {who}={namespace}/{name}@{service.unit}" for namespace, name in accounts)
    click.echo(
        f"the control plane of this host lets it in with: --shared-socket {LOCAL_SOCKET} {options}", err=not dry_run
    )


def _accounts_of_host(service: Service) -> list[tuple[str, str]]:
    """The identities of the workloads that the service is to carry. FailedError where their file cannot be used."""
    from weft.local.hostfile import shared_entries
    from weft.local.meshfile import MeshFileError, read_meshfile
    from weft.local.service_files import host_file_of
    from weft.local.shared_proxy import check_shared

    path = host_file_of(service)
    try:
        entries = shared_entries(read_meshfile(path, check_shared)) if path.exists() else ()
    except MeshFileError as error:
        raise FailedError(f"{path} cannot be used\n{error}") from error
    return sorted({(each.namespace, each.service_account or "default") for each in entries})


def _check_host_file(service: Service) -> None:
    from weft.local.service_files import host_file_of

    path = host_file_of(service)
    if not path.exists():
        raise FailedError(f"there is no {path}, which says what is to be carried; see docs/shared-proxy.md")


def _program() -> str:
    """How a unit calls this weft."""
    from weft.local.services import ServiceError, options_text

    beside = Path(sys.executable).with_name("weft")
    given = Path(sys.argv[0])
    found = given if given.name == "weft" and given.is_absolute() else beside if beside.exists() else None
    program = str(found or shutil.which("weft") or given.absolute())
    try:
        options_text((program,))
    except ServiceError as error:
        raise FailedError(f"{program}: a unit cannot call a program with such a path") from error
    return program


def _warn_of_place(program: str) -> None:
    """Services of the system see no home and a /tmp of their own."""
    if Path(program).is_relative_to("/home") or any(map(Path(program).is_relative_to, ("/root", "/tmp", "/var/tmp"))):  # noqa: S108
        where = "install weft where it can, such as below /opt, or as a package"
        click.echo(f"warning: the service cannot see {program}; {where}", err=True)


def _token(file: Path | None) -> str:
    if file is None:
        return os.environ.get("WEFT_TOKEN", "")
    return file.read_text().strip()


_REST: Callable[[CommandT], CommandT] = click.argument(
    "options", nargs=-1, metavar="[-- OPTIONS...]", type=click.UNPROCESSED
)
_TOKEN: Callable[[CommandT], CommandT] = click.option(
    "--token-file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    metavar="FILE",
    help="The join token, which the service gets as a credential.  [default: WEFT_TOKEN]",
)
_TOKENS: Callable[[CommandT], CommandT] = click.option(
    "--tokens",
    type=click.Path(file_okay=False, path_type=Path),
    metavar="DIR",
    help="Join tokens of the proxy and of each workload, in files called by their names, which the service gets as "
    "credentials.",
)
_NO_START: Callable[[CommandT], CommandT] = click.option(
    "--no-start", is_flag=True, help="Enable it, but do not start it now."
)


def _commands(kind: str) -> tuple[click.Command, click.Command]:
    """`weft enable KIND` and `weft disable KIND`."""
    from weft.local.services import ALONE

    named, carries = kind not in ALONE, kind == "host"
    argument: Callable[[CommandT], CommandT] = click.argument("name") if named else lambda function: function

    def start(
        *, own: bool, dry_run: bool, root: Path | None, no_start: bool, options: tuple[str, ...], **given: Any
    ) -> int:
        from weft.local.service_files import enabling
        from weft.local.services import ServiceError

        name = given.get("name", "")
        service = _service(kind, name, own=own)
        understood = _checked(kind, name, options)
        local = _is_local(service, understood)
        words = ("--control-plane", f"unix:{LOCAL_SOCKET}", *options) if local else options
        token = _token(given.get("token_file")) if named else ""
        tokens = given.get("tokens")
        if tokens is not None and not understood.params["control_plane"]:
            raise click.UsageError("--tokens goes with -- --control-plane HOST:PORT; on this host nobody needs one")
        if carries and root is None and not dry_run:
            _check_host_file(service)
        try:
            plan = enabling(service, _program(), words, token, root, start=not no_start, tokens=tokens)
        except ServiceError as error:
            raise click.UsageError(str(error)) from error
        if not own:
            _warn_of_place(_program())
        if local:
            _say_who_is_let_in(service, understood, dry_run=dry_run)
        return _carry_out(plan, own=own, root=root, dry_run=dry_run)

    def stop(*, own: bool, dry_run: bool, root: Path | None, **given: Any) -> int:
        from weft.local.service_files import disabling

        service = _service(kind, given.get("name", ""), own=own)
        return _carry_out(disabling(service, root), own=own, root=root, dry_run=dry_run)

    start.__doc__ = _HELP[kind]
    stop.__doc__ = f"End the service of the {kind.replace('-', ' ')}."
    begin = _where_options(_NO_START(argument(_REST(start))))
    end = _where_options(argument(stop))
    example = {"gateway": " public", "workload": " reviews"}
    undo = f"weft disable {kind}{example.get(kind, '')}"
    return (
        command(kind, *_EXAMPLES[kind])(_TOKEN(begin) if named else _TOKENS(begin) if carries else begin),
        command(kind, undo, f"{undo} --dry-run")(end),
    )


for _kind in _EXAMPLES:
    _start, _stop = _commands(_kind)
    enable.add_command(_start)
    disable.add_command(_stop)
