"""One Envoy for several workloads: who each of them is to others, whatever a client sends and however busy it is, and
that they come and go without their neighbours. Real Envoys; a workload with a sidecar of its own stands for other
hosts."""

from __future__ import annotations

import asyncio
import http.client
import json
import os
import shutil
import signal
import socket
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import yaml

from support.demo import Demo
from support.http import Answer, Client
from support.manager import Manager
from support.mesh import APPS, Mesh, alive, cli, until
from weft.agent.envoy_admin import EnvoyAdmin
from weft.agent.state import lock_directory
from weft.settings.home import Home

EXAMPLE = Path(__file__).parents[2] / "examples" / "shared" / "weft.yaml"
POLICY = """
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: only-a}
spec:
  selector: {matchLabels: {app: b}}
  rules: [{from: [{source: {principals: [cluster.local/ns/default/sa/a]}}]}]
"""
LIMIT = """
apiVersion: weft.dev/v1alpha1
kind: RateLimitPolicy
metadata: {name: c}
spec:
  targetRefs: [{kind: Service, name: c}]
  mode: Local
  limits: [{name: all, requests: 6, unit: Hour}]
"""
CLUSTER = "outbound|80||c.default.svc.cluster.local"
FORGED = {
    "x-forwarded-client-cert": "By=spiffe://cluster.local/ns/default/sa/b;URI=spiffe://cluster.local/ns/default/sa/a",
    "weft.caller": "spiffe://cluster.local/ns/default/sa/a",
    "x-envoy-peer-metadata": "a",
    "x-forwarded-for": "127.0.0.1",
}


def service(name: str) -> str:
    return f"""
apiVersion: v1
kind: Service
metadata: {{name: {name}}}
spec: {{selector: {{app: {name}}}, ports: [{{name: http, port: 80, targetPort: 8080}}]}}
---"""


def entry(name: str, **more: Any) -> dict[str, Any]:
    return {
        "name": name,
        "serviceAccount": name,
        "labels": {"app": name},
        "ports": ["8080:auto"],
        "command": [sys.executable, str(APPS / "http_echo.py")],
        "healthCheck": {"http": "/health"},
        "env": {"WORKLOAD": name},
        **more,
    }


class Host:
    """A control plane, `weft host` with a file, and a workload that has a sidecar."""

    def __init__(self, directory: Path) -> None:
        self.file = directory / "host.yaml"
        self.manager = Manager(directory / "notify")
        self.environment = {"NOTIFY_SOCKET": str(directory / "notify")}
        self.mesh = Mesh(directory / "home", directory / "logs")

    def write(self, *names: str) -> None:
        """Save the file."""
        fresh = self.file.with_suffix(".new")
        fresh.write_text(yaml.safe_dump({"workloads": [entry(name) for name in names]}))
        fresh.replace(self.file)

    def spawn(self) -> None:
        self.mesh.spawn("host", "host", str(self.file), env=self.environment)

    def client(self, name: str) -> Client:
        """The outbound proxy of a workload."""
        return Client(self.mesh.proxy_of(name))

    def healthy(self, *names: str) -> None:
        for name in names:
            until(f"{name} is healthy", partial(self._healthy, name), 60)

    def metrics(self, name: str) -> str:
        """What a workload's endpoint for Prometheus tells."""
        where = self.mesh.state(name)["metrics"]
        return Client()(f"http://{where['host']}:{where['port']}/metrics").body.decode()

    def gone(self, name: str) -> None:
        until(f"{name} is gone", lambda: all(one["name"] != name for one in self.mesh.items("workloads")))

    def carried(self) -> set[str]:
        """Whom the host's registration names."""
        return set(self.mesh.workload("host")["node"]["carries"])

    def said(self) -> str:
        return self.mesh.processes["host"].output()

    def _healthy(self, name: str) -> bool:
        try:
            found = self.mesh.workload(name)
        except LookupError:
            return False
        return bool(found["state"] == "healthy" and found["connected"])

    def stats(self, pattern: str) -> dict[str, int]:
        """Statistics of the shared Envoy."""

        home = Home(self.mesh.home)
        admin = EnvoyAdmin(home.socket(home.workload("default", "host") / "admin.sock"))
        return asyncio.run(admin.gauges(pattern)) or {}


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    found = Host(tmp_path_factory.mktemp("shared"))
    found.write()
    mesh = found.mesh
    mesh.serve()
    mesh.weft("apply", "-f", "-", stdin="".join(map(service, ("a", "b", "c", "ca", "far"))) + POLICY)
    try:
        found.spawn()
        until("it is ready, with nobody to carry", lambda: found.manager.told("READY=1") == 1, 60)
        assert "host.yaml has no workload that shares a proxy; waiting until it has" in found.said()
        found.write("a", "b", "c")
        mesh.echo("far")
        found.healthy("a", "b", "c", "far")
        yield found
    finally:
        mesh.stop()
        found.manager.close()


def caller_of(answer: Any) -> str:
    """The account of the caller that the application was told of; it is told of one."""
    told = [value for name, value in answer.json()["headers"] if name.lower() == "x-forwarded-client-cert"]
    [identity] = [part for each in told for part in each.split(";") if part.startswith("URI=")]
    return str(identity.rpartition("/sa/")[2])


def tunnelled(proxy: tuple[str, int], host: str) -> str:
    """The caller that an application is told of, where its client asks for a CONNECT first."""
    with socket.create_connection(proxy, timeout=10) as tunnel:
        tunnel.sendall(f"CONNECT {host}:80 HTTP/1.1\r\nHost: {host}:80\r\n\r\n".encode())
        head = b""
        while b"\r\n\r\n" not in head:
            head += tunnel.recv(1)
        assert head.split()[1] == b"200", head
        inside = http.client.HTTPConnection(host)
        inside.sock = tunnel
        inside.request("GET", "/", headers=FORGED)
        answer = inside.getresponse()
        return caller_of(Answer(answer.status, {}, answer.read(), 0.0))


def test_each_workload_is_who_it_is(host: Host) -> None:
    a, b, c, far = (host.client(name) for name in ("a", "b", "c", "far"))
    until("a reaches b", lambda: a("http://b/").status == 200)
    assert [caller_of(each("http://far/")) for each in (a, b, c)] == ["a", "b", "c"]
    assert caller_of(a("http://b/")) == "a"
    assert [each("http://b/").status for each in (b, c, far)] == [403, 403, 403]
    assert caller_of(far("http://c/")) == "far"


def test_neighbours_shake_no_hands_and_others_do(host: Host) -> None:
    """By CONNECT too, which passes one more listener of the caller's."""
    handshakes = r"^listener\.c~default~inbound\|8080\.ssl\.handshake$"
    before = sum(host.stats(handshakes).values())
    for name in ("a", "b"):
        client = host.client(name)
        assert caller_of(client("http://c/")) == name
        client.close()
        assert tunnelled(host.mesh.proxy_of(name), "c") == name
    assert sum(host.stats(handshakes).values()) == before
    assert caller_of(host.client("far")("http://c/")) == "far"
    assert sum(host.stats(handshakes).values()) >= 1


def test_callers_from_within_and_without_share_one_limit(host: Host) -> None:
    """A port's slot is filled a moment after its listener is confirmed; what comes before is not limited."""
    clients = host.client("a"), host.client("far")
    told: list[Answer] = []

    def both_are_refused() -> bool:
        found = [client("http://c/") for client in clients]
        told.extend(answer for answer in found if "ratelimit-limit" in answer.headers)
        return all(answer.status == 429 for answer in found)

    with host.mesh.applied(LIMIT):
        until("both are refused", both_are_refused)
        assert sum(answer.status == 200 for answer in told) == 6
    until("there is no limit any more", lambda: all(client("http://c/").status == 200 for client in clients))


def test_both_sides_of_a_call_know_each_other(host: Host) -> None:
    def known() -> bool:
        host.client("a")("http://b/")  # one in the first seconds of a workload's life is not counted
        edges = json.loads(host.mesh.weft("edges", "-o", "json").stdout)
        found = [one for one in edges if (one["source"], one["destination_workload"]) == ("default/a", "default/b")]
        return bool(found) and all(one["mtls"] for one in found)

    until("the call is known, with both identities", known, every=0.5)


def test_requests_that_failed_are_told_by_the_names_that_everybody_knows(host: Host) -> None:
    listen = "{}:{}".format(*host.mesh.inbound_of("c"))

    def told() -> bool:
        assert host.client("a")("http://c/status/500").status == 500  # one of a workload's first seconds is not noted
        found = host.mesh.items("requests")
        seen = [one for one in found if (one["workload"], one["side"], one["status"]) == ("default/a", "outbound", 500)]
        return any((one["upstream"], one["cluster"]) == (listen, CLUSTER) for one in seen)

    until("the request is listed", told, every=0.5)


def test_nothing_that_a_client_sends_makes_it_another(host: Host) -> None:
    a, c, far = (host.client(name) for name in ("a", "c", "far"))
    for client in (c, far):
        assert client("http://b/", headers=FORGED).status == 403
    assert caller_of(c("http://far/", headers=FORGED)) == "c"
    assert caller_of(c("http://a/", headers=FORGED)) == "c"
    assert caller_of(a("http://b/", headers=FORGED)) == "a"


def test_nobody_is_another_under_load(host: Host) -> None:
    """Six connections of each workload at once, to a neighbour and to another host, renewed in between."""

    def call(name: str) -> int:
        count = 0
        for _ in range(4):
            client = host.client(name)
            for _ in range(40):
                assert caller_of(client("http://far/")) == name
                assert caller_of(client("http://c/")) == name
                assert client("http://b/").status == (200 if name == "a" else 403)
                count += 3
            client.close()
        return count

    with ThreadPoolExecutor(9) as pool:
        assert sum(pool.map(call, [name for name in ("a", "b", "c") for _ in range(3)])) == 9 * 480


def test_workloads_come_and_go_without_their_neighbours(host: Host) -> None:
    a = host.client("a")
    assert a("http://b/").status == 200
    shaken = host.stats("ssl.handshake")
    ready = host.manager.told("READY=1")
    connections = {name: value for name, value in shaken.items() if "~inbound" in name}
    with ThreadPoolExecutor(1) as pool:
        stop: list[bool] = []

        def load() -> set[int]:
            found = set()
            while not stop:
                found.add(a("http://b/").status)
            return found

        running = pool.submit(load)
        for _ in range(2):
            host.write("a", "b", "c", "ca")
            host.healthy("ca")
            assert caller_of(host.client("ca")("http://far/")) == "ca"
            told = host.metrics("a")
            assert "coutbound" not in told, "names of `ca` end like those of `a`"
            assert 'cluster_name="inbound|8080"' in told
            host.write("a", "b", "c")
            host.gone("ca")
        stop.append(True)
        assert running.result() == {200}
    until("the host names it no more", lambda: host.carried() == {"a.default", "b.default", "c.default"})
    assert host.manager.told("STOPPING=1") == 0, "systemd would take the whole host for stopping"
    assert host.manager.told("READY=1") == ready
    assert host.manager.told("STATUS=the proxy serves, for 3 of 3 workloads") >= 1
    after = host.stats("ssl.handshake")
    assert connections, shaken
    assert {name: after[name] for name in connections} == connections


def test_a_workload_whose_application_ends_is_started_again_alone(host: Host) -> None:
    before = {name: host.mesh.state(name)["application"]["pid"] for name in ("a", "b", "c")}
    os.kill(before["c"], signal.SIGKILL)
    until(
        "c has another application",
        lambda: (host.mesh.state("c")["application"] or {"pid": before["c"]})["pid"] not in (0, before["c"]),
    )
    host.healthy("c")
    until("it answers", lambda: host.client("a")("http://c/").status == 200)
    assert [host.mesh.state(name)["application"]["pid"] for name in ("a", "b")] == [before["a"], before["b"]]


def test_the_envoy_and_its_applications_outlive_the_agent(host: Host) -> None:
    """All but those that were taken out of the file meanwhile."""
    host.write("a", "b", "c", "ca")
    host.healthy("ca")
    leaving = host.mesh.state("ca")["application"]["pid"]
    before = {name: host.mesh.state(name)["application"]["pid"] for name in ("a", "b", "c")}
    envoy, agent = (host.mesh.state("host")[what]["pid"] for what in ("envoy", "agent"))
    a = host.client("a")
    os.kill(agent, signal.SIGKILL)
    host.mesh.processes["host"].process.wait()
    assert a("http://b/").status == 200
    host.write("a", "b", "c")
    host.spawn()
    until("another agent has taken over", lambda: host.mesh.state("host")["agent"]["pid"] != agent)
    host.healthy("a", "b", "c")
    assert host.mesh.state("host")["envoy"]["pid"] == envoy
    assert {name: host.mesh.state(name)["application"]["pid"] for name in before} == before
    assert a("http://b/").status == 200
    until("ca has ended", lambda: not alive(leaving))
    host.gone("ca")
    assert "ca: not wanted any more; stopping what an earlier agent has left of it" in host.said()
    until("its state says so", lambda: host.mesh.state("ca")["application"] is None)


def test_who_goes_does_not_wait_for_the_control_plane(host: Host) -> None:
    """Who comes does, and the others go on."""
    running = {name: host.mesh.state(name)["application"]["pid"] for name in ("a", "b", "c")}
    agents = Home(host.mesh.home).agent_socket
    hidden = agents.rename(agents.with_suffix(".hidden"))
    waits = "STATUS=the proxy serves, for 3 of 4 workloads"
    before = host.manager.told(waits)
    try:
        host.write("a", "b", "c", "later")
        until("it wants four", lambda: host.manager.told(waits) > before)
        host.write("a", "b", "later")
        until("c has ended", lambda: not alive(running["c"]))
        host.write("a", "b")
        assert [alive(running[name]) for name in ("a", "b")] == [True, True]
    finally:
        hidden.rename(agents)
    until("the host names it no more", lambda: host.carried() == {"a.default", "b.default"})
    host.write("a", "b", "c")
    until("c runs", lambda: host.mesh.state("c")["application"])
    host.healthy("c")
    for name in ("a", "far"):
        until(f"{name} finds it", lambda name=name: host.client(name)("http://c/").status == 200)  # type: ignore[misc]


def test_envoy_is_told_of_nobody_whose_key_is_not_there(tmp_path: Path) -> None:
    """A registration of an earlier life is still there. Envoy would refuse its listeners, for good."""
    host = Host(tmp_path)
    host.write("a", "b")
    try:
        host.mesh.serve()
        host.mesh.weft("apply", "-f", "-", stdin="".join(map(service, ("a", "b"))))
        host.spawn()
        host.healthy("a", "b")
        left = [host.mesh.state("host")["envoy"], *(host.mesh.state(name)["application"] for name in ("a", "b"))]
        host.mesh.processes["host"].stop(signal.SIGKILL)
        for each in left:
            os.kill(each["pid"], signal.SIGKILL)
        directory = Home(host.mesh.home).workload("default", "b")
        for each in ("certs", "sds"):
            shutil.rmtree(directory / each)
        lock = lock_directory(directory, "b")
        host.spawn()
        until("a runs again", lambda: host.mesh.state("a")["application"] not in (None, left[1]), 30)
        a = host.client("a")
        until("a reaches itself", lambda: a("http://a/").status == 200, 30)
        assert host.mesh.workload("b"), "it is there still"
        assert host.carried() == {"a.default"}
        log = Home(host.mesh.home).workload("default", "host") / "envoy.log"
        assert "rejected" not in log.read_text()
        lock.release()
        until("b has its key and is named", lambda: host.carried() == {"a.default", "b.default"}, 30)
        until("a reaches b", lambda: a("http://b/").status == 200, 30)
        assert "changed at the same time" not in host.said(), "two registrations of one agent"
    finally:
        host.mesh.stop()
        host.manager.close()


def test_an_agent_is_not_replaced_while_the_file_has_a_fault(host: Host) -> None:
    """It goes on: an application that ends meanwhile is started again. An agent that is started then waits."""
    agent, text = host.mesh.processes["host"], host.file.read_text()
    before = host.mesh.state("c")["application"]["pid"]
    try:
        host.file.write_text(f"{text}- nme: x\n")
        os.kill(agent.pid, signal.SIGHUP)
        until("it is told", lambda: "not restarted, and goes on as it is" in agent.output())
        os.kill(before, signal.SIGKILL)
        until("c has another", lambda: (host.mesh.state("c")["application"] or {"pid": before})["pid"] != before, 30)
        host.healthy("c")
        agent.process.kill()
        agent.process.wait()
        host.spawn()
        agent = host.mesh.processes["host"]
        until("it is told", lambda: "what runs goes on, without an agent" in agent.output())
        assert host.client("a")("http://c/").status == 200
    finally:
        host.file.write_text(text)
    before = host.mesh.state("host")["envoy"]
    host.healthy("a", "c")
    until("the agent is back", lambda: agent.output().rpartition("without an agent")[2].count("took over") > 0)
    assert host.mesh.state("host")["envoy"] == before


def test_an_explanation_says_what_stays_within_the_proxy(host: Host) -> None:
    for caller, near in (("a", True), ("far", False)):
        found = json.loads(host.mesh.weft("explain", "--from", caller, "http://c/", "-o", "json").stdout)
        hop = next(one for one in found["hops"] if one["side"] == "outbound")
        assert (hop["transport"] == "within the host's proxy") is near, hop
        assert [one["accepts"] == "within the host's proxy" for one in hop["endpoints"]] == [near]


def test_whoever_takes_one_for_a_process_or_a_proxy_is_told_whose_it_is(host: Host) -> None:
    for words, found in (
        (("restart", "a"), "'host' carries it"),
        (("stop", "a.default"), "'host' carries it"),
        (("proxy", "config", "a"), "that of its host is host.default"),
        (("proxy", "restart", "a"), "weft proxy restart host.default"),
    ):
        done = host.mesh.weft(*words, check=False)
        assert (done.returncode, found in done.stderr) == (1, True), done


def test_what_a_shared_proxy_does_not_do_is_refused(
    host: Host, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "weft.yaml"
    for more, found in (
        ({"capture": "on"}, "capture: found 'on' behind a shared proxy"),
        ({"dns": "on"}, "dns: found 'on' behind a shared proxy"),
        ({"identityFrom": "spire"}, "identityFrom"),
    ):
        file.write_text(json.dumps({"workloads": [entry("x", **more)]}))
        done = host.mesh.weft("host", str(file), check=False)
        assert done.returncode == 1, done
        assert found in done.stderr
        assert "proxy: sidecar" in done.stderr
    done = host.mesh.weft("host", "--control-plane", "10.0.0.1:15012", str(host.file), check=False)
    assert (done.returncode, "needs --ca-fingerprint" in done.stderr) == (2, True)
    monkeypatch.setenv("WEFT_CAPTURE", "on")
    done = host.mesh.weft("host", str(host.file), check=False)
    assert (done.returncode, "WEFT_CAPTURE" in done.stderr) == (2, True)


def test_the_demo_shares_a_proxy(tmp_path: Path) -> None:
    demo = Demo(tmp_path, "--shared-proxy")
    try:
        facts = demo.facts()
        assert Client()(f"{facts['gateway']}/productpage").status == 200
        by_name = {one["name"]: one for one in facts["workloads"]}
        assert len(by_name) == 7
        assert [name for name, one in by_name.items() if one["envoy_pid"]] == ["host"]
        rows = json.loads(cli(Path(facts["home"]), "ps", "-o", "json").stdout)
        assert {one["name"] for one in rows if one["started_by"] == "host"} == by_name.keys() - {"host"}
        assert {one["state"] for one in rows} == {"running"}
    finally:
        assert demo.interrupt() == 0
    pids = [one[what] for one in facts["workloads"] for what in ("envoy_pid", "app_pid") if one[what]]
    assert len(pids) == 7
    assert not any(alive(pid) for pid in pids)


def test_the_example_has_both_kinds(tmp_path: Path) -> None:
    mesh = Mesh(tmp_path / "home", tmp_path / "logs")
    try:
        mesh.spawn("up", "up", "-f", str(EXAMPLE))
        until("the control plane answers", lambda: mesh.api("health"))
        mesh.wait_healthy("shop", "catalog", "payments")
        carriers = {one["name"]: one["carrier"] for one in mesh.items("workloads")}
        assert carriers == {"shop": "host.default", "catalog": "host.default", "payments": "", "host": ""}
        page = Client(mesh.proxy_of("payments"))("http://shop/")
        assert page.body == b"welcome, we have: three books and a lamp\n\n"
        assert Client(mesh.proxy_of("payments"))("http://catalog/").status == 403
        keys = list((mesh.home / "workloads").rglob("certs/..data/key.pem"))
    finally:
        mesh.stop()
    assert len(keys) == 4
    assert not list((mesh.home / "workloads").rglob("*.pem"))
