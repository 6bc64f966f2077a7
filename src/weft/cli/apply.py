"""`weft apply`."""

from __future__ import annotations

import click

from weft.cli.options import command, home_option, namespace_option, output_option, wait_options
from weft.settings.home import Home


@command(
    "apply",
    "weft apply -f routes.yaml --wait",
    "weft apply -f mesh/ -f extra.yaml --dry-run",
    "cat route.yaml | weft apply -f - -n shop",
)
@click.option(
    "-f",
    "--file",
    "files",
    multiple=True,
    required=True,
    metavar="PATH",
    type=click.Path(),
    help="File, directory or - (stdin).",
)
@home_option
@namespace_option
@wait_options
@click.option("--dry-run", is_flag=True, help="Say what would change, with a diff, and change nothing.")
@output_option
def apply(
    *, files: tuple[str, ...], home: Home, namespace: str, wait: bool, timeout: float, dry_run: bool, output: str
) -> int:
    """Create or change documents.

    All files are checked before anything is written: an error in one document refuses all, with exit code 1. What is
    wrong between documents, such as a subset that no DestinationRule has, is printed but does not refuse them, because
    the other may follow: `weft problems` exits with 1 while it is so. With --wait it returns when every proxy whose
    configuration changed has confirmed: no later request follows the old rules. A proxy that has not answered anything
    for a while, or alone refuses what others have taken, is named and fails nothing.
    """
    from weft.cli.changes import Deadline, print_changes, read_sources, report_answers  # noqa: PLC0415
    from weft.cli.output import print_value  # noqa: PLC0415
    from weft.local.client import AdminClient  # noqa: PLC0415

    sources = read_sources(files)
    client = AdminClient(home)
    if len(sources) > 1 and not dry_run:
        for source in sources:
            client.apply(source, namespace=namespace, dry_run=True)
    deadline = Deadline(wait and not dry_run, timeout)
    answers = []
    for source in sources:
        answers.append(client.apply(source, namespace=namespace, dry_run=dry_run, wait=deadline.left))
        if output == "table":
            print_changes(answers[-1]["documents"], " (dry run)" if dry_run else "")
    if output != "table":
        print_value(answers, output)
    return report_answers(answers)
