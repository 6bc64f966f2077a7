"""Certificates: renewal without a dropped connection, joining from another host, what is refused."""

import asyncio
import shutil
import ssl
import sys
import time
from pathlib import Path

import aiohttp
import pytest
from cryptography import x509

from support.agents import Agent, World
from weft.agent.certificates import CertificateFiles, renewal_time, run_renewal
from weft.agent.client import ControlPlaneClient, RefusedError, UnreachableError
from weft.agent.errors import AgentError
from weft.agent.keys import KeyAndRequest, make_key
from weft.agent.parameters import ControlPlane
from weft.ca.authority import open_authority
from weft.model.enrolment import Issued
from weft.model.identity import SpiffeId
from weft.model.workload import Workload, WorkloadState
from weft.testing.polling import eventually

APPLICATION = [sys.executable, str(Path(__file__).with_name("application.py"))]
AUTO = [[9080, 0]]
WEB = SpiffeId("cluster.local", "default", "default")
WORKLOAD = Workload("web", "default", "default")


async def serial(world: World, agent: Agent) -> int:
    """The serial number of the certificate that Envoy shows to a new connection."""
    inbound = agent.state.ports[0].inbound
    _, writer = await asyncio.open_connection(inbound.host, inbound.port, ssl=world.client())
    der = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
    writer.close()
    await writer.wait_closed()
    return x509.load_der_x509_certificate(der).serial_number


async def test_renewal_keeps_connections(world: World) -> None:
    world.control_plane.ttl = 10.0
    agent = await world.healthy(command=APPLICATION, ports=AUTO)
    first = await serial(world, agent)
    connector = aiohttp.TCPConnector(ssl=world.client(), limit=1)
    async with aiohttp.ClientSession(connector=connector) as session:
        slow = asyncio.create_task(world.get(agent, "/slow/6"))
        seen = {first}
        sockets = set()
        end = asyncio.get_running_loop().time() + 60
        while len(seen) < 3 or not slow.done():
            assert asyncio.get_running_loop().time() < end, agent.text()
            async with session.get(f"https://{agent.state.ports[0].inbound}/") as response:
                assert await response.text() == "ok"
            sockets |= {id(one) for pool in connector._conns.values() for one, _ in pool}
            seen.add(await serial(world, agent))
            await asyncio.sleep(0.1)
        assert await slow == "ok"
        assert len(sockets) == 1, "the kept connection was replaced"

    def generations() -> int:
        return sum(path.is_dir() and not path.is_symlink() for path in (agent.directory / "certs").iterdir())

    await eventually("it is said", lambda: agent.text().count("certificate renewed") >= 2)
    await eventually("earlier ones are gone", lambda: generations() == 2)
    assert "PRIVATE" not in agent.text()
    await agent.stop()


async def test_an_unknown_workload_registers_again(world: World) -> None:
    world.control_plane.lease = 0.6
    agent = await world.healthy(command=APPLICATION, ports=AUTO)
    world.control_plane.workloads.clear()
    await eventually("registered again", lambda: "web.default" in world.control_plane.workloads)
    assert world.control_plane.states[-1] == "healthy"
    assert world.control_plane.states.count("starting") == 1
    await agent.stop()


async def test_renewal_retries_and_backs_off(tmp_path: Path) -> None:
    authority = open_authority(tmp_path / "ca")
    files = CertificateFiles(tmp_path)
    files.prepare()
    pauses: list[float] = []
    asked: list[KeyAndRequest] = []

    async def request(fresh: KeyAndRequest) -> Issued:
        asked.append(fresh)
        if len(asked) < 10:
            raise AgentError("not now")
        return authority.issue(fresh.csr, WEB, "web.default")

    async def sleep(seconds: float) -> None:
        pauses.append(seconds)
        if len(pauses) == 10:
            raise asyncio.CancelledError

    with pytest.raises(asyncio.CancelledError):
        await run_renewal(files, request, sleep=sleep)
    assert len({one.csr for one in asked}) == 10, "a new key every time"
    assert pauses[5] > 4 * pauses[0]
    assert max(pauses[:9]) <= 60 * 1.3
    assert files.times() is not None


def test_renewal_is_at_half_life_give_or_take() -> None:
    times = [renewal_time((start, start + 1000.0)) - start for start in map(float, range(1000, 1500))]
    assert 450 <= min(times) < 470
    assert 530 < max(times) <= 550
    assert renewal_time(None) == 0


def test_a_certificate_for_another_key_is_not_installed(tmp_path: Path) -> None:
    authority = open_authority(tmp_path / "ca")
    files = CertificateFiles(tmp_path)
    files.prepare()
    mine, other = make_key(), make_key()
    good = authority.issue(mine.csr, WEB, "web.default")
    files.install(mine.key, good)
    with pytest.raises(AgentError, match="another key"):
        files.install(mine.key, authority.issue(other.csr, WEB, "web.default"))
    assert files.chain.read_text() == good.chain
    assert mine.key not in repr(mine)


def remote(world: World, tmp_path: Path, fingerprint: str, token: str) -> ControlPlaneClient:
    parameters = ControlPlane(f"127.0.0.1:{world.control_plane.port}", fingerprint, token)
    (tmp_path / "web").mkdir(exist_ok=True)
    files = CertificateFiles(tmp_path / "web")
    files.prepare()
    return ControlPlaneClient(parameters, world.home.agent_socket, files, "default", "web")


async def test_joining_from_elsewhere(world: World, tmp_path: Path) -> None:
    await world.control_plane.stop()
    await world.control_plane.start(tls=True)
    world.control_plane.tokens = {"weft-good"}
    fingerprint = world.control_plane.authority.fingerprint
    workload = Workload("web", "default", "default")
    client = remote(world, tmp_path, fingerprint, "weft-good")
    fresh = make_key()
    answer = await client.register(workload, fresh.csr)
    client._files.install(fresh.key, answer.issued)
    assert world.control_plane.tokens == set()
    await client.renew(WorkloadState.HEALTHY)
    await client.register(workload, make_key().csr)
    (tmp_path / "other").mkdir()
    bad = remote(world, tmp_path / "other", fingerprint, "weft-bad")
    with pytest.raises(RefusedError, match="bad token"):
        await bad.register(workload, make_key().csr)
    assert "weft-bad" not in repr(bad._parameters)


async def test_a_wrong_fingerprint_sends_no_token(world: World, tmp_path: Path) -> None:
    await world.control_plane.stop()
    await world.control_plane.start(tls=True)
    client = remote(world, tmp_path, "sha256:" + "ab" * 32, "weft-good")
    with pytest.raises(AgentError, match="another CA"):
        await client.register(Workload("web", "default", "default"), make_key().csr)
    assert world.control_plane.calls == []
    client = remote(world, tmp_path, "", "weft-good")
    with pytest.raises(AgentError, match="--ca-fingerprint"):
        await client.register(Workload("web", "default", "default"), make_key().csr)


async def joined(world: World, tmp_path: Path) -> ControlPlaneClient:
    """A client of "another host" that has used its token and holds a certificate."""
    await world.control_plane.stop()
    await world.control_plane.start(tls=True)
    world.control_plane.tokens = {"weft-good"}
    client = remote(world, tmp_path, world.control_plane.authority.fingerprint, "weft-good")
    fresh = make_key()
    client._files.install(fresh.key, (await client.register(WORKLOAD, fresh.csr)).issued)
    return client


async def test_an_expired_certificate_is_no_certificate(world: World, tmp_path: Path) -> None:
    client = await joined(world, tmp_path)
    fresh = make_key()
    then = time.time() - 3600
    old = open_authority(world.home.ca, clock=lambda: then).issue(fresh.csr, WEB, "web.default", 60.0)
    client._files.install(fresh.key, old)
    fingerprint = world.control_plane.authority.fingerprint
    with pytest.raises(AgentError, match=r"(?s)expired at 20.*weft token create"):
        await remote(world, tmp_path, fingerprint, "").register(WORKLOAD, make_key().csr)
    with pytest.raises(RefusedError, match=r"bad token.*expired at 20"):
        await client.register(WORKLOAD, make_key().csr)
    world.control_plane.tokens = {"weft-next"}
    fresh = make_key()
    again = remote(world, tmp_path, fingerprint, "weft-next")
    again._files.install(fresh.key, (await again.register(WORKLOAD, fresh.csr)).issued)
    await again.renew(WorkloadState.HEALTHY)


async def test_a_given_fingerprint_wins_over_files_of_another_root(world: World, tmp_path: Path) -> None:
    before = await joined(world, tmp_path)
    await world.control_plane.stop()
    shutil.rmtree(world.home.ca)
    world.control_plane.authority = open_authority(world.home.ca)
    await world.control_plane.start(tls=True)
    world.control_plane.calls.clear()
    with pytest.raises(AgentError, match="another authority than the one that issued") as told:
        await before.renew(WorkloadState.HEALTHY)
    assert not isinstance(told.value, UnreachableError), "waiting would not help"
    fingerprint = world.control_plane.authority.fingerprint
    with pytest.raises(AgentError, match="another authority than the given fingerprint"):
        await remote(world, tmp_path, fingerprint, "").register(WORKLOAD, make_key().csr)
    assert world.control_plane.calls == []
    world.control_plane.tokens = {"weft-next"}
    fresh = make_key()
    again = remote(world, tmp_path, fingerprint, "weft-next")
    again._files.install(fresh.key, (await again.register(WORKLOAD, fresh.csr)).issued)
    await again.renew(WorkloadState.HEALTHY)


async def test_a_good_certificate_is_shown_rather_than_a_used_token(world: World, tmp_path: Path) -> None:
    await joined(world, tmp_path)
    again = remote(world, tmp_path, world.control_plane.authority.fingerprint, "weft-good")
    await again.register(WORKLOAD, make_key().csr)


async def test_a_clock_that_is_behind_is_named(world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The control plane calls the certificate expired, this host does not."""
    client = await joined(world, tmp_path)
    fresh = make_key()
    then = time.time() - 3600
    old = open_authority(world.home.ca, clock=lambda: then).issue(fresh.csr, WEB, "web.default", 60.0)
    client._files.install(fresh.key, old)
    monkeypatch.setattr("weft.agent.client.time.time", lambda: then)
    with pytest.raises(UnreachableError, match="compare the clocks"):
        await client.renew(WorkloadState.HEALTHY)


async def test_a_workload_cannot_pose_as_the_control_plane(world: World, tmp_path: Path) -> None:
    """A certificate of the same CA, but not the control plane's, at the address of the agent API."""
    fresh = make_key()
    issued = world.control_plane.authority.issue(fresh.csr, WEB, "web.default")
    (tmp_path / "poser.pem").write_text(fresh.key + issued.chain)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "poser.pem")
    said: list[bytes] = []

    async def pose(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        said.append(await reader.read(65536))
        bundle = world.control_plane.authority.bundle.encode()
        writer.write(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: %d\r\n\r\n" % len(bundle) + bundle)
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(pose, "127.0.0.1", 0, ssl=context)
    world.control_plane.port = server.sockets[0].getsockname()[1]
    client = remote(world, tmp_path, world.control_plane.authority.fingerprint, "weft-good")
    with pytest.raises(UnreachableError):
        await client.register(Workload("web", "default", "default"), make_key().csr)
    assert not any(b"weft-good" in text for text in said)
    server.close()
    await server.wait_closed()
