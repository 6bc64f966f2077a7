"""`weft apply` and `weft delete` for a cluster: at its API server, and confirmed by the control plane there."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from weft.cli.changes import Deadline, allow_missing_references, print_changes, report_answers
from weft.cli.failure import ExitCode, FailedError
from weft.cli.output import print_problems, print_value
from weft.local.cluster import Cluster
from weft.local.cluster_documents import Changed, ClusterDocuments, ClusterRefusedError

if TYPE_CHECKING:
    from weft.local.client import AdminClient, Source
    from weft.model.document import Document, ObjectKey


def given_namespace(cluster: Cluster, namespace: str) -> str:
    """The namespace of ``-n``; where that was not given, the context's own."""
    source = click.get_current_context().get_parameter_source("namespace")
    given = source is not None and source.name != "DEFAULT"
    return namespace if given else cluster.names()[1] or namespace


def documents_of(sources: Sequence[Source], namespace: str) -> tuple[Document[object], ...]:
    """The documents that the texts hold. FailedError if there is anything that would not be applied."""
    from weft.model.problem import Severity, problem_mapping
    from weft.schema.decode import decode_texts

    decoded = decode_texts(((source.name, source.text) for source in sources), default_namespace=namespace)
    print_problems(problem_mapping(one) for one in decoded.problems if one.code != "left-out")
    if any(problem.severity is Severity.ERROR for problem in decoded.problems):
        raise FailedError("nothing was changed: see the problems")
    left_out = [problem.message for problem in decoded.problems if problem.code == "left-out"]
    if left_out:
        what = left_out[0].partition(":")[0].replace("are left out", "are no documents of the mesh")
        what = what.replace("is left out", "is no document of the mesh")
        raise FailedError(f"nothing was changed: {what}; use kubectl apply")
    if not decoded.documents:
        raise FailedError("there are no documents in this")
    return decoded.documents


def apply_to_cluster(
    cluster: Cluster,
    client: AdminClient,
    documents: Sequence[Document[object]],
    deadline: Deadline,
    output: str,
    *,
    dry_run: bool,
    force: bool,
    allow_missing: bool,
) -> int:
    """Apply, print what changed, and with a deadline wait for the proxies; the exit code."""
    since = _in_force(client, deadline)
    try:
        changed = _asked(cluster, lambda there: there.apply(documents, dry_run=dry_run, force=force))
    except ClusterRefusedError as error:
        _print(error.changed, output, dry_run=False)
        told = "what is above was written, and nothing after it" if error.changed else "nothing was changed"
        raise FailedError(f"{told}: {error}") from error
    return _told(client, changed, since, deadline, output, documents, dry_run=dry_run, allow_missing=allow_missing)


def delete_from_cluster(
    cluster: Cluster,
    client: AdminClient,
    keys: Sequence[ObjectKey],
    deadline: Deadline,
    output: str,
    *,
    ignore_not_found: bool,
) -> int:
    """Delete, print what was deleted, and with a deadline wait for the proxies; the exit code."""
    since = _in_force(client, deadline)
    missing: list[ObjectKey] = []

    async def delete(there: ClusterDocuments) -> list[Changed]:
        changed = []
        for key in keys:
            found = await there.delete(key)
            if found is None:
                missing.append(key)
            else:
                changed.append(found)
        return changed

    try:
        changed = _asked(cluster, delete)
    except ClusterRefusedError as error:
        raise FailedError(str(error)) from error
    code = _told(client, changed, since, deadline, output, (), dry_run=False, allow_missing=False)
    if missing and not ignore_not_found:
        raise FailedError(f"there is no {', no '.join(map(str, missing))} in the cluster")
    return code


def _asked(cluster: Cluster, work: Any) -> list[Changed]:
    from weft.sources.kubernetes.client import ApiClient

    async def run() -> list[Changed]:
        async with ApiClient(cluster.credentials()) as client:
            there = ClusterDocuments(client)
            await there.discover()
            found: list[Changed] = await work(there)
            return found

    return asyncio.run(run())


def _in_force(client: AdminClient, deadline: Deadline) -> dict[str, Any]:
    """What is in force before the change, at each replica, so that everything after it is waited for. Who may not ask
    is told so before anything changes."""
    if deadline.left is None:
        return {}
    found = client.get("confirmation")
    ticket = {"ticket": found["ticket"]} if "ticket" in found else {}
    return {"since": found["revision"], **ticket}


def _told(
    client: AdminClient,
    changed: Sequence[Changed],
    since: dict[str, Any],
    deadline: Deadline,
    output: str,
    documents: Sequence[Document[object]],
    *,
    dry_run: bool,
    allow_missing: bool,
) -> int:
    answer: dict[str, Any] = {"problems": [], "wait": None}
    if output == "table":
        _print(changed, output, dry_run=dry_run)
    wait = deadline.left
    if wait is not None and changed:
        body = {"documents": [one.written for one in changed], **since}
        answer = client.call("POST", "confirmation", {"wait": wait}, body=_json(body), wait=wait)
    if allow_missing:
        answer["problems"] = allow_missing_references(answer["problems"])
    answer["problems"] = [_at_file(one, documents) for one in answer["problems"]]
    answer["documents"] = [one.row for one in changed]
    if output != "table":
        print_value([answer], output)
    code = report_answers([answer])
    for name in answer.get("unread") or ():
        click.echo(f"error: the control plane has not read {name} in time", err=True)
    if any(problem["severity"] == "error" for problem in answer["problems"]):
        click.echo("written, but not all of it is in force", err=True)
    return code or (ExitCode.TIMEOUT if answer.get("unread") else ExitCode.OK)


def _at_file(problem: dict[str, Any], documents: Sequence[Document[object]]) -> dict[str, Any]:
    """A problem of an object at the line of the file that it was applied from."""
    from weft.model.document import key_mapping
    from weft.model.origin import path_text

    for document in documents:
        if problem["object"] == key_mapping(document.key):
            found = [path for path in document.lines.lines if path_text(path) == problem["path"]]
            origin = document.at(*found[0]) if found else document.origin
            return {**problem, "source": origin.source, "line": origin.line}
    return problem


def _print(changed: Sequence[Changed], output: str, *, dry_run: bool) -> None:
    if output == "table":
        print_changes((one.row for one in changed), " (dry run)" if dry_run else "")


def _json(body: object) -> bytes:
    import json

    return json.dumps(body).encode()
