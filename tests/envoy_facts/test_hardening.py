"""Facts of Envoy: what a client sends to be mistaken for something else is normalised or refused."""

from __future__ import annotations

import contextlib
from asyncio import IncompleteReadError
from pathlib import Path

import pytest

from support.envoy import free_port
from support.loopback import Connection, Response, echo_server
from support.proxy import calling_itself, running_pair, running_view
from support.views import PLAINTEXT, backend, endpoint, gateway, gateway_port, rule, target, targets, virtual_host
from weft.mesh.routes.rules import Respond


async def _through(tmp_path: Path, target: str, host: str, *headers: str) -> Response:
    async with (
        echo_server("reviews") as application,
        running_pair(calling_itself(application.port), tmp_path) as pair,
        Connection(pair.proxy) as client,
    ):
        return await client.request(target, host, *headers)


@pytest.mark.parametrize(
    ("path", "arrives"),
    [
        ("/a/../admin", "/admin"),
        ("/a//b///c", "/a/b/c"),
        ("/a/./b", "/a/b"),
        ("/%61dmin", "/admin"),
        ("/a%2fb", None),
        ("/a%2Fb", None),
        ("/a%5cb", None),
        ("/a/%2e%2e/admin", "/admin"),
        ("/plain?x=//y/../z", "/plain?x=//y/../z"),
    ],
)
async def test_paths_are_normalised_or_refused(path: str, arrives: str | None, tmp_path: Path) -> None:
    answer = await _through(tmp_path, f"http://reviews:9080{path}", "reviews:9080")
    assert answer.status == (400 if arrives is None else 200)
    if arrives is not None:
        assert answer.json()["path"] == arrives


async def test_header_names_with_underscores_are_refused(tmp_path: Path) -> None:
    assert (await _through(tmp_path, "http://reviews:9080/", "reviews:9080", "x_user: admin")).status == 400


async def test_internal_headers_have_no_effect_and_do_not_arrive(tmp_path: Path) -> None:
    async with echo_server("reviews", delay=0.3) as application:
        view = calling_itself(application.port)
        async with running_pair(view, tmp_path) as pair, Connection(pair.proxy) as client:
            answer = await client.request(
                "http://reviews:9080/",
                "reviews:9080",
                "x-envoy-upstream-rq-timeout-ms: 20",
                "X-Envoy-Expected-Rq-Timeout-Ms: 20",
                "x-envoy-retry-on: 5xx",
                "x-envoy-max-retries: 5",
                "x-envoy-original-path: /other",
            )
            assert answer.status == 200
            told = answer.json()["headers"]
        assert not [name for name in (*told, *answer.headers) if name.startswith("x-envoy")]
        application.status, application.delay, application.requests = 500, 0.0, 0
        async with running_pair(view, tmp_path) as pair, Connection(pair.proxy) as client:
            answer = await client.request("http://reviews:9080/", "reviews:9080", "x-envoy-retry-on: 5xx")
        assert (answer.status, application.requests) == (500, 1)


async def test_the_gateway_believes_no_header_about_the_client(tmp_path: Path) -> None:
    port = free_port()
    lies = (
        "forwarded", "proxy", "x-forwarded-host", "x-forwarded-port", "x-forwarded-prefix", "x-forwarded-user",
        "x-original-url", "x-original-host", "x-original-forwarded-for", "x-rewrite-url", "x-real-ip", "x-client-ip",
        "x-remote-user", "x-script-name", "X-Forwarded-Server",
    )  # fmt: skip
    async with echo_server("reviews") as application:
        view = gateway(
            gateway_port(port),
            targets=targets(target(endpoint(application.port), to=backend(transport=PLAINTEXT))),
        )
        async with running_view(view, tmp_path), Connection(port) as client:
            answer = await client.request(
                "/",
                "shop.example.com:8080",
                "X-Forwarded-For: 10.9.9.9",
                "x-forwarded-client-cert: URI=spiffe://x",
                "x-envoy-external-address: 10.9.9.9",
                "x-forwarded-proto: https",
                *(f"{name}: evil.example" for name in lies),
            )
        told = answer.json()["headers"]
        assert not set(map(str.lower, lies)) & set(told)
        assert told["x-forwarded-for"].startswith("10.9.9.9,")
        assert told["x-forwarded-proto"] == "http"
        assert "x-forwarded-client-cert" not in told
        assert told["x-envoy-external-address"] == "127.0.0.1"
        assert told["host"] == "shop.example.com:8080"
        assert told["x-request-id"]


@pytest.mark.parametrize("domains", [("shop.example.com",), ("*.example.com",), ("*",)])
@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("shop.example.com", 299),
        ("SHOP.example.com", 299),
        ("shop.example.com.", 299),
        ("shop.example.com:8080", 299),
        ("shop.example.com.:8080", 299),
        ("user@shop.example.com", None),
        ("shop.example.com,evil.example.com", None),
    ],
)
async def test_gateway_hosts_are_matched_whatever_their_spelling(
    host: str, status: int | None, domains: tuple[str, ...], tmp_path: Path
) -> None:
    port = free_port()
    ours = virtual_host([rule(Respond(299))], domains=domains, port=80)
    async with running_view(gateway(gateway_port(port, virtual_hosts=(ours,))), tmp_path), Connection(port) as client:
        answer = await client.request("/", host)
    assert answer.status == status if status else answer.status in (400, 404)


@pytest.mark.parametrize(
    "smuggled",
    [
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
        "GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: identity, chunked\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
    ],
)
async def test_ambiguous_framing_is_refused(smuggled: str, tmp_path: Path) -> None:
    port = free_port()
    ours = virtual_host([rule(Respond(299))], domains=("*",), port=80)
    async with running_view(gateway(gateway_port(port, virtual_hosts=(ours,))), tmp_path), Connection(port) as client:
        client.writer.write(smuggled.encode())
        first = b""
        with contextlib.suppress(IncompleteReadError):
            first = await client.reader.readuntil(b"\r\n")
        assert b" 299 " not in first
