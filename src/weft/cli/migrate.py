"""`weft migrate`: what becomes of another mesh's installation."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from weft.cli.cluster_options import cluster_options
from weft.cli.group import Group
from weft.cli.options import CommandT, command, output_option
from weft.cli.output import print_problems, print_value, styled
from weft.model.origin import path_text
from weft.model.printable import printable

if TYPE_CHECKING:
    from weft.migrate.report import Report
    from weft.migrate.words import Line

_MEANINGS = {"missing": "error", "differs": "warning", "same": "good", "not needed": "soft"}
_LINK = re.compile(r"\[([^\]]+)\]\([^)]*\)")
"""Of Markdown: the words count here."""
_BRIEF = ("same", "not needed")
_STEPS = {
    "istio": (
        "weft with a revision of its own, so that it injects nothing yet: --set revision=weft of the chart",
        "PeerAuthentication with mode PERMISSIVE for the whole mesh, in both: between them callers speak plaintext",
        "a namespace: kubectl label namespace NAME istio-injection- istio.io/rev=weft --overwrite, and kubectl rollout "
        "restart deployment -n NAME; back by the label it had",
        "when the last has moved: STRICT again, and Istio goes",
    ),
    "linkerd": (
        "the documents that the lines above name",
        "a namespace: kubectl annotate namespace NAME linkerd.io/inject-, kubectl label namespace NAME "
        "istio-injection=enabled, and kubectl rollout restart deployment -n NAME; back the other way round",
    ),
    "consul": (
        "the documents that the lines above name",
        "a workload: the annotation consul.hashicorp.com/connect-inject goes, the label sidecar.istio.io/inject: "
        '"true" comes; back the other way round',
    ),
}


@click.group(cls=Group)
def migrate() -> None:
    """Say what becomes of another mesh's installation: what carries over, what differs, what is missing."""


def _arguments(function: CommandT) -> CommandT:
    for option in (
        cluster_options,
        output_option,
        click.option("--strict", is_flag=True, help="Exit code 1 when something is missing."),
        click.option("-v", "--verbose", is_flag=True, help="Tell of what is the same or not needed, too."),
        click.argument("paths", nargs=-1, metavar="[PATH]...", type=click.Path()),
    ):
        function = option(function)
    return function


@command(
    "istio",
    "weft migrate istio",
    "weft migrate istio --context prod --strict",
    "weft migrate istio istio-operator.yaml mesh/",
    "helm get values istiod -n istio-system | weft migrate istio -",
    "weft migrate istio -o json mesh/ | jq '.lines[] | select(.verdict == \"missing\")'",
)
@_arguments
def istio(**given: Any) -> int:
    """Judge an installation of Istio.

    PATHs are files, directories or - (stdin): IstioOperator, values of Istio's Helm charts, MeshConfig, documents of
    Istio and of the Gateway API, and what has labels and annotations for Istio: Namespaces, Services, workloads.
    Without PATHs all that is read from the cluster, values out of Helm's releases, too. Nothing is changed, and weft
    need not be there. Exit code 1 when a text cannot be read.
    """
    return _tell("istio", **given)


@command(
    "linkerd",
    "weft migrate linkerd",
    "weft migrate linkerd -v mesh/",
)
@_arguments
def linkerd(**given: Any) -> int:
    """Judge documents of Linkerd.

    PATHs are files, directories or - (stdin): Linkerd's kinds, those of the Gateway API, and Namespaces, Services and
    workloads with annotations for Linkerd; without PATHs they are read from the cluster. For each field the report
    names what says it here.
    """
    return _tell("linkerd", **given)


@command(
    "consul",
    "weft migrate consul",
    "weft migrate consul -v mesh/",
)
@_arguments
def consul(**given: Any) -> int:
    """Judge documents of Consul on Kubernetes.

    PATHs are files, directories or - (stdin): kinds of consul.hashicorp.com, and Services and workloads with
    annotations for Consul; without PATHs they are read from the cluster. For each field the report names what says it
    here.
    """
    return _tell("consul", **given)


def _tell(mesh: str, *, paths: tuple[str, ...], strict: bool, verbose: bool, output: str) -> int:
    from weft.migrate.report import examine
    from weft.migrate.words import Verdict, line_mapping
    from weft.model.problem import problem_mapping

    found = examine(_texts(mesh, paths), mesh)
    problems = [problem_mapping(one) for one in found.unreadable]
    if output != "table":
        lines = [line_mapping(one) for one in found.lines]
        counts = {str(one): len(found.of(one)) for one in Verdict}
        value = {"mesh": mesh, "documents": found.documents, "counts": counts, "lines": lines, "problems": problems}
        print_value(value, output)
    else:
        _print(found, mesh, verbose=verbose)
        print_problems(problems)
    return 1 if problems or (strict and found.of(Verdict.MISSING)) else 0


def _texts(mesh: str, paths: tuple[str, ...]) -> list[tuple[str, str]]:
    """What `paths` hold, or the cluster."""
    if paths:
        from weft.cli.changes import read_all

        return [(one.name, one.text) for one in read_all(paths)]
    from weft.local.cluster import wanted_cluster
    from weft.local.installations import read_installation

    cluster = wanted_cluster()
    click.echo(f"reading the cluster of context '{cluster.names()[0]}'", err=True)
    return read_installation(cluster, mesh)


def _print(report: Report, mesh: str, *, verbose: bool) -> None:
    from weft.migrate.words import Verdict

    counts = []
    for verdict in (Verdict.MISSING, Verdict.DIFFERS, Verdict.SAME, Verdict.NEEDLESS):
        lines = report.of(verdict)
        counts.append(f"{len(lines)} {verdict}")
        if lines and (verbose or str(verdict) not in _BRIEF):
            click.echo(styled(f"{verdict}:", _MEANINGS[str(verdict)]))
            _print_lines(lines)
            click.echo()
    what = "1 document" if report.documents == 1 else f"{report.documents} documents"
    click.echo(f"{what}: {', '.join(counts)}")
    if not verbose and any(report.of(one) for one in (Verdict.SAME, Verdict.NEEDLESS)):
        click.echo("-v tells of all")
    click.echo("\nHow to move:")
    for number, step in enumerate(_STEPS[mesh], 1):
        click.echo(f"  {number}. {step}")


def _print_lines(lines: Sequence[Line]) -> None:
    """Place, whose field it is, and what becomes of it; what is said of several once."""
    for line in lines:
        field = f" {path_text(line.path)}" if line.path else ""
        click.echo(f"  {line.origin}: {printable(line.subject)}{printable(field)}")
        words = _LINK.sub(r"\1", printable(line.text))
        click.echo(f"      {words}")


migrate.add_command(istio)
migrate.add_command(linkerd)
migrate.add_command(consul)
