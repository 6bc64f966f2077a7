"""`weft delete`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from weft.cli.complete import complete_kind, complete_name
from weft.cli.options import command, home_option, namespace_option, output_option, wait_options
from weft.cli.output import print_problems, print_value
from weft.schema.kinds.gateway import ROUTE_KINDS
from weft.settings.home import Home

if TYPE_CHECKING:
    from weft.model.document import ObjectKey

WORKLOADS = frozenset({"workload", "workloads"})
"""No kind of document: registrations."""
_ROUTES = ("VirtualService", "TrafficSplit", *ROUTE_KINDS)
_CALLED = ("Service", "ServiceEntry", "WorkloadEntry", "WorkloadGroup")
_USED = ("Namespace", "ServiceAccount", "Secret", "ConfigMap")


@command(
    "delete",
    "weft delete virtualservice reviews --wait",
    "weft delete -f routes.yaml",
    "weft delete workload reviews-v1",
    "weft --context prod delete httproute reviews -n shop --wait",
)
@click.argument("kind", required=False, shell_complete=complete_kind)
@click.argument("names", nargs=-1, metavar="[NAME]...", shell_complete=complete_name)
@click.option(
    "-f",
    "--file",
    "files",
    multiple=True,
    metavar="PATH",
    type=click.Path(),
    help="Delete the documents of a file or directory.",
)
@home_option
@namespace_option
@wait_options
@click.option("--ignore-not-found", is_flag=True, help="Do not fail when there is no such document.")
@output_option
def delete(
    *,
    kind: str | None,
    names: tuple[str, ...],
    files: tuple[str, ...],
    home: Home,
    namespace: str,
    wait: bool,
    timeout: float,
    ignore_not_found: bool,
    output: str,
) -> int:
    """Delete documents.

    Named by KIND and NAME, or those that a file holds: routes before what they lead to. `weft delete workload NAME`
    removes a registered workload: its certificates are refused until it joins anew. With --wait it returns when every
    proxy concerned has confirmed. In a cluster (weft --context) it is its API server that deletes documents, with your
    own rights there.
    """
    from weft.cli.changes import Deadline, print_changes, report_answers
    from weft.local.client import AdminClient, RefusedError
    from weft.local.cluster import named_cluster

    if bool(files) == bool(kind) or (kind and not names):
        raise click.UsageError("name a KIND and NAME, or give -f PATH")
    if kind is not None and kind.lower() in WORKLOADS:
        return _workloads(home, namespace, names, timeout if wait else None, output)
    client, cluster = AdminClient(home), named_cluster()
    if cluster is not None:
        from weft.cli.cluster_changes import delete_from_cluster, given_namespace

        namespace = given_namespace(cluster, namespace)
    keys = _keys_of_files(files, namespace) if files else _keys_of_names(str(kind), names, namespace)
    deadline = Deadline(wait, timeout)
    if cluster is not None:
        found = [_object_key(*one) for one in keys]
        return delete_from_cluster(cluster, client, found, deadline, output, ignore_not_found=ignore_not_found)
    answers: list[dict[str, Any]] = []
    missing: RefusedError | None = None
    for one in keys:
        try:
            answers.append(client.delete(*one, wait=deadline.left))
        except RefusedError as error:
            if error.status != 404:
                raise
            missing = missing or error
            continue
        if output == "table":
            print_changes(answers[-1]["documents"])
    if output != "table":
        print_value(answers, output)
    code = report_answers(answers)
    if missing is not None and not ignore_not_found:
        raise missing
    return code


def _workloads(home: Home, namespace: str, names: tuple[str, ...], wait: float | None, output: str) -> int:
    from urllib.parse import quote

    from weft.cli.identity import report_end
    from weft.local.client import AdminClient

    codes = []
    for name in names:
        path = f"workloads/{quote(namespace, safe='')}/{quote(name, safe='')}"
        codes.append(report_end(AdminClient(home).call("DELETE", path, {"wait": wait}, wait=wait), output))
    return max(codes)


def _object_key(word: str, namespace: str, name: str) -> ObjectKey:
    from weft.model.document import ObjectKey
    from weft.schema.registry import find_kind

    kind = find_kind(word)
    return ObjectKey(kind.group, kind.name, namespace, name)


def _keys_of_names(kind: str, names: tuple[str, ...], namespace: str) -> list[tuple[str, str, str]]:
    from weft.cli.kinds import kind_of_word

    found = kind_of_word(kind)
    return [(found.word, namespace if found.namespaced else "", name) for name in names]


def _keys_of_files(files: tuple[str, ...], namespace: str) -> list[tuple[str, str, str]]:
    from weft.cli.changes import read_sources
    from weft.cli.failure import FailedError
    from weft.model.problem import Severity, problem_mapping
    from weft.schema.decode import decode_documents
    from weft.schema.registry import kind_of

    keys: list[tuple[int, tuple[str, str, str]]] = []
    for source in read_sources(files):
        decoded = decode_documents(source.text, source.name, default_namespace=namespace)
        if any(problem.severity is Severity.ERROR for problem in decoded.problems):
            print_problems(problem_mapping(problem) for problem in decoded.problems)
            raise FailedError("nothing was deleted: see the problems")
        for each in decoded.documents:
            kind = kind_of(each.key.group, each.key.kind)
            key = (kind.word if kind else each.key.kind, each.key.namespace, each.key.name)
            keys.append((_place(each.key.kind, security=kind is not None and kind.security), key))
    return [key for _, key in sorted(keys, key=lambda found: found[0])]


def _place(kind: str, *, security: bool) -> int:
    """When a document of a file is deleted: a rule before the subset or service to which it sends, and what policies
    protect before the policies."""
    if kind in _ROUTES:
        return 0
    if security or kind in _USED:
        return 3
    return 2 if kind in _CALLED else 1
