"""Principals: roles and what each may do on every route, tokens, editors' namespaces, and who keeps guessing."""

from __future__ import annotations

import hashlib
import io
import json
import re
from typing import Any

import aiohttp
import pytest
from yarl import URL

from support.control import TOKEN, Rig
from weft.admin.api import admin_routes
from weft.admin.people import principals as kept
from weft.admin.people.access import ADMIN, Grant, Permission, Principal, Role, merged
from weft.admin.people.failures import BURST, REFILL_SECONDS, Failures
from weft.admin.people.permissions import PERMISSIONS, needed
from weft.admin.people.principals import LONGEST_LIFE, People, PrincipalError, Wanted
from weft.model.document import ObjectKey

SERVICE = """\
apiVersion: v1
kind: Service
metadata: {name: NAME, namespace: NAMESPACE}
spec: {selector: {app: NAME}, ports: [{port: 80}]}
"""
NAMESPACE = "apiVersion: v1\nkind: Namespace\nmetadata: {name: shop}\n"
_ROUTE_PARTS = {
    "{kind}": "service",
    "{namespace}": "shop",
    "{name}": "nobody",
    "{type}": "all",
    "{revision}": "1",
    "{id}": "0123456789ab",
}


def service(name: str, namespace: str) -> str:
    return SERVICE.replace("NAMESPACE", namespace).replace("NAME", name)


async def call(rig: Rig, method: str, path: str, token: str = TOKEN, **settings: Any) -> tuple[int, Any]:
    async with (
        rig.session(Authorization=f"Bearer {token}") as session,
        session.request(method, path, **settings) as response,
    ):
        raw = await response.read()
        return response.status, json.loads(raw) if response.content_type == "application/json" else raw


async def principal(rig: Rig, name: str, role: str, *namespaces: str, **more: Any) -> str:
    body = {"name": name, "role": role, "namespaces": list(namespaces), **more}
    status, made = await call(rig, "POST", "/v1/principals", json=body)
    assert status == 201, made
    return str(made["token"])


async def apply(rig: Rig, token: str, text: str, **query: str) -> tuple[int, Any]:
    return await call(rig, "POST", "/v1/documents", token, data=io.BytesIO(text.encode()), params=query)


async def test_every_route_has_its_permission_and_every_permission_its_route(rig: Rig) -> None:
    rows = {(route.method, route.path) for route in admin_routes(rig.parts)}
    assert rows - PERMISSIONS.keys() == set(), "add these to weft.admin.people.permissions"
    assert PERMISSIONS.keys() - rows == set(), "there are no such routes"
    public = {(route.method, route.path) for route in admin_routes(rig.parts) if route.public}
    assert public == {row for row, permission in PERMISSIONS.items() if permission is Permission.PUBLIC}
    assert needed("GET", "/v1/what-was-forgotten") is Permission.ADMINISTER


async def test_the_description_tells_permissions(rig: Rig) -> None:
    _, described = await call(rig, "GET", "/v1/openapi.json")
    create = described["paths"]["/v1/principals"]["post"]
    assert (create["x-weft-permission"], create["x-weft-roles"]) == ("administer", ["admin"])
    assert described["paths"]["/v1/tap"]["get"]["x-weft-roles"] == ["operator", "admin"]


@pytest.mark.parametrize("role", list(Role))
async def test_each_role_on_each_route(rig: Rig, role: Role) -> None:
    """What a role may not call is refused before anything is looked at, and recorded with its name."""
    token = await principal(rig, "somebody", role, *(["shop"] if role is Role.EDITOR else []))
    allowed = Principal("", (Grant(role),), "")
    for (method, path), permission in sorted(PERMISSIONS.items()):
        if path in ("/v1/live", "/v1/tap") and allowed.may(permission):
            continue  # they go on
        where = path
        for placeholder, value in _ROUTE_PARTS.items():
            where = where.replace(placeholder, value)
        status, body = await call(rig, method, where, token)
        code = body.get("code") if isinstance(body, dict) else ""
        assert (code == "not-permitted") == (not allowed.may(permission)), (method, path, status, body)
        if code == "not-permitted":
            assert status == 403
            assert f"somebody is {role}" in body["error"]
    refused = [one for one in await rig.audited() if one.detail.startswith("not-permitted")]
    assert bool(refused) == (role is not Role.ADMIN)


async def test_a_token_is_shown_once_and_kept_as_a_hash(rig: Rig) -> None:
    token = await principal(rig, "ci", "editor", "shop", "pay", ttl=3600)
    assert re.fullmatch(r"weft_[A-Za-z0-9_-]{43}", token)
    everything = b""
    for bucket in ("principals", "audit", "principals-used"):
        everything += b"".join(entry.value for entry in (await rig.store.list(bucket))[1])
    assert token.encode() not in everything
    assert hashlib.sha256(token.encode()).hexdigest().encode() in everything
    for path in ("/", "/v1/health"):
        assert (await call(rig, "GET", path, token))[0] == 200, "what everybody may see"
    status, me = await call(rig, "GET", "/v1/self", token)
    assert (status, me["name"], me["proof"]) == (200, "ci", "token")
    assert me["roles"] == [{"role": "editor", "namespaces": ["shop", "pay"]}]
    assert me["permissions"] == ["read", "edit", "undo"]
    _, listed = await call(rig, "GET", "/v1/principals")
    (row,) = listed["principals"]
    assert (row["name"], row["state"], row["created_by"]) == ("ci", "valid", "admin token")
    assert row["last_used"] is not None
    assert token not in json.dumps(listed)
    assert hashlib.sha256(token.encode()).hexdigest() not in json.dumps(listed)


async def test_a_revoked_token_is_refused_at_once_and_named(rig: Rig) -> None:
    token = await principal(rig, "ci", "viewer")
    assert (await call(rig, "GET", "/v1/version", token))[0] == 200
    assert (await call(rig, "DELETE", "/v1/principals/ci"))[1]["revoked"]["state"] == "revoked"
    status, body = await call(rig, "GET", "/v1/version", token)
    assert (status, body["code"]) == (401, "token-revoked")
    assert (await call(rig, "DELETE", "/v1/principals/ci"))[0] == 404
    again = await principal(rig, "ci", "operator")
    assert (await call(rig, "GET", "/v1/version", again))[0] == 200
    assert (await call(rig, "GET", "/v1/version", token))[1]["code"] == "wrong-token", "the name is another's by now"
    actions = [(one.who, one.action, one.object, one.detail) for one in await rig.audited() if one.outcome == "done"]
    assert ("admin token", "revoke principal", "ci") in [row[:3] for row in actions]
    assert any("viewer, by token, until 20" in row[3] for row in actions)


async def test_a_token_is_revoked_by_itself_too(rig: Rig) -> None:
    token = await principal(rig, "leaked", "admin")
    assert (await call(rig, "DELETE", f"/v1/principals/{token}"))[1]["revoked"]["name"] == "leaked"
    assert (await call(rig, "GET", "/v1/version", token))[0] == 401


async def test_a_token_in_a_path_reaches_no_record(rig: Rig, caplog: pytest.LogCaptureFixture) -> None:
    token = await principal(rig, "looks", "viewer")
    joined = (await call(rig, "POST", "/v1/tokens", json={"namespace": "a", "service_account": "b"}))[1]["token"]
    for path in (f"/v1/principals/{token}", f"/v1/tokens/{joined}", f"/v1/principals/%77{token[1:]}"):
        assert (await call(rig, "DELETE", path, token))[0] == 403
    events = repr(await rig.audited()) + caplog.text
    assert "admin DELETE /v1/principals/(token)" in events
    assert token[5:30] not in events
    assert joined[5:30] not in events
    by_hash = f"/v1/principals/sha256:{hashlib.sha256(token.encode()).hexdigest()}"
    assert (await call(rig, "DELETE", by_hash))[1]["revoked"]["name"] == "looks"


async def test_another_control_plane_s_revocation_is_seen(rig: Rig) -> None:
    token = await principal(rig, "ci", "viewer")
    other = People(rig.store)
    await other.revoke("ci", lambda _: ())
    for _ in range(100):
        status, _ = await call(rig, "GET", "/v1/version", token)
        if status == 401:
            return
    pytest.fail("the token still works")


async def test_tokens_end(rig: Rig) -> None:
    now = 1000.0
    people = People(rig.store, lambda: now)
    made = await people.create(Wanted("ci", Role.VIEWER, life=60), "me", lambda _: ())
    assert people.of_token(made.token) is not None
    held = people.of_token(made.token)
    assert held is not None
    assert people.knows(held)
    now += 61
    assert not people.knows(held)
    with pytest.raises(kept.TokenError, match="has expired"):
        people.of_token(made.token)
    renewed = await people.create(Wanted("ci", Role.VIEWER, life=60), "me", lambda _: ())
    assert people.of_token(renewed.token) is not None
    assert people.of_token(made.token) is None
    assert not people.knows(held), "one of the same name is somebody else"
    assert repr(renewed).count(renewed.token) == 0


@pytest.mark.parametrize(
    "wanted",
    [
        Wanted("Upper", Role.VIEWER),
        Wanted("dashboard", Role.VIEWER),
        Wanted("0123456789ab", Role.VIEWER),
        Wanted("a", Role.EDITOR),
        Wanted("a", Role.VIEWER, ("shop",)),
        Wanted("a", Role.EDITOR, ("Shop",)),
        Wanted("a", Role.VIEWER, life=0),
        Wanted("a", Role.VIEWER, life=LONGEST_LIFE + 1),
        Wanted("a", Role.VIEWER, life=float("nan")),
        Wanted("a", Role.VIEWER, certificate="CN=a"),
    ],
)
async def test_what_no_principal_can_be(rig: Rig, wanted: Wanted) -> None:
    with pytest.raises(PrincipalError):
        await People(rig.store).create(wanted, "me", lambda _: ())


async def test_wrong_requests_say_what_is_expected(rig: Rig) -> None:
    status, body = await call(rig, "POST", "/v1/principals", json={"name": "a", "role": "editr", "namespaces": ["x"]})
    assert status == 400
    assert "did you mean 'editor'" in body["error"]
    wanted = {"name": "a", "role": "editor", "namespaces": ["istio-system"]}
    status, body = await call(rig, "POST", "/v1/principals", json=wanted)
    assert status == 400
    assert "the whole mesh" in body["error"]


async def test_an_editor_changes_documents_of_its_namespaces_only(rig: Rig) -> None:
    token = await principal(rig, "ci", "editor", "shop")
    status, _ = await apply(rig, token, service("a", "shop"))
    assert status == 200
    foreign = [service("b", "pay"), NAMESPACE, service("root", "istio-system")]
    for text in foreign:
        for query in ({}, {"dry_run": "1"}):
            status, body = await apply(rig, token, f"{service('c', 'shop')}---\n{text}", **query)
            assert (status, body["code"]) == (403, "foreign-document"), body
            assert "nothing was changed" in body["error"]
            assert len(body["objects"]) == 1
    assert (await call(rig, "GET", "/v1/documents/service/shop/c"))[0] == 404
    assert (await apply(rig, TOKEN, service("b", "pay")))[0] == 200
    assert (await call(rig, "DELETE", "/v1/documents/service/pay/b", token))[1]["code"] == "foreign-document"
    assert (await call(rig, "DELETE", "/v1/documents/service/shop/a", token))[0] == 200
    mine = [(one.who, one.action, one.outcome) for one in await rig.audited() if one.who == "ci"]
    assert ("ci", "create", "done") in mine
    assert ("ci", "delete", "done") in mine
    assert sum(outcome == "refused" for _, _, outcome in mine) == len(foreign) * 2 + 1


async def test_an_editor_undoes_its_own_and_an_operator_everybody_s(rig: Rig) -> None:
    editor = await principal(rig, "ci", "editor", "shop")
    operator = await principal(rig, "on-call", "operator")
    for text in (service("mine", "shop"), f"{service('also', 'shop')}---\n{service('theirs', 'pay')}"):
        assert (await apply(rig, TOKEN, text, wait="5"))[0] == 200
    for _ in range(100):
        _, history = await call(rig, "GET", "/v1/history")
        if len(history["revisions"]) == 2:
            break
    both, mine = (one["revision"] for one in history["revisions"])
    for query in ("", "?dry_run=1"):
        status, body = await call(rig, "POST", f"/v1/history/{both}/undo{query}", editor)
        assert (status, body["code"]) == (403, "foreign-document"), body
        assert "pay/theirs" in body["error"]
    assert (await call(rig, "POST", f"/v1/history/{mine}/undo", editor))[0] == 200
    assert (await apply(rig, operator, service("x", "shop")))[1]["code"] == "not-permitted"
    assert (await call(rig, "POST", f"/v1/history/{both}/undo", operator))[0] == 200


async def test_a_page_may_what_its_principal_may(rig: Rig) -> None:
    token = await principal(rig, "looks", "viewer")
    _, address = await call(rig, "POST", "/v1/dashboard", token)
    jar = aiohttp.CookieJar(unsafe=True)
    async with aiohttp.ClientSession(rig.admin, cookie_jar=jar) as page:
        async with page.get(address["url"], allow_redirects=False) as response:
            key = response.headers["Location"].partition("key=")[2]
        shown = {"X-Weft-Key": key, "Origin": rig.admin}
        async with page.get("/v1/self", headers={"X-Weft-Key": key}) as response:
            assert (await response.json())["name"] == "looks"
        async with page.post("/v1/history/1/undo", headers=shown) as response:
            assert (response.status, (await response.json())["code"]) == (403, "not-permitted")
        await call(rig, "DELETE", "/v1/principals/looks")
        async with page.get("/v1/self", headers={"X-Weft-Key": key}) as response:
            assert response.status == 401, "a session ends with its principal"
    signed = [one for one in await rig.audited() if one.action == "sign in"]
    assert [one.who for one in signed] == ["looks (dashboard)"]


async def test_who_keeps_guessing_is_sent_away_and_who_is_right_is_not(rig: Rig) -> None:
    token = await principal(rig, "ci", "viewer")
    codes: list[int] = []
    async with aiohttp.ClientSession(rig.admin) as session:
        while 429 not in codes:
            assert len(codes) < 40, codes
            async with session.get(
                "/v1/version", headers={"Authorization": f"Bearer weft_{len(codes):043}"}
            ) as response:
                codes.append(response.status)
                waits = response.headers.get("Retry-After", "")
        assert int(waits) >= 1
        for _ in range(5):
            async with session.get("/v1/version", headers={"Authorization": "Bearer no"}) as response:
                assert response.status == 429
        assert (await call(rig, "GET", "/v1/version", token))[0] == 200
        assert (await call(rig, "GET", "/v1/version"))[0] == 200
    recorded = [one for one in await rig.audited() if "too-many-failures" in one.detail]
    assert len(recorded) == 1


def test_failures_are_counted_for_each_caller() -> None:
    now = 0.0
    failures = Failures(lambda: now)
    delays = [failures.failed("a").delay for _ in range(int(BURST))]
    assert delays == sorted(delays)
    assert delays[0] == 0.0 < delays[-1] < 2.0
    away = failures.failed("a")
    assert (away.first, away.retry_after) == (True, 6)
    assert not failures.failed("a").first
    assert failures.failed("b").retry_after == 0
    now += REFILL_SECONDS
    assert failures.failed("a").retry_after == 0
    assert not failures.failed("a").first, "the same burst goes on"
    now += 1000
    assert failures.failed("a").delay == 0.0
    for number in range(10_000):
        failures.failed(str(number))
    assert failures.failed("a").delay == 0.0, "the oldest are forgotten"


def test_grants() -> None:
    key = ObjectKey("", "Service", "shop", "a")
    editor = Principal(
        "a", merged([Grant(Role.EDITOR, ("shop",)), Grant(Role.EDITOR, ("pay",)), Grant(Role.VIEWER)]), ""
    )
    assert editor.roles == "viewer; editor of shop, pay"
    assert editor.may_change(key, {"istio-system"})
    assert not editor.may_change(key, {"shop"})
    assert not Principal("a", (Grant(Role.OPERATOR),), "").may_change(key, ())
    assert Principal("a", (Grant(Role.OPERATOR),), "").may_change(key, (), undoing=True)
    assert merged([Grant(Role.ADMIN), Grant(Role.VIEWER)]) == ADMIN.grants


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS", "post", "TRACE"])
async def test_no_spelling_of_a_path_gets_a_viewer_further(rig: Rig, method: str) -> None:
    """What is asked for is what the router has found, however it is spelt; what it does not find is nothing."""
    token = await principal(rig, "looks", "viewer")
    await apply(rig, TOKEN, service("a", "shop"))
    spelt = [
        "/v1/principals",
        "/v1//principals",
        "/V1/principals",
        "/v1/principals/",
        "/v1/%70rincipals",
        "/v1/x/../principals",
        "/v1/health/../principals",
        "/v1/health%2f..%2fprincipals",
        "/v1/principals;a=b",
        "/v1/principals%00",
        "/v1/documents/service/shop/a",
        "/v1/documents/service/shop/%61",
        "/v1/documents/Service/shop/a?dry_run=1",
        "/static/../v1/principals",
        "/v1/explain/../principals",
        "/v1/history/../principals",
    ]
    body = json.dumps({"name": "me", "role": "admin", "ttl": 60})
    override = {"X-HTTP-Method-Override": "POST", "X-Original-URL": "/v1/principals", "X-Rewrite-URL": "/v1/principals"}
    async with rig.session(Authorization=f"Bearer {token}", **override) as session:
        for path in spelt:
            async with session.request(method, URL(path, encoded=True), data=body) as response:
                assert method in ("GET", "HEAD") or response.status >= 400, (method, path, response.status)
    async with rig.session() as session, session.get("/v1/principals") as response:
        assert [one["name"] for one in (await response.json())["principals"]] == ["looks"]
    assert (await call(rig, "GET", "/v1/documents/service/shop/a"))[0] == 200


async def test_what_ends_soon_is_told_before_it_has_ended(rig: Rig) -> None:
    now = 1_000_000.0
    people = People(rig.store, lambda: now)
    made = await people.create(Wanted("ci", Role.VIEWER, life=100 * 86400.0), "me", lambda _: ())
    week = await people.create(Wanted("short", Role.VIEWER, life=10 * 86400.0), "me", lambda _: ())
    await people.create(Wanted("unused", Role.VIEWER, life=10 * 86400.0), "me", lambda _: ())
    held = people.of_token(made.token)
    assert held is not None
    people.of_token(week.token)
    assert (people.ending(held), people.problems()) == (0.0, ())
    now += 8 * 86400.0 + 1  # a fifth of ten days is left
    assert [one.code for one in people.problems()] == ["token-ends"]
    assert "the token short (viewer) ends at" in people.problems()[0].message
    now += 85 * 86400.0  # a week of a hundred days
    assert people.ending(held) == held.until
    assert [one.message.split()[2] for one in people.problems()] == ["ci"]
    now += 7 * 86400.0
    assert people.problems() == ()


async def test_an_answer_says_when_the_token_ends(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    token = await principal(rig, "ci", "viewer", ttl=3600)
    headers = {"Authorization": f"Bearer {token}"}
    async with aiohttp.ClientSession(rig.admin, headers=headers) as session:
        async with session.get("/v1/self") as response:
            assert "X-Weft-Token-Ends" not in response.headers
        monkeypatch.setattr(kept, "_WARNED", 7 * 86400.0)
        monkeypatch.setattr(kept.Record, "warn", property(lambda one: one.created))
        token = await principal(rig, "late", "viewer", ttl=3600)
        async with session.get("/v1/self", headers={"Authorization": f"Bearer {token}"}) as response:
            ends = (await response.json())["expires"]
            assert response.headers["X-Weft-Token-Ends"] == ends
    _, found = await call(rig, "GET", "/v1/principals")
    assert {row["name"]: row["ends_soon"] for row in found["principals"]} == {"ci": True, "late": True}
    _, checked = await call(rig, "GET", "/v1/check")
    assert {one["code"] for one in checked["findings"]} >= {"token-ends"}
