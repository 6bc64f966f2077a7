"""What `apply` and `delete` have in common: reading documents, and printing what changed and who confirmed it."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from weft.cli.failure import ExitCode, FailedError
from weft.cli.options import files_argument
from weft.cli.output import coloured_diff, object_text, print_problems, styled
from weft.local.client import Source
from weft.local.command_line import command_line
from weft.local.mesh_documents import is_mesh_file

MAX_INPUT = 64 << 20
_NOTHING_CHANGED = "nothing changed for any connected proxy"


def read_sources(paths: tuple[str, ...]) -> list[Source]:
    """The texts with documents that ``-f`` names.

    A weft.yaml has none: it is left out of a directory, and a UsageError if it is named itself.
    """
    files = files_argument(paths)
    for path in files:
        if path is not None and is_mesh_file(path.name) and str(path) in {str(Path(text)) for text in paths}:
            start = command_line("up", "-f", str(path))
            raise click.UsageError(f"{path} is a mesh, not documents; start it with: {start}")
    return [_read(path) for path in files if path is None or not is_mesh_file(path.name)]


def read_all(paths: tuple[str, ...]) -> list[Source]:
    """As `read_sources`, with every weft.yaml."""
    return [_read(path) for path in files_argument(paths)]


def _read(path: Path | None) -> Source:
    try:
        text = sys.stdin.read(MAX_INPUT) if path is None else path.read_text("utf-8-sig")
    except UnicodeDecodeError as error:
        raise FailedError(f"{path or '<stdin>'}: this is not UTF-8 text (byte {error.start})") from error
    except OSError as error:
        raise FailedError(f"{path}: {error.strerror}") from error
    return Source("<stdin>" if path is None else str(path), text)


class Deadline:
    """What is left of ``--timeout``; None without ``--wait``."""

    def __init__(self, wait: bool, timeout: float) -> None:
        self._end = time.monotonic() + timeout if wait else None

    @property
    def left(self) -> float | None:
        """Seconds left, or None."""
        return None if self._end is None else max(0.0, self._end - time.monotonic())


def print_changes(documents: Iterable[Mapping[str, Any]], note: str = "") -> None:
    """One line per document on stdout, with its diff in a dry run."""
    for one in documents:
        change = str(one["change"])
        meaning = "soft" if change == "unchanged" else "good"
        click.echo(f"{object_text(one['key'])} {styled(change, meaning)}{note}")
        if diff := one.get("diff"):
            click.echo(coloured_diff(str(diff)))


def missing_references(problems: Iterable[Mapping[str, Any]], severity: str) -> int:
    """How many of `problems` have this severity and are such that another document mends them."""
    from weft.mesh.problems import MISSING_REFERENCES

    return sum(one["severity"] == severity and one["code"] in MISSING_REFERENCES for one in problems)


def allow_missing_references(problems: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """`problems` with those that another document mends as warnings."""
    return [{**one, "severity": "warning"} if missing_references([one], "error") else {**one} for one in problems]


def report_answers(answers: Sequence[Mapping[str, Any]]) -> int:
    """Say on stderr what is wrong and who has not confirmed; the exit code.

    A proxy that refuses what most others have taken, or that has not answered anything for long, is shown: it is not
    these documents' fault, and they are in force.
    """
    problems = [problem for answer in answers for problem in answer.get("problems") or ()]
    print_problems(problems)
    waits = [answer["wait"] for answer in answers if answer.get("wait")]
    nacked = [nack for wait in waits for nack in wait["nacked"]]
    for nack in nacked:
        _report_refusal(nack)
    unknown = {one["replica"]: one["why"] for wait in waits for one in wait.get("unknown") or ()}
    at = {name: f"{name} at {replica}" for wait in waits for name, replica in (wait.get("at") or {}).items()}
    pending = {name for wait in waits for name in wait["pending"]}
    if named := [at.get(name, name) for name in sorted(pending - {f"replica {one}" for one in unknown})]:
        click.echo(f"{styled('error', 'error', sys.stderr)}: not confirmed in time: {', '.join(named)}", err=True)
    for replica, why in sorted(unknown.items()):
        text = f"replica {replica} of the control plane is unknown ({why}), and so is what its proxies have"
        click.echo(f"{styled('error', 'error', sys.stderr)}: {text}", err=True)
    untried = sorted({name for wait in waits for name in wait.get("untried") or ()})
    if untried:
        click.echo(f"{styled('error', 'error', sys.stderr)}: not tried in time: {', '.join(untried)}", err=True)
    stuck = sorted({name for wait in waits for name in wait.get("stuck") or ()})
    if stuck:
        names = ", ".join(at.get(name, name) for name in stuck)
        text = f"not waited for, because it has not answered anything for a while: {names}"
        click.echo(f"{styled('warning', 'warning', sys.stderr)}: {text}; see: weft proxy status", err=True)
    confirmed = {name for wait in waits for name in wait["confirmed"]}
    failed = any(not nack.get("stands_alone") for nack in nacked)
    if waits and not failed and not pending and not untried:
        count = f"confirmed by {len(confirmed)} {'proxy' if len(confirmed) == 1 else 'proxies'}"
        nobody = "nothing changed for any other connected proxy" if stuck or nacked else _NOTHING_CHANGED
        click.echo(count if confirmed else nobody, err=True)
    if failed or any(problem["severity"] == "error" for problem in problems):
        return ExitCode.FAILED
    return ExitCode.TIMEOUT if pending or untried else ExitCode.OK


def _report_refusal(nack: Mapping[str, Any]) -> None:
    what = f"{nack['type']} {nack['resource']}"
    who = f"{nack['proxy']} at {nack['replica']}" if nack.get("replica") else nack["proxy"]
    if nack.get("stands_alone"):
        text = f"only {who} refuses {what}, which {nack['taken_by']} others have taken: {nack['message']}"
        click.echo(f"{styled('warning', 'warning', sys.stderr)}: {text}", err=True)
        return
    places = ", ".join(f"{one['source']}:{one['line']}" for one in nack.get("origins") or ())
    because = f"\n    because of {places}" if places else ""
    text = f"{who} refused {what}: {nack['message']}{because}"
    click.echo(f"{styled('error', 'error', sys.stderr)}: {text}", err=True)
