"""The certificate of two files: read again when they change, and kept while they do not fit."""

from __future__ import annotations

import asyncio
import contextlib
import os
import ssl
from pathlib import Path

import pytest

from support.certificates import TestAuthority
from weft.controlplane.others import FileCertificate
from weft.settings.private import PermissionsError


class Stopped(Exception):  # noqa: N818 - it ends a loop
    """Enough looks."""


def write(directory: Path, authority: TestAuthority, name: str) -> tuple[Path, Path]:
    leaf = authority.issue(dns=(name,))
    chain, key = directory / "admin.pem", directory / "admin.key"
    for path, text in ((chain, leaf.chain), (key, leaf.key)):
        path.write_bytes(text)
        path.chmod(0o600)
        os.utime(path, ns=(len(name), len(name)))
    return chain, key


def shown(tls: ssl.SSLContext, authority: TestAuthority, name: str) -> bool:
    """Whether a hand-shake proves `name`."""
    context = ssl.create_default_context(cadata=authority.bundle.decode())
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = context.wrap_bio(incoming, outgoing, server_hostname=name)
    server_in, server_out = ssl.MemoryBIO(), ssl.MemoryBIO()
    server = tls.wrap_bio(server_in, server_out, server_side=True)
    try:
        for _ in range(4):
            with contextlib.suppress(ssl.SSLWantReadError):
                client.do_handshake()
            server_in.write(outgoing.read())
            with contextlib.suppress(ssl.SSLWantReadError):
                server.do_handshake()
            incoming.write(server_out.read())
    except ssl.SSLCertVerificationError:
        return False
    return True


async def test_new_files_are_used_and_broken_ones_are_not(tmp_path: Path) -> None:
    authority = TestAuthority()
    chain, key = write(tmp_path, authority, "one.example")
    looks = 0

    async def sleep(_: float) -> None:
        nonlocal looks
        looks += 1
        if looks == 1:
            write(tmp_path, authority, "second.example")
        elif looks == 2:
            assert shown(served.tls, authority, "second.example")
            chain.write_bytes(authority.issue(dns=("third.example",)).chain)
        elif looks == 3:
            assert shown(served.tls, authority, "second.example"), "a chain without its key is not used"
            chain.write_text("broken")
        elif looks == 4:
            assert shown(served.tls, authority, "second.example"), "the last one is used"
            raise Stopped

    served = FileCertificate(chain, key, authority.bundle.decode(), sleep)
    assert shown(served.tls, authority, "one.example")
    assert not shown(served.tls, authority, "second.example")
    with pytest.raises(Stopped):
        await asyncio.wait_for(served.run(), 60)


def test_a_key_that_others_can_read_is_refused(tmp_path: Path) -> None:
    authority = TestAuthority()
    chain, key = write(tmp_path, authority, "one.example")
    key.chmod(0o644)
    with pytest.raises(PermissionsError, match="chmod 600"):
        FileCertificate(chain, key, authority.bundle.decode())
