"""`weft logs` for a cluster: what pods say, by the API server, with the user's own rights."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from weft.cli.failure import FailedError
from weft.local.cluster import Cluster
from weft.model.printable import printable

if TYPE_CHECKING:
    from weft.sources.kubernetes.client import ApiClient

CONTROL_PLANE = "control-plane"
_LONGEST = 4000
_PROXY = "weft-proxy"


def print_cluster_logs(cluster: Cluster, names: Sequence[str], *, follow: bool, proxy: bool, tail: int) -> int:
    """Print what the applications of workloads (``POD`` or ``POD.NAMESPACE``) say, with `proxy` their sidecars too, or
    the control plane (without names)."""
    from weft.local.door import door_of

    pods: list[tuple[str, str, str]] = []
    for name in names or (CONTROL_PLANE,):
        if name == CONTROL_PLANE:
            pods += [(cluster.namespace, pod, "weft") for pod in door_of(cluster).pods()]
            continue
        pod, _, namespace = name.partition(".")
        where = namespace or cluster.names()[1] or "default"
        pods.append((where, pod, ""))
        if proxy:
            pods.append((where, pod, _PROXY))
    asyncio.run(_print_all(cluster, pods, follow=follow, tail=tail))
    return 0


async def _print_all(cluster: Cluster, pods: Sequence[tuple[str, str, str]], *, follow: bool, tail: int) -> None:
    from weft.sources.kubernetes.client import ApiClient

    titles = [f"{pod}.{where}" + (f"/{container}" if container == _PROXY else "") for where, pod, container in pods]
    width = max(map(len, titles))
    async with ApiClient(cluster.credentials()) as client:
        heads = [f"{title.ljust(width)} | " if len(pods) > 1 else "" for title in titles]
        printing = zip(pods, heads, strict=True)
        await asyncio.gather(*(_print(client, pod, head, follow=follow, tail=tail) for pod, head in printing))


async def _application(client: ApiClient, path: str) -> str:
    """The container of a pod that is meant where none is named, as kubectl has it."""
    import json

    pod = json.loads((await client.get(path)).body)
    annotations = pod["metadata"].get("annotations") or {}
    containers = [one["name"] for one in pod["spec"]["containers"]]
    return str(annotations.get("kubectl.kubernetes.io/default-container") or containers[0])


async def _print(client: ApiClient, pod: tuple[str, str, str], head: str, *, follow: bool, tail: int) -> None:
    from weft.sources.kubernetes.client import ApiError

    namespace, name, container = pod
    path = f"/api/v1/namespaces/{namespace}/pods/{name}"
    try:
        query = {"tailLines": str(tail), "container": container or await _application(client, path)}
        query |= {"follow": "true"} if follow else {}
        async with client.lines(f"{path}/log", query) as lines:
            async for several in lines:
                for line in several:
                    click.echo(head + printable(line.decode("utf-8", "replace"), _LONGEST))
    except ApiError as error:
        raise FailedError(f"{name}.{namespace}: {error}") from error
