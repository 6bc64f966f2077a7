"""What a rotation of roots relies on: Envoy says which files it has in use, and takes a new root by the former one."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable
from pathlib import Path

from support.certificates import Leaf, rotate_certificates
from support.loopback import Connection, echo_server
from support.proxy import Pair, calling_itself, running_pair
from weft.agent.certificates import CertificateFiles
from weft.agent.envoy_admin import EnvoyAdmin
from weft.agent.in_use import EnvoyInUse
from weft.agent.keys import make_key
from weft.ca.authority import Authority, open_authority
from weft.ca.rotation import Phase, advance
from weft.model.enrolment import Issued
from weft.model.identity import SpiffeId
from weft.testing import eventually

REVIEWS = SpiffeId("cluster.local", "default", "reviews")
CALLER = SpiffeId("cluster.local", "default", "productpage")


def issued(authority: Authority, identity: SpiffeId) -> tuple[str, Issued]:
    fresh = make_key()
    return fresh.key, authority.issue(fresh.csr, identity, f"{identity.service_account}.default")


def give(directory: Path, authority: Authority) -> Issued:
    """Put a certificate and the bundle of `authority` where the proxy follows them."""
    key, one = issued(authority, REVIEWS)
    rotate_certificates(directory, Leaf(one.chain.encode(), key.encode()), one.bundle.encode())
    return one


def caller(path: Path, authority: Authority, trust: str) -> ssl.SSLContext:
    key, one = issued(authority, CALLER)
    path.write_text(key + one.chain)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.load_verify_locations(cadata=trust)
    context.set_alpn_protocols(["http/1.1"])
    context.load_cert_chain(path)
    return context


async def status(pair: Pair, context: ssl.SSLContext) -> int | None:
    try:
        async with Connection(pair.inbound, context) as connection:
            return (await connection.request("/", "reviews")).status
    except (OSError, asyncio.IncompleteReadError, ValueError):
        return None


def moved(authority: Authority, until: Phase) -> None:
    while authority.rotation.phase is not until:
        authority.move(advance(authority.rotation, 0.0, confirmed=True))


async def used(pair: Pair, directory: Path, wanted: Callable[[], Issued]) -> None:
    """Wait until Envoy says that it has the files in use, as an agent asks."""
    files = CertificateFiles(directory)
    ask = EnvoyInUse(files, EnvoyAdmin(pair.envoy.admin), lambda: True)
    one = wanted()

    async def said() -> bool:
        return (await ask()) != ("", "")

    await eventually("Envoy says so", said)
    assert files.chain.read_text() == one.chain


async def test_what_envoy_says_is_in_use_is_in_use(tmp_path: Path) -> None:
    authority = open_authority(tmp_path / "ca")
    async with echo_server("reviews") as application, running_pair(calling_itself(application.port), tmp_path) as pair:
        friend = tmp_path / "friend.pem"
        await used(pair, tmp_path, lambda: give(tmp_path, authority))
        assert await status(pair, caller(friend, authority, authority.bundle)) == 200
        other = open_authority(tmp_path / "other")
        await used(pair, tmp_path, lambda: give(tmp_path, other))
        assert await status(pair, caller(friend, authority, other.bundle)) is None, "at once, not some time later"
        assert await status(pair, caller(friend, other, other.bundle)) == 200


async def test_a_proxy_that_knows_only_the_former_root_takes_what_the_new_one_signed(tmp_path: Path) -> None:
    """While both roots are trusted elsewhere, and not once the former one has been dropped."""
    authority = open_authority(tmp_path / "ca")
    former = authority.bundle
    async with echo_server("reviews") as application, running_pair(calling_itself(application.port), tmp_path) as pair:
        friend = tmp_path / "friend.pem"
        await used(pair, tmp_path, lambda: give(tmp_path, authority))
        authority.begin_rotation()
        moved(authority, Phase.ISSUING)
        assert await status(pair, caller(friend, authority, authority.bundle)) == 200
        moved(authority, Phase.DROPPING)
        assert await status(pair, caller(friend, authority, former)) is None
