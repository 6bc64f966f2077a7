"""`weft apply`."""

from __future__ import annotations

from typing import Any

import click

from weft.cli.options import (
    command,
    home_option,
    missing_references_option,
    namespace_option,
    output_option,
    wait_options,
)
from weft.cli.output import print_value
from weft.settings.home import Home


@command(
    "apply",
    "weft apply -f routes.yaml --wait",
    "weft apply -f mesh/ -f extra.yaml --dry-run",
    "cat route.yaml | weft apply -f - -n shop",
    "weft --context prod apply -f routes.yaml --wait",
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
@click.option("--force-conflicts", is_flag=True, help="In a cluster: take over fields that others have applied.")
@click.option("--dry-run", is_flag=True, help="Say what would change, with a diff, and change nothing.")
@missing_references_option
@output_option
def apply(
    *,
    files: tuple[str, ...],
    home: Home,
    namespace: str,
    wait: bool,
    timeout: float,
    force_conflicts: bool,
    dry_run: bool,
    allow_missing: bool,
    output: str,
) -> int:
    """Create or change documents.

    All files are one change: an error in one document refuses all, and nothing is written. What is wrong between
    documents, such as a subset that no DestinationRule has, does not refuse them, because the other may follow: they
    are stored, and in force as far as they can be. The exit code is 1 all the same, as that of `weft validate
    --against-mesh` and `weft problems`, unless --allow-missing-references says that the other will follow. With --wait
    it returns when every proxy whose configuration changed has confirmed: no later request follows the old rules. An
    EnvoyFilter is tried on an Envoy before that, and the exit code is 1 if that refuses it. A proxy that has not
    answered anything for a while, or alone refuses what others have taken, is named and fails nothing.

    In a cluster (weft --context) they are applied at its API server, by server-side apply as `weft`, with your own
    rights there, one after the other once it has tried all of them; --wait asks the control plane in the cluster, all
    replicas of it: one of which nothing is known is named.
    """
    from weft.cli.changes import Deadline, read_sources
    from weft.local.client import AdminClient, RefusedError
    from weft.local.cluster import named_cluster

    sources = read_sources(files)
    deadline = Deadline(wait and not dry_run, timeout)
    cluster, client = named_cluster(), AdminClient(home)
    if cluster is not None:
        from weft.cli.cluster_changes import apply_to_cluster, documents_of, given_namespace

        documents = documents_of(sources, given_namespace(cluster, namespace))
        wishes = {"dry_run": dry_run, "force": force_conflicts, "allow_missing": allow_missing}
        return apply_to_cluster(cluster, client, documents, deadline, output, **wishes)
    if force_conflicts:
        raise click.UsageError("--force-conflicts goes with a cluster: weft --context NAME apply")
    try:
        answer = client.apply(*sources, namespace=namespace, dry_run=dry_run, wait=deadline.left)
    except RefusedError as error:
        if output != "table" and error.problems:
            print_value([{"documents": [], "problems": error.problems, "wait": None}], output)
        raise
    return _told(answer, output, dry_run=dry_run, allow_missing=allow_missing)


def _told(answer: dict[str, Any], output: str, *, dry_run: bool, allow_missing: bool) -> int:
    """Print what came of it; the exit code."""
    from weft.cli.changes import allow_missing_references, missing_references, print_changes, report_answers

    if allow_missing:
        answer["problems"] = allow_missing_references(answer["problems"])
    if output == "table":
        print_changes(answer["documents"], " (dry run)" if dry_run else "")
    else:
        print_value([answer], output)
    code = report_answers([answer])
    if any(problem["severity"] == "error" for problem in answer["problems"]):
        told = "not all of it would be in force" if dry_run else "stored, but not all of it is in force"
        if missing_references(answer["problems"], "error"):
            told += "; if what is missing follows, --allow-missing-references makes it a warning"
        click.echo(told, err=True)
    return code
