"""Facts of Envoy: what it writes of requests that failed; hostile text stays text; the tap is a switch."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import aiohttp

from support.certificates import TestAuthority, write_workload_directory
from support.envoy import free_port, running_envoy
from support.loopback import Connection, echo_server, greeting_server
from support.proxy import Pair, calling_itself, running_pair
from support.views import KEY, backend, identity, outbound, prefix, rule, upstream_port, virtual_host
from weft.agent.envoy_admin import EnvoyAdmin
from weft.agent.request_lines import request_from_line
from weft.mesh.memo import Memo
from weft.mesh.routes.rules import Fault, Forward, Respond, WeightedBackend
from weft.mesh.services.service import Protocol
from weft.model.requests import RequestSeen
from weft.testing.polling import eventually
from weft.xds.build import build_xds
from weft.xds.signals.journal import JOURNAL_FILE, JOURNAL_KEY, TAP_FILE, TAP_KEY
from weft.xds.static import static_bootstrap

OURS = Forward((WeightedBackend(KEY),))
_HOST = "reviews:9080"


async def ask(pair: Pair, path: str, *headers: str) -> int:
    async with Connection(pair.proxy) as client:
        return (await client.request(f"http://{_HOST}{path}", _HOST, *headers)).status


def lines(pair: Pair, name: str) -> list[RequestSeen]:
    text = (pair.envoy.directory / name).read_bytes() if (pair.envoy.directory / name).exists() else b""
    found = [request_from_line(line) for line in text.splitlines()]
    assert None not in found, text
    return [one for one in found if one is not None]


async def noted(pair: Pair, name: str, count: int) -> list[RequestSeen]:
    await pair.envoy.get("/")
    async with aiohttp.ClientSession(connector=aiohttp.UnixConnector(str(pair.envoy.admin))) as session:
        await session.post("http://envoy/reopen_logs")  # writes what is in memory
    await eventually(f"{count} lines", lambda: len(lines(pair, name)) >= count)
    return lines(pair, name)


async def test_only_what_failed_is_noted_on_both_sides_with_one_id_and_without_the_query(tmp_path: Path) -> None:
    async with (
        echo_server("reviews", status=500) as application,
        running_pair(calling_itself(application.port), tmp_path) as pair,
    ):
        application.status = 200
        assert await ask(pair, "/fine") == 200
        application.status = 500
        assert await ask(pair, "/bad?token=geheim", "traceparent: 00-" + "ab" * 16 + "-" + "cd" * 8 + "-01") == 500
        found = await noted(pair, JOURNAL_FILE, 2)
        assert {one.side for one in found} == {"outbound", "inbound"}
        assert len({one.id for one in found}) == 1
        assert {(one.path, one.status, one.trace) for one in found} == {("/bad", 500, "ab" * 16)}
        caller = next(one for one in found if one.side == "outbound")
        assert caller.object
        assert caller.source
        assert caller.cluster == "outbound|9080||reviews.default.svc.cluster.local"
        assert "geheim" not in (tmp_path / JOURNAL_FILE).read_text()
        assert not lines(pair, TAP_FILE)


async def test_faults_refusals_and_dead_endpoints(tmp_path: Path) -> None:
    rules = [
        rule(OURS, prefix("/delayed"), fault=Fault(delay=0.01)),
        rule(OURS, prefix("/aborted"), fault=Fault(abort_http=418)),
        rule(Respond(503), prefix("/refused")),
        rule(OURS),
    ]
    view = calling_itself(1, view=outbound(virtual_hosts=(virtual_host(rules),)))
    async with running_pair(view, tmp_path) as pair:
        statuses = [await ask(pair, path) for path in ("/delayed", "/aborted", "/refused")]
        assert statuses == [503, 418, 503]
        found = {(one.path, one.side): one for one in await noted(pair, JOURNAL_FILE, 4)}
        assert found["/aborted", "outbound"].flags == "FI"
        assert "DI" in found["/delayed", "outbound"].flags
        assert found["/refused", "outbound"].details == "direct_response"
        dead = found["/delayed", "inbound"]
        assert dead.flags.startswith("UF")
        assert "onnection_refused" in dead.details + dead.failure or "onnection refused" in dead.details + dead.failure
        assert found["/delayed", "outbound"].attempts >= 1


async def test_nothing_is_noted_where_the_bootstrap_is_that_of_an_agent_that_would_not_empty_the_file(
    tmp_path: Path,
) -> None:
    view = calling_itself(1, [rule(Respond(500))])
    assert view.proxy_listen is not None
    bootstrap = json.loads(static_bootstrap(build_xds(view, 1, Memo())))
    bootstrap["layered_runtime"] = {"layers": [{"name": "test", "admin_layer": {}}]}
    authority = TestAuthority()
    write_workload_directory(tmp_path, authority.issue(uri=str(identity("reviews"))), authority.bundle)
    async with running_envoy(json.dumps(bootstrap), tmp_path) as envoy:
        pair = Pair(envoy, view.proxy_listen.port, 0, authority)
        assert await ask(pair, "/first") == 500
        assert await EnvoyAdmin(envoy.admin).set_runtime(JOURNAL_KEY, "100")
        assert await ask(pair, "/second") == 500
        assert [one.path for one in await noted(pair, JOURNAL_FILE, 1)] == ["/second"]


async def test_hostile_text_stays_in_its_field(tmp_path: Path) -> None:
    async with (
        echo_server("reviews", status=500) as application,
        running_pair(calling_itself(application.port), tmp_path) as pair,
    ):
        admin = EnvoyAdmin(pair.envoy.admin)
        assert await admin.set_runtime(TAP_KEY, "100")
        evil = '/%0d%0aFAKE","status":200,"x":"%1b[31m<script>' + "a" * 20_000
        quoted = 'x-request-id: ","status":1,"a":"'
        assert await ask(pair, evil, quoted, 'x-evil: "}\\\t\xe9{', "Authorization: Bearer geheim") == 500
        for name in (JOURNAL_FILE, TAP_FILE):
            for seen in await noted(pair, name, 2):
                assert seen.status == 500
                assert seen.path.isprintable()
                assert len(seen.path) <= 512
                assert "geheim" not in str(seen)
        assert len((tmp_path / JOURNAL_FILE).read_bytes().splitlines()) == 2


async def test_the_tap_is_switched_without_a_change_of_the_listener(tmp_path: Path) -> None:
    async with (
        echo_server("reviews") as application,
        running_pair(calling_itself(application.port), tmp_path) as pair,
    ):
        admin = EnvoyAdmin(pair.envoy.admin)
        async with Connection(pair.proxy) as client:
            target = f"http://{_HOST}/x"
            assert (await client.request(target, _HOST)).status == 200
            assert await admin.set_runtime(TAP_KEY, "100")
            assert (await client.request(target, _HOST, "End-User: jason")).status == 200
            assert await admin.set_runtime(TAP_KEY, "0")
            assert (await client.request(target, _HOST)).status == 200
        found = await noted(pair, TAP_FILE, 2)
        assert len(found) == 2
        assert {one.side for one in found} == {"outbound", "inbound"}
        assert all(dict(one.headers)["end-user"] == "jason" for one in found)
        assert not lines(pair, JOURNAL_FILE)


async def test_a_connection_that_cannot_be_made_is_noted_and_a_good_one_is_not(tmp_path: Path) -> None:
    async with greeting_server(b"ready") as application:
        dead, good = free_port(), free_port()
        to = backend(protocol=Protocol.TCP)
        view = calling_itself(application, to=to, protocol=Protocol.TCP)
        view = replace(view, upstreams=(upstream_port(good, to, None),))
        async with running_pair(view, tmp_path) as pair:
            async with Connection(good) as client:
                assert await client.reader.readexactly(5) == b"ready"
            assert not lines(pair, JOURNAL_FILE)
        (tmp_path / "dead").mkdir()
        gone = calling_itself(1, to=to, protocol=Protocol.TCP)
        gone = replace(gone, upstreams=(upstream_port(dead, to, None),))
        async with running_pair(gone, tmp_path / "dead") as pair:
            async with Connection(dead) as client:
                assert await client.reader.read() == b""
            [inbound] = [one for one in await noted(pair, JOURNAL_FILE, 1) if one.side == "inbound"]
            assert inbound.flags.startswith("UF")
            assert inbound.method == ""
            assert inbound.failed
