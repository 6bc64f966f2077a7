"""TokenReviews at a real API server: bounded, and never a yes where the server says none."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tools.kubernetes_cluster import ApiCluster

from support.control import Rig, running_control
from support.joining_pods import JoiningPods, Proxy
from support.kubernetes import Api, pod_source_of
from weft.sources.kubernetes import reviews
from weft.sources.kubernetes.access import Credentials
from weft.sources.kubernetes.kubeconfig import KubeconfigFile
from weft.sources.kubernetes.pod_tokens import PodTokenError
from weft.sources.kubernetes.reviews import ReviewUnavailableError, TokenReviews
from weft.testing.polling import eventually

MAY_REVIEW = {"apiGroups": ["authentication.k8s.io"], "resources": ["tokenreviews"], "verbs": ["create"]}


@contextlib.asynccontextmanager
async def asking(kubeconfig: Path) -> AsyncIterator[TokenReviews]:
    """Who asks the server that `kubeconfig` names."""
    one = TokenReviews("test", Credentials(KubeconfigFile(str(kubeconfig)).access), lambda _: None)
    task = asyncio.create_task(one.run())
    await asyncio.sleep(0)
    try:
        yield one
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


@contextlib.asynccontextmanager
async def control(cluster: ApiCluster, tmp_path: Path, kubeconfig: Path) -> AsyncIterator[Rig]:
    """A control plane that follows the cluster, and asks as whom `kubeconfig` makes it."""
    source, file = pod_source_of(cluster.kubeconfig("admin")), KubeconfigFile(str(kubeconfig))
    async with running_control(tmp_path, also=[source], cluster=file) as rig:
        yield rig


@pytest.fixture
async def pods(api: Api, namespace: str) -> JoiningPods:
    pods = JoiningPods(api, namespace)
    await pods.start()
    await pods.account("web")
    return pods


async def test_a_server_that_forbids_reviews_is_told_of_once(
    cluster: ApiCluster, tmp_path: Path, pods: JoiningPods
) -> None:
    kubeconfig = cluster.account("no-reviewer", [])
    pod = await pods.run("reviews-1")
    token = await pods.token(pod)
    async with control(cluster, tmp_path, kubeconfig) as rig:
        proxy, asked = Proxy(rig, tmp_path, pod), rig.parts.token_reviews
        assert asked is not None
        assert asked.problems() == ()
        for _ in range(2):
            assert await proxy.join(token, 503) == "kubernetes-unavailable"
        [problem] = asked.problems()
        assert problem.code == "kubernetes-refused"
        assert "tokenreviews" in problem.message
        [event] = await rig.audited()
        assert (event.who, event.detail.partition(":")[0]) == ("weft", "kubernetes-refused")
        cluster.account("no-reviewer", [MAY_REVIEW])

        async def joined() -> bool:
            return "BEGIN" in await proxy.join(token)

        await eventually("the right was given", joined)
        assert asked.problems() == ()


async def test_without_the_api_server_nobody_is_let_in(cluster: ApiCluster, tmp_path: Path, pods: JoiningPods) -> None:
    pod = await pods.run("reviews-1")
    token = await pods.token(pod)
    kubeconfig = tmp_path / "away.kubeconfig"
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        here = f"https://127.0.0.1:{nobody.getsockname()[1]}"
        kubeconfig.write_text(cluster.kubeconfig("admin").read_text().replace(cluster.server, here))
        kubeconfig.chmod(0o600)
        async with control(cluster, tmp_path, kubeconfig) as rig:
            proxy = Proxy(rig, tmp_path, pod)
            assert await proxy.join(token, 503) == "kubernetes-unavailable"
            assert (await rig.store.list("certificates"))[1] == ()


async def test_a_server_that_is_silent_is_not_waited_for(
    cluster: ApiCluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reviews, "PATIENCE", 0.2)
    kubeconfig = tmp_path / "silent.kubeconfig"
    with socket.create_server(("127.0.0.1", 0)) as silent:
        here = f"https://127.0.0.1:{silent.getsockname()[1]}"
        kubeconfig.write_text(cluster.kubeconfig("admin").read_text().replace(cluster.server, here))
        kubeconfig.chmod(0o600)
        async with asking(kubeconfig) as one:
            with pytest.raises(ReviewUnavailableError, match=r"within 0\.2 s"):
                await one.pod_of("a.b.c")


async def test_a_flood_of_tokens_is_bounded(cluster: ApiCluster, pods: JoiningPods) -> None:
    pod = await pods.run("reviews-1")
    good = await pods.token(pod)
    forged, more = good.rpartition(".")[0] + ".AAAA", 40
    async with asking(cluster.kubeconfig("admin")) as one:
        flood = [one.pod_of(forged) for _ in range(reviews.WAITING + more)]
        found = await asyncio.gather(*flood, return_exceptions=True)
        busy = [error for error in found if isinstance(error, ReviewUnavailableError) and error.busy]
        assert len(busy) == more
        assert not [each for each in found if not isinstance(each, PodTokenError | ReviewUnavailableError)]
        bound = await one.pod_of(good)
        assert (bound.namespace, bound.service_account, bound.name, bound.uid) == (
            pod.namespace,
            "web",
            pod.name,
            pod.pod,
        )


async def test_many_pods_that_start_at_once_all_join(
    cluster: ApiCluster, tmp_path: Path, pods: JoiningPods, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reviews, "PATIENCE", 60.0)
    started = await asyncio.gather(*(pods.run(f"web-{number}") for number in range(40)))
    tokens = await asyncio.gather(*(pods.token(pod) for pod in started))
    async with control(cluster, tmp_path, cluster.kubeconfig("admin")) as rig:
        joining = [Proxy(rig, tmp_path, pod).join(token) for pod, token in zip(started, tokens, strict=True)]
        chains = await asyncio.gather(*joining)
        assert len(set(chains)) == len(started)
