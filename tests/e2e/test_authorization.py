"""AuthorizationPolicy with real Envoys: who is let in, from when, and that no change of policies opens anything."""

from __future__ import annotations

import asyncio
import contextlib
import random
import socket
import sys
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from support.demo import Demo
from support.http import Client, Load, steady_load
from support.mesh import APPS, Mesh, cli, until
from weft.local.client import AdminClient, RefusedError, Source
from weft.settings.home import Home

EXAMPLE = Path(__file__).parents[2] / "examples" / "authorization.yaml"
PORTS = ("--xds-port", "0", "--agent-port", "0", "--admin-port", "0")
SERVICE = """
apiVersion: v1
kind: Service
metadata: {name: echo}
spec: {selector: {app: echo}, ports: [{name: http, port: 80, targetPort: 8080}]}
---
apiVersion: v1
kind: Service
metadata: {name: bytes}
spec: {selector: {app: bytes}, ports: [{name: tcp, port: 7000}]}
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: front}
spec: {gatewayClassName: weft, listeners: [{name: http, port: 80, protocol: HTTP}]}
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: front}
spec: {parentRefs: [{name: front}], rules: [{backendRefs: [{name: echo, port: 80}]}]}
"""
SHUT = """
apiVersion: v1
kind: Namespace
metadata: {name: default, annotations: {weft.dev/default-access: deny}}
---
"""
POLICY = """
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: NAME}
spec: SPEC
---
"""
FRIEND = "cluster.local/ns/default/sa/friend"
REWRITES, SECONDS, FEWEST = 1000, 80.0, 50
"""So many changes, or as many as this time is enough for: a machine that others keep busy makes fewer."""


def policy(name: str, spec: str) -> str:
    """A policy whose `spec` is YAML of the flow style."""
    return POLICY.replace("NAME", name).replace("SPEC", spec)


BASES = (
    "{rules: [{from: [{source: {principals: [PRINCIPAL]}}]}]}",
    "{selector: {matchLabels: {app: echo}}, rules: [{from: [{source: {serviceAccounts: [friend]}}]}]}",
    "{rules: [{from: [{source: {namespaces: [other]}}]}, {from: [{source: {principals: [PRINCIPAL]}}]}]}",
    "{rules: [{from: [{source: {principals: [PRINCIPAL]}}]}, {from: [{source: {namespaces: [other]}}]}]}",
    "{rules: [{from: [{source: {principals: ['*'], notPrincipals: ['*/sa/stranger']}}]}]}",
    "{targetRefs: [{kind: Service, name: echo}], rules: [{when: [{key: source.principal, values: [PRINCIPAL]}]}]}",
    "{rules: [{from: [{source: {principals: [PRINCIPAL]}}], to: [{operation: {methods: [GET], paths: [/, '/*']}}]}]}",
)
DENIES = (
    "{action: DENY, rules: [{from: [{source: {principals: ['*/sa/stranger']}}]}]}",
    "{action: DENY, rules: [{from: [{source: {notServiceAccounts: [friend]}}]}]}",
)


def answered(mesh: Mesh, name: str) -> bool:
    """Whether echo answers `name`."""
    client = Client(mesh.proxy_of(name))
    try:
        return client("http://echo/").status == 200
    finally:
        client.close()


@pytest.fixture(scope="module")
def parties(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mesh]:
    """A mesh with an application for requests and one for bytes, which a friend and a stranger call, and a gateway."""
    root = tmp_path_factory.mktemp("authorization")
    mesh = Mesh(root / "home", root / "logs")
    try:
        mesh.serve(*PORTS)
        mesh.apply(SERVICE)
        mesh.echo("echo", wait=False)
        mesh.run("bytes", [sys.executable, str(APPS / "tcp_echo.py")], port="7000:auto", health="tcp", wait=False)
        for name in ("friend", "stranger"):
            mesh.echo(name, more=["--upstream", "bytes:7000"], wait=False)
        mesh.wait_healthy("echo", "bytes", "friend", "stranger")
        mesh.gateway("front", "80=auto")
        for name in ("friend", "stranger"):
            until(f"{name} is answered", partial(answered, mesh, name))
        yield mesh
    finally:
        mesh.stop()


class Changes:
    """Changes of policies, each of which lets the friend in and keeps the stranger out, as does every mix of them."""

    def __init__(self, admin: AdminClient, seed: int) -> None:
        self._admin = admin
        self._random = random.Random(seed)
        self._there: set[str] = {"base"}
        self.made = 0

    def apply(self, *documents: str, wait: float | None = None) -> None:
        self._admin.apply(*(Source("policies.yaml", text) for text in documents), wait=wait)
        self.made += len(documents)

    def delete(self, name: str) -> None:
        self._admin.delete("AuthorizationPolicy", "default", name)
        self._there.discard(name)
        self.made += 1

    def take_back(self) -> None:
        """Delete whatever is there."""
        for name in ("all", "moved", "deny", "a-note", "base"):
            with contextlib.suppress(RefusedError):
                self._admin.delete("AuthorizationPolicy", "default", name, wait=20.0)

    def base(self, name: str) -> str:
        self._there.add(name)
        return policy(name, self._random.choice(BASES).replace("PRINCIPAL", FRIEND))

    def step(self) -> None:
        """One change, or a few that belong together."""
        match self._random.randrange(5):
            case 0:
                self.apply(self.base("base"))
            case 1:
                self.apply(policy("deny", self._random.choice(DENIES)))
                self.delete("deny")
            case 2:
                self.apply(policy("deny", DENIES[0]), policy("all", "{rules: [{}]}"))
                self.delete("all")
                self.delete("deny")
            case 3:
                old, new = ("base", "moved") if "base" in self._there else ("moved", "base")
                self.apply(self.base(new))
                self.delete(old)
                self.apply(self.base("base"))
            case _:
                self.apply(policy("a-note", "{action: AUDIT, rules: [{}]}"))
                self.delete("a-note")


async def loads(mesh: Mesh, during: object) -> tuple[Load, Load]:
    """What 200 requests a second of the stranger and 50 of the friend meet while something happens."""
    stranger, friend = (f"http://{host}:{port}" for host, port in map(mesh.proxy_of, ("stranger", "friend")))
    found: list[Load] = []

    async def inner() -> None:
        found.append(await steady_load("http://echo/", friend, 50, lambda: asyncio.to_thread(during)))  # type: ignore[arg-type]

    found.append(await steady_load("http://echo/", stranger, 200, inner))
    return found[1], found[0]


@pytest.mark.timeout(400)
def test_a_forbidden_caller_never_passes_however_policies_change(parties: Mesh) -> None:
    changes = Changes(AdminClient(Home(parties.home)), seed=8)
    changes.apply(policy("base", BASES[0].replace("PRINCIPAL", FRIEND)), wait=20.0)

    def rewrite() -> None:
        end = time.monotonic() + SECONDS
        while changes.made < REWRITES and time.monotonic() < end:
            changes.step()

    try:
        stranger, friend = asyncio.run(loads(parties, rewrite))
    finally:
        changes.take_back()
    assert changes.made >= FEWEST
    assert set(stranger.statuses) == {"403"}, stranger.statuses
    assert stranger.sent > 200
    assert set(friend.statuses) == {"200"}, (friend.statuses, friend.failures[:3])


def test_the_first_policy_reaches_connections_that_are_open(parties: Mesh) -> None:
    friend, stranger = Client(parties.proxy_of("friend")), Client(parties.proxy_of("stranger"))
    until("it is open", lambda: stranger("http://echo/").status == 200)
    first = policy("base", BASES[0].replace("PRINCIPAL", FRIEND))
    host, port = parties.proxy_of("friend")

    async def apply_first() -> None:
        await asyncio.to_thread(parties.apply, first)

    allowed = asyncio.run(steady_load("http://echo/", f"http://{host}:{port}", 100, apply_first))
    assert set(allowed.statuses) == {"200"}, (allowed.statuses, allowed.failures[:3])
    assert [stranger("http://echo/").status for _ in range(20)] == [403] * 20
    assert friend("http://echo/").status == 200
    refused = stranger("http://echo/")
    assert refused.body == b"RBAC: access denied"
    parties.delete(policy("base", "{}"))
    until("it is open again", lambda: stranger("http://echo/").status == 200)
    friend.close()
    stranger.close()


def codes(mesh: Mesh) -> list[str]:
    """The codes of what is wrong with policies and Namespaces."""
    kinds = ("AuthorizationPolicy", "Namespace")
    return [each["code"] for each in mesh.problems() if (each["object"] or {}).get("kind") in kinds]


def bytes_back(mesh: Mesh, name: str) -> bytes:
    """What comes back to `name` from the application for bytes; nothing if it is not let in."""
    listen = mesh.workload(name)["upstreams"][0]["listen"]
    try:
        with socket.create_connection((listen["host"], listen["port"]), 10) as connection:
            connection.settimeout(10)
            connection.sendall(b"hello")
            return connection.recv(100)
    except ConnectionError:
        return b""


def test_connections_are_let_in_by_who_calls(parties: Mesh) -> None:
    until("both are let in", lambda: [bytes_back(parties, name) for name in ("friend", "stranger")] == [b"hello"] * 2)
    targets = "targetRefs: [{kind: Service, name: bytes}]"
    with parties.applied(
        policy("bytes", f"{{{targets}, rules: [{{from: [{{source: {{principals: [{FRIEND}]}}}}]}}]}}")
    ):
        assert bytes_back(parties, "stranger") == b""
        assert bytes_back(parties, "friend") == b"hello"
    deny = f"{{{targets}, action: DENY, rules: [{{from: [{{source: {{serviceAccounts: [stranger]}}}}]}}]}}"
    with parties.applied(policy("bytes", deny)):
        assert bytes_back(parties, "stranger") == b""
        assert bytes_back(parties, "friend") == b"hello"
    with parties.applied(
        policy("bytes", f"{{{targets}, action: DENY, rules: [{{to: [{{operation: {{methods: [GET]}}}}]}}]}}")
    ):
        assert codes(parties) == ["http-rule-on-tcp"]
        assert bytes_back(parties, "friend") == b""
    until("it is open again", lambda: bytes_back(parties, "stranger") == b"hello")


def test_nobody_by_default_but_the_mesh_itself(parties: Mesh) -> None:
    friend, outside = Client(parties.proxy_of("friend")), Client()
    address = parties.workload("front")["gateway"]["ports"][0][1]
    front = f"http://{address['host']}:{address['port']}/"
    metrics = parties.workload("echo")["metrics"]
    until("it is open", lambda: outside(front).status == 200)
    parties.apply(SHUT)
    try:
        assert friend("http://echo/").status == 403
        assert bytes_back(parties, "friend") == b""
        assert outside(front).status == 403, "the gateway is a caller like any other"
        gateway = (
            "{selector: {matchLabels: {app: echo}}, rules: [{from: [{source: {serviceAccounts: [front, friend]}}]}]}"
        )
        with parties.applied(policy("let-in", gateway)):
            assert outside(front).status == 200
            assert friend("http://echo/").status == 200
        assert friend("http://echo/").status == 403
        told = outside(f"http://{metrics['host']}:{metrics['port']}/metrics").body.decode()
        assert 'weft_policy_verdicts_total{kind="authorization",policy="AuthorizationPolicy default/let-in"' in told
        parties.wait_healthy("echo", "bytes")
        assert codes(parties) == []
    finally:
        parties.apply(SHUT.replace("deny", "allow"))
    until("it is open again", lambda: friend("http://echo/").status == 200)
    friend.close()
    outside.close()


def test_what_cannot_be_understood_closes_what_it_names(parties: Mesh) -> None:
    checked = parties.weft("validate", "-", stdin=policy("bad", "{rules: [{from: [{source: {}}]}]}"), check=False)
    assert checked.returncode == 1
    assert "nobody may call all workloads of its namespace until it is mended" in checked.stderr
    with parties.applied(policy("asks", "{action: CUSTOM, provider: {name: none}, rules: [{}]}"), check=False):
        client = Client(parties.proxy_of("friend"))
        assert client("http://echo/").status == 403
        assert codes(parties) == ["unknown-provider"]
        client.close()


def test_the_example_lets_the_page_work_and_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WEFT_PROXY_AUTH", "off")  # it calls through the proxies of others
    demo = Demo(tmp_path / "demo")
    try:
        facts = demo.facts()
        home = Path(facts["home"])
        cli(home, "apply", "-f", str(EXAMPLE), "--wait")
        page = Client()(f"{facts['gateway']}/productpage")
        assert page.status == 200
        assert b"The Comedy of Errors" in page.body
        assert b"unavailable" not in page.body
        given = AdminClient(Home(home)).get("workloads")["workloads"]
        proxies = {each["name"]: each["outbound"] for each in given if each["outbound"]}
        for name, url, status in (
            ("productpage-v1", "http://details:9080/details/0", 200),
            ("productpage-v1", "http://ratings:9080/ratings/0", 403),
            ("ratings-v1", "http://details:9080/details/0", 403),
            ("reviews-v2", "http://ratings:9080/ratings/0", 200),
        ):
            through = (proxies[name]["host"], proxies[name]["port"])
            assert Client(through)(url).status == status, (name, url)
        assert Client()(f"{facts['gateway']}/productpage", "POST").status in (403, 404)
        cli(home, "delete", "-f", str(EXAMPLE), "--wait")
    finally:
        demo.interrupt()
