"""Rate limits in a real mesh: counted by each proxy, by the control plane for all of them, and in a Redis that dies."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.http import Answer, Client
from support.mesh import Mesh, until
from support.redis import PASSWORD, Redis

Front = tuple[Client, str]
POLICY = """
apiVersion: weft.dev/v1alpha1
kind: RateLimitPolicy
metadata: {name: limits}
spec:
  targetRefs: [TARGET]
  MORE
  limits: [{name: calls, requests: N, unit: Hour, by: [BY]}]
"""
ROUTE = """
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: NAME}
spec:
  parentRefs: [{name: front}]
  hostnames: [NAME.example.com]
  rules: [{backendRefs: [{name: echo, port: 80}]}]
"""
SERVICE = "{kind: Service, name: echo}"


def policy(target: str, requests: int, more: str = "mode: Local", by: str = "") -> str:
    text = POLICY.replace("TARGET", target).replace("MORE", more).replace("N,", f"{requests},")
    return text.replace("[BY]", f"[{by}]")


def test_each_proxy_counts_for_itself_and_by_the_caller(world: Mesh, client: Client) -> None:
    with world.applied(policy(SERVICE, 2, by="{type: Identity}")):
        # a proxy's slot is filled a moment after it has confirmed the listener; what comes before is not limited
        told: list[Answer] = []

        def both_refuse() -> bool:
            found = [client("http://echo/") for _ in range(8)]
            told.extend(answer for answer in found if "ratelimit-limit" in answer.headers)
            return all(answer.status == 429 for answer in found)

        until("both proxies refuse", both_refuse)
        assert Counter(answer.status for answer in told)[200] == 4, "two versions of echo, each with its own count"
        refused = next(answer for _ in range(20) if (answer := client("http://echo/")).status == 429)
        assert int(refused.headers["retry-after"]) > 0
        assert "RateLimitPolicy" in world.weft("get", "ratelimitpolicies", "limits", "-o", "yaml").stdout
    until("there is no limit any more", lambda: no_more(client))


def no_more(client: Client) -> bool:
    """Whether nothing is refused, by no proxy: their slots are emptied a moment after they have confirmed that."""
    return {client("http://echo/").status for _ in range(8)} == {200}


def test_the_control_plane_counts_for_all_proxies(world: Mesh, client: Client) -> None:
    with world.applied(policy(SERVICE, 3, "mode: Global\n  failureMode: Closed")):
        # The proxies have confirmed the listener; each one's slot is filled a moment later. A count that comes too late
        # on a busy machine is used up all the same, and its request refused.
        seen: list[Answer] = []

        def both_count() -> bool:
            found = [client("http://echo/") for _ in range(8)]
            seen.extend(answer for answer in found if "ratelimit-limit" in answer.headers)
            return all("ratelimit-limit" in answer.headers for answer in found)

        until("both proxies count", both_count)
        counted = Counter(answer.status for answer in seen)
        assert counted[200] <= 3, "two versions of echo, one count"
        until("there are too many", lambda: {client("http://echo/").status for _ in range(8)} == {429})
    until("there is no limit any more", lambda: no_more(client))
    with world.applied(policy(SERVICE, 1, "mode: Global\n  dryRun: true")):
        assert [client("http://echo/").status for _ in range(4)] == [200] * 4


def test_a_route_takes_the_place_of_its_gateway(world: Mesh, front: Front) -> None:
    client, url = front

    def ask(host: str) -> int:
        return client(url, headers={"host": f"{host}.example.com"}).status

    def let_in(host: str) -> int:
        """How many are, of those that are counted: until the slot is filled, none are."""
        told: list[Answer] = []

        def refused() -> bool:
            answer = client(url, headers={"host": f"{host}.example.com"})
            told.extend([answer] if "ratelimit-limit" in answer.headers else [])
            return answer.status == 429

        until(f"{host} is limited", refused)
        return sum(answer.status == 200 for answer in told)

    gateway = policy("{kind: Gateway, name: front}", 2)
    own = policy("{kind: HTTPRoute, name: wide}", 5).replace("name: limits", "name: wide")
    routes = "---".join(ROUTE.replace("NAME", name) for name in ("wide", "narrow"))
    with world.applied("---".join((routes, gateway, own))):
        assert (let_in("narrow"), let_in("wide")) == (2, 5)
        assert {ask(host) for host in ("narrow", "wide") for _ in range(3)} == {429}
        # another route changes what the gateway is told, and fills no bucket
        with world.applied(ROUTE.replace("NAME", "more")):
            assert ask("narrow") == 429


def test_documents_that_limit_nothing_are_told(world: Mesh) -> None:
    text = policy("{kind: Service, name: ecko}", 1)
    told = world.weft("validate", "-", "--against-mesh", stdin=text, check=False).stderr
    assert "there is no Service 'ecko'" in told
    assert "did you mean 'echo'" in told


@pytest.fixture
def redis(tmp_path: Path) -> Iterator[Redis]:
    redis = Redis(tmp_path)
    redis.start()
    yield redis
    redis.kill()


@pytest.mark.parametrize(("failure_mode", "meanwhile"), [("Open", {200}), ("Closed", {503})])
def test_counts_in_redis_that_dies_and_comes_back(
    mesh: Mesh, redis: Redis, tmp_path: Path, failure_mode: str, meanwhile: set[int]
) -> None:
    (tmp_path / "url").write_text(f"{redis.url}\n")
    mesh.serve("--rate-limit-store", f"file:{tmp_path / 'url'}")
    services = "".join(
        f"apiVersion: v1\nkind: Service\nmetadata: {{name: {name}}}\n"
        f"spec: {{selector: {{app: {name}}}, ports: [{{name: http, port: 80, targetPort: 8080}}]}}\n---\n"
        for name in ("echo", "free", "client")
    )
    limited = policy(SERVICE, 1_000_000, f"mode: Global\n  failureMode: {failure_mode}").replace(
        "unit: Hour", "unit: Hour, burst: 5"
    )
    mesh.apply(services + limited)
    for name in ("client", "echo", "free"):
        mesh.echo(name, app=name, wait=False)
    mesh.wait_healthy("client", "echo", "free")
    client = Client(mesh.proxy_of("client"))
    for name in ("echo", "free"):
        until(f"{name} answers", lambda name=name: client(f"http://{name}/").status == 200)  # type: ignore[misc]
    others: Counter[int] = Counter()
    stop = threading.Event()

    def bystander() -> None:
        own = Client(mesh.proxy_of("client"))
        while not stop.is_set():
            others[own("http://free/").status] += 1
        own.close()

    thread = threading.Thread(target=bystander)
    thread.start()
    try:
        redis.kill()
        until("the policy says what happens", lambda: {client("http://echo/").status for _ in range(5)} == meanwhile)
        redis.start()
        until("it counts again", lambda: "ratelimit-limit" in client("http://echo/").headers)
    finally:
        stop.set()
        thread.join(30)
    client.close()
    assert set(others) == {200}, "nothing else fails"
    assert PASSWORD not in "".join(path.read_text(errors="replace") for path in mesh.logs.rglob("*.log"))
