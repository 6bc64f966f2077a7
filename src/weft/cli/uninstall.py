"""`weft uninstall`."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import click

from weft.cli.cluster_options import cluster_options, revision_option
from weft.cli.failure import ExitCode, FailedError
from weft.cli.options import command

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from weft.cluster.install import Before, Change
    from weft.sources.kubernetes.client import ApiClient


@command(
    "uninstall",
    "weft uninstall --dry-run",
    "weft uninstall --context prod",
    "weft uninstall --revision canary",
    "weft uninstall --purge --dry-run",
    "weft uninstall --purge",
)
@cluster_options
@revision_option("Only this revision.  [default: default]")
@click.option("--purge", is_flag=True, help="Also the definitions of weft's kinds, and the mesh's authority.")
@click.option("--with-documents", is_flag=True, help="With --purge: also the documents of weft's kinds.")
@click.option("--dry-run", is_flag=True, help="Say what would go, and what would remain.")
def uninstall(*, revision: str | None, purge: bool, with_documents: bool, dry_run: bool) -> int:
    """Take weft out of a cluster.

    Webhooks go first, so that nothing waits for them, then the control plane, then its rights. Pods keep their sidecars
    and their traffic until their certificates end, within a day: take the labels off their namespaces and restart them
    first. Definitions with their documents, and what holds the mesh's authority, stay unless you say --purge. Other
    revisions are left as they are; while there are any, nothing is purged.
    """
    from weft.cluster.install import InstallError
    from weft.cluster.record import RecordError
    from weft.sources.kubernetes.client import ApiError

    try:
        asyncio.run(_take_out(revision, purge=purge, documents=with_documents, dry=dry_run))
    except (InstallError, RecordError) as error:
        raise FailedError(str(error)) from error
    except ApiError as error:
        raise FailedError(f"{error}; the same command goes on from here") from error
    except KeyboardInterrupt:
        click.echo("broken off; the same command goes on from here", err=True)
        return ExitCode.INTERRUPTED
    return ExitCode.OK


async def _take_out(wanted: str | None, *, purge: bool, documents: bool, dry: bool) -> None:
    from weft.cluster.install import look
    from weft.cluster.revisions import missing
    from weft.cluster.uninstall import check_alone, check_documents, remaining
    from weft.local.cluster import ClusterError, wanted_cluster
    from weft.model.revisions import DEFAULT, Revision
    from weft.sources.kubernetes.access import AccessError
    from weft.sources.kubernetes.client import ApiClient

    cluster = wanted_cluster()
    try:
        credentials = cluster.credentials()
    except AccessError as error:
        raise ClusterError(str(error)) from error
    async with ApiClient(credentials, 8) as client:
        revision = wanted or DEFAULT
        before = await look(client, cluster.namespace, revision)
        _check(before, cluster.namespace, revision)
        names = before.record.settings.names if before.record is not None else Revision(revision)
        there = await remaining(client, cluster.namespace, names, before.neighbours)
        if purge:
            check_alone(before.neighbours, before.unseen)
            check_documents(there, documents=documents)
        count = 0
        async for change in _changes(client, before, cluster.namespace, purge=purge, dry=dry):
            click.echo(f"{'would be ' if dry else ''}{change.what}: {change.title}")
            count += 1
        if before.record is None and not purge and not count:
            click.echo(f"nothing to do: {missing(revision, cluster.namespace, ())}")
        else:
            click.echo(there.text)


def _check(before: Before, namespace: str, revision: str) -> None:
    """InstallError if it is not there, and others are, or if somebody else has installed it."""
    from weft.cluster.install import InstallError
    from weft.cluster.revisions import missing

    if before.by_others:
        release = before.installed.release if before.installed is not None else ""
        fix = f"helm uninstall {release} -n {namespace}" if release else "kubectl delete -k kubernetes/base"
        raise InstallError(
            f"it was not installed by `weft install`: {fix}, or take it over first (weft upgrade --take-over)"
        )
    if before.record is None and before.others:
        raise InstallError(missing(revision, namespace, before.others))


async def _changes(
    client: ApiClient, before: Before, namespace: str, *, purge: bool, dry: bool
) -> AsyncIterator[Change]:
    """What is done; without a record what the last revision has left, if another than `weft install` had made it."""
    from weft.cluster.uninstall import left_over, purged, uninstall

    if before.record is not None:
        async for change in uninstall(client, before.record, before.neighbours, before.unseen, dry=dry):
            yield change
    elif not before.neighbours and not before.unseen:
        async for change in left_over(client, dry=dry):
            yield change
    if purge:
        async for change in purged(client, namespace, dry=dry):
            yield change
