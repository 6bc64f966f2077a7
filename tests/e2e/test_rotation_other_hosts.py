"""Rotation of the root as other hosts see it: fingerprints stay good, and one that slept through it joins again."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from e2e.test_other_hosts import SERVICES, invitation, join, says, serve, without_token
from support.hosts import Host, healthy, two_hosts
from support.mesh import until
from weft.settings.home import Home

LEASE = ("--lease", "3")


@pytest.fixture
def hosts(tmp_path: Path) -> Iterator[tuple[Host, Host]]:
    (tmp_path / "mesh.yaml").write_text("---".join(SERVICES.replace("NAME", name) for name in ("web", "echo")))
    with two_hosts(tmp_path) as hosts:
        yield hosts


def rotate(host: Host) -> None:
    host.weft("ca", "rotate", "--wait", "--timeout", "120", timeout=150)


def bundle(host: Host, workload: str) -> str:
    path: Path = Home(host.home).workload("default", workload) / "certs" / "..data" / "bundle.pem"
    return path.read_text()


def test_fingerprints_that_were_given_before_stay_good(hosts: tuple[Host, Host]) -> None:
    one, two = hosts
    serve(one, "--bind", one.address, *LEASE)
    printed = invitation(one, "echo-two")
    agent = join(two, printed, "echo-two")
    healthy(one, "echo-two")
    later = invitation(one, "echo-three", "--ttl", "600")
    for _ in range(2):
        rotate(one)
        assert bundle(two, "echo-two") == Home(one.home).trust_bundle.read_text()
    assert "control plane is back" not in agent.output()
    two.stop_agents()
    join(two, without_token(printed), "echo-two")
    healthy(one, "echo-two")
    join(two, later, "echo-three")
    healthy(one, "echo-three")
    assert bundle(two, "echo-three") == bundle(two, "echo-two")


def test_a_host_that_was_off_meanwhile_joins_again_with_a_token(hosts: tuple[Host, Host]) -> None:
    one, two = hosts
    serve(one, "--bind", one.address, *LEASE)
    printed = invitation(one, "echo-two")
    join(two, printed, "echo-two")
    healthy(one, "echo-two")
    two.stop_agents()
    until("it has left", lambda: '"echo-two"' not in one.weft("get", "workloads", "-o", "json").stdout)
    rotate(one)
    agent = join(two, without_token(printed), "echo-two")
    says(agent, "does not accept this workload's certificate")
    says(agent, "weft token create")
    two.stop_agents()
    old = printed.split("--ca-fingerprint ")[1].split()[0]
    fresh = invitation(one, "echo-two")
    assert old not in fresh
    join(two, fresh, "echo-two")
    healthy(one, "echo-two")


def test_a_token_helps_a_host_that_was_off_also_with_the_fingerprint_of_before(hosts: tuple[Host, Host]) -> None:
    one, two = hosts
    serve(one, "--bind", one.address, *LEASE)
    join(two, invitation(one, "echo-two"), "echo-two")
    healthy(one, "echo-two")
    two.stop_agents()
    before = invitation(one, "echo-two", "--ttl", "600")
    rotate(one)
    agent = join(two, before, "echo-two")
    says(agent, "joining with the token")
    healthy(one, "echo-two")
