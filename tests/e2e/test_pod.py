"""A pod without Kubernetes: its rules and its proxy in a network namespace, beside a control plane on another host."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from support.hosts import Host, healthy, two_hosts
from support.mesh import APPS, WEFT, Proc, until
from support.pods import Pod, end, exit_code

pytestmark = pytest.mark.timeout(300)
FIREWALLS = [
    name for name, program in (("nft", "nft"), ("iptables", "iptables-restore")) if shutil.which(program)
] if os.geteuid() == 0 else []  # fmt: skip
ECHO = (sys.executable, str(APPS / "http_echo.py"))
POD, CONTROL = "10.77.0.2", "10.77.0.1"
POD_6, CONTROL_6 = "fd77:77::2", "fd77:77::1"
PROBES = {
    "/app-health/web/readyz": {"httpGet": {"port": 8080, "path": "/status/204"}},
    "/app-health/web/livez": {"httpGet": {"port": 8080, "path": "/status/418"}},
    "/app-health/web/startupz": {"tcpSocket": {"port": 8080}},
    "/app-health/slow/readyz": {"httpGet": {"port": 8080, "path": "/delay/30"}},
    "/app-health/gone/readyz": {"tcpSocket": {"port": 8099}},
}
DOCUMENTS = """
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {selector: {app: web}, ports: [{name: http, port: 80, targetPort: 8080}]}
---
apiVersion: v1
kind: Service
metadata: {name: other}
spec: {selector: {app: other}, ports: [{name: http, port: 80, targetPort: 8081}]}
---
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {name: default, namespace: istio-system}
spec: {mtls: {mode: STRICT}}
"""


@dataclass
class Meshed:
    """The pod and its control plane's host."""

    pod: Pod
    one: Host
    container: Proc
    application: Proc

    def mesh(self, path: str = "") -> dict[str, str]:
        """What a client of the mesh gets."""
        answer = self.one.curl("client", f"http://web/{path}")
        return json.loads(answer) if answer.startswith("{") else {"workload": answer}

    def start_application(self) -> None:
        """Start the application's container."""
        self.application = self.pod.application(*ECHO, PORT="8080", WORKLOAD="web")

    def start(self) -> None:
        """Start the proxy's container, and wait until a caller gets through."""
        self.container = self.pod.proxy("--labels", "app=web", "--port", "http=8080")
        self.pod.wait_ready()
        until("callers get through", lambda: self.mesh()["workload"] == "web")

    def addresses(self, name: str) -> list[str]:
        """The addresses of a service, as URLs have them."""
        rows = json.loads(self.one.weft("get", "services", "-o", "json").stdout)
        found = next(row["status"]["addresses"] for row in rows if row["metadata"]["name"] == name)
        return [f"[{address}]" if ":" in address else address for address in found]

    def counted(self, rule: str) -> int:
        """How many connections have met a rule since it was installed."""
        done = self.pod.host.weft("capture", "show", "-n", "pod", "--workload", "sidecar", "-o", "json", check=False)
        return int(json.loads(done.stdout)["counted"].get(rule, {"packets": 0})["packets"])


@pytest.fixture(scope="module", params=FIREWALLS[:1])
def mesh(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Meshed]:
    directory = tmp_path_factory.mktemp("pod")
    with two_hosts(directory) as (one, two), tempfile.TemporaryDirectory(prefix="pod", dir="/tmp") as volumes:
        for host, own, other in ((one, CONTROL_6, POD_6), (two, POD_6, CONTROL_6)):
            for words in (
                ("address", "add", f"{own}/64", "dev", "weft0", "nodad"),
                ("route", "add", "default", "via", other),
            ):
                assert host.call("ip", "-6", *words).returncode == 0
        control = one.spawn(*WEFT, "serve", "--bind", "0.0.0.0")
        until("the control plane answers", lambda: "ready: " in control.output())
        (directory / "documents.yaml").write_text(DOCUMENTS)
        one.weft("apply", "-f", str(directory / "documents.yaml"))
        one.spawn(*WEFT, "run", "--name", "client", "--service-account", "client")
        command = one.weft(
            "token", "create", "--service-account", "other", "--name", "other", "--labels", "app=other", "--port",
            "8081", "--", *ECHO,
        ).stdout  # fmt: skip
        one.spawn("sh", "-c", command, WORKLOAD="other")
        pod = Pod("web", two, one, Path(volumes), PROBES, {"WEFT_DRAIN_SECONDS": "2"})
        pod.prepare()
        assert pod.init().returncode == 0
        healthy(one, "client")
        found = Meshed(pod, one, control, control)
        try:
            found.start_application()
            found.start()
            yield found
        finally:
            if found.container.process.poll() is None:
                end(found.container, signal.SIGKILL)


def test_callers_of_the_mesh_are_served_and_no_others(mesh: Meshed) -> None:
    answer = mesh.mesh()
    assert answer["workload"] == "web"
    assert "ns/default/sa/client" in json.dumps(answer), "the application was told of the caller's certificate"
    stranger = mesh.pod.application(*ECHO, WEFT_HOST="0.0.0.0", PORT="8098")
    until("it listens", lambda: mesh.pod.status("http://127.0.0.1:8098/", host=mesh.pod.host) == "200")
    for port in (8080, 8098, 15001, 15006):
        for address in (POD, f"[{POD_6}]"):
            assert mesh.pod.status(f"http://{address}:{port}/") == "000", (address, port)
    stranger.stop()


def test_the_application_calls_as_its_identity_and_reaches_its_own_service(mesh: Meshed) -> None:
    for name in ("other", "web"):
        for address in mesh.addresses(name):
            done = mesh.pod.called("curl", "-sS", "-m", "5", f"http://{address}/")
            assert json.loads(done.stdout)["workload"] == name, done
            assert "ns/default/sa/web" in done.stdout


def test_the_kubelet_is_answered_and_nobody_is_led_further(mesh: Meshed) -> None:
    assert mesh.pod.ready() == "200"
    agent = f"http://{POD}:15020"
    expected = {
        "web/readyz": "200",
        "web/livez": "418",
        "web/startupz": "200",
        "slow/readyz": "503",
        "gone/readyz": "503",
    }
    assert {path: mesh.pod.status(f"{agent}/app-health/{path}") for path in expected} == expected
    assert mesh.pod.status(f"{agent}/app-health/web/other") == "404"
    assert mesh.pod.status(f"{agent}/metrics", "-H", "Host: evil.example") == "421"
    assert mesh.pod.status(f"{agent}/metrics", "-X", "POST") == "405"
    assert (
        'weft_agent_info{workload="web",namespace="default"' in mesh.one.call("curl", "-sS", f"{agent}/metrics").stdout
    )
    assert mesh.pod.host.weft("pod", "wait", "--timeout", "5", check=False).returncode == 2, "POD_IP is not set"
    assert mesh.pod.host.call(*WEFT, "pod", "wait", POD_IP=POD).returncode == 0


@pytest.mark.parametrize("firewall", FIREWALLS)
def test_rules_are_those_of_the_program_that_works_and_what_is_excluded_goes_by_itself(
    mesh: Meshed, firewall: str, tmp_path: Path
) -> None:
    host = mesh.pod.host
    refusing = tmp_path / "nft"
    refusing.write_text("#!/bin/sh\necho no >&2\nexit 1\n")
    refusing.chmod(0o755)
    path = f"{tmp_path}:{os.environ['PATH']}" if firewall != "nft" else os.environ["PATH"]
    host.call("nft", "flush", "ruleset")
    url, inbound = f"http://{CONTROL}:8097/", f"http://{POD}:8096/"
    outside = mesh.one.spawn(*ECHO, WEFT_HOST=CONTROL, PORT="8097")
    stranger = mesh.pod.application(*ECHO, WEFT_HOST="0.0.0.0", PORT="8096")
    until("it answers", lambda: mesh.pod.status(url) == "200")
    until("it listens", lambda: mesh.pod.status(inbound.replace(POD, "127.0.0.1"), host=host) == "200")
    for options, led, passes in (
        (("--exclude-outbound-port", "8097", "--exclude-inbound-port", "8096"), False, "200"),
        (("--include-outbound-address", "240.0.0.0/4", "--include-inbound-port", "8080"), False, "200"),
        (("--include-outbound-address", "240.0.0.0/4", "--include-outbound-port", "8097"), True, "000"),
    ):
        done = mesh.pod.init(*options, path=path)
        assert done.stdout.endswith(f"by {firewall}\n"), done
        assert mesh.pod.called("curl", "-sS", "-m", "5", url).returncode == 0
        assert (mesh.counted("outbound") > 0) is led, options
        assert mesh.pod.status(inbound) == passes, options
    assert mesh.mesh()["workload"] == "web"
    assert mesh.pod.status(f"http://{POD}:8080/") == "000"
    for process in (outside, stranger):
        process.stop()
    assert mesh.pod.init().stdout.endswith("by nft\n"), "which takes the place of the other's"
    assert "WEFT-" not in host.call("nft", "list", "ruleset").stdout


def test_the_agent_is_restarted_in_place_and_envoy_goes_on(mesh: Meshed) -> None:
    end(mesh.container, signal.SIGHUP)
    until("it took over", lambda: "took over the Envoy that was running" in mesh.container.output())
    mesh.pod.wait_ready()
    assert mesh.mesh()["workload"] == "web"


def test_without_a_control_plane_a_proxy_is_not_ready_says_why_and_ends_at_once(mesh: Meshed) -> None:
    with tempfile.TemporaryDirectory(prefix="pod", dir="/tmp") as directory:
        one, name = mesh.one, f"lonely-{'x' * 56}"
        lonely = Pod(name, one, one, Path(directory), more={"WEFT_SERVER": f"{POD}:9", "POD_NAMESPACE": "n" * 63})
        lonely.prepare()
        container = lonely.proxy()
        until("it is asked", lambda: lonely.ready() == "503")
        assert lonely.status(f"http://{CONTROL}:15020/metrics") == "200"
        until("it says why", lambda: f"no control plane at {POD}:9" in container.output())
        assert one.call(*WEFT, "pod", "wait", "--timeout", "0", POD_IP=CONTROL).returncode == 1
        end(container)
        assert exit_code(container) == 0
        assert [path.name for path in Path(directory, "volume").rglob("*.sock")] == []


def test_a_container_that_was_killed_comes_back_with_its_certificate(mesh: Meshed) -> None:
    mesh.pod.token.rename(mesh.pod.token.with_name("hidden"))
    end(mesh.container, signal.SIGKILL)
    mesh.container.process.wait()
    assert mesh.pod.ready() == "000"
    mesh.start()
    assert "registered at" in mesh.container.output()


def test_a_stop_loses_no_request_and_is_a_good_end(mesh: Meshed) -> None:
    command = mesh.one.weft(
        "token", "create", "--service-account", "web", "--name", "web-2", "--labels", "app=web", "--port", "8080",
        "--", *ECHO,
    ).stdout  # fmt: skip
    proxy = f"http://127.0.0.1:{mesh.one.state('client').outbound}"
    calls = f"while :; do curl -sS -m 9 -o /dev/null -w '%{{http_code}} ' -x {proxy} http://web/; done"
    slow = f"curl -sS -m 20 -o /dev/null -w 'slow %{{http_code}}' -x {proxy} http://web/delay/4"
    under_way = mesh.one.spawn("sh", "-c", slow)
    sock = next((mesh.pod.directory / "volume").rglob("admin.sock"))
    busy = ("curl", "-sS", "--unix-socket", str(sock), "http://x/stats?filter=inbound.8080.upstream_rq_active")
    until("the slow one is under way", lambda: mesh.pod.host.call(*busy).stdout.strip().endswith(": 1"))
    mesh.one.spawn("sh", "-c", command, WORKLOAD="web")
    healthy(mesh.one, "web-2")
    load = mesh.one.spawn("sh", "-c", calls)
    until("there is load", lambda: load.output().count("200") > 5)
    began = time.monotonic()
    end(mesh.container)
    until("the kubelet is told", lambda: mesh.pod.ready() == "503")
    assert until("the slow one is answered", lambda: "slow" in under_way.output() and under_way.output()) == "slow 200"
    until("it had served on for as long as it does for callers", lambda: time.monotonic() > began + 2.5)
    assert mesh.pod.called("curl", "-sSf", "-m", "5", f"http://{mesh.addresses('other')[0]}/").returncode == 0
    mesh.application.stop()
    assert exit_code(mesh.container) == 0, mesh.container.output()
    before = load.output().count("200")
    until("the other instance serves", lambda: load.output().count("200") > before + 5)
    load.process.kill()
    assert set(load.output().split()) == {"200"}
    mesh.start_application()
    mesh.start()
