"""`weft uninstall`."""

from __future__ import annotations

import asyncio

import click

from weft.cli.cluster_options import cluster_options, revision_option
from weft.cli.failure import ExitCode, FailedError
from weft.cli.options import command


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
    from weft.cluster.install import InstallError, look
    from weft.cluster.reading import Reader
    from weft.cluster.revisions import beside, missing, revisions_of
    from weft.cluster.uninstall import check_alone, check_documents, purged, remaining, uninstall
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
        if before.by_others:
            release = before.installed.release if before.installed is not None else ""
            fix = f"helm uninstall {release} -n {cluster.namespace}" if release else "kubectl delete -k kubernetes/base"
            raise InstallError(
                f"it was not installed by `weft install`: {fix}, or take it over first (weft upgrade --take-over)"
            )
        if before.record is None and before.others:
            raise InstallError(missing(revision, cluster.namespace, before.others))
        if before.record is None and not purge:
            click.echo(f"nothing to do: {missing(revision, cluster.namespace, ())}")
            return
        names = before.record.settings.names if before.record is not None else Revision(revision)
        there = await remaining(client, cluster.namespace, names, before.others)
        if purge:
            everywhere = beside(await revisions_of(Reader(client)), cluster.namespace, revision)
            check_alone(everywhere or before.others)
            check_documents(there, documents=documents)
        would = "would be " if dry else ""
        if before.record is not None:
            async for change in uninstall(client, before.record, before.others, dry=dry):
                click.echo(f"{would}{change.what}: {change.title}")
        if purge:
            async for change in purged(client, cluster.namespace, dry=dry):
                click.echo(f"{would}{change.what}: {change.title}")
        click.echo(there.text)
