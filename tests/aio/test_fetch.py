"""What is fetched, and every way in which somebody may try to make it something else. Real servers on loopback."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from pathlib import Path

import pytest

from support.discovery import ProxyAuthority
from weft.aio.fetch import Fetched, FetchError, FetchLimits, Network, fetch, refusal, split_url

LOOPBACK = (ipaddress.ip_network("127.0.0.0/8"),)
Answer = Callable[[asyncio.StreamWriter], Awaitable[None]]


def says(text: bytes, head: str = "200 OK", *lines: str) -> Answer:
    async def answer(writer: asyncio.StreamWriter) -> None:
        first = "".join(f"{line}\r\n" for line in (f"HTTP/1.1 {head}", f"content-length: {len(text)}", *lines))
        writer.write(first.encode() + b"\r\n" + text)
        await writer.drain()

    return answer


@contextlib.asynccontextmanager
async def server(
    answer: Answer, asked: list[bytes] | None = None, tls: ssl.SSLContext | None = None
) -> AsyncIterator[int]:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        tasks.append(asyncio.current_task())
        with contextlib.suppress(OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            head = await reader.readuntil(b"\r\n\r\n")
            if asked is not None:
                asked.append(head)
            await answer(writer)
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()

    tasks: list[asyncio.Task[None] | None] = []
    listening = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=tls)
    async with listening:
        yield listening.sockets[0].getsockname()[1]
        for task in tasks:
            if task is not None:
                task.cancel()
                await asyncio.wait([task])


async def refused(url: str, networks: Sequence[Network] = LOOPBACK, seconds: float = 10.0) -> str:
    with pytest.raises(FetchError) as error:
        await fetch(url, networks, limits=FetchLimits(seconds=seconds))
    return str(error.value)


@pytest.mark.parametrize(
    ("line", "age"),
    [
        ("x: y", None),
        ("cache-control: public, max-age=300", 300.0),
        ("cache-control: no-store, max-age=300", 0.0),
        ("cache-control: Max-Age=5", 5.0),
        ("cache-control: max-age=soon", None),
    ],
)
async def test_a_document_and_how_long_it_is_good(line: str, age: float | None) -> None:
    async with server(says(b"{}", "200 OK", line)) as port:
        assert await fetch(f"http://127.0.0.1:{port}/keys", LOOPBACK) == Fetched(b"{}", age)


async def test_loopback_is_asked_only_where_the_mesh_allows_it() -> None:
    asked: list[bytes] = []
    async with server(says(b"{}"), asked) as port:
        for host in ("127.0.0.1", "localhost", "[::ffff:127.0.0.1]", "127.1", "2130706433", "0x7f.1"):
            for scheme in ("http", "https"):
                assert await refused(f"{scheme}://{host}:{port}/", networks=())
    assert asked == []


async def test_no_redirect_is_followed() -> None:
    asked: list[bytes] = []
    async with server(says(b"{}"), asked) as target:
        for status in ("301 Moved", "302 Found", "307 Temporary", "308 Permanent", "300 Choices"):
            async with server(says(b"", status, f"location: http://127.0.0.1:{target}/")) as port:
                assert "redirect" in await refused(f"http://127.0.0.1:{port}/")
    assert asked == []


async def test_a_gigabyte_is_not_read() -> None:
    sent = 0

    async def flood(writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 1073741824\r\n\r\n")
        for _ in range(1 << 14):
            writer.write(b" " * 65536)
            sent += 65536
            await writer.drain()

    async with server(flood) as port:
        assert "larger than 256 KiB" in await refused(f"http://127.0.0.1:{port}/")
    assert sent < 64 << 20


async def test_a_bomb_stays_packed() -> None:
    async with server(says(b"\x1f\x8b", "200 OK", "content-encoding: gzip")) as port:
        assert "compressed" in await refused(f"http://127.0.0.1:{port}/")


@pytest.mark.parametrize("first", [b"", b"HTTP/1.1 200 OK\r\nx: ", b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n"])
async def test_a_server_that_drips_is_left(first: bytes) -> None:
    async def drip(writer: asyncio.StreamWriter) -> None:
        writer.write(first)
        for _ in range(100_000):
            writer.write(b"x" if first else b"")
            await writer.drain()
            await asyncio.sleep(0.01)

    async with server(drip) as port:
        assert "within 0.3 s" in await refused(f"http://127.0.0.1:{port}/", seconds=0.3)


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("file:///etc/passwd", "scheme is 'file'"),
        ("ftp://issuer.example/keys", "scheme is 'ftp'"),
        ("data:application/json,{}", "scheme is 'data'"),
        ("//issuer.example/keys", "scheme is ''"),
        ("https:///keys", "no host"),
        ("https://user@issuer.example/", "user"),
        ("https://user:word@issuer.example/", "user"),
        ("https://issuer.example:99999/", "no URL"),
        ("https://issuer.example:0/", "no host"),
        ("https://[::1/", "no URL"),
        ("https://issuer.example/\r\nHost: other", "printable"),
        ("https://issuer.example\\@127.0.0.1/", "printable"),
        ("https://ìssuer.example/", "printable"),
        ("https://issuer.example/" + "x" * 3000, "printable"),
    ],
)
async def test_what_is_no_address_to_fetch_from(url: str, expected: str) -> None:
    with pytest.raises(FetchError) as error:
        split_url(url)
    assert expected in str(error.value)
    assert await refused(url) == str(error.value)


EVERYTHING = (ipaddress.ip_network("0.0.0.0/0"), ipaddress.ip_network("::/0"))


@pytest.mark.parametrize(
    "address",
    ["169.254.169.254", "169.254.0.1", "fe80::1", "fe80::1%eth0", "0.0.0.0", "::", "224.0.0.1", "ff02::1",
     "255.255.255.255", "240.0.0.1", "::ffff:169.254.169.254", "64:ff9b::a9fe:a9fe", "2002:a9fe:a9fe::1",
     "2001:0:a9fe:a9fe::1", "64:ff9b:1::a9fe:a9fe"],
)  # fmt: skip
async def test_metadata_and_link_local_addresses_are_never_asked(address: str) -> None:
    assert refusal(ipaddress.ip_address(address), EVERYTHING, plain=False)
    if "%" not in address:
        host = f"[{address}]" if ":" in address else address
        assert "address" in await refused(f"https://{host}/latest/meta-data/", networks=EVERYTHING)


@pytest.mark.parametrize(
    "address", ["127.0.0.1", "::1", "10.1.2.3", "172.16.0.1", "192.168.1.1", "100.64.0.1", "fd00:ec2::254",
                "::ffff:10.1.2.3", "64:ff9b::a01:203"]
)  # fmt: skip
def test_private_addresses_are_asked_only_where_the_mesh_allows_them(address: str) -> None:
    given = ipaddress.ip_address(address)
    assert refusal(given, (), plain=False)
    assert refusal(given, [ipaddress.ip_network("203.0.113.0/24")], plain=False)
    assert not refusal(given, EVERYTHING, plain=False)


def test_public_addresses_are_asked_over_https() -> None:
    for address in ("8.8.8.8", "2606:4700::1111", "64:ff9b::808:808"):
        assert not refusal(ipaddress.ip_address(address), (), plain=False)
        assert "http is for loopback" in refusal(ipaddress.ip_address(address), EVERYTHING, plain=True)
    assert "http is for loopback" in refusal(ipaddress.ip_address("10.0.0.1"), EVERYTHING, plain=True)


async def test_the_name_is_resolved_once_and_the_checked_address_is_asked() -> None:
    """A name server that gives another answer the next time (rebinding) is not asked a next time."""
    answers = [["127.0.0.1"], ["169.254.169.254"]]

    async def resolve(host: str, port: int) -> Sequence[str]:
        return answers.pop(0)

    asked: list[bytes] = []
    async with server(says(b"{}"), asked) as port:
        url = f"http://issuer.example:{port}/"
        assert await fetch(url, LOOPBACK, resolve=resolve) == Fetched(b"{}", None)
        with pytest.raises(FetchError, match=r"169\.254\.169\.254"):
            await fetch(url, EVERYTHING, resolve=resolve)
    assert len(asked) == 1
    assert b"Host: issuer.example" in asked[0]


async def test_of_several_addresses_only_those_are_asked_that_may_be() -> None:
    async def resolve(host: str, port: int) -> Sequence[str]:
        return ["169.254.169.254", "10.0.0.1", "127.0.0.1"]

    async with server(says(b"{}")) as port:
        assert (await fetch(f"http://issuer.example:{port}/", LOOPBACK, resolve=resolve)).body == b"{}"


@pytest.mark.parametrize("status", ["404 Not Found", "500 No", "204 None", "206 Part"])
async def test_only_a_whole_answer_counts(status: str) -> None:
    async with server(says(b"", status)) as port:
        assert status[:3] in await refused(f"http://127.0.0.1:{port}/")


async def test_a_server_that_is_not_there_or_speaks_something_else() -> None:
    async def nonsense(writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 mail ready\r\n\r\n")
        await writer.drain()

    async with server(nonsense) as port:
        assert "does not answer as a web server" in await refused(f"http://127.0.0.1:{port}/")
    assert "does not answer" in await refused(f"http://127.0.0.1:{port}/")

    async def nobody(host: str, port: int) -> Sequence[str]:
        return []

    with pytest.raises(FetchError, match="no address"):
        await fetch("https://issuer.example/", resolve=nobody)

    async def unknown(host: str, port: int) -> Sequence[str]:
        raise OSError("no such name")

    with pytest.raises(FetchError, match="cannot be resolved"):
        await fetch("https://issuer.example/", resolve=unknown)


async def test_certificates_are_checked_for_the_name(tmp_path: Path) -> None:
    authority = ProxyAuthority()
    pair = authority.issue("issuer.example", "spiffe://x/y")
    (tmp_path / "key.pem").write_text(pair.key)
    (tmp_path / "chain.pem").write_text(pair.chain)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "chain.pem", tmp_path / "key.pem")
    async with server(says(b"{}"), tls=context) as port:
        assert "certificate" in await refused(f"https://127.0.0.1:{port}/")
        trusting = ssl.create_default_context(cadata=pair.bundle)
        with pytest.raises(FetchError, match="certificate"):  # trusted, but of another name
            await fetch(f"https://127.0.0.1:{port}/", LOOPBACK, tls=trusting)
