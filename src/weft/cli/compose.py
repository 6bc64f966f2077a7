"""`weft compose`: an ordinary Docker Compose project as a mesh."""

from __future__ import annotations

import os
import shlex
import shutil
import signal
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import click

from weft.cli.failure import FailedError
from weft.cli.group import Group
from weft.cli.options import command, output_option
from weft.cli.output import print_value

if TYPE_CHECKING:
    from weft.cli.options import CommandT
    from weft.local.compose.generation import Generated

_DIRECTORY = ".weft"
_COMPOSE, _DOCUMENTS = "compose.weft.yaml", "services.yaml"
_ENGINES = (("docker", "compose"), ("podman", "compose"), ("docker-compose",), ("podman-compose",))


@click.group(cls=Group)
def compose() -> None:
    """Run a Docker Compose project as a mesh.

    Every service gets a sidecar; the project's own files stay as they are. See docs/compose.md.
    """


def _project_options(function: CommandT) -> CommandT:
    for option in (
        click.option(
            "--env-file",
            type=click.Path(path_type=Path, dir_okay=False, exists=True),
            help="Variables.  [default: .env]",
        ),
        click.option(
            "--image",
            default="weft",
            show_default=True,
            help="The image of weft; WEFT_IMAGE says another at the start.",
        ),
        click.option(
            "-f",
            "--file",
            "files",
            multiple=True,
            type=click.Path(path_type=Path, dir_okay=False, exists=True),
            help="A file of the project; may be given again.  [default: compose.yaml, with its override]",
        ),
    ):
        function = option(function)
    return function


@command("generate", "weft compose generate", "weft compose generate -f compose.yaml -f production.yaml -d mesh")
@_project_options
@click.option(
    "-d",
    "--directory",
    type=click.Path(path_type=Path),
    help="Where the files are put.  [default: .weft beside the first]",
)
@output_option
def generate(files: tuple[Path, ...], image: str, env_file: Path | None, directory: Path | None, output: str) -> int:
    """Write what makes a mesh of a Compose project: a file to lay over its own, and its Services.

    Start it with: docker compose -f compose.yaml -f .weft/compose.weft.yaml up
    """
    given, made, where = _generated(files, image, env_file, directory)
    words = _words(("docker", "compose"), given, where)
    if output != "table":
        told = {"files": [str(where / name) for name in (_COMPOSE, _DOCUMENTS)]}
        print_value({**told, "left_out": list(made.left_out), "notes": list(made.notes), "command": words}, output)
        return 0
    _tell(made)
    click.echo(shlex.join([*words, "up"]))
    return 0


@command(
    "up",
    "weft compose up",
    "weft compose up -f compose.yaml -- -d --build",
    context_settings={"ignore_unknown_options": False},
)
@_project_options
@click.argument("arguments", nargs=-1, metavar="[-- ARGUMENTS...]", type=click.UNPROCESSED)
def up(files: tuple[Path, ...], image: str, env_file: Path | None, arguments: tuple[str, ...]) -> int:
    """Generate the files of a Compose project's mesh, and start it. ARGUMENTS go to the engine's `up`.

    The engine is docker compose, podman compose, docker-compose or podman-compose, whichever is there first.
    """
    engine = _engine()
    given, made, where = _generated(files, image, env_file, None)
    _tell(made)
    environment = [] if env_file is None else ["--env-file", str(env_file)]
    words = [*_words(engine, given, where), *environment, "up", *arguments]
    click.echo(shlex.join(words), err=True)
    return _run(words)


def _generated(
    files: tuple[Path, ...], image: str, env_file: Path | None, directory: Path | None
) -> tuple[tuple[Path, ...], Generated, Path]:
    """The files of the project, what was generated and written, and where."""
    from weft.local.compose.generation import generate as generated
    from weft.local.compose.interpolation import InterpolationError, read_env_file
    from weft.local.compose.project import ComposeError, read_project, usual_files

    try:
        given = files or usual_files(Path())
        base = given[0].parent
        usual = base / ".env"
        named = env_file or (usual if usual.is_file() else None)
        variables = read_env_file(named.read_text(), str(named)) if named is not None else {}
        project = read_project(given, {**variables, **os.environ})
        where = directory or base / _DIRECTORY
        made = generated(project, image, str((where / _DOCUMENTS).absolute()))
        where.mkdir(parents=True, exist_ok=True)
        (where / _DOCUMENTS).write_text(made.documents)
        (where / _COMPOSE).write_text(made.compose)
    except (ComposeError, InterpolationError, OSError, UnicodeDecodeError) as error:
        raise FailedError(str(error)) from error
    return given, made, where


def _words(engine: tuple[str, ...], given: tuple[Path, ...], where: Path) -> list[str]:
    files = (*given, where / _COMPOSE)
    return [*engine, *(word for path in files for word in ("-f", str(path)))]


def _tell(made: Generated) -> None:
    for text in (*made.left_out, *made.notes):
        click.echo(text, err=True)


def _engine() -> tuple[str, ...]:
    """The first engine that is there and answers."""
    for words in _ENGINES:
        if shutil.which(words[0]) is None:
            continue
        asked = subprocess.run([*words, "version"], capture_output=True, check=False, stdin=subprocess.DEVNULL)
        if asked.returncode == 0:
            return words
    names = ", ".join(" ".join(words) for words in _ENGINES)
    raise FailedError(f"none of {names} is there; weft compose generate writes the files without one")


def _run(words: list[str]) -> int:
    """Run the engine, which gets the terminal's Ctrl-C itself, to its end."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with subprocess.Popen(words, preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL)) as process:  # noqa: PLW1509
            return process.wait()
    except OSError as error:
        raise FailedError(f"{words[0]}: {error.strerror}") from error
    finally:
        signal.signal(signal.SIGINT, before)


compose.add_command(generate)
compose.add_command(up)
