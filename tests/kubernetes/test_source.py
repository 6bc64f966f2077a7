"""The source of documents against a real API server: everything it does, and what servers do to it."""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping
from typing import Any

from tools.kubernetes_cluster import ApiCluster

from support.imported import codes, reached, running
from support.kubernetes import ROUTES, Api, definition, route, rules, service, source_of
from support.source_cases import NAMESPACE, SERVICE, check_life, check_mistakes
from weft.model.document import Document
from weft.sources.contents import Contents
from weft.testing.polling import eventually


def named(contents: Contents, namespace: str) -> dict[str, Document[object]]:
    return {f"{one.key.kind}/{one.key.name}": one for one in contents.documents if one.key.namespace == namespace}


def has(namespace: str, *names: str) -> Callable[[Contents], bool]:
    """Whether there are these and no others, but for the service account that every namespace has."""
    return lambda contents: set(named(contents, namespace)) - {"ServiceAccount/default"} == set(names)


class Cluster:
    """See `support.source_cases.SourceCase`."""

    def __init__(self, cluster: ApiCluster, api: Api) -> None:
        self.source = source_of(cluster.kubeconfig("admin"))
        self._api = api

    def _path(self, kind: tuple[str, str], name: str) -> str:
        plural = "services" if kind is SERVICE else "authorizationpolicies"
        root = f"/apis/{kind[0]}" if "/" in kind[0] else f"/api/{kind[0]}"
        return f"{root}/namespaces/{NAMESPACE}/{plural}/{name}"

    async def put(self, kind: tuple[str, str], name: str, spec: Mapping[str, Any]) -> None:
        about = {"name": name, "namespace": NAMESPACE}
        body = {"apiVersion": kind[0], "kind": kind[1], "metadata": about, "spec": spec}
        await self._api.apply(self._path(kind, name), body)

    async def remove(self, kind: tuple[str, str], name: str) -> None:
        await self._api.call("DELETE", self._path(kind, name))


async def test_it_does_what_every_source_does(cluster: ApiCluster, api: Api) -> None:
    body = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}}
    await api.create("/api/v1/namespaces", body)
    await check_life(Cluster(cluster, api))
    await check_mistakes(Cluster(cluster, api))


async def test_what_a_cluster_has_of_itself_is_no_mistake(cluster: ApiCluster) -> None:
    source = source_of(cluster.kubeconfig("admin"))
    async with running(source):
        found = await reached(source, "it is read", lambda _: True)
    assert not found.problems
    kinds = {one.key.kind for one in found.documents}
    assert {"Namespace", "Service", "ServiceAccount"} <= kinds
    [itself] = [one for one in found.documents if one.key.kind == "Service" and one.key.name == "kubernetes"]
    assert itself.origin.source.startswith("kubernetes:Service/default/kubernetes/")


async def test_what_has_changed_while_the_server_was_away(cluster: ApiCluster, api: Api, namespace: str) -> None:
    services = f"/api/v1/namespaces/{namespace}/services"
    await api.create(services, *(service(name, namespace) for name in ("kept", "gone", "changed")))
    source = source_of(cluster.kubeconfig("admin"))
    async with running(source):
        before = await reached(source, "it is read", has(namespace, "Service/kept", "Service/gone", "Service/changed"))
        cluster.kill_api_server()
        try:
            out = await reached(source, "it is told", lambda found: "kubernetes-unavailable" in codes(found))
            assert out.documents is before.documents, "what was read last stays in force"
            assert "what was read last stays in force" in out.problems[0].message
            key = f"/registry/services/specs/{namespace}/gone".encode()
            assert cluster.etcd("kv/deleterange", key=base64.b64encode(key).decode())["deleted"] == "1"
            revision = cluster.etcd("maintenance/status")["header"]["revision"]
            cluster.etcd("kv/compaction", revision=revision)
        finally:
            cluster.start_api_server()
        await api.call("DELETE", f"{services}/changed")
        await api.create(services, service("changed", namespace, "another"), service("new", namespace))
        wanted = has(namespace, "Service/kept", "Service/changed", "Service/new")
        after = await reached(source, "it goes on", lambda found: not found.problems and wanted(found), 60)
    old, new = named(before, namespace), named(after, namespace)
    assert new["Service/kept"] is old["Service/kept"], "only what differs is new"
    assert '"app":"another"' in new["Service/changed"].text


async def test_a_place_that_the_server_has_forgotten(cluster: ApiCluster, api: Api, namespace: str) -> None:
    """A server that was started anew knows no place before its start: it answers 410, and everything is listed."""
    services = f"/api/v1/namespaces/{namespace}/services"
    await api.create(services, service("kept", namespace))
    source = source_of(cluster.kubeconfig("admin"))
    async with running(source):
        before = await reached(source, "it is read", has(namespace, "Service/kept"))
        cluster.kill_api_server()
        mark = base64.b64encode(b"/elsewhere").decode()
        for _ in range(3):
            cluster.etcd("kv/put", key=mark, value=mark)
        cluster.start_api_server()
        await api.create(services, service("new", namespace))
        after = await reached(source, "it goes on", has(namespace, "Service/kept", "Service/new"), 60)
        await reached(source, "nothing is wrong any more", lambda found: not found.problems, 60)
    assert named(after, namespace)["Service/kept"] is named(before, namespace)["Service/kept"]


async def test_a_kind_that_may_not_be_read_is_told_and_the_rest_is_there(
    cluster: ApiCluster, api: Api, namespace: str
) -> None:
    await api.create(f"/api/v1/namespaces/{namespace}/services", service("web", namespace))
    await api.create(f"{ROUTES}/namespaces/{namespace}/httproutes", route("web", namespace, "web", "web"))
    source = source_of(cluster.account("reader", rules(without="httproutes")))
    async with running(source):
        first = await reached(source, "the rest is there", has(namespace, "Service/web"))
        [problem] = first.problems
        assert problem.code == "kubernetes-refused"
        assert problem.message.startswith("httproutes.gateway.networking.k8s.io cannot be read: it answers 403: ")
        assert problem.message.endswith("the mesh does without them")
        cluster.account("reader", rules())
        last = await reached(source, "it may", has(namespace, "Service/web", "HTTPRoute/web"))
        assert named(last, namespace)["Service/web"] is named(first, namespace)["Service/web"]
        await reached(source, "nothing is wrong any more", lambda found: not found.problems)


async def test_without_policies_there_is_no_mesh(cluster: ApiCluster) -> None:
    source = source_of(cluster.account("half", rules(without="authorizationpolicies")))
    async with running(source):
        [problem] = await eventually("it is told", lambda: source.problems() if _all_but_one(source.problems()) else ())
        assert "nothing is in force before they are read" in problem.message
        assert source.contents.value is None
        cluster.account("half", rules())
        await reached(source, "they may be read", lambda found: not found.problems)


def _all_but_one(problems: tuple[Any, ...]) -> bool:
    return [problem.code for problem in problems] == ["kubernetes-refused"]


async def test_who_is_not_known_is_told(cluster: ApiCluster) -> None:
    path = cluster.account("nobody", rules())
    path.write_text(path.read_text().replace('"token": "', '"token": "x'))
    source = source_of(path)
    async with running(source):
        [problem] = await eventually("it is told", source.problems)
        assert problem.code == "kubernetes-unavailable"
        assert "401" in problem.message
        assert problem.expected == "credentials that it takes"
        assert source.contents.value is None


async def test_a_kind_that_comes_later_and_goes(cluster: ApiCluster, api: Api, namespace: str) -> None:
    group, plural = "telemetry.istio.io", "telemetries"
    objects = f"/apis/{group}/v1/namespaces/{namespace}/{plural}"
    about = {"name": "web", "namespace": namespace}
    body = {"apiVersion": f"{group}/v1", "kind": "Telemetry", "metadata": about, "spec": {}}
    source = source_of(cluster.kubeconfig("admin"))
    async with running(source):
        before = await reached(source, "it is read", has(namespace))
        definitions = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
        await api.create(definitions, definition(group, "Telemetry", plural, "v1"))
        await eventually("it may be written", lambda: _written(api, objects, body))
        there = await reached(source, "it is noticed", _tells_of(namespace, "web"))
        assert set(before.documents) <= set(there.documents), "nothing else changed"
        await api.call("DELETE", f"{definitions}/{plural}.{group}")
        await reached(source, "it goes", lambda found: has(namespace)(found) and not found.problems)


def _tells_of(namespace: str, name: str) -> Callable[[Contents], bool]:
    """Whether the object is there, or what is wrong with it is told: either way it was read."""
    return lambda found: (
        f"Telemetry/{name}" in named(found, namespace)
        or any(one.object is not None and one.object.kind == "Telemetry" for one in found.problems)
    )


async def _written(api: Api, path: str, body: Mapping[str, Any]) -> bool:
    await api.call("POST", path, body)
    return True


async def test_a_thousand_services(cluster: ApiCluster, api: Api, namespace: str) -> None:
    services = f"/api/v1/namespaces/{namespace}/services"
    await api.create(services, *(service(f"s{number}", namespace) for number in range(1000)))
    source = source_of(cluster.kubeconfig("admin"))
    async with running(source):
        wanted = [f"Service/s{number}" for number in range(1000)]
        first = await reached(source, "all are there", has(namespace, *wanted))
        patch = {"spec": {"selector": {"app": "another"}}}
        await api.call("PATCH", f"{services}/s500", patch, "application/merge-patch+json")
        changed = lambda found: "another" in named(found, namespace)["Service/s500"].text  # noqa: E731
        last = await reached(source, "one changes", changed)
    assert not last.problems
    assert len(set(first.documents) - set(last.documents)) == 1, "and no other"
