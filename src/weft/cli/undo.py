"""`weft undo`."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any

import click

from weft.cli.failure import ExitCode, FailedError
from weft.cli.options import command, home_option, output_option, wait_options
from weft.cli.output import coloured_diff, object_text, print_value, styled
from weft.settings.home import Home


@command("undo", "weft undo 12 --dry-run", "weft undo 12 --wait", "weft undo 12 --yes --force", "weft undo 12 --print")
@click.argument("revision", type=click.IntRange(1))
@home_option
@wait_options
@click.option("--dry-run", is_flag=True, help="Show what would change, and change nothing.")
@click.option("--force", is_flag=True, help="Also where an object was changed since: that is undone with it.")
@click.option("--yes", is_flag=True, help="Do not ask. Without a terminal it is needed.")
@click.option("--print", "printed", is_flag=True, help="Of a revision of followed files: print what they held before.")
@output_option
def undo(
    *,
    revision: int,
    home: Home,
    wait: bool,
    timeout: float,
    dry_run: bool,
    force: bool,
    yes: bool,
    printed: bool,
    output: str,
) -> int:
    """Apply the documents as they were before a revision.

    The difference is shown first, and you are asked. It becomes a revision of its own, which can be undone. Refused,
    naming the later revision, where one of its objects was changed since. Documents of followed files are changed in
    their files: exit code 5, and --print prints what they held. Values of secrets are not kept and do not come back.
    """
    from weft.cli.changes import Deadline, print_changes, report_answers
    from weft.local.client import AdminClient, RefusedError

    client = AdminClient(home)
    try:
        planned = client.undo(revision, force=force, dry_run=True)
        if output == "table":
            print_plan(planned)
        if dry_run:
            if output != "table":
                print_value(planned, output)
            return ExitCode.OK
        if not yes:
            _ask(revision)
        deadline = Deadline(wait, timeout)
        answer = client.undo(revision, force=force, wait=deadline.left)
    except RefusedError as error:
        return _refused(error, revision, printed)
    if output == "table":
        print_changes({**one, "diff": ""} for one in answer["documents"])
    else:
        print_value(answer, output)
    return report_answers([answer])


def print_plan(planned: Mapping[str, Any]) -> None:
    """What undoing would change, and what it leaves."""
    for one in planned["documents"]:
        if one["diff"]:
            click.echo(coloured_diff(one["diff"]))
    for one in planned["left"]:
        text = f"{object_text(one['key'])} stays as it is: {one['reason']}"
        click.echo(f"{styled('warning', 'warning', sys.stderr)}: {text}", err=True)


def _ask(revision: int) -> None:
    if not sys.stdin.isatty():
        raise FailedError(f"nothing was changed: --yes undoes revision {revision} without asking", ExitCode.USAGE)
    if not click.confirm(f"undo revision {revision}?"):
        raise FailedError("nothing was changed")


def _refused(error: Exception, revision: int, printed: bool) -> int:
    """Say why it was refused; of files, what they held."""
    detail: Mapping[str, Any] = getattr(error, "detail", {})
    if detail.get("code") != "owned-by-file":
        if detail.get("code") == "changed-since":
            hint = f"{error}\n  undo the later one first, or all of them: weft undo {revision} --force"
            raise FailedError(hint) from error
        raise error
    for one in detail["files"] if printed else ():
        click.echo(f"# {one['source']}:{one['line']}")
        if one["left_out"]:
            click.echo("# it was too large to be kept")
        else:
            click.echo(one["before"] or f"# there was no {object_text(one)}")
    hint = "" if printed else f"\n  what they held before: weft undo {revision} --print"
    raise FailedError(f"{error}{hint}", ExitCode.IN_FILES) from error
