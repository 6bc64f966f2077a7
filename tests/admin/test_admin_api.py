"""The admin API: who may call, apply, dry run, delete, wait, and what is told."""

from __future__ import annotations

import asyncio
import base64
import io
import json
from dataclasses import replace
from typing import Any

import aiohttp
import msgspec
import pytest

from support.control import Rig
from weft.admin import documents
from weft.admin.api import admin_routes
from weft.admin.status import IDLE_AFTER, Status
from weft.model.origin import Origin
from weft.model.problem import Problem, Severity
from weft.model.workload import Workload
from weft.sources.workloads import put_workload
from weft.store.protocol import StoreError

SERVICE = """\
apiVersion: v1
kind: Service
metadata: {name: NAME}
spec:
  selector: {app: NAME}
  ports:
  - port: 80
"""
ROUTE = """\
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: r}
spec:
  parentRefs:
  - {group: "", kind: Service, name: a, port: 80}
  rules:
  - backendRefs:
    - {name: nowhere, port: 80}
"""


def service(name: str) -> str:
    return SERVICE.replace("NAME", name)


async def apply(rig: Rig, text: str, status: int = 200, **query: str) -> Any:
    async with (
        rig.session(**{"X-Weft-Source": "dir/my%20file.yaml"}) as session,
        session.post("/v1/documents", data=io.BytesIO(text.encode()), params=query) as response,
    ):
        body = await response.json()
        assert response.status == status, body
        return body


async def call(rig: Rig, method: str, path: str, status: int = 200, **headers: str) -> Any:
    async with rig.session(**headers) as session, session.request(method, path) as response:
        body = await response.json()
        assert response.status == status, body
        return body


@pytest.mark.parametrize(
    ("headers", "status", "code"),
    [
        ({"Authorization": ""}, 401, "token-required"),
        ({"Authorization": "Bearer wrong"}, 401, "wrong-token"),
        ({"Authorization": "Basic dGhlLWFkbWluLXRva2Vu"}, 401, "wrong-token"),
        ({"Authorization": "Basic the-admin-token"}, 401, "wrong-token"),
        ({"Authorization": "Bearer th\u00e9"}, 401, "wrong-token"),
        ({"Host": "evil.example"}, 403, "foreign-host"),
        ({"Host": "127.0.0.1.evil.example:80"}, 403, "foreign-host"),
        ({"Host": "localhost@evil.example"}, 403, "foreign-host"),
        ({"Host": "10.0.0.1"}, 403, "foreign-host"),
        ({"Origin": "http://evil.example"}, 403, "foreign-origin"),
        ({"Origin": "null"}, 403, "foreign-origin"),
        ({"Sec-Fetch-Site": "cross-site"}, 403, "foreign-origin"),
    ],
)
async def test_who_may_not_call(rig: Rig, headers: dict[str, str], status: int, code: str) -> None:
    for method, path in (("GET", "/v1/documents"), ("POST", "/v1/documents"), ("GET", "/v1/nothing")):
        body = await call(rig, method, path, status, **headers)
        assert body["code"] == code
    events = await rig.audited()
    assert {(event.outcome, event.detail.split(":")[0]) for event in events} == {("refused", code)}
    assert "the-admin-token" not in msgspec.json.encode(events).decode()
    assert (await call(rig, "GET", "/v1/problems"))["problems"] == [], "it is no problem of the mesh"


async def test_an_agent_that_is_silent_is_told(rig: Rig) -> None:
    workload = Workload("a", "default", "a")
    leases = rig.parts.leases
    await rig.store.write([put_workload(workload)], leases=leases.granted("default/a"))
    leases.attached("a.default")
    leases.heard("default/a", 100)
    await rig.parts.collector.included((await rig.store.list("workloads"))[0])

    async def told() -> tuple[list[str], bool]:
        found = (await call(rig, "GET", "/v1/problems"))["problems"]
        (row,) = (await call(rig, "GET", "/v1/workloads"))["workloads"]
        return [f"{one['source']}: {one['code']}" for one in found], row["agent_silent"]

    assert await told() == ([], False)
    leases._awake = 0.0
    leases.heard("default/a", -1)
    assert await told() == (["workload default/a: agent-silent"], True)


async def test_a_service_that_selects_nothing_is_a_problem_after_a_while_only(rig: Rig) -> None:
    answer = await apply(rig, service("a"), wait="5")
    assert answer["problems"] == []
    assert "selects-nothing" not in {problem.code for problem in Status(rig.parts).found()}
    later = replace(rig.parts, clock=lambda: rig.parts.clock() + IDLE_AFTER + 1)
    assert "selects-nothing" in {problem.code for problem in Status(later).found()}
    assert "selects-nothing" in await codes(rig, "/v1/problems?at_once=1")
    assert "selects-nothing" not in await codes(rig, "/v1/problems")


async def codes(rig: Rig, path: str) -> set[str]:
    """The codes of the problems at a path."""
    return {problem["code"] for problem in (await call(rig, "GET", path))["problems"]}


async def test_a_gateway_tells_its_conditions_and_those_of_its_listeners(rig: Rig) -> None:
    text = """
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: front}
spec:
  gatewayClassName: weft
  listeners: [{name: http, port: 80, protocol: HTTP}, {name: tls, port: 443, protocol: HBONE}]
"""
    await apply(rig, text, wait="5")
    shown = await call(rig, "GET", "/v1/documents/gateway/default/front")
    assert [(one["type"], one["status"], one["reason"], one["message"]) for one in shown["conditions"]] == [
        ("Accepted", "True", "ListenersNotValid", "not accepted: tls"),
        ("Programmed", "False", "NoResources", "no process serves it"),
    ]
    accepted = [one["conditions"][0]["reason"] for one in shown["listeners"]]
    assert accepted == ["Accepted", "UnsupportedProtocol"]


async def test_loopback_names_may_call(rig: Rig) -> None:
    for host in ("localhost:80", "127.0.0.1", "[::1]:80", "127.1.2.3:1", "LOCALHOST"):
        await call(rig, "GET", "/v1/version", 200, Host=host)


async def test_only_health_needs_no_token(rig: Rig) -> None:
    async with aiohttp.ClientSession(rig.admin) as session:
        for route in admin_routes(rig.parts):
            path = route.path.replace("{kind}", "svc").replace("{namespace}", "d").replace("{name}", "n")
            async with session.request(route.method, path.replace("{type}", "all")) as response:
                assert (response.status == 401) is (route.path != "/v1/health"), route
        async with session.get("/v1/health") as response:
            assert await response.json() == {"status": "ok"}
        async with session.get("/v1/health", headers={"Host": "evil.example"}) as response:
            assert response.status == 403


async def test_apply_says_what_changed_and_is_in_force_after_the_wait(rig: Rig) -> None:
    answer = await apply(rig, service("a") + "---\n" + service("b"), wait="5")
    assert [(one["key"]["name"], one["change"]) for one in answer["documents"]] == [("a", "created"), ("b", "created")]
    assert answer["problems"] == []
    assert answer["wait"] == {"confirmed": [], "nacked": [], "pending": [], "stuck": []}
    mesh = rig.parts.compiled.value.mesh
    assert mesh is not None
    assert [one.frontend.name for one in mesh.services.all] == ["a", "b"]
    changed = await apply(rig, service("a") + "---\n" + service("b").replace("80", "81"), wait="5")
    assert [one["change"] for one in changed["documents"]] == ["unchanged", "configured"]
    assert changed["revision"] > answer["revision"]
    again = await apply(rig, service("b").replace("80", "81"))
    assert again["documents"][0]["change"] == "unchanged"
    assert again["wait"] is None
    listed = (await call(rig, "GET", "/v1/documents?kind=svc&name=b"))["documents"]
    assert len(listed) == 1
    assert (listed[0]["source"], listed[0]["line"], listed[0]["owner"]) == ("dir/my file.yaml", 1, "api")
    assert listed[0]["generation"] == 2
    assert listed[0]["document"]["spec"]["ports"][0]["port"] == 81


async def test_an_apply_reads_what_it_changes_and_the_store_has_room_for_so_many(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    listed: list[str] = []
    whole = rig.store.list

    async def listing(bucket: str) -> Any:
        listed.append(bucket)
        return await whole(bucket)

    monkeypatch.setattr(rig.store, "list", listing)
    await apply(rig, service("a") + "---\n" + service("b"), wait="5")
    await apply(rig, service("b"), wait="5")
    assert "documents" not in listed
    monkeypatch.setattr(documents, "MAX_DOCUMENTS", 3)
    await apply(rig, service("c") + "---\n" + service("a"), wait="5")
    assert (await apply(rig, service("d"), 413))["code"] == "too-many-documents"
    await apply(rig, service("c").replace("80", "81"))


async def test_bad_documents_change_nothing(rig: Rig) -> None:
    bad = service("b").replace("ports", "prts")
    answer = await apply(rig, service("a") + "---\n" + bad, 422, wait="1")
    problem = answer["problems"][0]
    assert (problem["source"], problem["line"], problem["severity"]) == ("dir/my file.yaml", 14, "error")
    assert "prts" in problem["path"] + problem["message"]
    assert problem["nearest"] == "ports"
    assert (await call(rig, "GET", "/v1/documents"))["documents"] == []
    assert (await apply(rig, "# nothing\n", 422))["code"] == "no-documents"
    assert (await apply(rig, "{", 422))["code"] == "bad-documents"
    assert (await rig.store.list("documents"))[1] == ()


async def test_dangling_references_are_told_and_stored_all_the_same(rig: Rig) -> None:
    text = service("a") + "---\n" + ROUTE
    dry = await apply(rig, text, dry_run="1")
    answer = await apply(rig, text)
    (first,) = answer["problems"]
    assert (first["severity"], first["object"]["name"]) == ("error", "r")
    assert "nowhere" in first["message"]
    assert [(each["code"], each["path"]) for each in dry["problems"]] == [(first["code"], first["path"])]
    assert len((await call(rig, "GET", "/v1/documents"))["documents"]) == 2


async def texts(rig: Rig, path: str, given: object, status: int = 200, **query: str) -> Any:
    kind = {"Content-Type": "application/vnd.weft.texts+json"}
    async with (
        rig.session(**kind) as session,
        session.post(path, data=json.dumps(given), params=query) as response,
    ):
        body = await response.json()
        assert response.status == status, body
        return body


async def test_several_texts_are_one_change(rig: Rig) -> None:
    first, second = ({"source": f"{name}.yaml", "text": service(name)} for name in "ab")
    bad = {"source": "bad.yaml", "text": service("c").replace("ports", "prots")}
    body = await texts(rig, "/v1/documents", [first, bad, second], 422)
    assert {problem["source"] for problem in body["problems"]} == {"bad.yaml"}
    assert (await rig.store.list("documents"))[1] == ()
    twice = await texts(rig, "/v1/documents", [first, {**first, "source": "b.yaml"}], 422)
    assert [(one["code"], one["source"]) for one in twice["problems"]] == [("duplicate-object", "b.yaml")]
    route = {"source": "r.yaml", "text": ROUTE.replace("nowhere", "b")}
    answer = await texts(rig, "/v1/documents", [route, first, second])
    assert answer["problems"] == []
    assert [one["key"]["name"] for one in answer["documents"]] == ["r", "a", "b"]
    for wrong in ({"source": "a"}, [{"source": "a"}], [{"source": "a", "text": "", "more": 1}], "text"):
        assert (await texts(rig, "/v1/documents", wrong, 400))["code"] == "bad-body"
    assert (await texts(rig, "/v1/documents", [{"source": "a\nb", "text": ""}], 400))["code"] == "bad-parameter"


async def test_validation_judges_as_apply_does_and_changes_nothing(rig: Rig) -> None:
    await apply(rig, service("a"), wait="5")
    revision = rig.parts.collector.snapshot.revision
    route = [{"source": "r.yaml", "text": ROUTE}]
    judged = await texts(rig, "/v1/validation", route)
    assert judged["documents"] == 1
    assert [(one["code"], one["severity"]) for one in judged["problems"]] == [("unknown-service", "error")]
    assert rig.parts.collector.snapshot.revision == revision
    assert judged["problems"] == (await texts(rig, "/v1/documents", route))["problems"]
    broken = [{"source": "r.yaml", "text": ROUTE + "---\nkind: Service\n"}]
    assert [one["code"] for one in (await texts(rig, "/v1/validation", broken))["problems"]] == [
        "missing-field",
        "unknown-service",
    ]


async def test_followed_files_may_be_validated_against_the_mesh_that_follows_them(rig: Rig) -> None:
    (rig.files / "mesh.yaml").write_text(service("a") + "---\n" + service("nowhere"))
    async with asyncio.timeout(60):
        while not rig.parts.collector.snapshot.documents:
            await rig.parts.collector.collected.changed(rig.parts.collector.collected.version)
    given = [{"source": "mesh.yaml", "text": service("a").replace("80", "81") + "---\n" + ROUTE}]
    (problem,) = (await texts(rig, "/v1/validation", given))["problems"]
    assert (problem["code"], "has no port 80" in problem["message"]) == ("unknown-port", True)


async def test_dry_run_shows_a_diff_and_writes_nothing(rig: Rig) -> None:
    await apply(rig, service("a"), wait="5")
    revision = rig.parts.collector.snapshot.revision
    text = service("a").replace("80", "8080") + "---\n" + service("new")
    answer = await apply(rig, text, dry_run="1", wait="5")
    old, new = answer["documents"]
    assert old["change"] == "configured"
    assert "port: 80\n" in old["diff"]
    assert "port: 8080\n" in old["diff"]
    assert new["change"] == "created"
    assert "+kind: Service" in new["diff"]
    await apply(rig, service("another"), wait="5")
    assert rig.parts.collector.snapshot.revision == revision + 1, "nothing but this was written"


async def test_secrets_are_hidden_everywhere(rig: Rig) -> None:
    values = [base64.b64encode(f"very secret {number}".encode()).decode() for number in (1, 2)]
    secret = "apiVersion: v1\nkind: Secret\nmetadata: {name: s}\ntype: Opaque\ndata: {key: VALUE}\n"
    answers = [await apply(rig, secret.replace("VALUE", values[0]), wait="5")]
    answers.append(await apply(rig, secret.replace("VALUE", values[1]), dry_run="1"))
    assert answers[1]["documents"][0]["change"] == "configured"
    assert "secret values differ" in answers[1]["documents"][0]["diff"]
    for path in ("documents", "documents/secret/default/s", "events", "problems"):
        answers.append(await call(rig, "GET", f"/v1/{path}"))
    told = json.dumps(answers)
    assert "very secret" not in told
    assert not any(value in told for value in values)
    stored = (await rig.store.list("documents"))[1][0].value
    assert values[0].encode() in stored, "the hidden value is what is kept"
    assert values[0].encode() not in b"".join(entry.value for entry in (await rig.store.list("audit"))[1])


async def test_delete(rig: Rig) -> None:
    await apply(rig, service("ratings") + "---\napiVersion: v1\nkind: Namespace\nmetadata: {name: n}\n", wait="5")
    answer = await call(rig, "DELETE", "/v1/documents/services/default/ratings?wait=5")
    assert answer["documents"][0]["change"] == "deleted"
    assert answer["wait"]["pending"] == []
    mesh = rig.parts.compiled.value.mesh
    assert mesh is not None
    assert mesh.services.all == ()
    await call(rig, "DELETE", "/v1/documents/ns/-/n?wait=5")
    assert rig.parts.collector.snapshot.documents == ()
    await apply(rig, service("ratings"), wait="5")
    body = await call(rig, "DELETE", "/v1/documents/svc/default/rating", 404)
    assert "did you mean 'ratings'" in body["error"]
    assert (await call(rig, "DELETE", "/v1/documents/servce/default/x", 404))["code"] == "unknown-kind"


async def test_files_own_their_documents(rig: Rig) -> None:
    (rig.files / "mesh.yaml").write_text(service("a"))
    async with asyncio.timeout(60):
        while not rig.parts.collector.snapshot.documents:
            await rig.parts.collector.collected.changed(rig.parts.collector.collected.version)
    answer = await apply(rig, service("a").replace("80", "81"), 422)
    (problem,) = answer["problems"]
    assert problem["code"] == "owned-by-file"
    assert str(rig.files / "mesh.yaml") in problem["message"]
    body = await call(rig, "DELETE", "/v1/documents/svc/default/a", 409)
    assert str(rig.files / "mesh.yaml") in body["error"]
    assert (await call(rig, "GET", "/v1/documents/svc/default/a"))["owner"] == "file"


async def test_the_audit_tells_who_what_before_and_after(rig: Rig) -> None:
    await apply(rig, service("a"))
    await apply(rig, service("a").replace("80", "81"))
    await apply(rig, service("a").replace("80", "81"))
    await call(rig, "DELETE", "/v1/documents/svc/default/a")
    events = (await call(rig, "GET", "/v1/events"))["events"]
    assert [event["action"] for event in events] == ["delete", "change", "create"]
    assert {event["object"] for event in events} == {"Service default/a"}
    assert events[0]["before"] == events[1]["after"] != ""
    assert events[1]["before"] == events[2]["after"]
    assert events[2]["before"] == ""
    assert all(
        event["who"] == "admin token" and event["time"].startswith("20") and event["time"].endswith("Z")
        for event in events
    )


async def test_concurrent_applies_all_count(rig: Rig) -> None:
    texts = [service("a").replace("80", str(number)) for number in range(90, 98)]
    answers = await asyncio.gather(*(apply(rig, text, wait="5") for text in texts))
    assert sum(answer["documents"][0]["change"] == "created" for answer in answers) == 1
    (document,) = rig.parts.collector.snapshot.documents
    assert document.generation == len(texts)


async def test_a_store_that_is_away_refuses_writes_and_serves_reads(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    await apply(rig, service("a"), wait="5")

    async def fail(*_: object, **__: object) -> int:
        raise StoreError("the disk is full")

    monkeypatch.setattr(rig.store, "write", fail)
    rig.faults.append(Problem(Severity.ERROR, "store-unavailable", "the disk is full", Origin("store")))
    body = await apply(rig, service("b"), 503)
    assert body["code"] == "store-unavailable"
    assert "the disk is full" in body["error"]
    assert len((await call(rig, "GET", "/v1/documents"))["documents"]) == 1
    assert (await call(rig, "GET", "/v1/health"))["status"] == "degraded"
    assert "store-unavailable" in {one["code"] for one in (await call(rig, "GET", "/v1/problems"))["problems"]}
    monkeypatch.undo()


async def test_limits_and_bad_parameters(rig: Rig) -> None:
    assert (await apply(rig, "#" * (8 * 1024 * 1024 + 1), 413))["code"] == "too-large"
    for query in ({"wait": "x"}, {"wait": "-1"}, {"wait": "nan"}, {"dry_run": "maybe"}, {"namespace": "Not_good"}):
        assert (await apply(rig, service("a"), 400, **query))["code"] == "bad-parameter"
    assert (await call(rig, "GET", "/v1/nothing", 404))["code"] == "not-found"
    assert (await call(rig, "DELETE", "/v1/version", 405))["code"] == "method-not-allowed"
    assert (await call(rig, "GET", "/v1/proxies/x.default/config/all", 404))["code"] == "not-connected"


async def test_tokens(rig: Rig) -> None:
    async with rig.session() as session:
        async with session.post("/v1/tokens", json={"namespace": "default", "service_account": "a"}) as response:
            assert response.status == 200
            body = await response.json()
        assert body["fingerprint"] == rig.parts.authority.fingerprint
        assert body["agent_api"] == rig.agents
        wrong: list[object] = [
            {"namespace": "Bad", "service_account": "a"},
            {"namespace": "default"},
            {"namespace": "default", "service_account": "a", "ttl": -5},
            {"namespace": "default", "service_account": "a", "uses": 7},
            [],
        ]
        for value in wrong:
            async with session.post("/v1/tokens", json=value) as response:
                assert response.status == 400, value
        own = {"namespace": "weft-system", "service_account": "weft-control-plane"}
        async with session.post("/v1/tokens", json=own) as response:
            assert response.status == 403
    (listed,) = (await call(rig, "GET", "/v1/tokens"))["tokens"]
    assert (listed["id"], listed["state"], listed["service_account"]) == (body["id"], "valid", "a")
    revoked = (await call(rig, "DELETE", f"/v1/tokens/{body['id']}"))["revoked"]
    assert (revoked["id"], revoked["state"]) == (body["id"], "revoked")
    assert (await call(rig, "DELETE", f"/v1/tokens/{body['id']}", 404))["code"] == "no-such-token"
    events = json.dumps(await call(rig, "GET", "/v1/events"))
    assert "create token" in events
    assert "revoke token" in events
    assert body["token"] not in events
    assert all(body["token"].encode() not in entry.value for entry in (await rig.store.list("tokens"))[1])


async def test_the_description_names_every_route(rig: Rig) -> None:
    described = await call(rig, "GET", "/v1/openapi.json")
    rows = {(route.method.lower(), route.path) for route in admin_routes(rig.parts)}
    assert {(method, path) for path, item in described["paths"].items() for method in item} == rows


async def test_status_pages(rig: Rig) -> None:
    await apply(rig, service("a"), wait="5")
    (one,) = (await call(rig, "GET", "/v1/services"))["services"]
    assert (one["name"], one["ports"][0]["port"]) == ("a", 80)
    assert (await call(rig, "GET", "/v1/proxies"))["proxies"] == []
    assert (await call(rig, "GET", "/v1/workloads"))["workloads"] == []
    assert (await call(rig, "GET", "/v1/version"))["version"]
    async with rig.session() as session, session.get("/v1/metrics") as response:
        assert "weft_documents 1\n" in await response.text()


GATEWAY = """\
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: edge}
spec:
  gatewayClassName: weft
  listeners:
  - {name: http, port: 80, protocol: HTTP}
"""


async def test_documents_tell_how_the_mesh_took_them(rig: Rig) -> None:
    attached = ROUTE.replace("  rules:", "  - {name: edge}\n  rules:")
    await apply(rig, f"{service('a')}---\n{GATEWAY}---\n{attached}", wait="5")
    (route,) = (await call(rig, "GET", "/v1/documents?kind=httproute"))["documents"]
    assert [parent["parentRef"]["kind"] for parent in route["parents"]] == ["Service", "Gateway"]
    for parent in route["parents"]:
        accepted, resolved = parent["conditions"]
        assert (accepted["type"], accepted["status"]) == ("Accepted", "True")
        assert (resolved["status"], resolved["reason"]) == ("False", "BackendNotFound")
        assert "'nowhere'" in resolved["message"]
    gateway = await call(rig, "GET", "/v1/documents/gateway/default/edge")
    assert [(one["name"], one["attachedRoutes"]) for one in gateway["listeners"]] == [("http", 1)]
    plain = await call(rig, "GET", "/v1/documents/svc/default/a")
    assert not {"parents", "listeners"} & plain.keys()
    described = (await call(rig, "GET", "/v1/openapi.json"))["components"]["schemas"]["Document"]["properties"]
    assert set(route) | set(gateway) == set(described)


FILTER = """\
apiVersion: networking.istio.io/v1alpha3
kind: EnvoyFilter
metadata: {name: slow}
spec:
  workloadSelector: {labels: {app: a}}
  configPatches:
  - applyTo: CLUSTER
    patch: {operation: MERGE, value: {connect_timeout: 9s}}
"""


async def test_what_is_tried_first_is_waited_for_as_long_as_a_proxy_is_there(rig: Rig) -> None:
    answer = await apply(rig, FILTER, wait="30")
    assert "untried" not in answer["wait"], "nobody is there"
    workload = Workload("a", "default", "a", labels=(("app", "a"),))
    await rig.store.write([put_workload(workload)], leases=rig.parts.leases.granted("default/a"))
    await rig.parts.collector.included((await rig.store.list("workloads"))[0])
    answer = await apply(rig, FILTER.replace("9s", "8s"), wait="0.2")
    assert answer["wait"]["untried"] == ["EnvoyFilter default/slow"]
    assert [one["code"] for one in answer["problems"]] == ["patch-not-tried"]
    answer = await apply(rig, service("b"), wait="30")
    assert "untried" not in answer["wait"], "of others"
