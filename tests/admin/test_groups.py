"""WorkloadGroups and ProxyConfigs through the agent API: who is told, and what a registration may say of its group."""

from __future__ import annotations

import asyncio
import dataclasses
from pathlib import Path
from typing import Any

import pytest

from admin.test_agent_api import WORKLOAD, Agent, certificate_for
from support.control import Rig
from weft.ca.tokens import create_token


@pytest.fixture
def local(rig: Rig, tmp_path: Path) -> Agent:
    return Agent(rig, tmp_path, local=True)


GROUPS = """
apiVersion: networking.istio.io/v1
kind: WorkloadGroup
metadata: {name: reviews}
spec: {metadata: {labels: {app: reviews}}, template: {ports: {http: 9080}, serviceAccount: reviews}}
"""


async def test_a_group_is_told_to_who_may_be_in_its_namespace(rig: Rig, local: Agent, tmp_path: Path) -> None:
    async with rig.session() as session, session.post("/v1/documents", data=GROUPS.encode()) as response:
        assert response.status == 200
    found = await local.call("GET", "/v1/groups/default/reviews")
    assert (found["labels"], found["ports"], found["service_account"]) == (
        [["app", "reviews"]],
        [["http", 9080]],
        "reviews",
    )
    unknown = await local.call("GET", "/v1/groups/default/revews", status=404)
    assert unknown["code"] == "unknown-group"
    assert "did you mean 'reviews'?" in unknown["error"]
    token = await create_token(rig.store, "default", "ratings")
    assert await Agent(rig, tmp_path, token=token.text).call("GET", "/v1/groups/default/reviews") == found
    other = await create_token(rig.store, "other", "ratings")
    await Agent(rig, tmp_path, token=other.text).call("GET", "/v1/groups/default/reviews", status=403)
    await Agent(rig, tmp_path, token="weft-none").call("GET", "/v1/groups/default/reviews", status=401)
    await Agent(rig, tmp_path).call("GET", "/v1/groups/default/reviews", status=401)
    pem = await certificate_for(rig, WORKLOAD)
    assert await Agent(rig, tmp_path, pem=pem).call("GET", "/v1/groups/default/reviews") == found
    elsewhere = await certificate_for(rig, dataclasses.replace(WORKLOAD, namespace="other"))
    await Agent(rig, tmp_path, pem=elsewhere).call("GET", "/v1/groups/default/reviews", status=403)


async def test_the_account_of_a_group_is_had_by_who_may_have_it(rig: Rig, tmp_path: Path) -> None:
    token = await create_token(rig.store, "default", "ratings")
    grouped = dataclasses.replace(WORKLOAD, group="reviews", weight=3)
    refused = await Agent(rig, tmp_path, token=token.text).register(grouped, 403)
    assert refused["code"] == "token-for-another"


async def test_a_token_of_a_group_lets_its_instances_join_and_nobody_else(rig: Rig, tmp_path: Path) -> None:
    async with rig.session() as session, session.post("/v1/documents", data=GROUPS.encode()) as response:
        assert response.status == 200
    token = (await create_token(rig.store, "default", WORKLOAD.service_account, group="reviews", uses=5)).text
    asked = Agent(rig, tmp_path, token=token)
    assert (await asked.call("GET", "/v1/groups/default/reviews"))["labels"] == [["app", "reviews"]]
    assert (await asked.call("GET", "/v1/groups/default/other", status=403))["code"] == "token-for-another"
    alone = await Agent(rig, tmp_path, token=token).register(WORKLOAD, 403)
    assert "weft run --group reviews" in alone["error"]
    sly = dataclasses.replace(WORKLOAD, group="reviews", labels=(("app", "bank"),))
    refused = await Agent(rig, tmp_path, token=token).register(sly, 403)
    assert (refused["code"], "has the labels app=reviews" in refused["error"]) == ("not-as-its-group", True)

    def instance(number: int) -> Any:
        labels = tuple(sorted({**dict(WORKLOAD.labels), "app": "reviews"}.items()))
        return dataclasses.replace(WORKLOAD, name=f"vm-{number}", group="reviews", labels=labels)

    agents = [Agent(rig, tmp_path, token=token) for _ in range(5)]
    await asyncio.gather(*(agent.register(instance(number)) for number, agent in enumerate(agents)))
    assert (await Agent(rig, tmp_path, token=token).register(instance(6), 401))["code"] == "token-refused"


@pytest.mark.parametrize(
    "wrong", [{"weight": 0}, {"weight": 129}, {"group": "a/b"}, {"group": "../x"}, {"workers": -1}, {"workers": 257}]
)
async def test_group_and_weight_are_checked(local: Agent, wrong: dict[str, Any]) -> None:
    assert (await local.register(dataclasses.replace(WORKLOAD, **wrong), 400))["code"] == "bad-workload"


async def test_the_reply_says_how_many_worker_threads_the_proxy_gets(rig: Rig, local: Agent) -> None:
    assert (await local.register())["workers"] == 1
    head = "apiVersion: networking.istio.io/v1beta1\nkind: ProxyConfig\nmetadata: {name: two}\n"
    (rig.files / "two.yaml").write_text(head + "spec: {concurrency: 2}\n")
    async with asyncio.timeout(60):
        while not (mesh := rig.parts.compiled.value.mesh) or mesh.proxies.says_nothing:
            await rig.parts.compiled.changed(rig.parts.compiled.version)
    assert (await local.register())["workers"] == 2
    other = dataclasses.replace(WORKLOAD, name="reviews-v9", namespace="shop")
    assert (await local.register(other))["workers"] == 1
