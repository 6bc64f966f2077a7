"""Other users of the control plane's host: each may have the identities that it is given, and no others."""

from __future__ import annotations

import asyncio
import dataclasses
import os
import subprocess
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from admin.test_agent_api import WORKLOAD, Agent, new_request, refusals
from support.control import Rig
from weft.admin import callers
from weft.admin.agents import AgentApi
from weft.admin.local_users import LocalUser, LocalUserError, allowed, cgroup_of, local_user_from_text
from weft.admin.server import serving
from weft.controlplane.ports import bind_shared_socket
from weft.model.enrolment import RegisterRequest
from weft.model.workload import GatewayBinding, Workload

CART = LocalUser(1001, "shop", "cart", "/system.slice/cart.service")
PATH = "/v1/workloads/default/reviews-v1"


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("1001=shop/cart", LocalUser(1001, "shop", "cart")),
        ("1001=shop/cart@cart.service", CART),
        ("1001=shop/cart@/machine/x/", LocalUser(1001, "shop", "cart", "/machine/x")),
    ],
)
def test_a_user_is_given_an_identity(text: str, found: LocalUser) -> None:
    assert local_user_from_text(text) == found


@pytest.mark.parametrize(
    "text",
    ["", "shop/cart", "x=shop/cart", "-1=shop/cart", "1=shop", "1=Shop/cart", "1=shop/cart@x", "1=a/b@a/b.service"],
)
def test_what_gives_none_is_said(text: str) -> None:
    with pytest.raises(LocalUserError, match="expected"):
        local_user_from_text(text)


@pytest.mark.parametrize(
    ("uid", "cgroup", "may"),
    [
        (1001, "/system.slice/cart.service", True),
        (1001, "/system.slice/cart.service/worker", True),
        (1001, "/system.slice/cart.services", False),
        (1001, "/user.slice/user-1001.slice/user@1001.service/app.slice/cart.service", False),
        (1001, "", False),
        (1002, "/system.slice/cart.service", False),
    ],
)
def test_a_unit_is_one_of_the_systems_own(uid: int, cgroup: str, may: bool) -> None:
    """A user can call a unit of his own session as he likes."""
    assert allowed([CART], uid, cgroup) == ((("shop", "cart"),) if may else ())


def test_the_control_group_is_that_of_version_2(tmp_path: Path) -> None:
    (tmp_path / "7").mkdir()
    (tmp_path / "7/cgroup").write_text("1:name=systemd:/a\n0::/system.slice/cart.service\n")
    assert cgroup_of(7, tmp_path) == "/system.slice/cart.service"
    assert cgroup_of(8, tmp_path) == ""


@pytest.fixture
def reachable() -> Iterator[Path]:
    """A directory that other users reach."""
    with tempfile.TemporaryDirectory() as directory:
        Path(directory).chmod(0o755)
        yield Path(directory)


@pytest.fixture
async def shared(rig: Rig, reachable: Path) -> AsyncIterator[Path]:
    """The socket for other users: 4711 may be reviews of default."""
    path = reachable / "agents.sock"
    application = AgentApi(rig.parts).application(local=True, users=(LocalUser(4711, "default", "reviews"),))
    async with serving(application, bind_shared_socket(path)):
        yield path


@pytest.fixture
def other(rig: Rig, shared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Agent:
    """A process of user 4711."""
    monkeypatch.setattr(callers, "peer_of", lambda _: (4711, 7))
    agent = Agent(rig, tmp_path, local=True)
    agent.socket = shared
    return agent


async def test_the_system_says_who_it_is(rig: Rig, shared: Path) -> None:
    """A real process of another user: what it may be follows from who it is. (Where tests do not run as root it is our
    own, which may be anybody.)"""
    user, foreign_status = (4711, 403) if os.geteuid() == 0 else (os.geteuid(), 200)

    def register(workload: Workload) -> int:
        body = msgspec.json.encode(RegisterRequest(workload, new_request()[1]))
        words = ["curl", "-sS", "-o", "/dev/null", "-w", "%{http_code}", "--unix-socket", str(shared), "-d", "@-"]
        done = subprocess.run(
            [*words, "http://local/v1/workloads"], input=body, capture_output=True, user=user, timeout=30, check=True
        )
        return int(done.stdout)

    foreign = dataclasses.replace(WORKLOAD, name="cart-v1", service_account="cart", ports=())
    assert await asyncio.to_thread(register, WORKLOAD) == 200
    assert await asyncio.to_thread(register, foreign) == foreign_status
    names = {one.name for one in rig.parts.collector.snapshot.workloads}
    assert ("cart-v1" in names) is (foreign_status == 200)


async def test_a_user_in_another_network_namespace_is_told_an_address_that_he_reaches(
    rig: Rig, reachable: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(callers, "peer_of", lambda _: (4711, 7))
    for bind, host in (("0.0.0.0", "mesh.example"), ("127.0.0.1", "127.0.0.1")):
        enrolment = dataclasses.replace(rig.parts.enrolment, advertised="mesh.example", bind=bind)
        api = AgentApi(dataclasses.replace(rig.parts, enrolment=enrolment))
        path = reachable / "others.sock"
        application = api.application(local=True, users=(LocalUser(4711, "default", "reviews"),))
        async with serving(application, bind_shared_socket(path)):
            agent = Agent(rig, tmp_path, local=True)
            agent.socket = path
            assert (await agent.register())["xds"].rpartition(":")[0] == host


async def test_another_user_has_his_identity_and_no_other(rig: Rig, other: Agent) -> None:
    foreign = dataclasses.replace(WORKLOAD, name="cart-v1", service_account="cart", ports=())
    await other.register()
    await other.call("POST", f"{PATH}/lease", {"state": "healthy"})
    await other.call("POST", f"{PATH}/certificate", {"csr": new_request()[1]})
    for workload in (foreign, dataclasses.replace(WORKLOAD, namespace="shop")):
        assert (await other.register(workload, 403))["code"] == "not-your-identity"
    gateway = dataclasses.replace(WORKLOAD, name="front", ports=(), gateway=GatewayBinding("front", "127.0.0.1"))
    assert (await other.register(gateway, 403))["code"] == "not-the-gateways-account"
    assert set(await refusals(rig)) == {"not-your-identity", "not-the-gateways-account"}


async def test_he_cannot_act_for_a_workload_of_another_identity(
    rig: Rig, other: Agent, monkeypatch: pytest.MonkeyPatch
) -> None:
    foreign: Any = dataclasses.replace(WORKLOAD, name="cart-v1", service_account="cart", ports=())
    with monkeypatch.context() as owner:
        owner.setattr(callers, "peer_of", lambda _: (0, 1))
        await other.register(foreign)
    path = "/v1/workloads/default/cart-v1"
    for method, what, body in (
        ("POST", "/lease", {"state": "draining"}),
        ("POST", "/certificate", {"csr": new_request()[1]}),
        ("POST", "/drain?wait=0", {}),
        ("DELETE", "", None),
    ):
        assert (await other.call(method, path + what, body, 403))["code"] == "not-your-identity"


async def test_a_user_who_was_given_nothing_is_told_so(rig: Rig, other: Agent, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(callers, "peer_of", lambda _: (4712, 7))
    assert (await other.register(status=403))["code"] == "wrong-user"
    assert await refusals(rig) == ["wrong-user"]
