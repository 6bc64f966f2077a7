"""UDP through a gateway: sessions by weight, shares that are dropped, changes, a port shared with TCP, and a flood."""

from __future__ import annotations

import socket
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, closing

import pytest

from support.mesh import Mesh, until

EDGE = """
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: edge}
spec:
  gatewayClassName: weft
  listeners:
    - {name: udp, port: 5300, protocol: UDP}
    - {name: tcp, port: 5300, protocol: TCP}
    - {name: flooded, port: 5301, protocol: UDP}
"""
POLICY = """
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: edge}
spec:
  targetRefs: [{group: gateway.networking.k8s.io, kind: Gateway, name: edge}]
  rules: [{from: [{source: {ipBlocks: [127.0.0.1]}}]}]
"""
SESSIONS = 4096


def described(name: str, port: int) -> str:
    """A Service with a UDP port, and the server behind it."""
    return f"""
apiVersion: v1
kind: Service
metadata: {{name: {name}}}
spec: {{selector: {{app: {name}}}, ports: [{{name: dns, port: 53, protocol: UDP}}]}}
---
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {{name: {name}}}
spec: {{address: 127.0.0.1, labels: {{app: {name}}}, ports: {{dns: {port}}}}}
"""


def route(backends: str, section: str = "udp") -> str:
    """The route of a listener."""
    return f"""
apiVersion: gateway.networking.k8s.io/v1
kind: UDPRoute
metadata: {{name: {section}}}
spec: {{parentRefs: [{{name: edge, sectionName: {section}}}], rules: [{{backendRefs: [{backends}]}}]}}
"""


def answer(server: socket.socket, name: str) -> None:
    """Says its name and what it was sent, until its socket is closed."""
    while True:
        try:
            data, client = server.recvfrom(2048)
            server.sendto(name.encode() + b" " + data, client)
        except OSError:
            return


@pytest.fixture(scope="module")
def mesh(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mesh]:
    """A gateway before two servers without agents."""
    root = tmp_path_factory.mktemp("udp")
    mesh = Mesh(root / "home", root / "logs")
    with ExitStack() as stack:
        stack.callback(mesh.stop)
        texts = [EDGE, route("{name: a, port: 53}"), route("{name: a, port: 53}", "flooded")]
        for name in ("a", "b"):
            server = stack.enter_context(closing(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)))
            server.bind(("127.0.0.1", 0))
            threading.Thread(target=answer, args=(server, name), daemon=True).start()
            texts.append(described(name, server.getsockname()[1]))
        mesh.serve("--xds-port", "0", "--agent-port", "0", "--admin-port", "0")
        mesh.apply("---\n".join(texts))
        mesh.gateway("edge", "5300=auto", "5301=auto")
        yield mesh


def listener(mesh: Mesh, port: int = 5300) -> tuple[str, int]:
    """Where the gateway serves a port."""
    [address] = [address for number, address in mesh.workload("edge")["gateway"]["ports"] if number == port]
    return address["host"], address["port"]


def asked(where: tuple[str, int], wait: float = 0.3) -> str:
    """The name of the server that answers a new client; empty if nobody does."""
    with closing(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as client:
        client.settimeout(wait)
        client.sendto(b"who", where)
        try:
            return client.recv(64).decode().partition(" ")[0]
        except OSError:
            return ""


def again(settled: socket.socket, where: tuple[str, int]) -> bool:
    """Whether a client that has a session is answered in it: datagrams may be lost where many come at once."""
    settled.sendto(b"last", where)
    return settled.recv(64) == b"a last"


def flood(where: tuple[str, int]) -> bool:
    """Datagrams of more clients than there may be sessions; whether the next client is not served."""
    for _ in range(SESSIONS):
        with closing(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as client:
            client.sendto(b"flood", where)
    return not asked(where)


def test_sessions_are_divided_and_stay(mesh: Mesh) -> None:
    where = listener(mesh)
    mesh.apply(route("{name: a, port: 53, weight: 3}, {name: b, port: 53}"))
    until("both answer", lambda: {asked(where) for _ in range(10)} == {"a", "b"})
    found = Counter(asked(where, 5) for _ in range(200))
    assert set(found) == {"a", "b"}
    assert found["a"] > found["b"] > 10, found
    with closing(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as client:
        client.settimeout(5)
        names = set()
        for number in range(20):
            client.sendto(str(number).encode(), where)
            name, _, said = client.recv(64).decode().partition(" ")
            names.add(name)
            assert said == str(number)
    assert len(names) == 1


def test_a_change_loses_nothing_and_a_share_of_nobody_is_dropped(mesh: Mesh) -> None:
    where, lost, stop = listener(mesh), [], threading.Event()

    def ask() -> None:
        while not stop.wait(0.01):
            lost.append(not asked(where, 5))

    caller = threading.Thread(target=ask)
    with closing(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as settled:
        mesh.apply(route("{name: a, port: 53}"))
        until("a has all", lambda: {asked(where) for _ in range(5)} == {"a"})
        settled.settimeout(5)
        settled.sendto(b"first", where)
        assert settled.recv(64) == b"a first"
        caller.start()
        try:
            for weight in (1, 7, 0):
                mesh.apply(route(f"{{name: a, port: 53, weight: {weight}}}, {{name: b, port: 53}}"))
            until("b has all new clients", lambda: {asked(where, 5) for _ in range(10)} == {"b"})
        finally:
            stop.set()
            caller.join()
        settled.sendto(b"last", where)
        assert settled.recv(64) == b"a last", "whose weight went is there for the sessions that it has"
    assert not any(lost)
    mesh.apply(route("{name: a, port: 53, weight: 0}"))
    until("nobody has any", lambda: {asked(where) for _ in range(5)} == {""})
    mesh.apply(route("{name: none, port: 53}, {name: b, port: 53}"), "--allow-missing-references")
    until("a half is dropped", lambda: {asked(where) for _ in range(10)} == {"b", ""})
    mesh.apply(route("{name: a, port: 53}"))
    until("a has all", lambda: {asked(where) for _ in range(5)} == {"a"})


def test_the_port_of_the_same_number_is_open_for_tcp(mesh: Mesh) -> None:
    with closing(socket.create_connection(listener(mesh), timeout=10)) as opened:
        assert opened.recv(1) == b""


def test_a_policy_closes_it_and_leaves_tcp(mesh: Mesh) -> None:
    where = listener(mesh)
    mesh.apply(POLICY)
    until("it is closed", lambda: not asked(where))
    mesh.delete(POLICY)
    until("it is open", lambda: asked(where))


def test_a_flood_makes_no_more_sessions_than_there_may_be(mesh: Mesh) -> None:
    where = listener(mesh, 5301)
    until("it answers", lambda: asked(where))
    with closing(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as settled:
        settled.settimeout(5)
        settled.sendto(b"first", where)
        assert settled.recv(64) == b"a first"
        until("new clients are not served", lambda: flood(where))
        assert asked(listener(mesh)) or asked(listener(mesh), 5)
        until("who came before is still served", lambda: again(settled, where), every=0.5)
