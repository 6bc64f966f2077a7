"""Workloads of one Envoy that live in network namespaces of their own: the same ports in each, who each of them is to
others, and what becomes of one whose namespace is deleted and made anew."""

from __future__ import annotations

import contextlib
import http.server
import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import pytest
import yaml

from e2e.test_shared_proxy import POLICY, Host, caller_of, entry, service
from support.http import Answer, Client
from support.mesh import APPS, WEFT, alive, until
from weft.agent.ports import bind_error
from weft.processes.capabilities import CAP_SYS_ADMIN
from weft.processes.namespaces import inside

ResultT = TypeVar("ResultT")
OUTBOUND, APPLICATION = 15001, 8080


class Namespace:
    """One of ``ip netns``, with its loopback up."""

    def __init__(self, name: str) -> None:
        self.name = f"weft-{os.getpid()}-{name}"
        self.path = f"/run/netns/{self.name}"

    def make(self) -> None:
        for words in (("netns", "add", self.name), ("-n", self.name, "link", "set", "lo", "up")):
            subprocess.run(["ip", *words], check=True, capture_output=True)

    def delete(self) -> None:
        subprocess.run(["ip", "netns", "delete", self.name], check=False, capture_output=True)

    def inside(self, work: Callable[[], ResultT]) -> ResultT:
        return inside(self.path, work)

    def call(self, url: str, port: int = OUTBOUND, **more: Any) -> Answer:
        """As an application in there calls it, through its proxy."""
        return self.inside(lambda: Client(("127.0.0.1", port))(url, **more))

    def holds(self, pid: int) -> bool:
        """Whether a process is in there."""
        return Path(f"/proc/{pid}/ns/net").stat().st_ino == Path(self.path).stat().st_ino

    def client(self) -> Client:
        """One whose connection is made in there, and kept."""
        client = Client(("127.0.0.1", OUTBOUND))
        assert self.inside(lambda: client("http://far/")).status == 200
        return client


class NamespacedHost(Host):
    """Its workloads `a` and `b` in namespaces of their own, with the same port; `d` runs in that of `b` and is none of
    the host's to start; that of `c` is not there."""

    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        self.a, self.b, self.c = (Namespace(name) for name in "abc")

    def write(self, *names: str) -> None:
        where = {"a": self.a, "b": self.b, "c": self.c, "d": self.b}
        entries = []
        for name in names:
            more = {"ports": [APPLICATION if name != "d" else APPLICATION + 1], "networkNamespace": where[name].name}
            entries.append(entry(name, **more))
            if name == "d":
                entries[-1]["networkNamespace"] = self.b.path
                del entries[-1]["command"]
        fresh = self.file.with_suffix(".new")
        fresh.write_text(yaml.safe_dump({"workloads": entries}))
        fresh.replace(self.file)

    def ps(self, name: str) -> dict[str, Any]:
        """What `weft ps` says of a workload."""
        rows = json.loads(self.mesh.weft("ps", "-o", "json", check=False).stdout)
        return next((one for one in rows if one["name"] == name), {})


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NamespacedHost]:
    found = NamespacedHost(tmp_path_factory.mktemp("namespaces"))
    mesh, spaces = found.mesh, (found.a, found.b, found.c)
    found.write("a", "b")
    for each in spaces[:2]:
        each.make()
    own = subprocess.Popen(
        ["ip", "netns", "exec", found.b.name, sys.executable, str(APPS / "http_echo.py")],
        env={**os.environ, "PORT": str(APPLICATION + 1), "WEFT_HOST": "127.0.0.1", "WORKLOAD": "d"},
    )
    try:
        mesh.serve()
        names = ("a", "b", "c", "d", "far")
        mesh.weft("apply", "-f", "-", stdin="".join(map(service, names)).replace("8080", "http") + POLICY)
        found.spawn()
        mesh.echo("far", port="http=8080:auto")
        found.healthy("a", "b", "far")
        found.write("a", "b", "d")  # who comes first in a namespace has the usual ports
        found.healthy("d")
        yield found
    finally:
        own.terminate()
        own.wait()
        mesh.stop()
        found.manager.close()
        for each in spaces:
            each.delete()


def test_each_is_who_it_is_at_the_same_ports(host: NamespacedHost) -> None:
    states = {name: host.mesh.state(name) for name in "abd"}
    assert [states[name]["outbound"] for name in "ab"] == [OUTBOUND, OUTBOUND]
    assert [states[name]["ports"][0]["application"]["port"] for name in "ab"] == [APPLICATION, APPLICATION]
    for name, where in (("a", host.a), ("b", host.b)):
        assert where.holds(states[name]["application"]["pid"])
    far = host.client("far")
    until("b is reached", lambda: host.a.call("http://b/").status == 200)
    assert caller_of(host.a.call("http://b/")) == "a"
    assert caller_of(host.b.call("http://a/")) == "b"
    assert [caller_of(each.call("http://far/")) for each in (host.a, host.b)] == ["a", "b"]
    assert caller_of(far("http://a/")) == "far"
    assert far("http://b/").status == 403
    d = states["d"]["outbound"]
    assert d != OUTBOUND, "b has that one"
    assert host.b.call("http://b/", d).status == 403
    assert caller_of(host.b.call("http://a/", d)) == "d"
    assert caller_of(host.a.call("http://d/")) == "a"


def test_neighbours_need_no_handshake_and_envoy_no_other_right(host: NamespacedHost) -> None:
    handshakes = r"^listener\.a~default~inbound.*\.ssl\.handshake$"
    before = sum(host.stats(handshakes).values())
    assert host.b.call("http://a/").status == 200
    assert sum(host.stats(handshakes).values()) == before
    status = Path(f"/proc/{host.mesh.state('host')['envoy']['pid']}/status").read_text()
    effective = next(line.split()[1] for line in status.splitlines() if line.startswith("CapEff:"))
    assert int(effective, 16) == 1 << CAP_SYS_ADMIN


def test_its_proxy_is_no_way_out_of_the_namespace(host: NamespacedHost) -> None:
    """What nobody has named is where the application could go by itself, which is not the loopback of the host."""
    far, a = host.mesh.proxy_of("far"), ("127.0.0.1", OUTBOUND)
    address = "{}:{}".format(*host.mesh.state("far")["ports"][0]["application"].values())
    with ipv6_server() as address_6:
        for each in (address, address_6):
            assert host.client("far")(f"http://{each}/health").status == 200
            assert b"200" in connected(far, each)
            assert host.a.call(f"http://{each}/health").status == 503
            assert b"503" in host.a.inside(partial(connected, a, each))
    own = f"http://127.0.0.1:{APPLICATION}/health"
    assert (host.a.call(own).body, host.b.call(own).body) == (b"a", b"b")


def connected(proxy: tuple[str, int], where: str) -> bytes:
    """The first line of the answer to a CONNECT."""
    with socket.create_connection(proxy, timeout=10) as tunnel:
        tunnel.sendall(f"CONNECT {where} HTTP/1.1\r\nHost: {where}\r\n\r\n".encode())
        return tunnel.recv(1000).partition(b"\r\n")[0]


@contextlib.contextmanager
def ipv6_server() -> Iterator[str]:
    """The address of something on the host's IPv6 loopback that answers everything with 200."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Nobody wants to know."""

    class Server(http.server.ThreadingHTTPServer):
        address_family = socket.AF_INET6

    with Server(("::1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"[::1]:{server.server_port}"
        server.shutdown()
        thread.join()


def test_one_whose_namespace_is_not_there_waits_alone(host: NamespacedHost) -> None:
    host.write("a", "b", "c", "d")
    until("it is told", lambda: f"{host.c.path} is not there" in host.said())
    assert f"c: {host.file}:" in host.said()
    assert "workloads[2].networkNamespace" in host.said()
    row = until("it is shown", lambda: host.ps("c"))
    assert (row["state"], row["ending"], row["started_by"]) == ("waiting", f"{host.c.path} is not there", "host")
    Path(host.c.path).touch()
    try:
        until("it is told", lambda: f"{host.c.path} is no network namespace" in host.said())
    finally:
        Path(host.c.path).unlink()
    subprocess.run(["ip", "netns", "attach", host.c.name, str(os.getpid())], check=True)
    try:
        until("it is told", lambda: f"{host.c.path} is the network namespace of this host itself" in host.said())
    finally:
        host.c.delete()
    host.c.make()
    host.healthy("c")
    assert caller_of(host.c.call("http://a/")) == "c"
    host.write("a", "b", "d")
    host.gone("c")
    host.c.delete()


def test_a_namespace_made_anew_is_noticed_and_no_neighbour_notices(host: NamespacedHost) -> None:
    application = host.mesh.state("a")["application"]["pid"]
    kept = host.b.client()
    counted = r"^(listener\.[bd]~.*ssl\.handshake|http\.b~default~.*downstream_cx_total)$"
    before = host.stats(counted)
    assert before
    for pause in (True, False):
        host.a.delete()
        if pause:
            host.gone("a")
            assert not alive(application)
            assert host.ps("a")["state"] == "waiting"
            assert kept("http://far/").status == 200
        host.a.make()
        until("a has another application", partial(another, host, application))
        host.healthy("a")
        application = host.mesh.state("a")["application"]["pid"]
        assert host.mesh.state("a")["outbound"] == OUTBOUND
        until("it calls", lambda: answers(host.a, "http://b/", "a"))
        until("it is called", lambda: caller_of(host.client("far")("http://a/")) == "far")
        assert caller_of(host.b.call("http://a/")) == "b"
    assert kept("http://far/").status == 200
    assert {name: host.stats(counted)[name] for name in before if "ssl" in name} == {
        name: value for name, value in before.items() if "ssl" in name
    }


def test_one_made_anew_while_no_agent_looks_is_noticed_by_the_next(host: NamespacedHost) -> None:
    application, agent = host.mesh.state("a")["application"]["pid"], host.mesh.processes["host"]
    kept = host.b.client()
    agent.process.kill()
    agent.process.wait()
    host.a.delete()
    host.a.make()
    host.spawn()
    until("a has another application", partial(another, host, application))
    until("it calls", lambda: answers(host.a, "http://b/", "a"))
    assert not alive(application)
    assert kept("http://far/").status == 200
    host.healthy("a", "b", "d")


def answers(where: Namespace, url: str, account: str) -> bool:
    """Whether a call from there is answered, to that account."""
    try:
        found = where.call(url)
    except OSError:
        return False
    return found.status == 200 and caller_of(found) == account


def another(host: NamespacedHost, before: int) -> bool:
    """Whether `a` runs anew, in the namespace that is there now."""
    now = host.mesh.state("a")["application"]
    return now is not None and now["pid"] != before and alive(now["pid"]) and host.a.holds(now["pid"])


def test_another_envoy_takes_over_and_each_is_still_who_it_is(host: NamespacedHost) -> None:
    """Sockets are handed over by their addresses, which are the same in both namespaces."""
    done = host.mesh.weft("proxy", "restart", "host", "--timeout=45", check=False)
    assert done.returncode == 0, (done.stderr, host.said())
    for _ in range(20):
        assert caller_of(host.a.call("http://far/")) == "a"
        assert caller_of(host.b.call("http://far/")) == "b"
    host.healthy("a", "b", "d")


def test_without_the_right_it_is_refused_at_the_line(host: NamespacedHost, tmp_path: Path) -> None:
    file = tmp_path / "host.yaml"
    file.write_text("workloads:\n  - name: x\n    networkNamespace: shop\n")
    weak = ("setpriv", "--bounding-set=-sys_admin", *WEFT, "host", "--home", str(tmp_path / "home"), str(file))
    done = subprocess.run(weak, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert f"{file}:3" in done.stderr
    assert "workloads[0].networkNamespace" in done.stderr
    assert "CAP_SYS_ADMIN" in done.stderr


def test_a_stop_leaves_nothing(host: NamespacedHost) -> None:
    pids = [host.mesh.state(name)["application"]["pid"] for name in "ab"]
    pids.append(host.mesh.state("host")["envoy"]["pid"])
    agent = host.mesh.processes["host"]
    os.kill(agent.pid, signal.SIGTERM)
    agent.process.wait(60)
    assert not any(alive(pid) for pid in pids)
    for where in (host.a, host.b):
        assert bind_error("127.0.0.1", OUTBOUND, namespace=where.path) == 0
    host.spawn()
    host.healthy("a", "b", "d")
