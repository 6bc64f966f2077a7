"""Facts of Envoy: mutual TLS between proxies, and certificates replaced under open connections."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import time
from pathlib import Path

import pytest
from cryptography import x509

from support.certificates import TestAuthority, client_context, rotate_certificates, write_workload_directory
from support.envoy import free_port
from support.loopback import Connection, echo_server, greeting_server, tcp_server
from support.proxy import Pair, calling_itself, running_pair, running_view
from support.views import backend, endpoint, identity, sidecar, target, targets, upstream_port
from weft.mesh.services.service import MutualTls, MutualTlsMode, Protocol
from weft.model.identity import SpiffeId


async def _status(pair: Pair, context: ssl.SSLContext | None, *headers: str) -> int | None:
    """What the inbound port answers; None if it closes the connection."""
    with contextlib.suppress(OSError, ssl.SSLError, asyncio.IncompleteReadError):
        async with Connection(pair.inbound, context) as client:
            return (await client.request("/", "reviews", *headers)).status
    return None


async def test_only_tls_13_with_an_identity_of_the_mesh_gets_in(tmp_path: Path) -> None:
    async with echo_server("reviews") as application, running_pair(calling_itself(application.port), tmp_path) as pair:
        ours, stranger = pair.authority, TestAuthority()
        friend = ours.issue(uri=str(identity("productpage")))
        assert await _status(pair, client_context(ours, friend, tmp_path)) == 200

        assert await _status(pair, None) is None
        assert await _status(pair, client_context(ours, None, tmp_path)) is None
        forged = stranger.issue(uri=str(identity("productpage")))
        assert await _status(pair, client_context(ours, forged, tmp_path)) is None
        outsider = ours.issue(uri="spiffe://elsewhere.example/ns/default/sa/productpage")
        assert await _status(pair, client_context(ours, outsider, tmp_path)) is None
        nameless = ours.issue(dns=("spiffe.example",))
        assert await _status(pair, client_context(ours, nameless, tmp_path)) is None

        old = client_context(ours, friend, tmp_path)
        old.maximum_version = ssl.TLSVersion.TLSv1_2
        assert await _status(pair, old) is None
        assert application.requests == 1


async def test_the_application_learns_who_calls_and_nobody_can_say_otherwise(tmp_path: Path) -> None:
    async with echo_server("reviews") as application, running_pair(calling_itself(application.port), tmp_path) as pair:
        context = client_context(pair.authority, pair.authority.issue(uri=str(identity("productpage"))), tmp_path)
        async with Connection(pair.inbound, context) as client:
            lie = "x-forwarded-client-cert: URI=spiffe://cluster.local/ns/default/sa/admin"
            told = (await client.request("/", "reviews", lie)).json()["headers"]["x-forwarded-client-cert"]
        assert "URI=spiffe://cluster.local/ns/default/sa/productpage" in told
        assert "admin" not in told


@pytest.mark.parametrize(
    ("identities", "status"),
    [
        ((identity("reviews"),), 200),
        ((identity("other"), identity("reviews")), 200),
        ((identity("other"),), 503),
        ((), 503),
    ],
)
async def test_the_caller_accepts_exactly_the_expected_identities(
    identities: tuple[SpiffeId, ...], status: int, tmp_path: Path
) -> None:
    to = backend(transport=MutualTls(identities))
    async with echo_server("reviews") as application:
        ours = calling_itself(application.port, to=to)
        async with running_pair(ours, tmp_path) as pair, Connection(pair.proxy) as client:
            assert (await client.request("http://reviews:9080/", "reviews:9080")).status == status


@pytest.mark.parametrize("protocol", [Protocol.HTTP, Protocol.AUTO])
async def test_permissive_ports_take_both_and_disabled_ones_plaintext(protocol: Protocol, tmp_path: Path) -> None:
    for mode, encrypted in ((MutualTlsMode.PERMISSIVE, 200), (MutualTlsMode.DISABLE, None)):
        directory = tmp_path / mode.value
        directory.mkdir()
        async with echo_server("reviews") as application:
            view = calling_itself(application.port, mode=mode, protocol=protocol)
            async with running_pair(view, directory) as pair:
                leaf = pair.authority.issue(uri=str(identity("productpage")))
                assert await _status(pair, None) == 200
                assert await _status(pair, client_context(pair.authority, leaf, tmp_path)) == encrypted


async def test_an_undeclared_port_carries_any_protocol(tmp_path: Path) -> None:
    async with greeting_server(b"hello") as application:
        view = calling_itself(application, protocol=Protocol.AUTO)
        async with running_pair(view, tmp_path) as pair:
            leaf = pair.authority.issue(uri=str(identity("productpage")))
            context = client_context(pair.authority, leaf, tmp_path, alpn=("weft-tcp",))
            async with Connection(pair.inbound, context) as client:
                assert await client.reader.readexactly(5) == b"hello"


async def test_a_swapped_symlink_replaces_the_certificate_and_breaks_no_connection(tmp_path: Path) -> None:
    async with echo_server("reviews") as application, running_pair(calling_itself(application.port), tmp_path) as pair:
        context = client_context(pair.authority, pair.authority.issue(uri=str(identity("productpage"))), tmp_path)

        async def serial() -> int:
            async with Connection(pair.inbound, context) as client:
                tls = client.writer.get_extra_info("ssl_object")
                return x509.load_der_x509_certificate(tls.getpeercert(binary_form=True)).serial_number

        before = await serial()
        async with Connection(pair.inbound, context) as old, Connection(pair.proxy) as caller:
            assert (await old.request("/", "reviews")).status == 200
            assert (await caller.request("http://reviews:9080/", "reviews:9080")).status == 200
            renewed = pair.authority.issue(uri=str(identity("reviews")))
            rotate_certificates(tmp_path, renewed, pair.authority.bundle)
            wanted = x509.load_pem_x509_certificate(renewed.chain).serial_number
            deadline = time.monotonic() + 60
            while await serial() != wanted:
                assert time.monotonic() < deadline, "the new certificate is not in use"
                assert (await caller.request("http://reviews:9080/", "reviews:9080")).status == 200
                await asyncio.sleep(0.02)
            assert wanted != before
            assert (await old.request("/", "reviews")).status == 200
            assert (await caller.request("http://reviews:9080/", "reviews:9080")).status == 200


async def test_a_new_trust_bundle_is_in_force_at_once(tmp_path: Path) -> None:
    async with echo_server("reviews") as application, running_pair(calling_itself(application.port), tmp_path) as pair:
        successor = TestAuthority()
        friend = successor.issue(uri=str(identity("productpage")))
        context = client_context(pair.authority, friend, tmp_path)
        context.load_verify_locations(cadata=successor.bundle.decode())
        assert await _status(pair, context) is None
        both = pair.authority.bundle + successor.bundle
        write_workload_directory(tmp_path, pair.authority.issue(uri=str(identity("reviews"))), both)
        deadline = time.monotonic() + 60
        while await _status(pair, context) != 200:
            assert time.monotonic() < deadline, "the new bundle is not in use"
            await asyncio.sleep(0.02)


@pytest.mark.parametrize(("life", "told"), [(3600.0, b"hello"), (-60.0, b"")])
async def test_a_caller_refuses_a_server_whose_certificate_has_expired(
    life: float, told: bytes, tmp_path: Path
) -> None:
    authority = TestAuthority()
    server = authority.issue(uri=str(identity("reviews")), life=life)
    (tmp_path / "server.pem").write_bytes(server.chain + server.key)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "server.pem")
    context.load_verify_locations(cadata=authority.bundle.decode())
    context.verify_mode = ssl.CERT_REQUIRED
    context.set_alpn_protocols(["weft-tcp"])
    to, listen = backend(protocol=Protocol.TCP), free_port()

    async def greet(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"hello")

    async with tcp_server(greet, context) as port:
        view = sidecar(targets=targets(target(endpoint(port), to=to)), upstreams=(upstream_port(listen, to),))
        async with running_view(view, tmp_path, authority), Connection(listen) as client:
            assert await client.reader.read(5) == told
