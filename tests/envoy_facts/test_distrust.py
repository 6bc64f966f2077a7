"""Facts of Envoy: a caller is refused by URI name and subject of its certificate, on connections and on requests."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from pathlib import Path

from cryptography import x509

from support.certificates import Leaf, TestAuthority, client_context
from support.loopback import Connection, echo_server, greeting_server
from support.proxy import Pair, calling_itself, running_pair
from support.views import identity
from weft.agent.keys import make_key
from weft.ca.authority import Authority, open_authority
from weft.mesh.policies.distrust import Refused, RefusedCaller
from weft.mesh.services.service import Protocol
from weft.settings.private import write_atomically
from weft.testing.polling import eventually

WORKLOAD = RefusedCaller("workload default/cart-1", proxy="cart-1.default", number=7)
REVOKED = RefusedCaller("workload default/cart-2", proxy="cart-2.default")
ACCOUNT = RefusedCaller("service account default/till", identity=str(identity("till")), number=9)
CASES = (
    ("cart", "CN=cart-1.default", False),
    ("cart", "2.5.4.5=7.0,CN=cart-1.default", True),
    ("cart", "2.5.4.5=7.9,OU=v1,O=cart,CN=cart-1.default", True),
    ("cart", "2.5.4.5=6.0,OU=v1,O=cart,CN=cart-1.default", False),
    ("cart", "2.5.4.5=77.0,OU=v1,O=cart,CN=cart-1.default", False),
    ("cart", "2.5.4.5=9.7,OU=v1,O=cart,CN=cart-1.default", False),
    ("cart", "OU=v1,O=7.0,CN=cart-1.default", False),
    ("cart", "CN=cart-2.default", False),
    ("cart", "2.5.4.5=7.9,OU=v1,O=cart,CN=cart-2.default", False),
    ("cart", "2.5.4.46=cart-1.default", False),
    ("cart", "2.5.4.5=7.0,2.5.4.46=cart-1.default", True),
    ("cart", "2.5.4.5=6.0,2.5.4.46=cart-1.default", False),
    ("cart", "2.5.4.5=7.9,2.5.4.46=cart-2.default", False),
    ("cart", "2.5.4.46=cart-3.default", True),
    ("till", "2.5.4.46=till-1.default", False),
    ("till", "2.5.4.5=0.9,2.5.4.46=till-1.default", True),
    ("cart", "CN=cart-11.default", True),
    ("cart", "CN=my-cart-1.default", True),
    ("cart", "O=cart-1.default,CN=other.default", True),
    ("till", "OU=v1,O=till,CN=till-1.default", False),
    ("till", "2.5.4.5=9.0,OU=v1,O=till,CN=till-1.default", False),
    ("till", "2.5.4.5=0.9,OU=v1,O=till,CN=till-1.default", True),
    ("till", "2.5.4.5=0.99,OU=v1,O=till,CN=till-1.default", False),
)


def _context(pair: Pair, account: str, subject: str, directory: Path, alpn: str) -> ssl.SSLContext:
    leaf = pair.authority.issue(uri=str(identity(account)), subject=subject)
    return client_context(pair.authority, leaf, directory, alpn=(alpn,))


async def test_who_is_refused_is_decided_by_the_certificate_alone(tmp_path: Path) -> None:
    refused = Refused((WORKLOAD, REVOKED, ACCOUNT))
    async with (
        echo_server("reviews") as application,
        running_pair(calling_itself(application.port, refused=refused), tmp_path) as pair,
    ):
        for account, subject, allowed in CASES:
            context = _context(pair, account, subject, tmp_path, "http/1.1")
            status = None
            with contextlib.suppress(OSError, asyncio.IncompleteReadError):
                async with Connection(pair.inbound, context) as client:
                    status = (await client.request("/", "reviews")).status
            assert (status == 200) is allowed, (account, subject, status)


async def test_no_byte_of_a_refused_caller_is_carried_by_tcp(tmp_path: Path) -> None:
    async with echo_server("reviews") as application:
        view = calling_itself(application.port, protocol=Protocol.TCP, refused=Refused((REVOKED,)))
        async with running_pair(view, tmp_path) as pair:
            for subject, status in (("CN=cart-2.default", None), ("CN=cart-1.default", 200)):
                context, found = _context(pair, "cart", subject, tmp_path, "weft-tcp"), None
                with contextlib.suppress(OSError, asyncio.IncompleteReadError):
                    async with Connection(pair.inbound, context) as client:
                        found = (await client.request("/", "reviews")).status
                assert found == status, subject
            assert application.requests == 1


async def test_what_a_server_says_first_reaches_a_refused_caller_as_well(tmp_path: Path) -> None:
    """Connections are judged at their first byte: so the revocation list of the hand-shake is needed too."""
    async with greeting_server(b"hello") as application:
        view = calling_itself(application, protocol=Protocol.TCP, refused=Refused((REVOKED,)))
        async with running_pair(view, tmp_path) as pair:
            context = _context(pair, "cart", "CN=cart-2.default", tmp_path, "weft-tcp")
            async with Connection(pair.inbound, context) as client:
                assert await client.reader.read(5) == b"hello"


async def test_a_revocation_list_is_asked_at_every_hand_shake_and_an_empty_file_asks_nothing(tmp_path: Path) -> None:
    authority = open_authority(tmp_path / "ca", "cluster.local")
    async with echo_server("reviews") as application:
        view = calling_itself(application.port)
        async with running_pair(view, tmp_path, _leaf(authority, "reviews"), authority.bundle.encode()) as pair:
            cart, till = _leaf(authority, "cart"), _leaf(authority, "till")
            contexts = [_context_of(authority, leaf, tmp_path) for leaf in (cart, till)]
            assert [await _status(pair, context) for context in contexts] == [200, 200]
            async with Connection(pair.inbound, contexts[0]) as held, Connection(pair.proxy) as caller:
                assert (await held.request("/", "reviews")).status == 200
                _revoke(tmp_path, authority, cart)
                await eventually("the list is in force", lambda: _is_refused(pair, contexts[0]))
                assert await _status(pair, contexts[1]) == 200
                assert (await held.request("/", "reviews")).status == 200, "a list ends no connection"
                assert (await caller.request("http://reviews:9080/", "reviews:9080")).status == 200
            _revoke(tmp_path, authority)
            await eventually("the list is in force", lambda: _serves(pair, contexts[0]))


async def test_a_caller_refuses_a_server_whose_certificate_is_in_the_list(tmp_path: Path) -> None:
    authority = open_authority(tmp_path / "ca", "cluster.local")
    reviews = _leaf(authority, "reviews")
    async with echo_server("reviews") as application:
        view = calling_itself(application.port)
        async with running_pair(view, tmp_path, reviews, authority.bundle.encode()) as pair:

            async def called() -> bool:
                async with Connection(pair.proxy) as client:
                    return (await client.request("http://reviews:9080/", "reviews:9080")).status == 503

            _revoke(tmp_path, authority, reviews)
            context = _context_of(authority, _leaf(authority, "cart"), tmp_path)
            assert await _status(pair, context) == 200, "the server itself does not look at its own"
            await eventually("the server is refused", called)


async def test_with_a_list_of_one_issuer_leaves_of_another_are_refused(tmp_path: Path) -> None:
    """Why no list is written while an earlier intermediate's certificates are in use."""
    authority, other = TestAuthority(), open_authority(tmp_path / "ca", "cluster.local")
    async with echo_server("reviews") as application:
        view = calling_itself(application.port)
        leaf = authority.issue(uri=str(identity("reviews")))
        async with running_pair(view, tmp_path, leaf, authority.bundle + other.bundle.encode()) as pair:
            context = client_context(authority, authority.issue(uri=str(identity("cart"))), tmp_path)
            assert await _status(pair, context) == 200
            _revoke(tmp_path, other, _leaf(other, "till"))
            await eventually("the list is in force", lambda: _is_refused(pair, context))


def _leaf(authority: Authority, account: str) -> Leaf:
    made = make_key()
    issued = authority.issue(made.csr, identity(account), f"{account}-1.default")
    return Leaf(issued.chain.encode(), made.key.encode())


def _context_of(authority: Authority, leaf: Leaf, directory: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.load_verify_locations(cadata=authority.bundle)
    context.set_alpn_protocols(["http/1.1"])
    (directory / "client.pem").write_bytes(leaf.chain + leaf.key)
    context.load_cert_chain(directory / "client.pem")
    return context


def _revoke(directory: Path, authority: Authority, *leaves: Leaf) -> None:
    serials = [x509.load_pem_x509_certificate(leaf.chain).serial_number for leaf in leaves]
    write_atomically(directory / "certs" / "revoked.pem", authority.revocation_list(serials))


async def _status(pair: Pair, context: ssl.SSLContext) -> int | None:
    with contextlib.suppress(OSError, asyncio.IncompleteReadError):
        async with Connection(pair.inbound, context) as client:
            return (await client.request("/", "reviews", "connection: close")).status
    return None


async def _is_refused(pair: Pair, context: ssl.SSLContext) -> bool:
    return await _status(pair, context) is None


async def _serves(pair: Pair, context: ssl.SSLContext) -> bool:
    return await _status(pair, context) == 200
