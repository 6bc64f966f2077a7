"""The control plane's own certificate is renewed at half of its life, however short that is."""

from __future__ import annotations

import asyncio
import errno
import ssl
from itertools import pairwise
from pathlib import Path

import pytest
from click import FloatRange

from weft.agent.keys import make_key
from weft.ca.authority import BACKDATED, DEFAULT_TTL, INTERMEDIATE_LIFE, MINIMUM_TTL, open_authority, run_rotation
from weft.ca.rotation import advance
from weft.cli.serve import serve
from weft.controlplane.certificate import ServerCertificates
from weft.model.identity import SpiffeId


@pytest.mark.parametrize("ttl", [MINIMUM_TTL, 60.0, DEFAULT_TTL])
async def test_it_is_renewed_at_half_of_what_is_left(tmp_path: Path, ttl: float) -> None:
    now = 1_800_000_000.0

    async def sleep(seconds: float) -> None:
        nonlocal now
        now += seconds
        await asyncio.sleep(0)

    authority = open_authority(tmp_path / "ca", clock=lambda: now)
    certificates = ServerCertificates(authority, (), tmp_path, ttl, lambda: now, sleep)
    assert certificates.renewal - now == pytest.approx(ttl / 2, abs=1)
    running = asyncio.create_task(certificates.run())
    made = [now]
    for version in range(4):
        await certificates.current.changed(version)
        made.append(certificates.current.value.not_before + BACKDATED)
    assert [after - before for before, after in pairwise(made)] == pytest.approx([ttl / 2] * 4, abs=3)
    running.cancel()


class Enough(Exception):  # noqa: N818
    """It has tried often enough."""


async def test_a_full_disk_does_not_end_the_control_plane(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now, failures = 1_800_000_000.0, 0

    async def sleep(seconds: float) -> None:
        nonlocal now
        now += seconds
        if failures >= 3:
            raise Enough

    def full(*_: object) -> None:
        nonlocal failures
        failures += 1
        raise OSError(errno.ENOSPC, "no space left on device")

    authority = open_authority(tmp_path / "ca", clock=lambda: now)
    certificates = ServerCertificates(authority, (), tmp_path, 3600.0, lambda: now, sleep)
    first = certificates.current.value
    monkeypatch.setattr("os.open", full)
    with pytest.raises(Enough):
        await certificates.run()
    assert certificates.current.value is first
    assert now < first.not_after, "it tries in time"
    now, failures = now + INTERMEDIATE_LIFE, 0
    with pytest.raises(Enough):
        await run_rotation(authority, interval=1.0, sleep=sleep)


def test_no_life_is_taken_that_the_authority_does_not_give() -> None:
    (option,) = [one for one in serve.params if one.name == "certificate_ttl"]
    assert isinstance(option.type, FloatRange)
    assert (option.type.min, option.type.max) == (MINIMUM_TTL, DEFAULT_TTL)


async def test_new_connections_take_the_certificate_and_the_trust_of_now(tmp_path: Path) -> None:
    """A root that was dropped is trusted no more, which no context can be told that trusted it before."""
    authority = open_authority(tmp_path / "ca")
    certificates = ServerCertificates(authority, (), tmp_path, 3600.0)
    identity = SpiffeId("cluster.local", "default", "web")

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"hello\n")
        await writer.drain()
        await reader.read()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0, ssl=certificates.tls)
    port = server.sockets[0].getsockname()[1]

    def client(chain: str, key: str, trust: str) -> ssl.SSLContext:
        (tmp_path / "client.pem").write_text(key + chain)
        context = ssl.create_default_context(cadata=trust)
        context.load_cert_chain(tmp_path / "client.pem")
        return context

    async def greeted(context: ssl.SSLContext) -> bool:
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context, server_hostname="localhost")
            line = await reader.readline()
            writer.close()
            await writer.wait_closed()
        except OSError:
            return False
        return line == b"hello\n"

    fresh = make_key()
    chain, former = authority.issue(fresh.csr, identity, "web.default").chain, authority.bundle
    assert await greeted(client(chain, fresh.key, former))
    authority.begin_rotation()
    for expected in (True, True, False, False):
        certificates.renew()
        assert await greeted(client(chain, fresh.key, former)) is expected
        new = authority.issue(fresh.csr, identity, "web.default").chain
        assert await greeted(client(new, fresh.key, authority.bundle))
        assert await greeted(client(new, fresh.key, former)), "by the link, the control plane is still known"
        authority.move(advance(authority.rotation, authority.rotation.gives_up, confirmed=True))
    server.close()
    await server.wait_closed()
