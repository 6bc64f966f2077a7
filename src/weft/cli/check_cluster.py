"""`weft check` of a cluster: before weft is installed there whether it can be, afterwards whether it works."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from weft.cluster.revisions import Neighbour
    from weft.cluster.rights import Right
    from weft.findings.checks.check import Checked
    from weft.local.cluster import Cluster

_PACE = 2.0


def checked_cluster(cluster: Cluster, revision: str) -> Checked:
    """What the checks of a revision in `cluster` find. ClusterError."""
    return asyncio.run(look_at(cluster, revision))


def chosen_revision(cluster: Cluster, wanted: str | None, told: Callable[[str], None]) -> str:
    """The revision that is looked at: the one that is `wanted`, else the default; where only another is there, that
    one, which is `told`. ClusterError if it is not there, and others are."""
    from weft.cluster.reading import Reader
    from weft.cluster.revisions import missing, revisions_of
    from weft.local.cluster import ClusterError
    from weft.model.revisions import DEFAULT
    from weft.sources.kubernetes.access import AccessError
    from weft.sources.kubernetes.client import ApiClient, ApiError

    async def there() -> tuple[Neighbour, ...]:
        async with ApiClient(cluster.credentials()) as client:
            return await revisions_of(Reader(client), cluster.namespace)

    try:
        found = asyncio.run(there())
    except AccessError as error:
        raise ClusterError(str(error)) from error
    except ApiError:
        found = ()  # the checks say that it does not answer
    revision, names = wanted or DEFAULT, [each.revision for each in found]
    if not names or revision in names:
        return revision
    if wanted is None and len(names) == 1:
        told(f"note: the default is not there; looking at {found[0]}")
        return names[0]
    raise ClusterError(missing(revision, cluster.namespace, found))


async def look_at(cluster: Cluster, revision: str, needed: tuple[Right, ...] = (), *, before: bool = False) -> Checked:
    """What the checks of a revision in `cluster` find; with `before` only those that are made before weft is installed,
    by whom who has the rights that are `needed`. ClusterError."""
    from weft.cluster.gather import Question, gather_cluster
    from weft.cluster.install import needed_rights
    from weft.cluster.manifests import Settings
    from weft.findings.cluster.check import check_cluster
    from weft.local.cluster import ClusterError
    from weft.sources.kubernetes.access import AccessError

    try:
        context, _ = cluster.names()
        credentials = cluster.credentials()
    except AccessError as error:
        raise ClusterError(str(error)) from error
    wanted = needed or needed_rights(Settings(namespace=cluster.namespace, revision=revision))
    facts = await gather_cluster(credentials, Question(context, cluster.namespace, wanted, revision))
    return check_cluster(facts, before=before)


def waited_for(check: Callable[[], Checked], timeout: float, told: Callable[[str], None]) -> Checked:
    """What `check` finds once there is no error any more, or `timeout` seconds have passed. `told` is given what is
    waited for, when that changes."""
    from weft.model.problem import Severity

    end = time.monotonic() + timeout
    last = ""
    while True:
        checked = check()
        errors = [one for one in checked.findings if one.severity is Severity.ERROR]
        if not errors or time.monotonic() >= end:
            return checked
        about = f"{errors[0].about}: {errors[0].message}"
        if about != last:
            told(about)
            last = about
        time.sleep(min(_PACE, max(0.0, end - time.monotonic())))


def mapping_of(checked: Checked) -> dict[str, Any]:
    """As the control plane tells of its own checks."""
    from weft.findings.finding import finding_mapping

    return {"findings": [finding_mapping(one) for one in checked.findings], "passed": list(checked.passed)}


def is_before(answer: Mapping[str, Any]) -> bool:
    """Whether weft is not there yet, or nothing can be said of it: then there is no control plane to be asked."""
    from weft.findings.cluster.check import ONLY_BEFORE

    return ONLY_BEFORE in answer["passed"] or any(each["severity"] == "error" for each in answer["findings"])
