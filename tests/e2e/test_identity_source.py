"""A mesh whose workloads have their certificates from another authority's Workload API, such as SPIRE's."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography import x509

from support.http import Client, steady_load
from support.mesh import Mesh, until
from support.spire import Spire

DOCUMENTS = """
apiVersion: v1
kind: Service
metadata: {name: echo}
spec: {selector: {app: echo}, ports: [{name: http, port: 80, targetPort: 8080}]}
---
apiVersion: v1
kind: Service
metadata: {name: plain}
spec: {selector: {app: plain}, ports: [{name: http, port: 80, targetPort: 8080}]}
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: who}
spec:
  selector: {matchLabels: {app: plain}}
  rules: [{from: [{source: {principals: [cluster.local/ns/default/sa/caller]}}]}]
"""


NAMES = ("caller", "echo", "plain")


class World:
    def __init__(self, root: Path) -> None:
        self.mesh = Mesh(root / "home", root / "logs")
        self.spire = Spire(root / "s")

    def certificates(self, name: str, place: str = "certs") -> list[x509.Certificate]:
        path = self.mesh.home / "workloads/default" / name / place / "..data/chain.pem"
        return x509.load_pem_x509_certificates(path.read_bytes())

    def get(self, caller: str, host: str) -> int:
        return Client(self.mesh.proxy_of(caller))(f"http://{host}/").status


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    world = World(tmp_path_factory.mktemp("id"))
    mesh, spire = world.mesh, world.spire
    try:
        ports = ("--xds-port", "0", "--agent-port", "0", "--admin-port", "0", "--metrics-port", "0", "--lease", "3")
        mesh.serve(*ports, "--identity-from", spire.socket("control", spire.id("weft", "spire")))
        mesh.apply(DOCUMENTS)
        two = (spire.id("other"), spire.id("caller"))
        for name, options in (
            ("caller", ("--identity-from", spire.socket("caller", *two))),
            ("echo", ("--identity-from", spire.socket("echo", spire.id("echo"), rsa=True))),
            ("plain", ()),
        ):
            mesh.echo(name, more=options, wait=False)
        mesh.wait_healthy(*NAMES)
        yield world
    finally:
        mesh.stop()
        spire.stop()


def test_both_ends_show_the_certificates_of_the_workload_api(world: World) -> None:
    assert world.get("caller", "echo") == 200
    for name in ("caller", "echo"):
        leaf, server = world.certificates(name)
        assert server == world.spire.roots[0].server
        assert leaf.subject.rfc4514_string() == "O=SPIRE,C=US"
        assert "weft" in world.certificates(name, "control")[0].issuer.rfc4514_string()


def test_workloads_of_both_authorities_believe_each_other_by_name(world: World) -> None:
    assert world.get("caller", "plain") == 200
    assert world.get("echo", "plain") == 403
    assert world.get("plain", "echo") == 200


def test_roots_are_rotated_in_both_while_requests_go_on(world: World) -> None:
    host, port = world.mesh.proxy_of("caller")
    spire = world.spire

    def believed(count: int) -> bool:
        paths = [world.mesh.home / "workloads/default" / name / "certs/..data/bundle.pem" for name in NAMES]
        return all(path.read_text().count("BEGIN") == count for path in paths)

    def shown(server: x509.Certificate) -> bool:
        return all(world.certificates(name)[1] == server for name in ("caller", "echo"))

    async def during() -> None:
        spire.prepare_root()
        await asyncio.to_thread(until, "both roots of the source are believed", lambda: believed(3))
        spire.activate_root()
        await asyncio.to_thread(until, "the new one signed", lambda: shown(spire.roots[0].server))
        await asyncio.to_thread(world.mesh.weft, "ca", "rotate", "--wait", "--timeout", "100", timeout=120)
        spire.drop_root()
        await asyncio.to_thread(until, "the old one is believed no more", lambda: believed(2))

    load = asyncio.run(steady_load("http://echo/", f"http://{host}:{port}", 200, during))
    assert load.sent > 400
    assert not load.failures, (load.statuses, load.failures[:5])
    world.spire.change()
    until("and it goes on", lambda: world.get("caller", "plain") == 200)


def test_on_another_host_the_svid_is_what_it_joins_by(world: World) -> None:
    mesh, spire = world.mesh, world.spire
    token = json.loads(mesh.weft("token", "create", "--service-account", "far", "-o", "json").stdout)
    remote = ["--control-plane", token["agent_api"], "--ca-fingerprint", token["fingerprint"]]
    source = spire.socket("far", spire.id("far"))
    far = mesh.run("far", ["sleep", "600"], port="", more=[*remote, "--identity-from", source])
    assert mesh.workload("far")["service_account"] == "far"
    assert world.get("far", "echo") == 200
    words = ("run", "--name", "thief", "--service-account", "echo", *remote, "--identity-from")
    thief = mesh.spawn("thief", *words, spire.socket("thief", spire.id("thief")), "--", "sleep", "600")
    said = "only: spiffe://cluster.local/ns/default/sa/thief"
    until("it has nothing to join by", lambda: said in thief.output())
    thief.stop()
    mesh.weft("delete", "workload", "far")
    until("a removed workload does not come back by itself", lambda: "default/far was removed" in far.output())
    assert "far" not in [row["name"] for row in mesh.items("workloads")]
