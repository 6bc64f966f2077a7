"""`weft check`."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import click

from weft.cli.cluster_options import cluster_options, revision_option
from weft.cli.options import command, home_option, output_option
from weft.cli.output import object_text, print_value, styled
from weft.settings.home import Home

if TYPE_CHECKING:
    from weft.local.cluster import Cluster

_CODES = {"error": 2, "warning": 1, "note": 0}
_INTERVAL = 2.0
_LISTED = 20
"""Findings of one code that are written out."""
_CLEAR = "\x1b[2J\x1b[H"


@command(
    "check",
    "weft check",
    "weft check --all",
    "weft check --watch",
    "weft check -o json",
    "weft check --context prod",
    "weft check --context prod --wait",
    "weft check --context prod --revision canary",
)
@home_option
@cluster_options
@revision_option("In a cluster: look at this one of its revisions.  [default: default, or the only one]")
@click.option("--all", "everything", is_flag=True, help="Also what is well, and what of capture works on this host.")
@click.option("--watch", is_flag=True, help="Look again every two seconds, until Ctrl-C.")
@click.option("--wait", is_flag=True, help="In a cluster: look again until there is no error.")
@click.option(
    "--timeout", type=click.FloatRange(0, 3600), default=120.0, show_default=True, help="Seconds to wait at most."
)
@output_option
def check(
    home: Home, revision: str | None, everything: bool, watch: bool, wait: bool, timeout: float, output: str
) -> int:
    """Say whether everything is well, and how to mend what is not.

    The control plane and its store, certificates, proxies and their versions, clocks, documents, workloads and
    services, timeouts and retries, and what the traffic of the last minute shows. Each finding has the command that
    mends it, and a code: `weft explain-code CODE` says more. Exit code 0: all is well, 1: warnings, 2: errors. Without
    a control plane that is the finding.

    With `--kubeconfig` or `--context` a cluster is looked at: before weft is installed there, whether it can be
    (version, nodes, Gateway API, other meshes, your rights); afterwards, whether it works (control plane, webhooks,
    rights, clocks, sidecars). Nothing is changed: a pod and a wrong document are offered to the webhooks without being
    made. Of several revisions of weft the default is looked at, or the one that --revision names.
    """
    from weft.cli.check_cluster import checked_cluster, chosen_revision, is_before, mapping_of, waited_for
    from weft.local.cluster import named_cluster

    cluster, tell = named_cluster(), partial(click.echo, err=True)
    if wait and cluster is None:
        raise click.UsageError("--wait is for a cluster: give --kubeconfig or --context, or say --watch")
    if revision is not None and cluster is None:
        raise click.UsageError("--revision is for a cluster: give --kubeconfig or --context")
    if cluster is not None:
        cluster = replace(cluster, revision=chosen_revision(cluster, revision, tell))
    while True:
        if cluster is not None:
            look = partial(checked_cluster, cluster, cluster.revision)
            answer = mapping_of(waited_for(look, timeout if wait else 0.0, tell))
            answer = answer if is_before(answer) else _with_mesh(answer, home, cluster)
        else:
            answer = gather(home)
        if everything and cluster is None:
            answer = {**answer, "capture": _capture()}
        if output != "table":
            print_value(answer, output)
        else:
            if watch and sys.stdout.isatty():
                click.echo(_CLEAR, nl=False)
            print_findings(answer["findings"])
            if "capture" in answer:
                click.echo(_capture_text(answer["capture"]))
            print_summary(answer["findings"], answer["passed"], everything)
        if not watch:
            return max((_CODES[one["severity"]] for one in answer["findings"]), default=0)
        sys.stdout.flush()
        time.sleep(_INTERVAL)


def gather(home: Home) -> dict[str, Any]:
    """What the control plane finds; if there is none, that."""
    from weft import __version__
    from weft.findings.finding import finding, finding_mapping
    from weft.local.client import AdminClient, UnreachableError
    from weft.local.command_line import command_line

    try:
        found: dict[str, Any] = AdminClient(home).get("check", version=__version__)
    except UnreachableError as error:
        down = finding_mapping(finding("control-plane-down", str(error).partition("\n")[0], about="control plane"))
        start = command_line("serve", "--home", str(home.root))
        return {"findings": [{**down, "fix": start}], "passed": []}
    return found


def _with_mesh(answer: dict[str, Any], home: Home, cluster: Cluster) -> dict[str, Any]:
    """What is found in a cluster, and what its control plane finds of the mesh; where it cannot be asked, that."""
    from weft import __version__
    from weft.findings.cluster.told import RIGHTS, warning
    from weft.findings.finding import finding_mapping
    from weft.local.client import AdminClient, RefusedError, UnreachableError

    try:
        mesh: dict[str, Any] = AdminClient(home, cluster=cluster).get("check", version=__version__)
    except (UnreachableError, RefusedError) as error:
        text = f"the mesh itself is not looked at: {str(error).partition(chr(10))[0]}"
        mesh = {"findings": [finding_mapping(warning(RIGHTS, "admin API", text, "weft problems"))], "passed": []}
    return {key: [*answer[key], *mesh[key]] for key in ("findings", "passed")}


def _capture() -> dict[str, Any]:
    """What of capture works on this host: no fault of the mesh's, whatever it is."""
    import os
    import shutil

    from weft.agent.seccomp.mode import why_not_seccomp
    from weft.agent.strict.mode import why_not_strict

    why_not, not_strict = why_not_seccomp(), why_not_strict()
    has_nft = shutil.which("nft", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin") is not None
    strict = {"strict": not not_strict, "whyNotStrict": not_strict}
    return {"seccomp": not why_not, "whyNotSeccomp": why_not, **strict, "rules": has_nft}


def _capture_text(told: Mapping[str, Any]) -> str:
    own = "works without root (seccomp)" if told["seccomp"] else f"does not work without root: {told['whyNotSeccomp']}"
    strict = "strict works" if told["strict"] else f"strict does not work: {told['whyNotStrict']}"
    rules = "root can install rules" if told["rules"] else "rules need nftables"
    return f"capture on this host {own}; {strict}; {rules}"


def print_findings(findings: Sequence[Mapping[str, Any]]) -> None:
    """Each finding with its place, its command and its code; of many with one code the first of them."""
    from weft.model.printable import printable

    counts: dict[str, int] = {}
    for one in findings:
        counts[one["code"]] = counts.get(one["code"], 0) + 1
        if counts[one["code"]] > _LISTED:
            continue
        severity = str(one["severity"])
        about = object_text(one["object"]) or one["about"]
        place = f"{one['source']}: " if one["source"] and one["source"] != about else ""
        text = printable(f"{place}{about + ': ' if about else ''}{one['message']}")
        click.echo(f"{styled(severity, severity)}: {text}")
        if one["fix"]:
            click.echo(f"    {one['fix']}")
        click.echo(styled(f"    {one['number'] or '-'} {one['code']}", "soft"))
    for code, count in counts.items():
        if count > _LISTED:
            click.echo(f"and {count - _LISTED} more of {code}; -o json has them all")


def print_summary(findings: Sequence[Mapping[str, Any]], passed: Sequence[str], everything: bool) -> None:
    """How many of each severity, and what is well."""
    if everything:
        for one in passed:
            click.echo(f"{styled('well', 'good')}: {one}")
    counts = {word: sum(one["severity"] == word for one in findings) for word in _CODES}
    if not any(counts.values()):
        click.echo(styled(f"all is well ({len(passed)} checks)", "good"))
        return
    told = ", ".join(f"{count} {word}{'' if count == 1 else 's'}" for word, count in counts.items() if count)
    click.echo(f"{told}; {len(passed)} checks found nothing")
