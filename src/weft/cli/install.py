"""`weft install` and `weft upgrade`."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING, Any

import click

from weft.cli.cluster_options import cluster_options
from weft.cli.failure import ExitCode, FailedError
from weft.cli.install_options import settings_from, settings_options, way_options
from weft.cli.options import command

if TYPE_CHECKING:
    from weft.cluster.install import Before, Change, Installer
    from weft.cluster.manifests import Settings
    from weft.local.cluster import Cluster

_MARKS = {"created": "good", "changed": "warning", "removed": "warning", "unchanged": "soft", "kept": "soft"}


@command(
    "install",
    "weft install --image registry.example/weft",
    "weft install --context prod --image registry.example/weft:0.1.0 --no-gateways",
    "weft install --image registry.example/weft --dry-run",
    "weft install --image registry.example/weft -o yaml > weft.yaml",
    "weft install --revision canary --image registry.example/weft:0.2.0",
    "weft install --revision canary --image registry.example/weft:0.2.0 --revision-tag prod --revision-tag test",
)
@cluster_options
@settings_options
@way_options
@click.option("-o", "--output", type=click.Choice(["yaml"]), help="Print the manifests, and ask no cluster.")
def install(*, output: str | None, **given: Any) -> int:
    """Install weft in a cluster.

    The cluster is looked at first, as `weft check` does. Then the control plane, its rights, the definitions of weft's
    kinds and the webhooks are written by server-side apply, as the field manager weft-install; the webhooks last, when
    there is somebody who answers. Again, it writes only what differs. What is not given is as it was installed. Images
    have to be there: `./run images` builds them. With --revision another control plane stands beside the one that is
    there, in its namespace, and namespaces move to it by their labels.
    """
    if output:
        return _print(given)
    return _run(given, upgrade=False)


@command(
    "upgrade",
    "weft upgrade",
    "weft upgrade --image registry.example/weft:0.2.0",
    "weft upgrade --dry-run",
    "weft upgrade --no-gateways",
    "weft upgrade --take-over",
    "weft upgrade --revision canary --revision-tag default",
)
@cluster_options
@settings_options
@way_options
def upgrade(**given: Any) -> int:
    """Bring weft in a cluster to this version, or to other settings.

    What changes is shown first. Settings that are not given stay. An image that is not given keeps its name and gets
    the tag of this version. It goes one release up or down at a time; proxies go on meanwhile, and pods get the new
    sidecar when they are made anew. What Helm has installed is only taken over with --take-over.
    """
    return _run(given, upgrade=True)


def _print(given: dict[str, Any]) -> int:
    """The manifests, for GitOps."""
    import yaml

    from weft.cluster.manifests import objects_of
    from weft.local.cluster import NAMESPACE, USUAL_NAMESPACE

    settings = settings_from(given, _namespace_said(NAMESPACE) or USUAL_NAMESPACE, None)
    click.echo(yaml.safe_dump_all(objects_of(settings), sort_keys=False, width=120, allow_unicode=True), nl=False)
    return ExitCode.OK


def _namespace_said(variable: str) -> str:
    import os

    return os.environ.get(variable, "")


def _run(given: dict[str, Any], *, upgrade: bool) -> int:
    from weft.cluster.applying import ConflictError
    from weft.cluster.install import InstallError, LateError
    from weft.cluster.record import RecordError
    from weft.local.cluster import wanted_cluster
    from weft.sources.kubernetes.client import ApiError

    cluster = wanted_cluster()
    done: list[Change] = []
    try:
        asyncio.run(_bring(cluster, given, done, upgrade=upgrade))
    except ConflictError as error:
        raise FailedError(f"{error}; --force-conflicts takes these fields over") from error
    except InstallError as error:
        raise FailedError(str(error), ExitCode.TIMEOUT if isinstance(error, LateError) else ExitCode.FAILED) from error
    except (ApiError, RecordError) as error:
        raise FailedError(f"{error}{_so_far(done)}") from error
    except KeyboardInterrupt:
        click.echo(f"broken off{_so_far(done)}", err=True)
        return ExitCode.INTERRUPTED
    if given["dry_run"]:
        return ExitCode.OK
    if not _changes(done):
        click.echo("nothing changed")
    return _health(cluster, given) if given["wait"] else ExitCode.OK


def _changes(done: list[Change]) -> bool:
    return any(each.what not in ("unchanged", "kept") for each in done)


def _so_far(done: list[Change]) -> str:
    """Where it was broken off."""
    if not done:
        return "; nothing was changed"
    return f"; {len(done)} objects are as they should be, and the same command goes on from here"


async def _bring(cluster: Cluster, given: dict[str, Any], done: list[Change], *, upgrade: bool) -> None:
    """Look, and do it."""
    from weft.cluster.install import Installer, InstallError, Way, look, refusal, unknown_versions
    from weft.cluster.revisions import missing
    from weft.local.cluster import ClusterError
    from weft.model.revisions import DEFAULT
    from weft.sources.kubernetes.access import AccessError
    from weft.sources.kubernetes.client import ApiClient

    try:
        credentials = cluster.credentials()
    except AccessError as error:
        raise ClusterError(str(error)) from error
    async with ApiClient(credentials, 8) as client:
        revision = given["revision"] or DEFAULT
        before = await look(client, cluster.namespace, revision)
        if upgrade and before.installed is None:
            raise InstallError(f"{missing(revision, cluster.namespace, before.others)}; weft install makes it")
        take_over, force = given["take_over"], given["force_version"]
        why = refusal(before, cluster.namespace, revision, take_over=take_over, force=force)
        unknown = await unknown_versions(client)
        if unknown and not why:
            why = f"objects lie in versions that this weft does not know: {', '.join(unknown)}; take a newer weft"
        if why:
            raise InstallError(why)
        settings = _settings(given, cluster.namespace, before)
        if not given["skip_check"]:
            await _check_fitness(cluster, settings)
        way = Way(given["force_conflicts"], given["take_over"], given["wait"], given["timeout"])
        installer = Installer(client, settings, before, way, _waiting)
        if given["dry_run"] or upgrade:
            await _show(installer, dry=given["dry_run"])
        if not given["dry_run"]:
            async for change in installer.run():
                done.append(change)
                _tell(change)
            if given["wait"]:
                await installer.until_ready()


def _settings(given: dict[str, Any], namespace: str, before: Before) -> Settings:
    """What is given, else what is installed; the image gets the tag of this version where another is installed."""
    from weft import __version__

    known = before.settings(namespace)
    if known is not None and known.image and before.version != __version__ and given["image"] is None:
        name, _, tag = known.image.rpartition(":")
        given = {**given, "image": known.image if "/" in tag or not name else name}
    return settings_from(given, namespace, known, before.others)


async def _check_fitness(cluster: Cluster, settings: Settings) -> None:
    """FailedError if the cluster cannot take it; warnings are told."""
    from weft.cli.check import print_findings
    from weft.cli.check_cluster import look_at, mapping_of
    from weft.cluster.install import needed_rights
    from weft.findings.checks.check import exit_code

    checked = await look_at(cluster, settings.revision, needed_rights(settings), before=True)
    print_findings(mapping_of(checked)["findings"])
    if exit_code(checked) > 1:
        raise FailedError("the cluster cannot take it as it is; nothing was changed (--skip-check goes on)")


async def _show(installer: Installer, *, dry: bool) -> None:
    from weft.cli.output import coloured_diff

    plan = await installer.plan()
    for change in plan:
        if dry:
            _tell(change)
        if change.diff:
            click.echo(coloured_diff(change.diff, "    "))
    if dry and not _changes(plan):
        click.echo("nothing would change")


def _tell(change: Change) -> None:
    from weft.cli.output import styled

    if change.what != "unchanged":
        click.echo(f"{styled(change.what, _MARKS[change.what])}: {change.title}")


def _waiting(text: str) -> None:
    click.echo(f"waiting: {text}", err=True)


def _health(cluster: Cluster, given: dict[str, Any]) -> int:
    """Wait until there is no error, and say how it is."""
    from weft.cli.check import print_findings, print_summary
    from weft.cli.check_cluster import checked_cluster, mapping_of, waited_for
    from weft.findings.checks.check import exit_code
    from weft.model.revisions import DEFAULT

    revision = given["revision"] or DEFAULT
    checked = waited_for(partial(checked_cluster, cluster, revision), given["timeout"], _waiting)
    answer = mapping_of(checked)
    print_findings(answer["findings"])
    print_summary(answer["findings"], answer["passed"], False)
    return ExitCode.TIMEOUT if exit_code(checked) > 1 else ExitCode.OK
