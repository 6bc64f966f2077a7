"""Resilience with real Envoys: zones, health checks, fallbacks, ejection by comparison, and limits of applications."""

from __future__ import annotations

import asyncio
import socket
import sys
import urllib.request
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import pytest

from support.http import Client, steady_load
from support.mesh import APPS, Mesh, until

EXAMPLE = Path(__file__).parents[2] / "examples" / "zones"
SERVICES, NEAR_FIRST, CHECK, FALLBACK = (
    (EXAMPLE / "documents" / f"{name}.yaml").read_text() for name in ("services", "zones", "health-check", "fallback")
)
OTHERS = """
apiVersion: v1
kind: Service
metadata: {name: calls}
spec: {selector: {app: calls}, ports: [{name: grpc, port: 50051, targetPort: 8080}]}
---
apiVersion: v1
kind: Service
metadata: {name: db}
spec: {selector: {app: db}, ports: [{name: tcp, port: 7000, targetPort: 8080}]}
"""
OTHER_CHECK = """
apiVersion: weft.dev/v1alpha1
kind: HealthCheckPolicy
metadata: {name: %s}
spec: {targetRefs: [{name: %s}], %s, interval: 200ms, unhealthyThreshold: 1, healthyThreshold: 1}
"""
ZONES = """
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: shop}
spec:
  host: shop
  trafficPolicy:
    loadBalancer: {localityLbSetting: {%s}}
    outlierDetection: {consecutive5xxErrors: 3, interval: 100ms, baseEjectionTime: 1s, maxEjectionPercent: 100}
"""
CLOSE = """
apiVersion: v1
kind: Service
metadata: {name: shop}
spec:
  selector: {app: shop}
  trafficDistribution: PreferSameZone
  ports: [{name: http, port: 80, targetPort: 8080}]
"""
COMPARE = """
apiVersion: weft.dev/v1alpha1
kind: EjectionPolicy
metadata: {name: shop}
spec:
  targetRefs: [{name: shop}]
  %s
  interval: 1s
  baseEjectionTime: 60s
"""
FAILURES = "failurePercentage: {threshold: 60, minimumHosts: 2, requestVolume: 5}"
CONCURRENCY = """
apiVersion: weft.dev/v1alpha1
kind: OverloadPolicy
metadata: {name: spare}
spec:
  targetRefs: [{name: spare}]
  adaptiveConcurrency: {maxConcurrency: 3, minConcurrency: 3}
"""
ADMISSION = """
apiVersion: weft.dev/v1alpha1
kind: OverloadPolicy
metadata: {name: spare}
spec:
  targetRefs: [{name: spare}]
  admissionControl: {samplingWindow: 5s, requestsPerSecond: 1, maxRejectionPercent: 90}
"""


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mesh]:
    """A client and an instance in one zone, an instance in another, and another service."""
    root = tmp_path_factory.mktemp("shop")
    mesh = Mesh(root / "home", root / "logs")
    try:
        mesh.serve("--xds-port", "0", "--agent-port", "0", "--admin-port", "0")
        mesh.apply(SERVICES + "\n---\n" + OTHERS)
        for name, program in (("calls", "grpc_echo.py"), ("db", "tcp_echo.py")):
            mesh.run(name, [sys.executable, str(APPS / program)], health="tcp", wait=False)
        for name, app, place in (
            ("client", "client", "eu/a"),
            ("near", "shop", "eu/a"),
            ("far", "shop", "eu/b"),
            ("spare", "spare", ""),
        ):
            more = ("--locality", place, *(("--upstream", "db:7000") if name == "client" else ()))
            mesh.echo(name, app=app, health="tcp", more=more, wait=False)
        mesh.wait_healthy("client", "near", "far", "spare", "calls", "db")
        yield mesh
    finally:
        mesh.stop()


@pytest.fixture
def caller(shop: Mesh) -> Iterator[Client]:
    client = Client(shop.proxy_of("client"))
    yield client
    client.close()


def who(caller: Client, times: int = 1, path: str = "/") -> Counter[str]:
    """Who answers, by name, or with which status."""
    answers = [caller(f"http://shop{path}") for _ in range(times)]
    names = [
        (one.headers.get("x-workload") or one.body.decode()) if one.status == 200 else str(one.status)
        for one in answers
    ]
    return Counter(names)


def set_health(mesh: Mesh, name: str, value: str) -> None:
    """What an application says of itself from now on; asked at its own port, past the mesh."""
    application = mesh.workload(name)["ports"][0]["application"]
    url = f"http://{application['host']}:{application['port']}/health/{value}"
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(urllib.request.Request(url, method="POST"), timeout=10) as answer:
        assert answer.status == 200


def test_without_a_policy_zones_do_not_matter(shop: Mesh, caller: Client) -> None:
    assert shop.workload("near")["locality"] == "eu/a"
    until("both are called", lambda: set(who(caller, 10)) == {"near", "far"})


def test_calls_stay_in_the_zone_go_to_the_other_and_come_back(shop: Mesh, caller: Client) -> None:
    with shop.applied(NEAR_FIRST):
        until("calls stay in the zone", lambda: who(caller, 10) == {"near": 10})
        set_health(shop, "near", "false")
        until("calls go to the other zone", lambda: who(caller, 5, "/health") == {"far": 5})
        set_health(shop, "near", "true")
        until("calls come back", lambda: who(caller, 5, "/health") == {"near": 5})


def test_a_zone_whose_instance_is_stopped_fails_no_request(shop: Mesh, caller: Client) -> None:
    shop.apply(CLOSE)
    try:
        until("calls stay in the zone", lambda: who(caller, 10) == {"near": 10})
        with ThreadPoolExecutor(1) as pool:
            stopped = pool.submit(shop.processes["near"].stop)
            seen: Counter[str] = Counter()
            until("calls go to the other zone", lambda: seen.update(found := who(caller, 5)) or found == {"far": 5})
            assert stopped.result() == 0
        assert set(seen) <= {"near", "far"}
        shop.echo("near", app="shop", health="tcp", more=("--locality", "eu/a"))
        until("calls come back", lambda: who(caller, 5) == {"near": 5})
    finally:
        shop.apply(SERVICES)


def test_shares_of_zones(shop: Mesh, caller: Client) -> None:
    with shop.applied(ZONES % 'distribute: [{from: "eu/a", to: {"eu/b": 100}}]'):
        until("all calls go to the other zone", lambda: who(caller, 10) == {"far": 10})


def test_zones_take_what_they_can_and_callers_count(shop: Mesh, caller: Client) -> None:
    """One caller for two zones: half of its calls leave. With a second in the other zone each stays in its own."""
    text = ZONES.replace("localityLbSetting: {%s}", "zoneAwareLbSetting: {minClusterSize: 1}")
    with shop.applied(text):
        until("half of the calls leave", lambda: 5 <= who(caller, 20)["far"] <= 15)
        second = shop.echo("client-b", app="client", health="tcp", more=("--locality", "eu/b"))
        until("calls stay in the zone", lambda: who(caller, 20) == {"near": 20})
        second.stop()
        until("half of the calls leave again", lambda: 5 <= who(caller, 20)["far"] <= 15)


def test_callers_check_health_through_mutual_tls(shop: Mesh, caller: Client) -> None:
    with shop.applied(CHECK):
        until("both are called", lambda: set(who(caller, 10)) == {"near", "far"})
        set_health(shop, "far", "false")
        until("one is left out", lambda: who(caller, 10) == {"near": 10})
        assert shop.workload("far")["state"] == "healthy"
        set_health(shop, "far", "true")
        until("both are called again", lambda: set(who(caller, 10)) == {"near", "far"})


def call_grpc(mesh: Mesh) -> str:
    """What a gRPC call is answered with: a name, or the word of a status."""
    host, port = mesh.proxy_of("client")
    with grpc.insecure_channel("calls:50051", options=[("grpc.http_proxy", f"http://{host}:{port}")]) as channel:
        try:
            ask: grpc.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary("/test.Echo/Unary")
            answer = ask(b"hi", timeout=10)
        except grpc.RpcError as error:
            return str(error.code().name)
    return answer.decode()


def send_tcp(mesh: Mesh) -> bytes:
    """What comes back on a connection to the database."""
    listen = mesh.workload("client")["upstreams"][0]["listen"]
    with socket.create_connection((listen["host"], listen["port"]), timeout=10) as connection:
        try:
            connection.sendall(b"hello")
            return connection.recv(5)
        except OSError:
            return b""


def test_health_of_grpc_is_what_its_server_says(shop: Mesh) -> None:
    until("it is called", lambda: call_grpc(shop) == "calls:hi")
    with shop.applied(OTHER_CHECK % ("calls", "calls", "grpc: {service: down}")):
        until("its server says it is down", lambda: call_grpc(shop) == "UNAVAILABLE")
        shop.apply(OTHER_CHECK % ("calls", "calls", "grpc: {}"))
        until("its server says it is well", lambda: call_grpc(shop) == "calls:hi")


def test_health_of_connections_is_what_comes_on_one(shop: Mesh) -> None:
    until("it is called", lambda: send_tcp(shop) == b"hello")
    with shop.applied(OTHER_CHECK % ("db", "db", "tcp: {send: ping, receive: pong}")):
        until("it does not say pong", lambda: send_tcp(shop) == b"")
        shop.apply(OTHER_CHECK % ("db", "db", "tcp: {send: ping, receive: ping}"))
        until("it says ping", lambda: send_tcp(shop) == b"hello")


def test_another_service_takes_the_calls_of_one_without_healthy_instances(shop: Mesh, caller: Client) -> None:
    with shop.applied(CHECK + "\n---\n" + FALLBACK):
        until("its own are called", lambda: set(who(caller, 10)) == {"near", "far"})
        shown = shop.weft("get", "fallbackpolicies").stdout.splitlines()[1].split()
        assert shown[:5] == ["shop", "shop", "spare", "True", "True"]
        set_health(shop, "far", "false")
        until("the last healthy one takes all calls", lambda: who(caller, 10) == {"near": 10})
        set_health(shop, "near", "false")
        until("the other service takes them", lambda: who(caller, 10) == {"spare": 10})
        for name in ("near", "far"):
            set_health(shop, name, "true")
        until("its own are called again", lambda: set(who(caller, 10)) == {"near", "far"})


@pytest.mark.parametrize("how", [FAILURES, "successRate: {deviations: 0.5, minimumHosts: 2, requestVolume: 5}"])
def test_who_fails_more_than_others_is_ejected(shop: Mesh, caller: Client, how: str) -> None:
    with shop.applied(COMPARE % how):
        set_health(shop, "far", "false")
        until("the failing one is ejected", lambda: who(caller, 40, "/health") == {"near": 40})
        set_health(shop, "far", "true")


def statuses(mesh: Mesh, count: int, workers: int, path: str) -> Counter[int]:
    """The statuses of so many calls to the other service, so many of them at once."""

    def call(_: int) -> int:
        client = Client(mesh.proxy_of("client"))
        try:
            return client(f"http://spare{path}").status
        finally:
            client.close()

    with ThreadPoolExecutor(workers) as pool:
        return Counter(pool.map(call, range(count)))


def test_an_application_gets_no_more_at_once_than_it_can_answer(shop: Mesh, caller: Client) -> None:
    until("nothing of other tests limits them", lambda: statuses(shop, 12, 12, "/delay/0.5") == {200: 12})
    with shop.applied(CONCURRENCY):
        until("what is too much is refused", lambda: statuses(shop, 12, 12, "/delay/0.5")[503] >= 6)
        assert caller("http://spare/").status == 200
    until("all are let in", lambda: statuses(shop, 12, 12, "/delay/0.2") == {200: 12})


def test_an_application_that_fails_gets_less(shop: Mesh) -> None:
    with shop.applied(ADMISSION):
        until("some are refused", lambda: 503 in statuses(shop, 40, 4, "/status/500"))


def test_the_example_is_in_order(shop: Mesh) -> None:
    assert "0 errors" in shop.weft("validate", str(EXAMPLE / "weft.yaml"), str(EXAMPLE / "documents")).stdout


async def test_changes_of_every_policy_fail_no_request(shop: Mesh) -> None:
    host, port = shop.proxy_of("client")

    limit = CONCURRENCY.replace("spare", "shop").replace(": 3", ": 999")
    steps = (
        ZONES % "enabled: true",
        "\n---\n".join((ZONES % "enabled: false", CHECK, FALLBACK, limit)),
        "\n---\n".join((COMPARE % FAILURES, ADMISSION.replace("spare", "shop"))),
    )

    async def change() -> None:
        for text in steps:
            await asyncio.to_thread(shop.apply, text)
        await asyncio.to_thread(shop.delete, "\n---\n".join((steps[1], COMPARE % FAILURES)))

    load = await steady_load("http://shop/", f"http://{host}:{port}", 200, change)
    assert load.failures == []
    assert load.sent > 0
