"""`weft analyze` and `weft explain-code`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from weft.cli.failure import FailedError
from weft.cli.options import command, home_option, namespace_option, output_option
from weft.cli.output import print_value
from weft.settings.home import Home

if TYPE_CHECKING:
    from weft.local.client import Source

_NOTE = "note"


@command(
    "analyze",
    "weft analyze",
    "weft analyze mesh/ weft.yaml",
    "weft analyze --no-notes --strict mesh/",
    "weft analyze --code retry-amplification",
    "weft analyze -o json mesh/",
)
@click.argument("paths", nargs=-1, metavar="[PATH]...", type=click.Path())
@namespace_option
@home_option
@click.option("--code", help="Say what a code means instead: a word, WEFT0803, or IST0101.")
@click.option("--no-notes", is_flag=True, help="Only warnings and errors.")
@click.option("--strict", is_flag=True, help="Exit code 1 with warnings, too.")
@output_option
def analyze(
    *, paths: tuple[str, ...], namespace: str, home: Home, code: str | None, no_notes: bool, strict: bool, output: str
) -> int:
    """Find documents that are in force and do what nobody wants.

    Timeouts shorter than what they wait for, retries that multiply along a path, weights to nothing, ejection of the
    last instance, ports whose name says another protocol, faults left in force, and all that `weft validate` finds.
    With PATHs these files are analysed, and no control plane is needed; without, the running mesh, with its workloads
    and traffic. Exit code 1 when there is an error.
    """
    if code is not None:
        return _say(code, output)
    found = _offline(paths, namespace) if paths else _live(home)
    if no_notes:
        found = [one for one in found if one["severity"] != _NOTE]
    if output != "table":
        print_value({"findings": found}, output)
    else:
        from weft.cli.check import print_findings

        print_findings(found)
        counts = [(sum(one["severity"] == word for one in found), word) for word in ("error", "warning", _NOTE)]
        click.echo(", ".join(f"{count} {word}{'' if count == 1 else 's'}" for count, word in counts))
    worst = {one["severity"] for one in found}
    return 1 if "error" in worst or (strict and "warning" in worst) else 0


def _live(home: Home) -> list[dict[str, Any]]:
    from weft.local.client import AdminClient

    found: list[dict[str, Any]] = AdminClient(home).get("analysis")["findings"]
    return found


def _offline(paths: tuple[str, ...], namespace: str) -> list[dict[str, Any]]:
    """The findings of files, alone."""
    from weft.cli.changes import read_all
    from weft.findings.finding import finding_mapping
    from weft.local.offline import analyze_texts

    sources: Sequence[Source] = read_all(paths)
    return [finding_mapping(one) for one in analyze_texts(sources, namespace)]


@command("explain-code", "weft explain-code unknown-subset", "weft explain-code WEFT0803", "weft explain-code IST0101")
@click.argument("code")
@output_option
def explain_code(code: str, output: str) -> int:
    """Say what a code means, and how to mend it.

    CODE is the word that problems and findings carry, its number, or that of a message of `istioctl analyze`.
    """
    return _say(code, output)


def _say(code: str, output: str) -> int:
    import dataclasses

    from weft.findings.catalogue.lookup import found, not_found
    from weft.findings.catalogue.section import plain

    entries = found(code)
    if not entries:
        raise FailedError(not_found(code))
    if output != "table":
        print_value([dataclasses.asdict(one) for one in entries], output)
        return 0
    click.echo("\n\n".join(plain(one) for one in entries))
    return 0
