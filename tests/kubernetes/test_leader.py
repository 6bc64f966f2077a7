"""Who writes to a real API server, what is told where that may not be, and what happens while the server is away."""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from tools.kubernetes_cluster import ApiCluster

from support.cluster_writes import NAMESPACE, QUICK, Rig, conditions_reach, declare, gateway, parents_reach, writing
from support.envoy import free_port
from support.imported import running
from support.kubernetes import ROUTES, Api, route, service, source_of
from support.mesh import Mesh, until
from weft.controlplane.state_leader import StateLeader
from weft.model.document import ObjectKey
from weft.model.problem import Problem
from weft.model.revisions import Revision
from weft.sources.kubernetes.access import Credentials
from weft.sources.kubernetes.client import ApiClient
from weft.sources.kubernetes.discovery import FOLLOWED
from weft.sources.kubernetes.election import Terms
from weft.sources.kubernetes.elector import Elector
from weft.sources.kubernetes.kubeconfig import KubeconfigFile
from weft.telemetry.metrics import Registry, text_of
from weft.testing.polling import eventually

GOOD = {"Accepted": "True Accepted", "ResolvedRefs": "True ResolvedRefs"}
LEASE = f"/apis/coordination.k8s.io/v1/namespaces/{NAMESPACE}/leases/weft-leader"
LEADS = "this is the control plane that writes"
EVENTS = "/apis/events.k8s.io/v1"


def rules(*, writes: bool) -> list[dict[str, Any]]:
    """Rights to read everything and to lead, and to write, or not."""
    groups = sorted({kind.group for kind in FOLLOWED})
    found = [
        {"apiGroups": groups, "resources": ["*"], "verbs": ["get", "list", "watch"]},
        {"apiGroups": ["coordination.k8s.io"], "resources": ["leases"], "verbs": ["get", "create", "update"]},
    ]
    if writes:
        found.append({"apiGroups": ["gateway.networking.k8s.io"], "resources": ["*/status"], "verbs": ["patch"]})
        found.append({"apiGroups": ["events.k8s.io"], "resources": ["events"], "verbs": ["create"]})
    return found


async def holder(api: Api) -> str:
    return str((await api.call("GET", LEASE))["spec"].get("holderIdentity", ""))


async def test_one_of_two_writes_and_the_other_follows_at_once(cluster: ApiCluster, api: Api, namespace: str) -> None:
    await declare(api)
    admin, routes = cluster.kubeconfig("admin"), f"{ROUTES}/namespaces/{namespace}/httproutes"
    await api.create(f"/api/v1/namespaces/{namespace}/services", service("web", namespace))
    async with writing(admin) as second:
        async with writing(admin) as first:
            both = [first, second]
            leader = await eventually("one leads", lambda: [each for each in both if each.writes.leads()])
            await api.create(routes, route("one", namespace, "web", "web"))
            await parents_reach(api, f"{routes}/one", GOOD)
            assert len(leader) == 1
            assert [each.written() for each in both if each not in leader] == [0.0]
        await eventually("the other leads", second.writes.leads)
        await api.create(routes, route("two", namespace, "web", "web"))
        await parents_reach(api, f"{routes}/two", GOOD)
    assert await holder(api) == "", "at an ordered stop the place is free"
    assert not second.writes.leads()


class Deaf(ApiClient):
    """Whoever is deaf asks for changes, which are done, and hears no answer."""

    deaf = False

    async def send(self, *given: Any, **more: Any) -> bytes:
        answer = await super().send(*given, **more)
        if self.deaf:
            await asyncio.Event().wait()
        return answer


@pytest.mark.parametrize("takes", [True, False])
async def test_a_lease_is_given_back_whose_answer_was_not_heard(
    cluster: ApiCluster, api: Api, namespace: str, takes: bool
) -> None:
    """A control plane is stopped while its bid is under way: whether it takes the Lease or renews it."""
    lease = f"/apis/coordination.k8s.io/v1/namespaces/{namespace}/leases/one"

    async def spec() -> dict[str, Any]:
        return dict((await api.call("GET", lease))["spec"])

    async def taken() -> str:
        found = await spec()
        return str(found["renewTime"]) if found["holderIdentity"] == "candidate" else ""

    credentials = Credentials(KubeconfigFile(str(cluster.kubeconfig("admin"))).access)
    client = Deaf(credentials)
    async with client:
        elector = Elector(client, namespace, "candidate", "one", Terms(lasting=60, deadline=40, retry=0.1))
        client.deaf = takes
        bidding = asyncio.create_task(elector.run())
        await eventually("the Lease is taken", taken)
        if not takes:
            await eventually("it leads", lambda: elector.leads)
            client.deaf = True
            first = await taken()
            await eventually("it is renewed", lambda: is_renewed(taken, first))
        client.deaf = False
        bidding.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await bidding
    assert (await spec()).get("holderIdentity", "") == ""


async def _within(wanted: set[str], found: Callable[[], Awaitable[set[str]]]) -> bool:
    return wanted <= await found()


async def is_renewed(taken: Callable[[], Awaitable[str]], first: str) -> bool:
    """Whether it has been taken anew since."""
    return await taken() not in ("", first)


async def test_each_gateway_is_written_by_its_revision(cluster: ApiCluster, api: Api, namespace: str) -> None:
    """Also where its label changes; all else is the default's."""
    await declare(api)
    admin, root = cluster.kubeconfig("admin"), f"{ROUTES}/namespaces/{namespace}"
    await api.create(f"/api/v1/namespaces/{namespace}/services", service("web", namespace))
    labelled = gateway("new", namespace)
    labelled["metadata"]["labels"] = {"istio.io/rev": "prod"}
    await api.create(f"{root}/gateways", gateway("old", namespace), labelled)
    await api.create(f"{root}/httproutes", route("one", namespace, "web", "web"))
    old, new = (ObjectKey("gateway.networking.k8s.io", "Gateway", namespace, name) for name in ("old", "new"))
    one = ObjectKey("gateway.networking.k8s.io", "HTTPRoute", namespace, "one")

    def owned(rig: Rig) -> list[str]:
        return [key.name for key in (old, new, one) if rig.writes.owns(key)]

    async with writing(admin) as usual, writing(admin, revision=Revision("canary", ("prod",))) as canary:
        await conditions_reach(api, f"{root}/gateways/old", Accepted="True Accepted")
        await conditions_reach(api, f"{root}/gateways/new", Accepted="True Accepted")
        await parents_reach(api, f"{root}/httproutes/one", GOOD)
        assert (owned(usual), owned(canary)) == (["old", "one"], ["new"])
        await eventually("each has written", lambda: usual.written() >= 2 and canary.written() >= 1)

        async def leases() -> set[str]:
            return {each["metadata"]["name"] for each in (await api.call("GET", LEASE.rpartition("/")[0]))["items"]}

        wanted = {"weft-leader", "weft-leader-canary", "weft-leader-prod"}
        await eventually("each name has its Lease", lambda: _within(wanted, leases))

        merge = "application/merge-patch+json"
        await api.call(
            "PATCH", f"/api/v1/namespaces/{namespace}", {"metadata": {"labels": {"weft.dev/rev": "canary"}}}, merge
        )
        await eventually("what says no revision is its namespace's", lambda: owned(canary) == ["old", "new"])
        await eventually("the default knows", lambda: owned(usual) == ["one"])
    async with writing(admin, revision=Revision("canary", ("default",))) as canary:
        await eventually("it is the default now", lambda: owned(canary) == ["old", "one"])


async def test_what_it_may_not_write_is_one_problem(cluster: ApiCluster, api: Api, namespace: str) -> None:
    await declare(api)
    routes = f"{ROUTES}/namespaces/{namespace}/httproutes"
    await api.create(f"/api/v1/namespaces/{namespace}/services", service("web", namespace))
    await api.create(f"{ROUTES}/namespaces/{namespace}/gateways", gateway("edge", namespace))
    await api.create(routes, *(route(f"web{number}", namespace, "web", "web") for number in range(5)))
    account = cluster.account("writer", rules(writes=False))
    async with writing(account) as rig:
        group = "gateway.networking.k8s.io"
        refused = f"gateways.{group}, httproutes.{group} cannot be written: it answers 403: "
        [problem] = await eventually("it is told", lambda: _that_tell(rig, refused))
        assert problem.code == "kubernetes-refused"
        assert "patch of their status" in problem.expected
        cluster.account("writer", rules(writes=True))
    async with writing(account) as rig:
        await parents_reach(api, f"{routes}/web0", GOOD)
        await eventually("nothing is wrong any more", lambda: not rig.writes.problems())


def _that_tell(rig: Rig, words: str) -> list[Problem]:
    """Problems about a status, if one has these words."""
    about = [each for each in rig.writes.problems() if each.message.startswith("the status of ")]
    return about if any(words in each.message for each in about) else []


async def test_without_a_namespace_nobody_leads(cluster: ApiCluster, api: Api, namespace: str) -> None:
    account = cluster.account("nowhere", rules(writes=True)[:1])
    async with writing(account) as rig:
        [problem] = await eventually("it is told", rig.writes.problems)
        assert problem.code == "kubernetes-refused"
        assert problem.message.startswith(f"the Lease {NAMESPACE}/weft-leader cannot be written: it answers 403: ")
        assert not rig.writes.leads()


async def test_without_its_lease_nobody_leads_for_a_shared_state(cluster: ApiCluster, api: Api, namespace: str) -> None:
    """It says which right is missing, and leads once it has that."""
    await declare(api)
    account = cluster.account("sharing", rules(writes=True)[:1])
    registry = Registry()
    async with leading(account, registry) as leader:
        [problem] = await eventually("it is told", leader.problems)
        assert problem.code == "kubernetes-refused"
        assert problem.message.startswith(f"the Lease {NAMESPACE}/weft-state cannot be written: it answers 403: ")
        rights = "create of leases, and get and update of weft-state"
        assert problem.expected == f"a Role that allows {rights}, in a namespace '{NAMESPACE}'"
        assert not leader.leads()
        assert "weft_state_leader 0" in text_of(registry.families())

        create = {"apiGroups": ["coordination.k8s.io"], "resources": ["leases"], "verbs": ["create"]}
        cluster.account("sharing", [create, {**create, "resourceNames": ["weft-state"], "verbs": ["get", "update"]}])
        await eventually("it leads", leader.leads)
        assert leader.problems() == ()
        assert "weft_state_leader 1" in text_of(registry.families())


@contextlib.asynccontextmanager
async def leading(kubeconfig: Path, registry: Registry) -> AsyncIterator[StateLeader]:
    """A candidate for the Lease of the state."""
    async with ApiClient(Credentials(KubeconfigFile(str(kubeconfig)).access)) as client:
        leader = StateLeader(client, NAMESPACE, "one", registry, QUICK)
        leader.begin()
        task = asyncio.create_task(leader.run())
        try:
            yield leader
        finally:
            task.cancel()
            await asyncio.wait([task])


async def test_who_only_starts_keeps_nobody_from_leading(cluster: ApiCluster, api: Api, namespace: str) -> None:
    """Not even by its Lease, which it would renew for as long as it cannot read its documents."""
    await declare(api)
    kubeconfig = cluster.kubeconfig("admin")
    starting = Rig(source_of(kubeconfig), kubeconfig, (), Revision())
    async with running(starting.source):
        task = asyncio.create_task(starting.writes.run())
        await eventually("it reads", lambda: starting.source.contents.value is not None)
        async with writing(kubeconfig) as other:
            await eventually("the other leads", other.writes.leads)
            assert not starting.writes.leads()
        starting.compile()
        await eventually("it has a mesh, and leads", starting.writes.leads)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_an_api_server_that_was_away(
    cluster: ApiCluster, api: Api, namespace: str, caplog: pytest.LogCaptureFixture
) -> None:
    await declare(api)
    routes = f"{ROUTES}/namespaces/{namespace}/httproutes"
    await api.create(f"/api/v1/namespaces/{namespace}/services", service("web", namespace))
    async with writing(cluster.kubeconfig("admin")) as rig:
        await eventually("it leads", rig.writes.leads)
        await api.create(routes, *(route(f"web{number}", namespace, "web", "web") for number in range(100)))
        await eventually("some are written", rig.written)
        await asyncio.to_thread(cluster.kill_api_server)
        try:
            await eventually("it gives up by itself", lambda: not rig.writes.leads())
        finally:
            await asyncio.to_thread(cluster.start_api_server)
        await eventually("it leads again", rig.writes.leads)
        await parents_reach(api, f"{routes}/web99", GOOD)
    assert "statuses cannot be written" not in caplog.text, "that a server goes away is no fault of ours"


async def test_an_event_for_each_refusal(cluster: ApiCluster, api: Api, namespace: str) -> None:
    await declare(api)
    routes = f"{ROUTES}/namespaces/{namespace}/httproutes"
    events = f"{EVENTS}/namespaces/{namespace}/events"
    await api.create(routes, route("web", namespace, "nothing", "nothing"))

    async def notes() -> list[dict[str, Any]]:
        return [each for each in (await api.call("GET", events))["items"] if each["regarding"]["name"] == "web"]

    async with writing(cluster.kubeconfig("admin")):
        [event] = await eventually("it is told", notes)
        found = await api.call("GET", f"{routes}/web")
        assert event["regarding"]["uid"] == found["metadata"]["uid"]
        assert (event["type"], event["reason"]) == ("Warning", "UnknownService")
        assert "there is no Service 'nothing'" in event["note"]
    async with writing(cluster.kubeconfig("admin")) as rig:
        await eventually("it leads", rig.writes.leads)
        patch = {"spec": {"rules": [{"backendRefs": [{"name": "none", "port": 80}]}]}}
        await api.call("PATCH", f"{routes}/web", patch, "application/merge-patch+json")

        async def two() -> bool:
            return len(await notes()) == 2

        await eventually("another generation is told of, and the first not again", two)


def test_a_leader_that_was_killed_is_followed_within_its_lease(cluster: ApiCluster, tmp_path: Path) -> None:
    """Two real control planes; a Gateway is programmed when a real proxy has confirmed it."""
    about = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}}
    listener = {"name": "http", "port": 80, "protocol": "HTTP"}
    items = [about, gateway("edge", "default", listener), service("web", "default")]
    cluster.kubectl("apply", "-f", "-", given={"apiVersion": "v1", "kind": "List", "items": items})
    options = ("--kubeconfig", str(cluster.kubeconfig("admin")), "--context", "test", "--write-status")
    meshes = [Mesh(tmp_path / name, tmp_path / f"{name}-logs") for name in ("first", "second")]
    first, second = meshes
    try:
        proc = first.serve(*options)
        until("the first leads", lambda: LEADS in proc.output())
        first.gateway("edge", f"80={free_port()}")
        cluster.kubectl("wait", "--for=condition=Programmed", "gateway/edge", "--timeout=60s")
        other = second.serve(*options)
        proc.process.send_signal(signal.SIGKILL)
        cluster.kubectl("apply", "-f", "-", given=route("web", "default", "web", "web"))
        until("the second leads", lambda: LEADS in other.output())
        until("and writes", lambda: _accepted(cluster))
        assert not second.problems() or "kubernetes-refused" not in {each["code"] for each in second.problems()}
    finally:
        for each in meshes:
            each.stop()


def _accepted(cluster: ApiCluster) -> bool:
    found = json.loads(cluster.kubectl("get", "httproute", "web", "-o", "json"))
    return bool(found.get("status", {}).get("parents"))
