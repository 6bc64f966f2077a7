"""Options that several commands share, and the command class that shows examples in its help."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from weft.cli.examples import write_examples
from weft.settings.home import Home, default_home

if TYPE_CHECKING:
    from ipaddress import IPv4Network, IPv6Network

CommandT = TypeVar("CommandT", bound=Callable[..., Any])


class PortNumber(click.IntRange):
    """A port, of which 0 may mean any."""

    name = "port"

    def __init__(self, *, least: int = 1) -> None:
        super().__init__(least, 65535)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """The number; click's error if it is none."""
        try:
            return int(super().convert(value, param, ctx))
        except click.BadParameter:
            self.fail(f"'{value}' is no port, which is {self.min} to {self.max}.", param, ctx)


class Command(click.Command):
    """A command whose help ends with examples."""

    def __init__(self, *args: Any, examples: tuple[str, ...] = (), **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.examples = examples

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """As click does; who asks for ``--json`` as with other tools is told its name here."""
        try:
            return super().parse_args(ctx, args)
        except click.NoSuchOption as error:
            form = error.option_name.lstrip("-")
            if form in ("json", "yaml") and any(one.name == "output" for one in self.params):
                raise click.NoSuchOption(error.option_name, possibilities=[f"-o {form}"], ctx=ctx) from error
            raise

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Examples as they are typed."""
        super().format_epilog(ctx, formatter)
        write_examples(formatter, self.examples)


def command(name: str, *examples: str, **settings: Any) -> Callable[[Callable[..., Any]], Command]:
    """Declares a command with examples for its help."""
    return click.command(name, cls=Command, examples=examples, **settings)


def _home(ctx: click.Context, parameter: click.Parameter, value: str | None) -> Home:  # noqa: ARG001
    return Home(Path(value).expanduser().absolute() if value else default_home().expanduser().absolute())


def home_option(function: CommandT) -> CommandT:
    """``--home DIR``: the data directory."""
    return click.option(
        "--home",
        metavar="DIR",
        type=click.Path(file_okay=False),
        envvar="WEFT_HOME",
        callback=_home,
        help="Data directory of the mesh.  [env: WEFT_HOME; default: the platform's state directory]",
    )(function)


def namespace_option(function: CommandT) -> CommandT:
    """``-n NAMESPACE``."""
    return click.option("-n", "--namespace", default="default", show_default=True, help="Namespace.")(function)


def workload_api_socket(text: str, option: str = "--identity-from") -> str:
    """The path of the Workload API that an option names; empty if it names none."""
    from weft.settings.workload_api import socket_from_text

    try:
        return socket_from_text(text)
    except ValueError as error:
        raise click.UsageError(f"{option} {error}") from error


def network(option: str, text: str) -> IPv4Network | IPv6Network:
    """The addresses that the value of an option means. UsageError if it means none."""
    from ipaddress import ip_network

    try:
        return ip_network(text)
    except ValueError as error:
        raise click.UsageError(f"{option}: {error}; expected such as 10.0.0.0/8 or fd00::1") from None


def output_option(function: CommandT) -> CommandT:
    """``-o table|json|yaml``."""
    return click.option(
        "-o",
        "--output",
        type=click.Choice(["table", "json", "yaml"]),
        default="table",
        show_default=True,
        help="A table for people, JSON or YAML for programs.",
    )(function)


def wide_output_option(function: CommandT) -> CommandT:
    """``-o table|wide|json|yaml``."""
    return click.option(
        "-o",
        "--output",
        type=click.Choice(["table", "wide", "json", "yaml"]),
        default="table",
        show_default=True,
        help="A table for people (wide: with what few ask for, such as addresses), JSON or YAML for programs.",
    )(function)


def missing_references_option(function: CommandT) -> CommandT:
    """``--allow-missing-references``."""
    return click.option(
        "--allow-missing-references",
        "allow_missing",
        is_flag=True,
        help="What another document would mend (a Service, subset, Gateway, Secret or grant that is not there) is a "
        "warning, not an error: for a part of a mesh.",
    )(function)


def wait_options(function: CommandT) -> CommandT:
    """``--wait`` and ``--timeout SECONDS``."""
    function = click.option(
        "--timeout", type=click.FloatRange(0, 3600), default=30.0, show_default=True, help="Seconds to wait at most."
    )(function)
    return click.option(
        "--wait",
        is_flag=True,
        help="Return when every proxy concerned has confirmed the change (exit code 4: not yet).",
    )(function)


def files_argument(paths: tuple[str, ...]) -> list[Path | None]:
    """The document files that `paths` name: files, directories (``*.yaml``, ``*.yml``, ``*.json`` below them), or
    None for ``-``, the standard input. UsageError if one does not exist or a directory holds none."""
    from weft.local.mesh_documents import files_below

    found: list[Path | None] = []
    for text in paths:
        if text == "-":
            found.append(None)
            continue
        path = Path(text)
        if path.is_dir():
            inside = files_below(path)
            if not inside:
                raise click.UsageError(f"{text}: there is no .yaml, .yml or .json file in this directory")
            found.extend(inside)
        elif path.exists():
            found.append(path)
        else:
            raise click.UsageError(f"{text}: no such file or directory")
    return found
