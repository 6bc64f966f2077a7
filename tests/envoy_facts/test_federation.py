"""Facts of Envoy: callers of several trust domains, each by its own roots; and names that are more than one."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import time
from pathlib import Path

import pytest

from support.certificates import Leaf, TestAuthority, client_context, rotate_certificates
from support.loopback import Connection, echo_server, greeting_server
from support.proxy import Pair, calling_itself, running_pair
from support.views import identity
from weft.mesh.policies.federatedtrustdomain import ForeignDomain, ForeignTrust
from weft.mesh.services.service import Protocol
from weft.model.bundles import TrustBundle
from weft.model.origin import Origin
from weft.xds.policies.federation import one_domain_filter
from weft.xds.sidecars import inbound

OURS = "spiffe://cluster.local/ns/default/sa/productpage"
THEIRS = "spiffe://b.test/ns/default/sa/productpage"


def trusting(authority: TestAuthority) -> ForeignTrust:
    bundle = TrustBundle("b.test", (authority.bundle.decode(),))
    return ForeignTrust("cluster.local", (ForeignDomain(bundle, "", (), Origin("here")),), "epoch")


async def status(pair: Pair, leaf: Leaf, directory: Path) -> int | None:
    """What the inbound port answers; None if it closes the connection."""
    with contextlib.suppress(OSError, ssl.SSLError, asyncio.IncompleteReadError):
        async with Connection(pair.inbound, client_context(pair.authority, leaf, directory)) as client:
            return (await client.request("/", "reviews")).status
    return None


async def test_each_domain_is_checked_by_its_own_roots(tmp_path: Path) -> None:
    theirs = TestAuthority()
    async with echo_server("reviews") as application:
        view = calling_itself(application.port, trust=trusting(theirs))
        async with running_pair(view, tmp_path) as pair:
            ours = pair.authority
            for leaf, expected in (
                (ours.issue(uri=OURS), 200),
                (theirs.issue(uri=THEIRS), 200),
                (ours.issue(uri=THEIRS), None),
                (theirs.issue(uri=OURS), None),
                (theirs.issue(uri="spiffe://c.test/x"), None),
                (theirs.issue(dns=("b.test",)), None),
                (theirs.issue(uri=THEIRS, more=("spiffe://b.test/another",)), 200),
                (theirs.issue(uri=OURS, more=(THEIRS,)), None),
            ):
                assert await status(pair, leaf, tmp_path) == expected
            assert application.requests == 3

            # the own roots are those of the agent's file, which Envoy goes on following
            successor = TestAuthority()
            friend = successor.issue(uri=OURS)
            assert await status(pair, friend, tmp_path) is None
            both = ours.bundle + successor.bundle
            rotate_certificates(tmp_path, ours.issue(uri=str(identity("reviews"))), both)
            deadline = time.monotonic() + 60
            while await status(pair, friend, tmp_path) != 200:
                assert time.monotonic() < deadline, "the new bundle is not in use"
                await asyncio.sleep(0.02)


async def test_a_second_name_passes_the_validator_and_the_filter_closes_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If the first half fails some day, the filter is not needed any more."""
    theirs = TestAuthority()
    for number, guarded in enumerate((False, True)):
        directory = tmp_path / str(number)
        directory.mkdir()
        with monkeypatch.context() as patch:
            if not guarded:
                harmless = trusting(theirs)
                only = ForeignTrust("nobody.test", harmless.domains, "epoch")
                build = one_domain_filter
                patch.setattr(inbound, "one_domain_filter", lambda _: build(only))  # noqa: B023
            async with echo_server("reviews") as application:
                view = calling_itself(application.port, trust=trusting(theirs))
                async with running_pair(view, directory) as pair:
                    two = theirs.issue(uri=THEIRS, more=(OURS,))
                    assert await status(pair, two, directory) == (None if guarded else 200)
                    disguised = theirs.issue(uri=THEIRS, dns=(OURS,))
                    assert await status(pair, disguised, directory) == (None if guarded else 200)
                    assert await status(pair, theirs.issue(uri=THEIRS), directory) == 200


async def test_connections_without_http_are_closed_too(tmp_path: Path) -> None:
    theirs = TestAuthority()
    async with greeting_server(b"hello") as application:
        view = calling_itself(application, protocol=Protocol.TCP, trust=trusting(theirs))
        async with running_pair(view, tmp_path) as pair:

            async def answered(leaf: Leaf) -> bytes:
                context = client_context(pair.authority, leaf, tmp_path, alpn=("weft-tcp",))
                async with Connection(pair.inbound, context) as client:
                    client.writer.write(b"x")
                    with contextlib.suppress(OSError, asyncio.IncompleteReadError):
                        return await client.reader.readexactly(5)
                return b""

            assert await answered(theirs.issue(uri=THEIRS)) == b"hello"
            assert await pair.envoy.stat("federation.rbac.denied") == 0
            await answered(theirs.issue(uri=THEIRS, more=(OURS,)))
            deadline = time.monotonic() + 60
            while await pair.envoy.stat("federation.rbac.denied") != 1:
                assert time.monotonic() < deadline, "the second name is not noticed"
                await asyncio.sleep(0.02)
