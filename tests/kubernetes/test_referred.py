"""Secrets and ConfigMaps that documents refer to, read of a real API server by an account that may read no others."""

from __future__ import annotations

import base64
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tools.kubernetes_cluster import ApiCluster

from support.certificates import TestAuthority
from support.imported import codes, reached, running
from support.kubernetes import QUICK, Api, may_watch
from support.meshdocs import documents
from weft.model.document import Document
from weft.model.snapshot import ConfigSnapshot
from weft.model.unreadable import Unreadable
from weft.schema.kinds.core import SecretSpec
from weft.schema.kinds.meshconfig import ConfigMapSpec
from weft.sources.contents import Contents
from weft.sources.kubernetes.access import Credentials
from weft.sources.kubernetes.kubeconfig import KubeconfigFile
from weft.sources.kubernetes.referred import ReferredSource
from weft.testing.polling import eventually

LEAVES = [TestAuthority().issue(dns=("shop.example",)) for _ in range(2)]
SETTINGS = may_watch("configmaps", "istio")
GATEWAY = """
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: front, namespace: NAMESPACE}
spec:
  gatewayClassName: weft
  listeners:
  - {name: own, port: 443, protocol: HTTPS, hostname: a.example, tls: {certificateRefs: [{name: own}]}}
"""
OTHERS = "  - {name: b, port: 443, protocol: HTTPS, hostname: b.example, tls: {certificateRefs: [{name: theirs}]}}\n"
GRANT = """
---
apiVersion: gateway.networking.k8s.io/v1
kind: ReferenceGrant
metadata: {name: front, namespace: NAMESPACE-b}
spec:
  from: [{group: gateway.networking.k8s.io, kind: Gateway, namespace: NAMESPACE}]
  to: [{group: "", kind: Secret}]
"""
POLICY = """
apiVersion: gateway.networking.k8s.io/v1
kind: BackendTLSPolicy
metadata: {name: reviews, namespace: NAMESPACE}
spec:
  targetRefs: [{group: "", kind: Service, name: reviews}]
  validation: {hostname: api.example, caCertificateRefs: [{group: "", kind: ConfigMap, name: roots}]}
"""


def referring(kubeconfig: Path, **options: Any) -> ReferredSource:
    return ReferredSource(
        "test", Credentials(KubeconfigFile(str(kubeconfig)).access), pace=QUICK, **{"patience": 60.0, **options}
    )


def snapshot(text: str, namespace: str) -> ConfigSnapshot:
    return ConfigSnapshot(1, documents(text.replace("NAMESPACE", namespace)))


def secret(name: str, number: int = 0, **more: bytes) -> dict[str, Any]:
    leaf = LEAVES[number]
    data = {"tls.crt": leaf.chain, "tls.key": leaf.key, **more}
    encoded = {key: base64.b64encode(value).decode() for key, value in data.items()}
    about = {"name": name}
    return {"apiVersion": "v1", "kind": "Secret", "metadata": about, "type": "kubernetes.io/tls", "data": encoded}


def chain(contents: Contents | None, name: str = "own") -> bytes:
    """The certificate that a Secret holds; empty where there is none."""
    [spec] = [one.spec for one in _found(contents, name)] or [None]
    return spec.data["tls.crt"] if isinstance(spec, SecretSpec) else b""


def _found(contents: Contents | None, name: str) -> list[Document[object]]:
    return [one for one in contents.documents if one.key.name == name] if contents is not None else []


def has(number: int, name: str = "own") -> Callable[[Contents], bool]:
    return lambda contents: chain(contents, name) == LEAVES[number].chain


def has_any(source: ReferredSource, name: str) -> bool:
    return bool(_found(source.contents.value, name))


async def test_what_is_referred_to_is_read_before_it_is_in_force(cluster: ApiCluster, api: Api, namespace: str) -> None:
    path = f"/api/v1/namespaces/{namespace}/secrets"
    await api.create(path, secret("own", password=b"hunter2"), secret("not-named"))
    source = referring(cluster.account("named", [SETTINGS, may_watch("secrets", "own")]))
    async with running(source):
        given = snapshot(GATEWAY, namespace)
        assert not source.admits(given), "a Gateway is not served as if its Secret were not there"
        await eventually("the snapshot is admitted", lambda: source.admits(given), every=0)
        assert chain(source.contents.value) == LEAVES[0].chain, "whoever is admitted finds it"
        first = await reached(source, "it is read", has(0))
        assert [str(key) for key in source.followed] == ["ConfigMap istio-system/istio", f"Secret {namespace}/own"]
        [document] = first.documents
        assert isinstance(document.spec, SecretSpec)
        assert set(document.spec.data) == {"tls.crt", "tls.key"}
        assert first.problems == ()
        assert first.yields, "a followed file's Secret stands before it"

        await api.call("PUT", f"{path}/own", secret("own", 1))
        assert source.admits(given)
        await reached(source, "it is another", has(1))
        await api.call("DELETE", f"{path}/own")
        await reached(source, "it is gone", lambda found: not found.documents)
        assert source.admits(given), "a missing one is not waited for"
        await api.create(path, secret("own"))
        await reached(source, "it is there again", has(0))

        assert source.admits(ConfigSnapshot(2))
        await reached(source, "nobody refers to it any more", lambda found: not found.documents)
        assert [str(key) for key in source.followed] == ["ConfigMap istio-system/istio"]


async def test_a_secret_of_another_namespace_is_read_when_it_is_granted(
    cluster: ApiCluster, api: Api, namespace: str
) -> None:
    other = f"{namespace}-b"
    await api.create("/api/v1/namespaces", {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": other}})
    await api.create(f"/api/v1/namespaces/{other}/secrets", secret("theirs"))
    await api.create(f"/api/v1/namespaces/{namespace}/secrets", secret("own"))
    text = GATEWAY + OTHERS.replace("name: theirs", "name: theirs, namespace: NAMESPACE-b")
    source = referring(cluster.account("granted", [SETTINGS, may_watch("secrets", "own")]))
    async with running(source):
        refused = snapshot(text, namespace)
        await eventually("all is read", lambda: source.admits(refused))
        assert f"Secret {other}/theirs" not in map(str, source.followed)
        found = await reached(source, "its own is there", has(0))
        assert found.problems == (), "nobody asked for what it may not read"

        granted = snapshot(text + GRANT, namespace)
        await eventually("a refused one is not waited for", lambda: source.admits(granted))
        told = await reached(source, "it is told", lambda found: "kubernetes-refused" in codes(found))
        [problem] = told.problems
        assert problem.object is not None
        assert str(problem.object) == f"Gateway {namespace}/front"
        assert problem.path == ("spec", "listeners", 1, "tls", "certificateRefs", 0)
        assert problem.message.startswith(f"Secret {other}/theirs cannot be read: it answers 403: ")
        assert problem.expected == f"a Role in namespace '{other}' that allows watch of secrets, resourceNames theirs"
        assert chain(told) == LEAVES[0].chain, "others go on"
        [closed] = _found(told, "theirs")
        assert closed.spec == Unreadable("Secret"), "proxies that have it keep it"

        cluster.account("granted", [SETTINGS, may_watch("secrets", "own", "theirs")])
        await reached(source, "it may be read", lambda found: has(0, "theirs")(found) and not found.problems)


async def test_more_entries_are_read_when_more_are_looked_at(cluster: ApiCluster, api: Api, namespace: str) -> None:
    await api.create(f"/api/v1/namespaces/{namespace}/secrets", secret("own", more=b"1"))
    keys = """
---
apiVersion: weft.dev/v1alpha1
kind: CredentialPolicy
metadata: {name: keys, namespace: NAMESPACE}
spec:
  targetRefs: [{group: gateway.networking.k8s.io, kind: Gateway, name: front}]
  apiKey: {from: {headers: [x-key]}, secretRefs: [{name: own}]}
"""
    source = referring(cluster.kubeconfig("admin"))
    async with running(source):
        await eventually("it is read", lambda: source.admits(snapshot(GATEWAY, namespace)))
        more = snapshot(GATEWAY + keys, namespace)
        assert not source.admits(more)
        assert chain(source.contents.value) == LEAVES[0].chain, "what is known stays meanwhile"
        await eventually("all of it is read", lambda: source.admits(more))
        [document] = source.contents.value.documents if source.contents.value is not None else ()
        assert isinstance(document.spec, SecretSpec)
        assert document.spec.data["more"] == b"1"


async def test_a_server_that_does_not_answer_is_not_waited_for_long(
    cluster: ApiCluster, api: Api, namespace: str
) -> None:
    await api.create(f"/api/v1/namespaces/{namespace}/secrets", secret("own"))
    source = referring(cluster.kubeconfig("admin"), patience=1.0)
    async with running(source):
        await eventually("the settings are read", lambda: source.admits(ConfigSnapshot(1)))
        cluster.kill_api_server()
        try:
            given = snapshot(GATEWAY, namespace)
            assert not source.admits(given)
            late = await reached(source, "it is late", lambda found: bool(found.documents))
            assert source.admits(given)
            [document] = late.documents
            assert document.spec == Unreadable("Secret")
            assert codes(late) == {"kubernetes-unavailable"}
        finally:
            cluster.start_api_server()
        await reached(source, "it is read after all", lambda found: has(0)(found) and not found.problems, 60)


async def test_mesh_wide_settings_are_those_of_istios_config_map(cluster: ApiCluster, api: Api) -> None:
    about = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "istio-system"}}
    await api.apply("/api/v1/namespaces/istio-system", about)
    body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "istio", "namespace": "istio-system"}}
    maps = "/api/v1/namespaces/istio-system/configmaps"
    await api.create(maps, {**body, "data": {"mesh": "connectTimeout: 3s\n", "meshNetworks": "networks: {}"}})
    source, refused = referring(cluster.kubeconfig("admin")), referring(cluster.account("none", []))
    try:
        async with running(source), running(refused):
            assert not source.admits(ConfigSnapshot(1))
            found = await reached(source, "they are read", lambda found: bool(found.documents))
            assert (found.documents[0].key.name, found.problems) == ("istio", ())
            assert not refused.admits(ConfigSnapshot(1))
            told = await reached(refused, "it is told", lambda found: bool(found.problems))
            assert codes(told) == {"kubernetes-refused"}
            assert refused.admits(ConfigSnapshot(1)), "the mesh goes on without"
    finally:
        await api.call("DELETE", f"{maps}/istio")


async def test_a_namespace_takes_no_other_ones_share(cluster: ApiCluster, api: Api, namespace: str) -> None:
    other = f"{namespace}-b"
    await api.create("/api/v1/namespaces", {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": other}})
    await api.create(f"/api/v1/namespaces/{namespace}/secrets", secret("own"), secret("theirs", 1))
    await api.create(f"/api/v1/namespaces/{other}/secrets", secret("other"))
    first = documents((GATEWAY + OTHERS).replace("NAMESPACE", namespace), created=1.0)
    second = documents(GATEWAY.replace("NAMESPACE", other).replace("{name: own}", "{name: other}"), created=2.0)
    alone, both = ConfigSnapshot(1, first), ConfigSnapshot(2, (*first, *second))
    source = referring(cluster.kubeconfig("admin"), most=3)
    async with running(source):
        await eventually("there is room", lambda: source.admits(alone))
        assert source.contents.value is not None
        assert source.contents.value.problems == ()

        await eventually("the other's is read", lambda: source.admits(both))
        found = await reached(source, "who has two gives up one", has(0, "other"))
        [problem] = found.problems
        assert problem.code == "kubernetes-too-many"
        assert str(problem.object) == f"Gateway {namespace}/front"
        assert problem.path == ("spec", "listeners", 1, "tls", "certificateRefs", 0)
        assert (chain(found), chain(found, "other")) == (LEAVES[0].chain, LEAVES[0].chain)
        [closed] = _found(found, "theirs")
        assert closed.spec == Unreadable("Secret"), "proxies that have it keep it"

        await eventually("there is room again", lambda: source.admits(alone))
        await reached(source, "it is read again", lambda found: has(1, "theirs")(found) and not found.problems)
        assert not _found(source.contents.value, "other")


async def test_what_is_beyond_is_closed_from_the_first(cluster: ApiCluster, api: Api, namespace: str) -> None:
    """A proxy may have it of a control plane that has ended."""
    await api.create(f"/api/v1/namespaces/{namespace}/secrets", secret("own"), secret("theirs"))
    source = referring(cluster.kubeconfig("admin"), most=2)
    async with running(source):
        await eventually("it is admitted", lambda: source.admits(snapshot(GATEWAY + OTHERS, namespace)), every=0)
        assert [one.spec for one in _found(source.contents.value, "theirs")] == [Unreadable("Secret")]
        gone = snapshot(GATEWAY, namespace)
        await eventually("nobody refers to it", lambda: source.admits(gone) and not has_any(source, "theirs"))


async def test_a_config_map_beyond_stays_as_it_was_read(cluster: ApiCluster, api: Api, namespace: str) -> None:
    roots = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "roots"}, "data": {"ca.crt": "PEM"}}
    await api.create(f"/api/v1/namespaces/{namespace}/configmaps", roots)
    await api.create(f"/api/v1/namespaces/{namespace}/secrets", secret("own"))
    text = POLICY.replace("NAMESPACE", namespace)
    young = documents(text, created=2.0)
    old = documents(GATEWAY.replace("NAMESPACE", namespace), created=1.0)
    source = referring(cluster.kubeconfig("admin"), most=2)
    async with running(source):
        await eventually("it is read", lambda: source.admits(ConfigSnapshot(1, young)))
        both = ConfigSnapshot(2, (*young, *old))
        await eventually("the older one's is read", lambda: source.admits(both))
        found = await reached(source, "it is told", lambda found: "kubernetes-too-many" in codes(found))
        [kept] = _found(found, "roots")
        assert isinstance(kept.spec, ConfigMapSpec)
        assert kept.spec.data.ca_crt == "PEM"
        await eventually("nobody refers to it", lambda: source.admits(ConfigSnapshot(3, old)))
        await eventually("it is gone", lambda: not has_any(source, "roots"))
