"""Facts of Envoy: every action and rewrite of a rule, seen in real answers. One proxy carries all the rules."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from support.envoy import free_port
from support.loopback import Connection, EchoServer, Response, echo_server
from support.proxy import calling_itself, running_pair, running_view
from support.views import (
    KEY,
    PLAINTEXT,
    backend,
    endpoint,
    gateway,
    gateway_port,
    prefix,
    rule,
    target,
    targets,
    virtual_host,
)
from weft.mesh.routes.rules import (
    Cors,
    Fault,
    Forward,
    HeaderChanges,
    Mirror,
    NamedMatch,
    PathRewrite,
    Redirect,
    RequestMatch,
    Respond,
    Retry,
    Rule,
    TextMatch,
    WeightedBackend,
)
from weft.mesh.services.service import BackendKey, Balancing, Ejection, HashKey, Health, TrafficPolicy
from weft.testing.polling import eventually
from weft.xds.services.names import cluster_name

OTHER = BackendKey("other.default.svc.cluster.local", 9080)
OURS = WeightedBackend(KEY)
PRESENT = TextMatch("present")


class Edge:
    """A gateway with two plaintext backends, `one` and `other`, and some rules."""

    def __init__(self, port: int, one: EchoServer, other: EchoServer) -> None:
        self.port, self.one, self.other = port, one, other

    async def get(self, target: str, *headers: str, host: str = "shop.example.com", method: str = "GET") -> Response:
        """One request on a connection of its own."""
        async with Connection(self.port) as client:
            return await client.request(target, host, *headers, method=method)


@contextlib.asynccontextmanager
async def edge(directory: Path, *rules: Rule, domains: tuple[str, ...] = ("*",), **policy: Any) -> AsyncIterator[Edge]:
    port = free_port()
    async with echo_server("one") as one, echo_server("other") as other:
        view = gateway(
            gateway_port(port, virtual_hosts=(virtual_host(rules, domains=domains, port=80),)),
            targets=targets(
                target(endpoint(one.port), to=backend(transport=PLAINTEXT, **policy)),
                target(endpoint(other.port), to=backend(OTHER, transport=PLAINTEXT, **policy)),
            ),
        )
        async with running_view(view, directory):
            yield Edge(port, one, other)


def _rewriting(kind: str, match: str, value: str, pattern: str = "", path: str = "segment-prefix") -> Rule:
    rewrite = PathRewrite(kind, value, pattern)  # type: ignore[arg-type]
    return rule(Forward((OURS,), path_rewrite=rewrite), RequestMatch(path=TextMatch(path, match)))  # type: ignore[arg-type]


REWRITES = [
    (_rewriting("segment-prefix", "/foo", "/xyz"), {"/foo/bar": "/xyz/bar", "/foo": "/xyz", "/foo/": "/xyz/"}),
    (_rewriting("segment-prefix", "/foo/", "/xyz/"), {"/foo/bar": "/xyz/bar", "/foo": "/xyz"}),
    (_rewriting("segment-prefix", "/foo", ""), {"/foo/bar": "/bar", "/foo": "/", "/foo/": "/", "/foo?q=/a": "/?q=/a"}),
    (_rewriting("segment-prefix", "/f.o", "/"), {"/f.o/bar": "/bar", "/f.o": "/"}),
    (_rewriting("segment-prefix", "/", "/xyz"), {"/bar": "/xyz/bar", "/": "/xyz/"}),
    (_rewriting("full", "/foo", r"/one\1"), {"/foo/bar?q=1": r"/one\1?q=1", "/foo": r"/one\1"}),
    (_rewriting("prefix", "/old/", "/new/", path="prefix"), {"/old/x?y=z": "/new/x?y=z"}),
    (_rewriting("prefix", "/a", "", path="prefix"), {"/abc": "/bc", "/a": "/", "/a/b": "/b"}),
    (_rewriting("regex", "/", r"/\2/\1", "^/([^/]+)/([^/]+)$", "prefix"), {"/a/b?c": "/b/a?c", "/a": "/a"}),
    (_rewriting("prefix", "/exact", "/whole", path="exact"), {"/exact?q": "/whole?q"}),
]


@pytest.mark.parametrize(("rewriting", "paths"), REWRITES, ids=lambda item: None)
async def test_paths_are_rewritten(rewriting: Rule, paths: dict[str, str], tmp_path: Path) -> None:
    async with edge(tmp_path, rewriting) as ours:
        assert {path: (await ours.get(path)).json()["path"] for path in paths} == paths


async def test_segment_prefixes_match_whole_segments(tmp_path: Path) -> None:
    async with edge(tmp_path, rule(match=prefix("/foo/"))) as ours:
        found = {path: (await ours.get(path)).status for path in ("/foo", "/foo/", "/foo/bar", "/foobar", "/")}
    assert found == {"/foo": 200, "/foo/": 200, "/foo/bar": 200, "/foobar": 404, "/": 404}


REDIRECTS = [
    (Redirect(301, scheme="https"), ("shop.example.com",), "https://shop.example.com/a/b?c=d"),
    (Redirect(301, scheme="https"), ("*",), "https://shop.example.com:443/a/b?c=d"),
    (Redirect(302, scheme="https", port=443), ("shop.example.com",), "https://shop.example.com/a/b?c=d"),
    (Redirect(302, scheme="https", port=8443), ("*",), "https://shop.example.com:8443/a/b?c=d"),
    (Redirect(303, host="other.example.com"), ("*",), "http://other.example.com/a/b?c=d"),
    (Redirect(307, port=8080), ("*",), "http://shop.example.com:8080/a/b?c=d"),
    (
        Redirect(308, port_from_request=True, path_rewrite=PathRewrite("full", "/x")),
        ("*",),
        "http://shop.example.com:81/x?c=d",
    ),
    (
        Redirect(302, port_from_request=True, path_rewrite=PathRewrite("segment-prefix", "/x/")),
        ("*",),
        "http://shop.example.com:81/x/b?c=d",
    ),
    (
        Redirect(302, port_from_request=True, path_rewrite=PathRewrite("segment-prefix", "")),
        ("*",),
        "http://shop.example.com:81/b?c=d",
    ),
    (Redirect(302, scheme="http", port_from_request=True), ("shop.example.com",), "http://shop.example.com:81/a/b?c=d"),
]


@pytest.mark.parametrize(("redirect", "domains", "location"), REDIRECTS, ids=lambda item: None)
async def test_redirects(redirect: Redirect, domains: tuple[str, ...], location: str, tmp_path: Path) -> None:
    async with edge(tmp_path, rule(redirect, prefix("/a")), domains=domains) as ours:
        answer = await ours.get("/a/b?c=d", host="shop.example.com:81")
    assert (answer.status, answer.headers["location"]) == (redirect.status, location)


async def test_direct_responses_may_be_large(tmp_path: Path) -> None:
    async with edge(tmp_path, rule(Respond(418, b"x" * 100_000))) as ours:
        answer = await ours.get("/")
    assert (answer.status, len(answer.body)) == (418, 100_000)


async def test_matches_of_headers_and_queries(tmp_path: Path) -> None:
    def on(status: int, **match: Any) -> Rule:
        return rule(Respond(status), RequestMatch(**match))

    rules = (
        on(201, headers=(NamedMatch("user", TextMatch("exact", "Ann", ignore_case=True)),)),
        on(202, headers=(NamedMatch("user", TextMatch("regex", "b.b")),)),
        on(203, headers=(NamedMatch("user", TextMatch("prefix", "car")),)),
        on(205, query=(NamedMatch("q", TextMatch("exact", "1")), NamedMatch("r", TextMatch("present")))),
        on(206, query=(NamedMatch("q", TextMatch("regex", "[a-c]+")),)),
        on(207, method=TextMatch("exact", "PUT")),
        on(208, path=TextMatch("exact", "/CASE", ignore_case=True)),
        on(210, path=TextMatch("regex", "/v[0-9]+")),
        on(211, headers=(NamedMatch("never", PRESENT, invert=True), NamedMatch("x", PRESENT))),
        on(212, headers=(NamedMatch("user", TextMatch("exact", "dan"), invert=True),)),
    )
    async with edge(tmp_path, *rules) as ours:
        assert (await ours.get("/", "User: aNN")).status == 201
        assert (await ours.get("/", "User: bob")).status == 202
        assert (await ours.get("/", "User: bobby", "x: 1")).status == 211
        assert (await ours.get("/", "User: carol")).status == 203
        assert (await ours.get("/?q=1&r=")).status == 205
        assert (await ours.get("/?q=1")).status == 212
        assert (await ours.get("/?q=abc")).status == 206
        assert (await ours.get("/", method="PUT")).status == 207
        assert (await ours.get("/case?x")).status == 208
        assert (await ours.get("/v12?x")).status == 210
        assert (await ours.get("/v12/more", "user: dan")).status == 404
        assert (await ours.get("/", "x: 1", "never: 1", "user: dan")).status == 404


async def test_weights_share_requests_and_missing_backends_answer_500(tmp_path: Path) -> None:
    shares = (replace(OURS, weight=70), WeightedBackend(OTHER, 20), WeightedBackend(None, 10))
    async with edge(
        tmp_path, rule(Forward(shares), prefix("/split")), rule(Forward((replace(OURS, weight=0),)))
    ) as ours:
        seen: Counter[str] = Counter()
        async with Connection(ours.port) as client:
            for _ in range(1000):
                answer = await client.request("/split", "shop")
                seen[answer.headers.get("x-app", str(answer.status))] += 1
        assert set(seen) == {"one", "other", "500"}
        assert 640 <= seen["one"] <= 760
        assert 150 <= seen["other"] <= 250
        assert (await ours.get("/")).status == 500


async def test_backends_may_each_rewrite_the_path(tmp_path: Path) -> None:
    shares = (
        replace(OURS, weight=1, path_rewrite=PathRewrite("full", "/one")),
        WeightedBackend(OTHER, 1, path_rewrite=PathRewrite("full", "/other")),
        replace(OURS, weight=2, path_rewrite=PathRewrite("full", "/one-again")),
    )
    async with edge(tmp_path, rule(Forward(shares))) as ours:
        seen: Counter[str] = Counter()
        async with Connection(ours.port) as client:
            for _ in range(800):
                answer = (await client.request("/", "shop")).json()
                seen[answer["app"] + answer["path"]] += 1
    assert set(seen) == {"one/one", "other/other", "one/one-again"}
    assert 150 <= seen["other/other"] <= 250
    assert 330 <= seen["one/one-again"] <= 470


async def test_headers_and_hosts_change(tmp_path: Path) -> None:
    changes = HeaderChanges((("x-set", "100% new"),), (("x-add", "b"),), ("x-gone",))
    own = replace(OURS, request=HeaderChanges((("x-own", "1"),)), host_rewrite="backend.example.com")
    answered = HeaderChanges((("x-out", "1"),), (), ("x-app",))
    rules = (
        rule(Forward((own,)), prefix("/single"), request=changes, response=answered),
        rule(Forward((replace(own, weight=1), replace(OURS, weight=0)), host_rewrite="else"), prefix("/zero")),
        rule(Forward((own, own), host_rewrite="else.example.com"), prefix("/weighted"), request=changes),
        rule(Forward((OURS,)), request=HeaderChanges((("Host", "set.example.com"),))),
    )
    async with edge(tmp_path, *rules) as ours:
        for path, host in (("/single", "backend"), ("/weighted", "backend"), ("/zero", "backend"), ("/", "set")):
            answer = await ours.get(path, "x-set: old", "x-add: a", "x-gone: yes")
            told = answer.json()["headers"]
            assert told["host"] == f"{host}.example.com"
            if path in ("/single", "/weighted"):
                assert (told["x-set"], told["x-add"], told["x-own"]) == ("100% new", "a,b", "1")
                assert "x-gone" not in told
            if path == "/single":
                assert answer.headers["x-out"] == "1"
                assert "x-app" not in answer.headers


async def test_faults_and_cors_only_where_a_rule_asks(tmp_path: Path) -> None:
    rules = (
        rule(match=prefix("/delay"), fault=Fault(delay=0.4)),
        rule(match=prefix("/abort"), fault=Fault(abort_http=555)),
        rule(match=prefix("/half"), fault=Fault(abort_http=555, abort_percent=50)),
        rule(
            match=prefix("/cors"),
            cors=Cors((TextMatch("exact", "https://a.example"),), ("GET",), ("x-t",), ("x-e",), 60.0, credentials=True),
        ),
        rule(match=prefix("/ignore"), cors=Cors((TextMatch("exact", "https://a.example"),), forward_unmatched=False)),
        rule(match=prefix("/any"), cors=Cors((TextMatch("present"),), ("*",), ("*",), credentials=True)),
        rule(),
    )
    async with edge(tmp_path, *rules) as ours:
        started = time.monotonic()
        assert (await ours.get("/delay")).status == 200
        assert time.monotonic() - started > 0.3, "Envoy counts from the time of its event loop, a little earlier"
        assert (await ours.get("/abort")).status == 555
        seen = Counter([(await ours.get("/half")).status for _ in range(60)])
        assert set(seen) == {200, 555}
        assert (await ours.get("/")).status == 200

        asked = ("Origin: https://a.example", "Access-Control-Request-Method: GET")
        preflight = await ours.get("/cors", *asked, method="OPTIONS")
        assert preflight.headers["access-control-allow-origin"] == "https://a.example"
        assert preflight.headers["access-control-max-age"] == "60"
        assert ours.one.seen.count("OPTIONS /cors") == 0
        assert (await ours.get("/cors", asked[0])).headers["access-control-expose-headers"] == "x-e"
        stranger = ("Origin: https://b.example", "Access-Control-Request-Method: GET")
        for path, forwarded in (("/cors", 1), ("/ignore", 0)):
            answer = await ours.get(path, *stranger, method="OPTIONS")
            assert "access-control-allow-origin" not in answer.headers
            assert (answer.status, ours.one.seen.count(f"OPTIONS {path}")) == (200, forwarded)
        any_header = (asked[0], "Access-Control-Request-Method: PUT", "Access-Control-Request-Headers: x-a, x-b")
        allowed = (await ours.get("/any", *any_header, method="OPTIONS")).headers
        assert allowed["access-control-allow-headers"] == "x-a, x-b", "with credentials a browser knows no *"
        assert (allowed["access-control-allow-methods"], allowed["access-control-allow-credentials"]) == ("PUT", "true")
        allowed = (await ours.get("/any", *any_header[:2], method="OPTIONS")).headers
        assert allowed["access-control-allow-headers"] == "", "no header was asked for"
        await ours.get("/", *asked, method="OPTIONS")
        assert ours.one.seen.count("OPTIONS /") == 1


async def test_mirrors_get_a_copy_and_do_not_answer(tmp_path: Path) -> None:
    mirrored = rule(Forward((OURS,), mirrors=(Mirror(OTHER),)), prefix("/all"))
    some = rule(Forward((OURS,), mirrors=(Mirror(OTHER, 25.0),)))
    async with edge(tmp_path, mirrored, some) as ours:
        ours.other.status = 500
        assert (await ours.get("/all")).status == 200
        deadline = time.monotonic() + 60
        while ours.other.requests < 1:
            assert time.monotonic() < deadline, "no copy arrived"
            await asyncio.sleep(0.01)
        async with Connection(ours.port) as client:
            for _ in range(200):
                assert (await client.request("/", "shop")).status == 200
        deadline = time.monotonic() + 60
        while not 20 <= ours.other.requests <= 90:
            assert time.monotonic() < deadline, f"{ours.other.requests} copies of 200 at 25 %"
            await asyncio.sleep(0.01)


async def test_timeouts_and_retries(tmp_path: Path) -> None:
    codes = Retry(2, codes=(503,), backoff=0.005)
    tries = Retry(1, conditions=("5xx",), per_try_timeout=0.5)
    rules = (
        rule(Forward((OURS,), timeout=0.2), prefix("/timeout")),
        rule(Forward((OURS,), retry=codes), prefix("/retry")),
        rule(Forward((OURS,), retry=Retry(0)), prefix("/none")),
        rule(Forward((OURS,), retry=tries), prefix("/tries")),
        rule(Forward((OURS,), retry=Retry(0, per_try_timeout=0.5)), prefix("/once")),
        rule(Forward((OURS,), per_try_timeout=0.5), prefix("/safe")),
        rule(),
    )
    async with edge(tmp_path, *rules) as ours:

        def seen(path: str) -> int:
            return ours.one.seen.count(f"GET {path}")

        def reached(path: str, times: int) -> bool:
            return seen(path) >= times

        ours.one.delay = 5.0
        assert (await ours.get("/timeout")).status == 504
        for path, times in (("/tries", 2), ("/once", 1), ("/safe", 1)):
            assert (await ours.get(path)).status == 504
            await eventually(f"{times} tries have come", partial(reached, path, times))
            assert seen(path) == times
        ours.one.delay, ours.one.status = 0.0, 503
        for path, times in (("/retry", 3), ("/none", 1), ("/default", 1)):
            assert (await ours.get(path)).status == 503
            assert seen(path) == times


@pytest.mark.parametrize(("path", "retries"), [("/none", 0), ("/safe", 2), ("/own", 1)])
async def test_a_rule_that_says_nothing_is_retried_safely_and_one_that_says_none_is_not(
    path: str, retries: int, tmp_path: Path
) -> None:
    own = Retry(1, conditions=("connect-failure",), backoff=0.005)
    rules = (
        rule(Forward((OURS,), retry=Retry(0)), prefix("/none")),
        rule(Forward((OURS,), retry=own), prefix("/own")),
        rule(Forward((OURS,))),
    )
    port = free_port()
    view = gateway(
        gateway_port(port, virtual_hosts=(virtual_host(rules, domains=("*",), port=80),)),
        targets=targets(target(endpoint(free_port()), to=backend(transport=PLAINTEXT))),
    )
    async with running_view(view, tmp_path) as (envoy, _), Connection(port) as client:
        assert (await client.request(path, "shop")).status == 503
        assert await envoy.stat(f"cluster.{cluster_name(KEY)}.upstream_rq_retry") == retries


async def test_a_dead_endpoint_costs_no_request(tmp_path: Path) -> None:
    async with echo_server("alive") as alive:
        dead_and_alive = target(endpoint(free_port()), endpoint(alive.port), to=backend(transport=PLAINTEXT))
        ours = replace(calling_itself(alive.port), targets=targets(dead_and_alive))
        async with running_pair(ours, tmp_path) as pair, Connection(pair.proxy) as client:
            for _ in range(50):
                assert (await client.request("http://reviews:9080/", "reviews:9080")).status == 200


@pytest.mark.parametrize("health", [Health.UNHEALTHY, Health.DRAINING])
async def test_unhealthy_and_draining_endpoints_get_nothing(health: Health, tmp_path: Path) -> None:
    port = free_port()
    async with echo_server("bad") as bad, echo_server("good") as good:
        for healthy, status in ((True, 200), (False, 503)):
            endpoints = (endpoint(bad.port, health=health), *((endpoint(good.port),) if healthy else ()))
            view = gateway(gateway_port(port), targets=targets(target(*endpoints, to=backend(transport=PLAINTEXT))))
            directory = tmp_path / str(status)
            directory.mkdir()
            async with running_view(view, directory), Connection(port) as client:
                for _ in range(20):
                    assert (await client.request("/", "shop")).status == status
        assert bad.requests == 0


async def test_failing_endpoints_are_ejected(tmp_path: Path) -> None:
    policy = TrafficPolicy(
        Balancing("round-robin"), ejection=Ejection(consecutive_5xx=3, interval=0.1, base_time=60.0, max_percent=10)
    )
    port = free_port()
    async with echo_server("bad", status=500) as bad, echo_server("good") as good:
        view = gateway(
            gateway_port(port),
            targets=targets(
                target(endpoint(bad.port), endpoint(good.port), to=backend(transport=PLAINTEXT, policy=policy))
            ),
        )
        async with running_view(view, tmp_path), Connection(port) as client:
            statuses = [(await client.request("/", "shop")).status for _ in range(60)]
    assert statuses.count(500) == 3
    assert bad.requests == 3
    assert statuses[-40:] == [200] * 40


@pytest.mark.parametrize("algorithm", ["ring-hash", "maglev"])
async def test_one_key_stays_on_one_endpoint(algorithm: Any, tmp_path: Path) -> None:
    policy = TrafficPolicy(Balancing(algorithm, table_size=1000, hash=HashKey(header="user")))
    port = free_port()
    async with echo_server("a") as a, echo_server("b") as b, echo_server("c") as c:
        keyed = virtual_host([rule(Forward((OURS,)))], domains=("*",), port=80)
        view = gateway(
            gateway_port(port, virtual_hosts=(keyed,)),
            targets=targets(
                target(*(endpoint(each.port) for each in (a, b, c)), to=backend(transport=PLAINTEXT, policy=policy))
            ),
        )
        async with running_view(view, tmp_path), Connection(port) as client:
            homes: dict[str, set[str]] = {}
            for number in range(120):
                user = f"user-{number % 24}"
                answer = await client.request("/", "shop", f"User: {user}")
                homes.setdefault(user, set()).add(answer.headers["x-app"])
    assert all(len(apps) == 1 for apps in homes.values())
    assert len(set.union(*homes.values())) > 1


@pytest.mark.parametrize(("ttl", "attributes"), [(0.0, ""), (60.0, "; Max-Age=60")])
async def test_a_cookie_that_the_cluster_asks_for_is_made_and_keeps_a_client_on_one_endpoint(
    ttl: float, attributes: str, tmp_path: Path
) -> None:
    key = HashKey(cookie="home", cookie_path="/shop", cookie_ttl=ttl)
    policy = TrafficPolicy(Balancing("ring-hash", hash=key))
    port = free_port()
    async with echo_server("a") as a, echo_server("b") as b, echo_server("c") as c:
        view = gateway(
            gateway_port(port),
            targets=targets(
                target(*(endpoint(each.port) for each in (a, b, c)), to=backend(transport=PLAINTEXT, policy=policy))
            ),
        )
        async with running_view(view, tmp_path), Connection(port) as client:
            for _ in range(8):
                first = await client.request("/", "shop")
                cookie, _, rest = first.headers["set-cookie"].partition("; ")
                assert cookie.startswith("home=")
                assert f"; {rest}" == f"{attributes}; Path=/shop; HttpOnly"
                again = [await client.request("/", "shop", f"Cookie: {cookie}") for _ in range(4)]
                assert {each.headers["x-app"] for each in again} == {first.headers["x-app"]}
                assert not any("set-cookie" in each.headers for each in again)
