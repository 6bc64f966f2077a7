"""How often an agent renews: as told while its proxy is connected, as registered otherwise."""

import asyncio
import errno
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest

from weft.agent.certificates import CertificateFiles
from weft.agent.client import ControlPlaneClient, RefusedError
from weft.agent.proxy import Proxy
from weft.agent.registration import Registration
from weft.agent.state import State
from weft.ca.authority import open_authority
from weft.model.distrust import NO_TRUST, Trust
from weft.model.enrolment import RegisterResponse, RenewResponse
from weft.model.identity import SpiffeId
from weft.model.workload import Workload, WorkloadState
from weft.testing.polling import eventually

USUAL = 0.15
"""The lease at registration: a renewal every 0.05 s."""


@dataclass
class World:
    """The control plane and the proxy, as the registration sees them."""

    directory: Path
    told: float = 0.0
    connected: bool = True
    known: bool = True
    looks: int = 0
    joined_by: str = ""
    renewals: list[WorkloadState] = field(default_factory=list)
    registrations: int = 0
    conflicts: int = 0
    trust: Trust = NO_TRUST
    trusted_anew: int = 0

    def __post_init__(self) -> None:
        self.authority = open_authority(self.directory / "ca")

    async def register(self, workload: Workload, csr: str) -> RegisterResponse:
        self.registrations += 1
        self.known = True
        issued = self.authority.issue(csr, SpiffeId("cluster.local", "ns", "x"), workload.proxy, trust=self.trust)
        return RegisterResponse(issued, "127.0.0.1:1", "spiffe://x", "cluster.local", USUAL, "127.0.0.1:2")

    async def renew(
        self, state: WorkloadState, unused_proxy: bool = False, in_use: tuple[str, str] = ("", "")
    ) -> RenewResponse:
        if self.conflicts:
            self.conflicts -= 1
            raise RefusedError(409, "changed-meanwhile", "ns/a was changed at the same time: repeat")
        if not self.known:
            raise RefusedError(404, "not-registered", "register again")
        self.renewals.append(state)
        return RenewResponse(self.told)

    async def note_trust(self) -> None:
        self.trusted_anew += 1

    async def look(self) -> bool:
        self.looks += 1
        return self.connected


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


async def registered(world: World) -> tuple[Registration, "asyncio.Task[None]"]:
    files = CertificateFiles(world.directory)
    files.prepare()
    client = cast(ControlPlaneClient, world)
    workload = Workload("a", "ns", "x")
    registration = Registration(
        client, files, lambda state: replace(workload, state=state), world.look, None, world.note_trust
    )
    await registration.register()
    return registration, asyncio.create_task(registration.run())


async def reached(world: World, renewals: int) -> None:
    await eventually(f"{renewals} renewals", lambda: len(world.renewals) >= renewals)


async def at_registration(world: World, number: int) -> None:
    await eventually(f"registration {number}", lambda: world.registrations >= number)


async def looked(world: World, looks: int) -> None:
    await eventually(f"{looks} looks at the proxy", lambda: world.looks >= looks)


async def test_without_being_told_it_renews_as_registered(world: World) -> None:
    _, running = await registered(world)
    await reached(world, 5)
    assert world.looks == 0, "nobody is asked in vain"
    running.cancel()


async def test_it_renews_seldom_while_the_proxy_is_connected(world: World) -> None:
    world.told = 3600.0
    _, running = await registered(world)
    await looked(world, 10)
    assert len(world.renewals) == 1
    running.cancel()


async def test_a_proxy_that_is_cut_off_makes_it_renew_at_once_and_often(world: World) -> None:
    world.told = 3600.0
    _, running = await registered(world)
    await looked(world, 3)
    world.connected = False
    await reached(world, 5)
    running.cancel()


async def test_it_registers_again_when_cut_off_for_too_long(world: World) -> None:
    world.told = 3600.0
    _, running = await registered(world)
    await looked(world, 3)
    world.known = world.connected = False
    await eventually("registered again", lambda: world.registrations >= 2)
    running.cancel()


async def test_a_full_disk_ends_neither_the_agent_nor_what_it_looks_after(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "no space left on device")

    registration, running = await registered(world)
    with monkeypatch.context() as patched:
        patched.setattr(CertificateFiles, "install", full)
        patched.setattr("weft.agent.proxy.write_state", full)
        world.known = False
        registration.set_state(WorkloadState.UNHEALTHY)
        await eventually("registered again", lambda: world.registrations >= 2)
        proxy = SimpleNamespace(state=State("a", "ns"), directory=tmp_path)
        Proxy.save(cast(Proxy, proxy), state=WorkloadState.HEALTHY)
    before = len(world.renewals)
    await reached(world, before + 2)
    assert not running.done()
    running.cancel()


async def test_a_change_of_state_is_told_at_once(world: World) -> None:
    world.told = 3600.0
    registration, running = await registered(world)
    await looked(world, 3)
    registration.set_state(WorkloadState.UNHEALTHY)
    await reached(world, 2)
    assert world.renewals == [WorkloadState.STARTING, WorkloadState.UNHEALTHY]
    running.cancel()


async def test_who_is_trusted_again_is_told_so_and_an_ordinary_registration_tells_nothing(world: World) -> None:
    _, running = await registered(world)
    for registrations, trust, told in ((2, NO_TRUST, 0), (3, Trust(7, 0), 1), (4, Trust(7, 0), 1)):
        world.trust, world.known = trust, False
        await at_registration(world, registrations)
        await reached(world, len(world.renewals) + 1)
        assert world.trusted_anew == told
    running.cancel()


async def test_a_renewal_that_met_another_is_repeated_without_a_word(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    world.told = 3600.0
    registration, running = await registered(world)
    await looked(world, 1)
    world.conflicts = 1
    registration.set_state(WorkloadState.HEALTHY)
    await eventually("it was told", lambda: WorkloadState.HEALTHY in world.renewals)
    assert world.conflicts == 0
    assert not [record for record in caplog.records if record.name.startswith("weft.agent.registration")]
    running.cancel()
