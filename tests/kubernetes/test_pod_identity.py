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
from support.kubernetes import Api
from support.pods import Pods, Proxy, ToldPods
from weft.admin import pod_registrations
from weft.ca.tokens import create_token
from weft.model.workload import GatewayBinding, Workload, WorkloadState
from weft.sources.kubernetes.kubeconfig import KubeconfigFile
from weft.sources.kubernetes.pod_tokens import PodTokenError
from weft.sources.kubernetes.reviews import TokenReviews
from weft.testing.polling import eventually

SOON = 0.3
"""Seconds for which a Pod that nobody tells of is waited for here."""


@pytest.fixture
def told() -> ToldPods:
    return ToldPods()


@pytest.fixture
async def rig(
    cluster: ApiCluster, tmp_path: Path, told: ToldPods, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Rig]:
    monkeypatch.setattr(pod_registrations, "TOLD_SECONDS", SOON)
    kubeconfig = KubeconfigFile(str(cluster.kubeconfig("admin")))
    async with running_control(tmp_path, also=[told], cluster=kubeconfig) as rig:
        yield rig


@pytest.fixture
async def pods(api: Api, namespace: str, told: ToldPods, rig: Rig) -> Pods:
    """The namespace's Pods, with the service account ``web``."""
    pods = Pods(api, namespace, told, rig)
    await pods.account("web")
    return pods


def changed(token: str, **claims: object) -> str:
    """The token with other claims, under the signature of before."""
    head, body, signature = token.split(".")
    said = json.loads(base64.urlsafe_b64decode(body + "=" * (-len(body) % 4)))
    text = base64.urlsafe_b64encode(json.dumps(said | claims).encode()).decode().rstrip("=")
    return ".".join((head, text, signature))


async def test_a_pod_joins_by_its_token_and_lives_by_its_certificate(rig: Rig, tmp_path: Path, pods: Pods) -> None:
    pod = await pods.start("reviews-1")
    proxy, token = Proxy(rig, tmp_path, pod), await pods.token(pod)
    chain = await proxy.join(token)
    leaf = x509.load_pem_x509_certificates(chain.encode())[0]
    assert f"UID={pod.pod}" in leaf.subject.rfc4514_string()
    names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert [name.value for name in names] == [f"spiffe://cluster.local/ns/{pods.namespace}/sa/web"]
    assert rig.parts.collector.snapshot.workloads == (pod,), "what the agent says of ports and capture counts nothing"
    assert (await rig.store.list("workloads"))[1] == ()
    assert (
        f"UID={pod.pod}"
        in x509.load_pem_x509_certificate((await proxy.certificate()).encode()).subject.rfc4514_string()
    )
    await proxy.call("lease", {"state": "healthy"})
    await proxy.held.call("GET", f"{proxy.path}/names", status=409)
    assert await proxy.call("drain?wait=5", status=409) == "not-draining"
    pods.tell(dataclasses.replace(pod, state=WorkloadState.DRAINING))
    assert await proxy.call("drain?wait=5") == ""
    async with rig.session() as session, session.get("/v1/workloads") as response:
        [row] = (await response.json())["workloads"]
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


async def test_a_pod_that_restarts_its_proxy_comes_back_by_either(rig: Rig, tmp_path: Path, pods: Pods) -> None:
    pod = await pods.start("reviews-1")
    proxy = Proxy(rig, tmp_path, pod)
    await proxy.join(await pods.token(pod))
    await proxy.held.register(dataclasses.replace(pod, pod=""))
    await proxy.join(await pods.token(pod))


async def test_what_is_no_proof_of_a_pod(rig: Rig, tmp_path: Path, pods: Pods, api: Api) -> None:
    await pods.account("other")
    elsewhere = Pods(api, "default", ToldPods())
    pod, another = await pods.start("reviews-1"), await pods.start("reviews-2")
    alike = await pods.start("reviews-3", "other")
    foreign = await elsewhere.start("reviews-1", "default")
    proxy, good = Proxy(rig, tmp_path, pod), await pods.token(pod)
    strange = await pods.token(pod, audiences=["vault"])
    uid = {"namespace": pod.namespace, "pod": {"name": pod.name, "uid": pod.pod}, "serviceaccount": {"name": "web"}}
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
        assert (await rig.store.list("certificates"))[1] == ()
        assert set(await refusals(rig)) == {code for *_, code in attacks}
        await proxy.join(good)
    finally:
        await elsewhere.end(foreign)


async def test_a_token_outlives_its_pod_nowhere(rig: Rig, tmp_path: Path, pods: Pods) -> None:
    first = await pods.start("web-0")
    proxy, token = Proxy(rig, tmp_path, first), await pods.token(first)
    await proxy.join(token)
    await pods.end(first)  # the API server itself takes the token for some seconds more
    assert await proxy.join(token, 425) == "pod-unknown"
    assert await proxy.certificate(404) == "not-registered"
    assert await proxy.call("lease", {"state": "healthy"}, 404) == "not-registered"
    said = dataclasses.replace(first, pod="")
    assert (await proxy.held.register(said, 403))["code"] == "not-your-workload"
    second = await pods.start("web-0")
    assert second.pod != first.pod
    assert await proxy.certificate(403) == "not-your-workload"
    assert await proxy.call("lease", {"state": "healthy"}, 403) == "not-your-workload"
    assert (await proxy.held.register(said, 403))["code"] == "not-your-workload"
    assert await proxy.join(token, 425) == "pod-unknown", "of a Pod with the same name and another uid"

    async def forgotten() -> bool:
        try:
            await rig_reviews(rig).pod_of(token)
        except PodTokenError as error:
            return error.code == "token-refused"
        return False

    await eventually("the API server takes it no more", forgotten)
    assert await proxy.join(token, 401) == "token-refused"
    await Proxy(rig, tmp_path, second).join(await pods.token(second))


def rig_reviews(rig: Rig) -> TokenReviews:
    assert rig.parts.token_reviews is not None
    return rig.parts.token_reviews


async def test_a_certificate_of_a_pod_is_for_its_own_name(rig: Rig, tmp_path: Path, pods: Pods) -> None:
    one, other = await pods.start("reviews-1"), await pods.start("reviews-2")
    proxy, neighbour = Proxy(rig, tmp_path, one), Proxy(rig, tmp_path, other)
    await proxy.join(await pods.token(one))
    await neighbour.join(await pods.token(other))
    body = {"csr": new_request()[1]}
    for path in ("certificate", "lease", "drain", "reach", "report", "requests"):
        assert (await proxy.held.call("POST", f"{neighbour.path}/{path}", body, 403))["code"] == "not-your-workload"
    await proxy.held.call("DELETE", neighbour.path, status=403)
    answer = await proxy.held.register(dataclasses.replace(other, pod=""), 403)
    assert answer["code"] == "not-your-workload"
    # nor for a workload that an agent has registered
    host = Workload("vm-1", pods.namespace, "web")
    await Agent(rig, tmp_path, local=True).register(host)
    await proxy.held.call("POST", f"/v1/workloads/{pods.namespace}/vm-1/certificate", body, 403)
    assert (await proxy.held.register(host, 403))["code"] == "not-your-workload"
    assert await proxy.join(await pods.token(one), 403, host) == "token-for-another"


async def test_a_name_is_a_pods_or_an_agents(rig: Rig, tmp_path: Path, pods: Pods) -> None:
    pod = await pods.start("reviews-1")
    name = Workload("reviews-1", pods.namespace, "web")
    token = (await create_token(rig.store, pods.namespace, "web")).text
    agent = Agent(rig, tmp_path, token=token)
    assert (await agent.register(name, 409))["code"] == "name-taken"
    assert (await Agent(rig, tmp_path, local=True).register(name, 409))["code"] == "name-taken"
    await pods.end(pod)
    await agent.register(name)  # the token was not used up
    pod = await pods.start("reviews-1")
    proxy = Proxy(rig, tmp_path, pod)
    assert await proxy.join(await pods.token(pod), 409) == "name-taken"
    assert rig.parts.collector.snapshot.workloads == (name,)
    assert [problem.code for problem in rig.parts.collector.snapshot.problems] == ["pod-name-taken"]
    local = Agent(rig, tmp_path, local=True)
    await local.call("DELETE", proxy.path, status=204)
    await proxy.join(await pods.token(pod))
    assert rig.parts.collector.snapshot.workloads == (pod,)
    assert rig.parts.collector.snapshot.problems == ()


async def test_what_a_pod_cannot_say_of_itself(rig: Rig, tmp_path: Path, pods: Pods) -> None:
    pod = await pods.start("reviews-1")
    agent = Agent(rig, tmp_path, token=await pods.token(pod))
    cases: tuple[tuple[str, object], ...] = (
        ("pod", pod.pod),
        ("gateway", GatewayBinding("web", "10.0.0.1")),
        ("uses", ("ratings",)),
        ("carrier", "host.shop"),
        ("name", "a.b"),
    )
    for member, value in cases:
        said = dataclasses.replace(pod, **{"pod": "", member: value})  # type: ignore[arg-type]
        answer = await agent.register(said, 400)
        assert answer["code"] == "bad-workload"
        assert f"workload.{member}:" in answer["error"]


async def test_a_revoked_pod_is_out_until_it_has_a_newer_token(rig: Rig, tmp_path: Path, pods: Pods) -> None:
    pod = await pods.start("reviews-1")
    proxy, before = Proxy(rig, tmp_path, pod), await pods.token(pod)
    await proxy.join(before)
    whose = {"namespace": pod.namespace, "workload": pod.name}

    async def end(what: str) -> None:
        async with rig.session() as session, session.post(f"/v1/identities/{what}", json=whose) as response:
            assert response.status == 200, await response.text()

    await end("revoke")
    await eventually("it is no endpoint", lambda: rig.parts.collector.snapshot.workloads == ())
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
    await eventually("it was removed", lambda: rig.parts.collector.snapshot.workloads == ())
    assert await proxy.certificate(403) == "trust-ended"
    await eventually("a token since then is good", joined)
    assert rig.parts.collector.snapshot.workloads == (pod,)


async def test_a_pod_is_waited_for_that_the_source_tells_of_late(
    rig: Rig, tmp_path: Path, pods: Pods, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pod_registrations, "TOLD_SECONDS", 30.0)
    pod = await pods.start("reviews-1", told=False)
    joining = asyncio.create_task(Proxy(rig, tmp_path, pod).join(await pods.token(pod)))
    await asyncio.wait([joining], timeout=0.1)
    assert not joining.done()
    pods.tell(pod)
    await joining
