"""Authorization through the admin API."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from support.control import Rig
from weft.model.workload import SocketAddress, Workload, WorkloadPort, WorkloadState
from weft.sources.workloads import put_workload
from weft.testing.polling import eventually

DOCUMENTS = """
apiVersion: v1
kind: Service
metadata: {name: reviews}
spec: {selector: {app: reviews}, ports: [{name: http, port: 80, targetPort: 9080}]}
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: reviews}
spec:
  selector: {matchLabels: {app: reviews}}
  rules:
  - from: [{source: {serviceAccounts: [page]}}]
    when: [{key: "request.auth.claims[role]", values: [reader]}]
"""


def workload(app: str, number: int) -> Workload:
    """A healthy workload of the default namespace."""
    inbound, application = (SocketAddress("127.0.0.1", port + number) for port in (30000, 40000))
    ports = (WorkloadPort(9080, application, inbound),)
    return Workload(f"{app}-v1", "default", app, (("app", app),), ports, state=WorkloadState.HEALTHY)


async def call(rig: Rig, method: str, path: str, body: object = None, status: int = 200) -> Any:
    data = msgspec.json.encode(body) if body is not None else None
    async with rig.session() as session, session.request(method, path, data=data) as response:
        text = await response.text()
        assert response.status == status, text
        return msgspec.json.decode(text)


@pytest.fixture
async def mesh(rig: Rig) -> Rig:
    async with rig.session() as session, session.post("/v1/documents?wait=5", data=DOCUMENTS) as response:
        assert response.status == 200, await response.text()
    for one in (workload("reviews", 1), workload("page", 2)):
        await rig.store.write([put_workload(one)], leases=rig.parts.leases.granted(f"default/{one.name}"))
    await eventually("both are known", lambda: _known(rig) == 2)
    return rig


def _known(rig: Rig) -> int:
    mesh = rig.parts.compiled.value.mesh
    return len(mesh.workloads) if mesh is not None else 0


async def test_a_call_is_judged(mesh: Rig) -> None:
    body: dict[str, Any] = {"from": "default/page-v1", "to": "default/reviews:80", "headers": {"x": ["1", "2"]}}
    denied = await call(mesh, "POST", "/v1/authz/check", body)
    assert denied["allowed"] is False
    allowed = await call(mesh, "POST", "/v1/authz/check", body | {"claims": {"role": "reader"}})
    assert allowed["allowed"] is True
    assert allowed["policy"]["object"] == "AuthorizationPolicy default/reviews"
    assert allowed["policy"]["source"].startswith("api")


async def test_the_policies_at_a_place(mesh: Rig) -> None:
    found = await call(mesh, "GET", "/v1/authz/policies?of=reviews:80")
    (place,) = found["places"]
    assert place["workload"] == "default/reviews-v1"
    assert place["policies"][0]["rules"][0]["text"].startswith("rule 0: from service account default/page")


async def test_the_matrix_follows_the_mesh(mesh: Rig) -> None:
    found = await call(mesh, "GET", "/v1/authz/matrix")
    assert [one["name"] for one in found["callers"]] == ["default/page", "default/reviews", "nobody"]
    reaches = [found["answers"][row[0]]["reaches"] for row in found["cells"]]
    assert reaches == ["some", "no", "no"]
    async with mesh.session() as session:
        path = "/v1/documents/AuthorizationPolicy/default/reviews?wait=5"
        async with session.delete(path) as response:
            assert response.status == 200, await response.text()

    async def open_now() -> bool:
        now = await call(mesh, "GET", "/v1/authz/matrix?namespace=default")
        return [now["answers"][row[0]]["reaches"] for row in now["cells"]] == ["unconstrained"] * 2 + ["no"]

    await eventually("the policy is gone", open_now)


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        ({}, 400, "bad-body"),
        ({"from": "page-v1"}, 400, "bad-body"),
        ({"from": 5, "to": "reviews"}, 400, "bad-body"),
        ({"from": "page-v1", "to": "x" * 9000}, 400, "bad-body"),
        ({"from": "page-v1", "to": "reviews", "headers": {"a": 1}}, 400, "bad-body"),
        ({"from": "page-v1", "to": "reviews", "headers": {"a": [1]}}, 400, "bad-body"),
        ({"from": "page-v1", "to": "reviews", "headers": {str(one): "" for one in range(200)}}, 400, "bad-body"),
        ({"from": "page-v1", "to": "reviews", "claims": []}, 400, "bad-body"),
        ({"from": "pgae-v1", "to": "reviews"}, 404, "unknown-name"),
        ({"from": "page-v1", "to": "reviews:81"}, 404, "unknown-name"),
    ],
)
async def test_questions_that_cannot_be_answered(mesh: Rig, body: dict[str, Any], status: int, code: str) -> None:
    assert (await call(mesh, "POST", "/v1/authz/check", body, status))["code"] == code


async def test_no_place_is_a_mistake_of_the_caller(mesh: Rig) -> None:
    assert (await call(mesh, "GET", "/v1/authz/policies", status=400))["code"] == "bad-parameter"
