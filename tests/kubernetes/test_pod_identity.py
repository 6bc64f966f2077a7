"""Pods at the agent API, with the tokens of a real API server: who gets in, and everything that must not."""

from __future__ import annotations

import asyncio
import base64
import dataclasses
import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from cryptography import x509
from tools.kubernetes_cluster import ApiCluster

from admin.test_agent_api import Agent, new_request, refusals
from support.control import Rig, running_control
from support.joining_pods import JoiningPods, Proxy
from support.kubernetes import Api, pod_source_of
from weft.admin import pod_registrations
from weft.ca.tokens import create_token
from weft.model.workload import GatewayBinding, Workload, WorkloadState
from weft.sources.kubernetes.kubeconfig import KubeconfigFile
from weft.testing.polling import eventually

SOON = 0.3
"""Seconds for which a Pod that nobody tells of is waited for here."""


@pytest.fixture
async def rig(cluster: ApiCluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Rig]:
    monkeypatch.setattr(pod_registrations, "TOLD_SECONDS", SOON)
    source = pod_source_of(cluster.kubeconfig("admin"))
    kubeconfig = KubeconfigFile(str(cluster.kubeconfig("admin")))
    async with running_control(tmp_path, also=[source], cluster=kubeconfig) as rig:
        yield rig


@pytest.fixture
async def pods(api: Api, namespace: str, rig: Rig) -> JoiningPods:
    """The namespace's Pods, with the service account ``web``."""
    pods = JoiningPods(api, namespace, rig)
    await pods.start()
    await pods.account("web")
    return pods


def plain(pod: Workload) -> Workload:
    """What an agent says of a Pod at the least."""
    return Workload(pod.name, pod.namespace, pod.service_account)


def codes(rig: Rig) -> set[str]:
    """What is wrong."""
    return {problem.code for problem in rig.parts.collector.snapshot.problems}


def changed(token: str, **claims: object) -> str:
    """The token with other claims, under the signature of before."""
    head, body, signature = token.split(".")
    said = json.loads(base64.urlsafe_b64decode(body + "=" * (-len(body) % 4)))
    text = base64.urlsafe_b64encode(json.dumps(said | claims).encode()).decode().rstrip("=")
    return ".".join((head, text, signature))


async def test_a_pod_joins_by_its_token_and_lives_by_its_certificate(
    rig: Rig, tmp_path: Path, pods: JoiningPods
) -> None:
    pod = await pods.run("reviews-1")
    proxy, token = Proxy(rig, tmp_path, pod), await pods.token(pod)
    chain = await proxy.join(token)
    leaf = x509.load_pem_x509_certificates(chain.encode())[0]
    assert f"UID={pod.pod}" in leaf.subject.rfc4514_string()
    names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert [name.value for name in names] == [f"spiffe://cluster.local/ns/{pods.namespace}/sa/web"]
    assert pods.known() == [pod], "what the agent says of ports and capture counts nothing"
    assert (await rig.store.list("workloads"))[1] == ()
    assert (
        f"UID={pod.pod}"
        in x509.load_pem_x509_certificate((await proxy.certificate()).encode()).subject.rfc4514_string()
    )
    await proxy.call("lease", {"state": "healthy"})
    await proxy.held.call("GET", f"{proxy.path}/names", status=409)
    assert await proxy.call("drain?wait=5", status=409) == "not-draining"
    await pods.delete(pod.name, grace=300)
    await eventually("it ends", lambda: [each.state for each in pods.known()] == [WorkloadState.DRAINING])
    assert await proxy.call("drain?wait=0.5") == ""
    async with rig.session() as session, session.get("/v1/workloads") as response:
        [row] = [each for each in (await response.json())["workloads"] if each["namespace"] == pods.namespace]
    assert (row["pod"], row["lease_expires"], row["agent_silent"]) == (pod.pod, None, False)
    await proxy.held.call("DELETE", proxy.path, status=204)
    events = [(event.action, event.outcome) for event in await rig.audited()]
    assert events == [
        ("deregister", "done"),
        ("drain", "refused"),
        ("read names", "refused"),
        ("register", "done"),
    ]
    assert token not in str(await rig.audited())


async def test_a_pod_that_restarts_its_proxy_comes_back_by_either(rig: Rig, tmp_path: Path, pods: JoiningPods) -> None:
    pod = await pods.run("reviews-1")
    proxy = Proxy(rig, tmp_path, pod)
    await proxy.join(await pods.token(pod))
    await proxy.held.register(plain(pod))
    await proxy.join(await pods.token(pod))


async def test_what_is_no_proof_of_a_pod(rig: Rig, tmp_path: Path, pods: JoiningPods, api: Api) -> None:
    await pods.account("other")
    elsewhere = JoiningPods(api, "default")
    await elsewhere.start()
    pod, another = await pods.run("reviews-1"), await pods.run("reviews-2")
    alike = await pods.run("reviews-3", "other")
    foreign = await elsewhere.run("reviews-1", "default")
    proxy, good = Proxy(rig, tmp_path, pod), await pods.token(pod)
    strange = await pods.token(pod, audiences=["vault"])
    uid = {"namespace": pod.namespace, "pod": {"name": pod.name, "uid": pod.pod}, "serviceaccount": {"name": "web"}}
    gone = {**uid, "pod": {"name": pod.name, "uid": another.pod}}
    try:
        attacks = [
            ("of another Pod", await pods.token(another), 403, "token-for-another"),
            ("of another service account", await pods.token(alike), 403, "token-for-another"),
            ("of another namespace", await elsewhere.token(foreign), 403, "token-for-another"),
            ("of no Pod", await pods.token(pod, bound=False), 403, "token-unbound"),
            ("for another audience", strange, 401, "token-refused"),
            ("for the API server", await pods.token(pod, audiences=[]), 401, "token-refused"),
            ("another's, renamed", changed(await pods.token(another), **{"kubernetes.io": uid}), 401, "token-refused"),
            ("for another, renamed", changed(strange, aud=["weft"]), 401, "token-refused"),
            ("with a forged end", changed(good, exp=4e9), 401, "token-refused"),
            ("expired", changed(good, exp=1), 401, "token-refused"),
            ("unsigned", good.rpartition(".")[0] + ".", 401, "token-refused"),
            ("signed by another", good.rpartition(".")[0] + ".AAAA", 401, "token-refused"),
            ("none", "a.b.c", 401, "token-refused"),
            ("too large", good + "A" * 5000, 401, "token-refused"),
            ("a join token that was never made", "weft-1", 401, "token-refused"),
        ]
        for what, token, status, code in attacks:
            assert await proxy.join(token, status) == code, what
        nobody = changed(good, **{"kubernetes.io": gone})
        assert await proxy.join(nobody, 425) == "pod-unknown", "the API server is not asked whether it is signed"
        assert (await rig.store.list("certificates"))[1] == ()
        assert set(await refusals(rig)) == {code for *_, code in attacks}
        await proxy.join(good)
    finally:
        await elsewhere.end(foreign)


async def test_a_token_outlives_its_pod_nowhere(rig: Rig, tmp_path: Path, pods: JoiningPods) -> None:
    first = await pods.run("web-0")
    proxy, token, unseen = Proxy(rig, tmp_path, first), await pods.token(first), await pods.token(first)
    await proxy.join(token)
    await pods.end(first)  # the API server itself takes the token for some seconds more
    assert await proxy.join(token, 425) == "pod-unknown"
    assert await proxy.certificate(404) == "not-registered"
    assert await proxy.call("lease", {"state": "healthy"}, 404) == "not-registered"
    said = plain(first)
    assert (await proxy.held.register(said, 403))["code"] == "not-your-workload"
    second = await pods.run("web-0")
    assert second.pod != first.pod
    assert await proxy.certificate(403) == "not-your-workload"
    assert await proxy.call("lease", {"state": "healthy"}, 403) == "not-your-workload"
    assert (await proxy.held.register(said, 403))["code"] == "not-your-workload"
    assert await proxy.join(token, 425) == "pod-unknown", "of a Pod with the same name and another uid"
    assert await proxy.join(unseen, 425) == "pod-unknown", "and the API server, which takes it no more, is not asked"
    await Proxy(rig, tmp_path, second).join(await pods.token(second))


async def test_a_certificate_of_a_pod_is_for_its_own_name(rig: Rig, tmp_path: Path, pods: JoiningPods) -> None:
    one, other = await pods.run("reviews-1"), await pods.run("reviews-2")
    proxy, neighbour = Proxy(rig, tmp_path, one), Proxy(rig, tmp_path, other)
    await proxy.join(await pods.token(one))
    await neighbour.join(await pods.token(other))
    body = {"csr": new_request()[1]}
    for path in ("certificate", "lease", "drain", "reach", "report", "requests"):
        assert (await proxy.held.call("POST", f"{neighbour.path}/{path}", body, 403))["code"] == "not-your-workload"
    await proxy.held.call("DELETE", neighbour.path, status=403)
    answer = await proxy.held.register(plain(other), 403)
    assert answer["code"] == "not-your-workload"
    # nor for a workload that an agent has registered
    host = Workload("vm-1", pods.namespace, "web")
    await Agent(rig, tmp_path, local=True).register(host)
    await proxy.held.call("POST", f"/v1/workloads/{pods.namespace}/vm-1/certificate", body, 403)
    assert (await proxy.held.register(host, 403))["code"] == "not-your-workload"
    assert await proxy.join(await pods.token(one), 403, host) == "token-for-another"


async def test_a_name_is_a_pods_or_an_agents(rig: Rig, tmp_path: Path, pods: JoiningPods) -> None:
    pod = await pods.run("reviews-1")
    name = Workload("reviews-1", pods.namespace, "web")
    token = (await create_token(rig.store, pods.namespace, "web")).text
    agent = Agent(rig, tmp_path, token=token)
    assert (await agent.register(name, 409))["code"] == "name-taken"
    assert (await Agent(rig, tmp_path, local=True).register(name, 409))["code"] == "name-taken"
    await pods.end(pod)
    await agent.register(name)  # the token was not used up
    pod = await pods.run("reviews-1")
    proxy = Proxy(rig, tmp_path, pod)
    assert await proxy.join(await pods.token(pod), 409) == "name-taken"
    assert pods.known() == [name]
    assert "pod-name-taken" in codes(rig)
    local = Agent(rig, tmp_path, local=True)
    await local.call("DELETE", proxy.path, status=204)
    await proxy.join(await pods.token(pod))
    assert pods.known() == [pod]
    assert "pod-name-taken" not in codes(rig)


async def test_what_a_pod_cannot_say_of_itself(rig: Rig, tmp_path: Path, pods: JoiningPods) -> None:
    pod = await pods.run("reviews-1")
    agent = Agent(rig, tmp_path, token=await pods.token(pod))
    cases: tuple[tuple[str, object], ...] = (
        ("pod", pod.pod),
        ("gateway", GatewayBinding("web", "10.0.0.1")),
        ("uses", ("ratings",)),
        ("carrier", "host.shop"),
        ("name", "a.b"),
    )
    for member, value in cases:
        said = dataclasses.replace(plain(pod), **{member: value})  # type: ignore[arg-type]
        answer = await agent.register(said, 400)
        assert answer["code"] == "bad-workload"
        assert f"workload.{member}:" in answer["error"]


async def test_a_revoked_pod_is_out_until_it_has_a_newer_token(rig: Rig, tmp_path: Path, pods: JoiningPods) -> None:
    pod = await pods.run("reviews-1")
    proxy, before = Proxy(rig, tmp_path, pod), await pods.token(pod)
    await proxy.join(before)
    whose = {"namespace": pod.namespace, "workload": pod.name}

    async def end(what: str) -> None:
        async with rig.session() as session, session.post(f"/v1/identities/{what}", json=whose) as response:
            assert response.status == 200, await response.text()

    await end("revoke")
    await eventually("it is no endpoint", lambda: pods.known() == [])
    assert await proxy.certificate(403) == "identity-revoked"
    assert await proxy.join(await pods.token(pod), 403) == "identity-revoked"
    await end("restore")
    assert await proxy.certificate(403) == "trust-ended"
    assert await proxy.join(before, 403) == "trust-ended"

    async def joined() -> bool:
        return "BEGIN" in await proxy.join(await pods.token(pod))

    await eventually("a token since then is good", joined)
    await proxy.certificate()
    async with rig.session() as session, session.delete(proxy.path) as response:
        assert response.status == 200
    await eventually("it was removed", lambda: pods.known() == [])
    assert await proxy.certificate(403) == "trust-ended"
    await eventually("a token since then is good", joined)
    assert pods.known() == [pod]


async def test_a_pod_is_waited_for_that_the_source_tells_of_late(
    rig: Rig, tmp_path: Path, pods: JoiningPods, api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pod_registrations, "TOLD_SECONDS", 30.0)
    spec = {"serviceAccountName": "web", "containers": [{"name": "weft-proxy", "image": "weft.test/none:1"}]}
    about = {"name": "reviews-1", "namespace": pods.namespace}
    path = f"/api/v1/namespaces/{pods.namespace}/pods"
    made = await api.call("POST", path, {"apiVersion": "v1", "kind": "Pod", "metadata": about, "spec": spec})
    pod = Workload("reviews-1", pods.namespace, "web", pod=made["metadata"]["uid"])
    joining = asyncio.create_task(Proxy(rig, tmp_path, pod).join(await pods.token(pod)))
    await asyncio.wait([joining], timeout=0.3)
    assert not joining.done(), "it has no node yet"
    target = {"apiVersion": "v1", "kind": "Node", "name": f"node-{pods.namespace}"}
    binding = {"apiVersion": "v1", "kind": "Binding", "metadata": about, "target": target}
    await api.call("POST", f"{path}/reviews-1/binding", binding)
    await joining
