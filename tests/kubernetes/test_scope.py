"""Namespaces come into the mesh's view and leave it by their labels: at a real API server, all at once."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator
from typing import Any

from tools.kubernetes_cluster import ApiCluster

from support.kubernetes import QUICK, Api, Pods, service
from weft.model.document import ObjectKey
from weft.model.snapshot import ConfigSnapshot, MeshSettings
from weft.sources.collector import Collector
from weft.sources.kubernetes.access import Credentials
from weft.sources.kubernetes.kubeconfig import KubeconfigFile
from weft.sources.kubernetes.pods import PodSource
from weft.sources.kubernetes.scope import Scope
from weft.sources.kubernetes.selectors import selector_from_text
from weft.sources.kubernetes.source import KubernetesSource
from weft.testing.polling import eventually

POLICIES = "/apis/security.istio.io/v1"
MERGE = "application/merge-patch+json"
WHOLE = {"Namespace", "Service", "AuthorizationPolicy", "workload", "instance"}


class Watched:
    """A mesh whose view two selectors say, and every snapshot that it ever was."""

    def __init__(self, cluster: ApiCluster, *always: str, account: str = "admin") -> None:
        credentials = Credentials(KubeconfigFile(str(cluster.kubeconfig(account))).access)
        selectors = [selector_from_text(text) for text in ("mesh=on", "team in (shop, pay),!legacy")]
        scope = Scope(selectors, always, QUICK)
        self.documents = KubernetesSource("test", credentials, pace=QUICK, scope=scope)
        self.pods = PodSource("test", credentials, pace=QUICK, scope=scope)
        self.snapshots: list[ConfigSnapshot] = []
        self.collector = Collector([self.documents, self.pods], MeshSettings(), admits=self._note)

    def _note(self, snapshot: ConfigSnapshot) -> bool:
        self.snapshots.append(snapshot)
        return True

    def has(self, namespace: str) -> set[str]:
        return of(self.collector.snapshot, namespace)

    def kept(self, kind: str) -> int:
        return next((each.objects for each in (*self.documents.states(), *self.pods.states()) if each.name == kind), 0)

    def in_parts(self, namespace: str) -> list[set[str]]:
        """The snapshots in which a namespace was there, and not whole."""
        return [found for each in self.snapshots if (found := of(each, namespace)) not in (set(), WHOLE)]


def of(snapshot: ConfigSnapshot, namespace: str) -> set[str]:
    """The kinds of what is there of a namespace."""

    def found() -> Iterator[str]:
        for document in snapshot.documents:
            key = document.key
            if namespace in (key.namespace, key.name if key.kind == "Namespace" else "") and key.kind in WHOLE:
                yield key.kind
        yield from ("workload" for each in snapshot.workloads if each.namespace == namespace)
        yield from ("instance" for each in snapshot.instances if each.key.namespace == namespace)

    return set(found())


@contextlib.asynccontextmanager
async def followed(watched: Watched) -> AsyncIterator[None]:
    task = asyncio.create_task(watched.collector.run())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait([task])


async def fill(api: Api, name: str, labels: dict[str, str]) -> None:
    """A namespace with a Service, a policy, and two Pods of which one has a proxy."""
    about: dict[str, Any] = {"name": name, "labels": labels}
    await api.create("/api/v1/namespaces", {"apiVersion": "v1", "kind": "Namespace", "metadata": about})
    await api.create(f"/api/v1/namespaces/{name}/services", service("web", name))
    policy = {"apiVersion": "security.istio.io/v1", "kind": "AuthorizationPolicy", "metadata": {"name": "none"}}
    await api.create(f"{POLICIES}/namespaces/{name}/authorizationpolicies", {**policy, "spec": {}})
    pods = Pods(api, name)
    await pods.start()
    for pod, meshed in (("web", True), ("db", False)):
        await pods.create(pod, meshed=meshed)
        await pods.status(pod, "10.0.0.1")


async def label(api: Api, name: str, **labels: str | None) -> None:
    await api.call("PATCH", f"/api/v1/namespaces/{name}", {"metadata": {"labels": labels}}, MERGE)


async def test_namespaces_come_and_go_by_their_labels(cluster: ApiCluster, api: Api, namespace: str) -> None:
    await fill(api, "seen", {"mesh": "on"})
    await fill(api, "unseen", {"team": "shop", "legacy": "yes"})
    watched = Watched(cluster, namespace)
    async with followed(watched):
        await eventually("what is selected is there", lambda: watched.has("seen") == WHOLE)
        assert not watched.has("unseen")
        assert "unseen" in watched.collector.snapshot.left_out
        assert "Namespace" in watched.has(namespace), "one of a fixed name is in view without a label"
        assert (watched.kept("pods"), watched.kept("services")) == (2, 1), "nothing of others is kept"
        service_seen = _service(watched.collector.snapshot, "seen")

        await label(api, "unseen", legacy=None)
        await eventually("it comes into view", lambda: watched.has("unseen") == WHOLE)
        assert watched.kept("pods") == 4
        await label(api, "unseen", team="other")
        await eventually("it leaves", lambda: not watched.has("unseen"))
        assert watched.kept("pods") == 2
        await label(api, "unseen", team="pay")
        await eventually("it comes again", lambda: watched.has("unseen") == WHOLE)

        lists = watched.documents.states()
        await fill(api, "fresh", {"mesh": "on"})
        await eventually("a new one is there", lambda: watched.has("fresh") == WHOLE)
        assert [each.lists for each in watched.documents.states()] == [each.lists for each in lists]
        assert _service(watched.collector.snapshot, "seen") is service_seen
        assert not watched.in_parts("unseen")
        assert not watched.in_parts("seen")


async def test_a_namespace_that_asks_for_sidecars_and_is_left_out(
    cluster: ApiCluster, api: Api, namespace: str
) -> None:
    await label(api, namespace, **{"istio-injection": "enabled"})
    watched = Watched(cluster)

    def told() -> list[str]:
        found = watched.collector.snapshot.problems
        wanted = ObjectKey("", "Namespace", "", namespace)
        return [each.code for each in found if each.object == wanted]

    async with followed(watched):
        await eventually("it is told", lambda: told() == ["sidecars-left-out"])
        await label(api, namespace, mesh="on")
        await eventually("it is well", lambda: "Namespace" in watched.has(namespace) and not told())


async def test_nothing_is_in_force_before_namespaces_may_be_read(cluster: ApiCluster, api: Api, namespace: str) -> None:
    await label(api, namespace, mesh="on")
    everything = {"apiGroups": ["*"], "resources": ["*"], "verbs": ["watch", "list"]}
    cluster.account("blind", [{**everything, "apiGroups": ["networking.istio.io"]}])
    watched = Watched(cluster, account="blind")
    async with followed(watched):
        await eventually(
            "it is told", lambda: [each for each in watched.documents.problems() if "namespaces" in each.message]
        )
        assert watched.documents.contents.value is None
        cluster.account("blind", [everything])
        await eventually("it goes on", lambda: "Namespace" in watched.has(namespace))


def _service(snapshot: ConfigSnapshot, namespace: str) -> object:
    return next(each for each in snapshot.documents if (each.key.kind, each.key.namespace) == ("Service", namespace))
