"""The bundle endpoint, and who fetches from it: nobody reads a bundle whose server has not proven itself."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import json
import os
import socket
import ssl
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from support.certificates import Leaf, TestAuthority
from weft.admin.server import serving
from weft.aio.fetch import FetchError
from weft.ca.authority import Authority, open_authority
from weft.ca.token_keys import TokenKeys
from weft.controlplane.bundle_endpoint import BUNDLE_LIMITS, WebCertificate, bundle_application
from weft.controlplane.certificate import ServerCertificates
from weft.controlplane.federation import get_within_limits
from weft.controlplane.settings import ServeError
from weft.controlplane.spiffe_tls import spiffe_client_context
from weft.model.bundles import bundle_from_json, keys_from_set
from weft.testing.polling import eventually

LOOPBACK = (ipaddress.ip_network("127.0.0.0/8"),)
ID = "spiffe://a.test/ns/weft-system/sa/weft-control-plane"


@contextlib.asynccontextmanager
async def published(
    directory: Path, tls: ssl.SSLContext | None = None
) -> AsyncIterator[tuple[str, Authority, TokenKeys]]:
    """The endpoint of a.test, by default with its control plane's certificate."""
    authority = open_authority(directory / "ca", "a.test")
    keys = TokenKeys(directory / "ca", "a.test")
    certificates = ServerCertificates(authority, (), directory, 3600)
    listener = socket.create_server(("127.0.0.1", 0))
    application = bundle_application(lambda: keys.bundle(authority.bundle))
    async with serving(application, listener, tls or certificates.tls, BUNDLE_LIMITS):
        yield f"https://127.0.0.1:{listener.getsockname()[1]}/", authority, keys


async def test_what_is_published_is_what_others_need(tmp_path: Path) -> None:
    get = get_within_limits(LOOPBACK)
    async with published(tmp_path) as (url, authority, keys):
        context = spiffe_client_context(authority.bundle, ID)
        text = await get(url, context)
        bundle = bundle_from_json("a.test", text)
        assert bundle == keys.bundle(authority.bundle)
        assert "".join(bundle.roots) == authority.bundle
        assert (bundle.sequence, bundle.refresh_hint) == (1, 300.0)
        assert "PRIVATE" not in text
        assert '"d"' not in text
        assert keys_from_set(await get(url + "keys", context)) == keys.published()
        assert json.loads(await get(url + "keys", context))["keys"][0]["alg"] == "ES256"
        for path in ("v1/documents", "v1/workloads", "../ca", "keys/x"):
            with pytest.raises(FetchError, match="404"):
                await get(url + path, context)


async def test_a_server_that_proves_something_else_is_asked_nothing(tmp_path: Path) -> None:
    get = get_within_limits(LOOPBACK)
    other = open_authority(tmp_path / "other", "a.test")
    async with published(tmp_path) as (url, authority, _):
        for context in (
            spiffe_client_context(authority.bundle, ID + "x"),
            spiffe_client_context(authority.bundle, "spiffe://b.test/ns/weft-system/sa/weft-control-plane"),
            spiffe_client_context(other.bundle, ID),
            None,  # no authority of the machine's
        ):
            with pytest.raises(FetchError):
                await get(url, context)
    asked: list[bytes] = []

    async def note(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            asked.append(await reader.read(100))
        writer.close()

    impostor = TestAuthority()
    for leaf in (
        impostor.issue(uri="spiffe://a.test/ns/default/sa/workload"),
        impostor.issue(uri=ID, more=("spiffe://a.test/more",)),
        impostor.issue(dns=(ID,)),
    ):
        server = await asyncio.start_server(note, "127.0.0.1", 0, ssl=server_context(leaf, tmp_path))
        async with server:
            port = server.sockets[0].getsockname()[1]
            with pytest.raises(FetchError):
                await get(f"https://127.0.0.1:{port}/", spiffe_client_context(impostor.bundle.decode(), ID))
    assert not any(asked)


def server_context(leaf: Leaf, directory: Path) -> ssl.SSLContext:
    (directory / "server.pem").write_bytes(leaf.chain + leaf.key)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(directory / "server.pem")
    return context


async def test_nothing_is_said_in_plaintext_and_nothing_is_fetched_so(tmp_path: Path) -> None:
    async with published(tmp_path) as (url, authority, _):
        port = int(url.rpartition(":")[2].strip("/"))
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        with contextlib.suppress(OSError):
            assert b"keys" not in await reader.read(1000)
        writer.close()
        context = spiffe_client_context(authority.bundle, ID)
        with pytest.raises(FetchError):  # loopback is no public address
            await get_within_limits(())(url, context)


def web_files(directory: Path, authority: TestAuthority) -> tuple[Path, Path]:
    leaf = authority.issue(dns=("localhost",))
    files = directory / "web.pem", directory / "web.key"
    for path, content in zip(files, (leaf.chain, leaf.key), strict=True):
        path.write_bytes(content)
        path.chmod(0o600)
    return files


async def test_a_web_certificate_is_followed(tmp_path: Path) -> None:
    first, second = TestAuthority(), TestAuthority()
    files = web_files(tmp_path, first)
    given = WebCertificate(*files)
    looks: asyncio.Queue[None] = asyncio.Queue()

    async def look(_: float) -> None:
        await looks.get()

    following = asyncio.create_task(given.run(look))
    async with published(tmp_path, given.tls) as (url, _, _):

        async def is_of(authority: TestAuthority) -> bool:
            context = ssl.create_default_context(cadata=authority.bundle.decode())
            with contextlib.suppress(FetchError):
                return "keys" in await get_within_limits(LOOPBACK)(url.replace("127.0.0.1", "localhost"), context)
            return False

        assert await is_of(first)
        files[0].write_text("half")
        os.utime(files[0], (1, 1))
        await looks.put(None)
        await asyncio.sleep(0)
        assert await is_of(first)
        web_files(tmp_path, second)
        os.utime(files[0], (2, 2))
        await looks.put(None)
        await eventually("the new certificate is in use", lambda: is_of(second))
    following.cancel()
    await asyncio.gather(following, return_exceptions=True)


def test_files_that_are_no_certificate(tmp_path: Path) -> None:
    certificate, key = web_files(tmp_path, TestAuthority())
    key.chmod(0o644)
    with pytest.raises(ServeError, match="chmod 600"):
        WebCertificate(certificate, key)
    key.chmod(0o600)
    with pytest.raises(ServeError, match="no certificate and its key"):
        WebCertificate(certificate, certificate.with_name("web.pem"))
    with pytest.raises(ServeError, match="cannot read"):
        WebCertificate(certificate, tmp_path / "missing")
