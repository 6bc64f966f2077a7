"""Probes that the agent makes for the kubelet: what counts as good, as Kubernetes has it."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from weft.agent.keys import make_key
from weft.agent.pod.probes import GrpcCheck, Header, HttpGet, Probe, TcpSocket
from weft.agent.pod.probing import probe_pages
from weft.ca.authority import open_authority
from weft.discovery.grpc_tls import grpc
from weft.model.identity import SpiffeId

POD = "10.9.9.9"
"""Nobody is asked there."""
Answers = Callable[[str], bytes]


@contextlib.asynccontextmanager
async def application(answer: Answers, tls: ssl.SSLContext | None = None) -> AsyncIterator[tuple[int, list[str]]]:
    """A server on loopback that answers each request with what `answer` makes of its head; its port, and the heads."""
    heads: list[str] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError):
            heads.append((await reader.readuntil(b"\r\n\r\n")).decode("latin-1"))
            writer.write(answer(heads[-1]))
            await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=tls)
    async with server:
        yield server.sockets[0].getsockname()[1], heads


def said(status: int, *headers: str) -> bytes:
    return "\r\n".join((f"HTTP/1.1 {status} Said", *headers, "", "")).encode()


async def asked(probe: Probe, agent: str = "kube-probe/1.37") -> str:
    """The status that the kubelet gets."""
    reply = await probe_pages({"/x": probe}, POD)["/x"]({"user-agent": agent})
    return reply.status.partition(" ")[0]


@pytest.mark.parametrize(
    ("status", "found"), [(200, "200"), (204, "200"), (399, "200"), (400, "400"), (404, "404"), (503, "503")]
)
async def test_http_from_200_to_399_is_good_and_other_statuses_are_passed_on(status: int, found: str) -> None:
    async with application(lambda _: said(status, "Content-Length: 9999999999")) as (port, _):
        assert await asked(Probe(http_get=HttpGet(port))) == found


async def test_the_request_is_the_kubelets() -> None:
    async with application(lambda _: said(200)) as (port, heads):
        await asked(Probe(http_get=HttpGet(port, "health?deep=1&x=a b#c")))
        shown = (
            Header("host", "shop.example"),
            Header("Accept", "a"),
            Header("accept", "b"),
            Header("User-Agent", "me"),
        )
        await asked(Probe(http_get=HttpGet(port, "/", http_headers=shown)))
    assert heads[0].splitlines()[0] == "GET /health?deep=1&x=a%20b HTTP/1.1"
    for line in (f"Host: {POD}:{port}", "User-Agent: kube-probe/1.37", "Accept: */*"):
        assert line in heads[0].splitlines()
    for line in ("Host: shop.example", "User-Agent: me", "Accept: a, b"):
        assert line in heads[1].splitlines()


async def test_redirects_are_followed_within_the_pod_and_no_further() -> None:
    def answer(head: str) -> bytes:
        path = head.split(" ")[1]
        places = {"/a": "b", "/b": "/gone", "/out": "https://example.com/", "/loop": "/loop", "/nowhere": ""}
        if path in places:
            return said(302, f"Location: {places[path]}")
        return said(410 if path == "/gone" else 200)

    async with application(answer) as (port, heads):
        found = {path: await asked(Probe(http_get=HttpGet(port, path))) for path in ("/a", "/out", "/loop", "/nowhere")}
    assert found == {"/a": "410", "/out": "200", "/loop": "503", "/nowhere": "200"}
    assert len(heads) == 3 + 1 + 10 + 1


async def test_with_tls_no_certificate_is_checked(tmp_path: Path) -> None:
    fresh = make_key()
    issued = open_authority(tmp_path / "ca").issue(fresh.csr, SpiffeId("cluster.local", "shop", "web"), "web.shop")
    (tmp_path / "both.pem").write_text(fresh.key + issued.chain)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "both.pem")
    async with application(lambda _: said(200), context) as (port, _):
        assert await asked(Probe(http_get=HttpGet(port, scheme="HTTPS"))) == "200"
        assert await asked(Probe(http_get=HttpGet(port))) == "503"


async def test_who_is_not_there_or_says_nothing_is_not_well() -> None:
    silent = asyncio.Event()

    async def serve(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await silent.wait()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with server:
        assert await asked(Probe(tcp_socket=TcpSocket(port))) == "200"
        assert await asked(Probe(http_get=HttpGet(port))) == "503"
        silent.set()
    for probe in (Probe(tcp_socket=TcpSocket(port)), Probe(http_get=HttpGet(port)), Probe(grpc=GrpcCheck(port))):
        assert await asked(probe) == "503"


@pytest.mark.parametrize(
    ("answer", "status"), [(b"\x08\x01", "200"), (b"\x08\x02", "503"), (b"", "503"), (b"\x08\x03", "503")]
)
async def test_grpc_has_to_answer_that_it_serves(answer: bytes, status: str) -> None:
    services: list[bytes] = []

    async def check(request: bytes, _: object) -> bytes:
        services.append(request)
        return answer

    server = grpc.aio.server()
    handler: Any = grpc.unary_unary_rpc_method_handler(check)
    server.add_generic_rpc_handlers(
        (grpc.method_handlers_generic_handler("grpc.health.v1.Health", {"Check": handler}),)
    )
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        assert await asked(Probe(grpc=GrpcCheck(port, "deep"), timeout_seconds=10)) == status
        assert services == [b"\x0a\x04deep"]
    finally:
        await server.stop(None)
