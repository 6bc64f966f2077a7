"""Rate limits in a real Envoy: what is counted together, what apart, and what a client is told."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from support.envoy import RunningEnvoy, free_port
from support.loopback import Connection, Response, echo_server
from support.proxy import running_view
from support.views import (
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
from weft.mesh.access.access import Access
from weft.mesh.access.limits import Limit, LimitKey, LimitPolicy
from weft.mesh.routes.rules import NamedMatch, RequestMatch, Rule, TextMatch
from weft.model.document import ObjectKey
from weft.model.origin import Origin
from weft.xds.limits import MAX_COUNTED_VALUE

HOURLY = 3600
"""Nothing of such a bucket comes back while a test runs."""


def policy(*limits: Limit, name: str = "api", **changes: bool) -> LimitPolicy:
    key = ObjectKey("weft.dev", "RateLimitPolicy", "default", name)
    return LimitPolicy(key, Origin("limits.yaml", 1), limits, **changes)


def limit(requests: int, *keys: LimitKey, match: RequestMatch | None = None, name: str = "all") -> Limit:
    return Limit(name, requests, HOURLY, requests, match or RequestMatch(), keys)


class Place:
    """A gateway whose one rule (or these) is limited."""

    def __init__(self, port: int, envoy: RunningEnvoy) -> None:
        self.port = port
        self.envoy = envoy

    async def ask(self, *headers: str, path: str = "/", method: str = "GET") -> Response:
        async with Connection(self.port) as client:
            return await client.request(path, "shop.example.com", *headers, method=method)

    async def statuses(self, count: int, *headers: str, path: str = "/", method: str = "GET") -> list[int]:
        return [(await self.ask(*headers, path=path, method=method)).status for _ in range(count)]


@contextlib.asynccontextmanager
async def place(tmp_path: Path, *policies: LimitPolicy, rules: tuple[Rule, ...] = ()) -> AsyncIterator[Place]:
    port = free_port()
    async with echo_server("shop") as application:
        rules = rules or (rule(limited=policies[0].name),)
        view = gateway(
            gateway_port(
                port,
                (virtual_host(rules, domains=("*",), port=80, name="*:80"),),
                access=Access(limits=policies, tagged=True),
            ),
            targets=targets(target(endpoint(application.port), to=backend(transport=PLAINTEXT))),
        )
        async with running_view(view, tmp_path) as (envoy, _):
            yield Place(port, envoy)


async def test_what_is_more_than_the_burst_is_refused_and_told_when_to_come_again(tmp_path: Path) -> None:
    async with place(tmp_path, policy(limit(5))) as here:
        first = await here.ask()
        assert first.status == 200
        assert (first.headers["ratelimit-limit"], first.headers["ratelimit-remaining"]) == ("5", "4")
        assert "retry-after" not in first.headers
        assert not [name for name in first.headers if name.startswith("x-ratelimit")]
        assert await here.statuses(6) == [200] * 4 + [429] * 2
        refused = await here.ask()
        assert (refused.status, refused.headers["ratelimit-remaining"]) == (429, "0")
        assert 0 < int(refused.headers["retry-after"]) <= HOURLY
        assert await here.envoy.stat("weft.limit.default/api.http_local_rate_limit.rate_limited") == 3


async def test_values_are_counted_apart_and_a_missing_one_is_a_value(tmp_path: Path) -> None:
    async with place(tmp_path, policy(limit(2, LimitKey("header", "x-key")))) as here:
        for value in ("a", "b"):
            assert await here.statuses(3, f"x-key: {value}") == [200, 200, 429]
        assert await here.statuses(3) == [200, 200, 429]
        long = "x" * (MAX_COUNTED_VALUE + 1)
        assert await here.statuses(1, f"x-key: {long}") == [200]
        assert await here.statuses(2, f"x-key: {long}y") == [200, 429], "what is too long is counted as one"


@pytest.mark.parametrize(
    ("key", "others"),
    [
        (LimitKey("address"), ("x-forwarded-for: 192.0.2.1",)),
        (LimitKey("identity"), ("x-forwarded-client-cert: URI=spiffe://cluster.local/ns/default/sa/a",)),
        (LimitKey("claim", "sub"), ("authorization: Bearer x.y.z",)),
    ],
)
async def test_a_client_cannot_say_who_it_is(tmp_path: Path, key: LimitKey, others: tuple[str, ...]) -> None:
    async with place(tmp_path, policy(limit(2, key))) as here:
        assert await here.statuses(2) == [200, 200]
        assert await here.statuses(1, *others) == [429]


async def test_paths_methods_and_hosts_are_told_apart(tmp_path: Path) -> None:
    limits = policy(limit(1, LimitKey("path"), LimitKey("method"), LimitKey("host")))
    async with place(tmp_path, limits) as here:
        assert await here.statuses(2, path="/a?x=1") == [200, 429]
        assert await here.statuses(1, path="/a?x=2") == [429], "the query is no part of the path"
        assert await here.statuses(1, path="/b") == [200]
        assert await here.statuses(1, path="/a", method="POST") == [200]


@pytest.mark.parametrize(
    ("match", "inside", "outside"),
    [
        (TextMatch("exact", "/a"), ("/a", "/a?x"), ("/", "/ab", "/a/b")),
        (TextMatch("segment-prefix", "/a"), ("/a", "/a/b", "/a?x"), ("/ab", "/")),
        (TextMatch("regex", "/[ab]+"), ("/ab", "/b?x"), ("/abc", "/a/b")),
        (TextMatch("exact", "/\"'\\n"), (), ("/n", "/")),
    ],
)
async def test_only_what_matches_counts(
    tmp_path: Path, match: TextMatch, inside: tuple[str, ...], outside: tuple[str, ...]
) -> None:
    headers = (NamedMatch("x-plan", TextMatch("exact", "free")),)
    found = policy(limit(1, match=RequestMatch(path=match, headers=headers, method=TextMatch("exact", "GET"))))
    async with place(tmp_path, found) as here:
        for path in outside:
            assert await here.statuses(3, "x-plan: free", path=path) == [200] * 3
        for path in inside:
            assert await here.statuses(2, "x-plan: paid", path=path) == [200] * 2
            assert await here.statuses(2, path=path) == [200] * 2
            assert await here.statuses(2, "x-plan: free", path=path, method="POST") == [200] * 2
        told = [status for path in inside for status in await here.statuses(2, "x-plan: free", path=path)]
        assert Counter(told) == ({200: 1, 429: len(told) - 1} if told else {})


@pytest.mark.parametrize("narrow_first", [True, False])
async def test_a_request_is_within_all_limits_and_a_refused_one_uses_up_nothing(
    tmp_path: Path, *, narrow_first: bool
) -> None:
    limits = [limit(2, LimitKey("header", "x-key"), name="each"), limit(4, name="all")]
    async with place(tmp_path, policy(*limits) if narrow_first else policy(*reversed(limits))) as here:
        assert await here.statuses(6, "x-key: a") == [200, 200, 429, 429, 429, 429]
        assert await here.statuses(1, "x-key: b") == [200], "who asks too often takes nothing from others"
        assert await here.statuses(2, "x-key: c") == [200, 429], "all together"


async def test_each_route_has_the_limits_of_its_policy(tmp_path: Path) -> None:
    one, other = policy(limit(1), name="one"), policy(limit(2), name="other")
    rules = (
        rule(match=prefix("/one"), limited=one.name),
        rule(match=prefix("/other"), limited=other.name),
        rule(match=prefix("/free")),
    )
    async with place(tmp_path, one, other, rules=rules) as here:
        assert await here.statuses(2, path="/one") == [200, 429]
        assert await here.statuses(3, path="/other") == [200, 200, 429]
        assert await here.statuses(5, path="/free") == [200] * 5


async def test_a_dry_run_counts_and_refuses_nobody(tmp_path: Path) -> None:
    async with place(tmp_path, policy(limit(1), dry_run=True)) as here:
        assert await here.statuses(3) == [200] * 3
        assert "ratelimit-limit" not in (await here.ask()).headers
        assert await here.envoy.stat("weft.limit.default/api.dry.http_local_rate_limit.rate_limited") == 3


async def test_limits_of_the_control_plane_pass_or_not_while_it_is_away(tmp_path: Path) -> None:
    for fail_open, status in ((True, 200), (False, 503)):
        directory = tmp_path / str(status)
        directory.mkdir()
        async with place(directory, policy(limit(1), shared=True, fail_open=fail_open)) as here:
            assert await here.statuses(2) == [status] * 2
