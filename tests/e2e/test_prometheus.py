"""A real Prometheus scrapes a real mesh: each query of dashboards and alerts, of Kiali and of Flagger, finds data."""

from __future__ import annotations

import contextlib
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path

import pytest

from support.http import Client
from support.kiali import Question, flagger_questions, kiali_questions
from support.mesh import APPS, Mesh, until
from support.prometheus import (
    EXAMPLES,
    Prometheus,
    alert_queries,
    dashboard_queries,
    example_configuration,
    running_prometheus,
)

DOCUMENTS = """
apiVersion: v1
kind: Service
metadata: {name: echo}
spec: {selector: {app: echo}, ports: [{name: http, port: 80, targetPort: 8080}]}
---
apiVersion: v1
kind: Service
metadata: {name: client}
spec: {selector: {app: client}, ports: [{name: http, port: 80, targetPort: 8080}]}
---
apiVersion: v1
kind: Service
metadata: {name: db}
spec: {selector: {app: db}, ports: [{name: tcp, port: 9000}]}
---
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {name: echo}
spec: {selector: {matchLabels: {app: echo}}, mtls: {mode: PERMISSIVE}}
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
CHANGE = """
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: echo}
spec:
  hosts: [echo]
  http: [{route: [{destination: {host: echo}}], retries: {attempts: ATTEMPTS, retryOn: 5xx}}]
"""
WINDOW = "20s"
VALUES = {
    "__rate_interval": WINDOW,
    "namespace": "default",
    "service": "echo.default.svc.cluster.local",
    "workload": "echo-v1|client|db",
}


@dataclass
class Scraped:
    """A mesh under traffic, and the Prometheus that scrapes it."""

    mesh: Mesh
    prometheus: Prometheus


@pytest.fixture(scope="module")
def scraped(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scraped]:
    root = tmp_path_factory.mktemp("prometheus")
    mesh = Mesh(root / "home", root / "logs")
    stop = threading.Event()
    try:
        mesh.serve("--xds-port", "0", "--agent-port", "0", "--admin-port", "0", "--metrics-port", "0")
        mesh.apply(DOCUMENTS)
        mesh.echo("echo-v1", app="echo", wait=False)
        mesh.echo("client", more=["--upstream", "db:9000"], wait=False)
        mesh.echo("caller", more=["--namespace", "other"], wait=False)
        mesh.run("db", [sys.executable, str(APPS / "tcp_echo.py")], port="9000:auto", health="tcp", wait=False)
        mesh.wait_healthy("echo-v1", "client", "db")
        until("caller is healthy", lambda: mesh.workload("caller", "other")["state"] == "healthy")
        mesh.gateway("front", "80=auto")
        token = (root / "home" / "control-plane" / "prometheus.token").read_bytes()
        files = {"prometheus.token": token, "alerts.yml": (EXAMPLES / "alerts.yml").read_bytes()}
        discovery = mesh.endpoints()["metrics"].replace("/metrics", "/v1/prometheus/targets")
        with running_prometheus(example_configuration(discovery, "1s"), files) as prometheus:
            traffic = threading.Thread(target=_traffic, args=(mesh, stop))
            traffic.start()
            try:
                yield Scraped(mesh, prometheus)
            finally:
                stop.set()
                traffic.join(30)
    finally:
        mesh.stop()


def _traffic(mesh: Mesh, stop: threading.Event) -> None:
    """Some of everything, until told to stop: good and bad answers, TCP, plaintext callers, changes, refusals."""
    binding = mesh.workload("front")["gateway"]["ports"][0][1]
    outside, client = Client(), Client(mesh.proxy_of("client"))
    address = mesh.workload("caller", "other")["outbound"]
    caller = Client((address["host"], address["port"]))
    plain = "http://{}:{}/".format(*mesh.inbound_of("echo-v1"))
    upstream = mesh.workload("client")["upstreams"][0]["listen"]
    rounds = 0
    while not stop.wait(0.1):
        with contextlib.suppress(OSError, HTTPException):
            outside(f"http://{binding['host']}:{binding['port']}/")
            for path in ("", "status/404", "status/503", "delay/0.02"):
                client(f"http://echo/{path}", "POST" if not path else "GET", body=b"x" * 100 if not path else None)
            caller("http://echo.default/", "POST", body=b"y" * 50)
            outside(plain, headers={"Host": "echo"})
            with socket.create_connection((upstream["host"], upstream["port"]), 5) as connection:
                connection.sendall(b"hello")
                connection.recv(5)
            if rounds % 10 == 0:
                mesh.api("documents", "POST", CHANGE.replace("ATTEMPTS", str(1 + rounds // 10 % 2)).encode())
                Client()(mesh.endpoints()["metrics"].replace("/metrics", "/v1/prometheus/targets"))
        rounds += 1


def _unanswered(prometheus: Prometheus, queries: dict[str, str]) -> dict[str, str]:
    """Those that return nothing, once more than a window has passed with traffic in it."""
    left = dict(queries)

    def all_answered() -> bool:
        for name, query in tuple(left.items()):
            if prometheus.ask(query):
                del left[name]
        return not left

    with contextlib.suppress(AssertionError):
        until("every query returns data", all_answered, 75, 1.0)
    return left


def test_everything_of_the_mesh_is_found_and_scraped(scraped: Scraped) -> None:
    def healthy() -> set[str]:
        targets = scraped.prometheus.targets()
        assert {one["health"] for one in targets} == {"up"}, [one["lastError"] for one in targets]
        return {one["labels"]["workload"] for one in targets}

    expected = {"weft-control-plane", "echo-v1", "client", "caller", "db", "front"}
    until("all are scraped", lambda: healthy() == expected)


@pytest.mark.parametrize("board", sorted(path.name for path in (EXAMPLES / "grafana").glob("*.json")))
def test_every_query_of_a_dashboard_returns_data(scraped: Scraped, board: str) -> None:
    queries = {name: query for name, query in dashboard_queries(VALUES) if name.startswith(f"{board}:")}
    assert len(queries) > 8
    assert _unanswered(scraped.prometheus, queries) == {}


def test_every_alert_looks_at_something_that_is_there(scraped: Scraped) -> None:
    assert _unanswered(scraped.prometheus, dict(alert_queries())) == {}


def test_each_alert_fires_when_it_should_and_has_a_page() -> None:
    for words in (["check", "rules", "alerts.yml"], ["test", "rules", "alerts_test.yml"]):
        done = subprocess.run(["promtool", *words], cwd=EXAMPLES, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
    names = {line.split(": ")[1] for line in (EXAMPLES / "alerts.yml").read_text().splitlines() if "alert: " in line}
    tried = (EXAMPLES / "alerts_test.yml").read_text()
    assert {name for name in names if f"name: {name}\n" not in tried} == set()
    page = (Path(__file__).parents[2] / "docs" / "alerts.md").read_text()
    headings = {line[3:].lower() for line in page.splitlines() if line.startswith("## ")}
    rules = (EXAMPLES / "alerts.yml").read_text()
    links = {line.split("#")[1].strip() for line in rules.splitlines() if "runbook_url" in line}
    assert links
    assert links <= headings


def test_kiali_finds_what_it_asks_for(scraped: Scraped) -> None:
    questions = list(kiali_questions("default", "other", "echo", "echo-v1", "echo", WINDOW))
    assert len(questions) > 30
    assert _unanswered(scraped.prometheus, {one.name: one.query for one in questions}) == {}
    missing = {one.name: found for one in questions if (found := _missing(scraped.prometheus, one))}
    assert missing == {}


def _missing(prometheus: Prometheus, question: Question) -> set[str]:
    found = prometheus.labels(question.query)
    return {label for label in question.labels for labels in found if not labels.get(label)}


def test_flagger_finds_what_it_asks_for(scraped: Scraped) -> None:
    questions = {one.name: one.query for one in flagger_questions("default", "echo-v1", WINDOW)}
    assert _unanswered(scraped.prometheus, questions) == {}
    (success,) = scraped.prometheus.ask(questions["success rate"])
    assert 50 < float(success["value"][1]) < 100
