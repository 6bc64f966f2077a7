"""Sessions in real traffic: through a sidecar and a gateway, over restarts and more instances; changes under load."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from support.http import Answer, Client, steady_load
from support.mesh import Mesh, until

SERVICES = """
apiVersion: v1
kind: Service
metadata: {name: shop}
spec: {selector: {app: shop}, ports: [{name: http, port: 80, targetPort: 8080}]}
---
apiVersion: v1
kind: Service
metadata: {name: canary}
spec: {selector: {app: canary}, ports: [{name: http, port: 80, targetPort: 8080}]}
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: edge}
spec: {gatewayClassName: weft, listeners: [{name: http, port: 80, protocol: HTTP}]}
"""


def route(*rules: str, annotations: str = "{}") -> str:
    """An HTTPRoute of the shop with these rules (flow YAML)."""
    return f"""
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {{name: shop, annotations: {annotations}}}
spec:
  parentRefs: [{{group: "", kind: Service, name: shop}}, {{name: edge}}]
  rules: [{", ".join(rules)}]
"""


SHOP = "backendRefs: [{name: shop, port: 80}]"
SPLIT = "backendRefs: [{name: shop, port: 80, weight: SHOP}, {name: canary, port: 80, weight: CANARY}]"
SESSION = "sessionPersistence: {sessionName: basket}"


def split(shop: int, canary: int) -> str:
    return SPLIT.replace("SHOP", str(shop)).replace("CANARY", str(canary))


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mesh]:
    """Two instances of a shop, a canary, a caller and a gateway."""
    root = tmp_path_factory.mktemp("sessions")
    mesh = Mesh(root / "home", root / "logs")
    try:
        mesh.serve("--xds-port", "0", "--agent-port", "0", "--admin-port", "0")
        mesh.apply(SERVICES)
        for name, app in (("shop-1", "shop"), ("shop-2", "shop"), ("canary", "canary"), ("caller", "caller")):
            mesh.echo(name, app=app, wait=False)
        mesh.gateway("edge", "80=auto")
        mesh.wait_healthy("shop-1", "shop-2", "canary", "caller")
        client = Client(mesh.proxy_of("caller"))
        until("both answer", lambda: {who(client("http://shop/")) for _ in range(10)} == {"shop-1", "shop-2"})
        client.close()
        yield mesh
    finally:
        mesh.stop()


def who(answer: Answer) -> str:
    return str(answer.json()["workload"])


def cookie(answer: Answer) -> dict[str, str]:
    """What a browser sends back."""
    [given] = answer.set_cookies
    return {"cookie": given.partition(";")[0]}


def ways(mesh: Mesh) -> dict[str, tuple[Client, str]]:
    """Through the caller's sidecar, and through the gateway."""
    address = mesh.workload("edge")["gateway"]["ports"][0][1]
    return {
        "sidecar": (Client(mesh.proxy_of("caller")), "http://shop/"),
        "gateway": (Client(), f"http://{address['host']}:{address['port']}/"),
    }


@pytest.mark.parametrize("way", ["sidecar", "gateway"])
def test_a_session_stays_whatever_comes_beside_it_and_begins_again_when_its_instance_goes(shop: Mesh, way: str) -> None:
    with shop.applied(route(f"{{{SHOP}, {SESSION}}}")):
        client, url = ways(shop)[way]
        first = client(url)
        session = cookie(first)
        assert {who(client(url, headers=session)) for _ in range(30)} == {who(first)}
        shop.echo("shop-3", app="shop")
        until("the third is called", lambda: "shop-3" in {who(client(url)) for _ in range(10)})
        assert {who(client(url, headers=session)) for _ in range(30)} == {who(first)}
        shop.apply(route(f"{{{split(0, 1)}, {SESSION}}}"), "--wait")
        assert {who(client(url)) for _ in range(10)} == {"canary"}
        assert {who(client(url, headers=session)) for _ in range(30)} == {who(first)}, "a weight of 0 ends no session"
        shop.apply(route(f"{{{SHOP}, {SESSION}}}"), "--wait")
        shop.processes[who(first)].stop()
        second = client(url, headers=session)
        assert second.status == 200
        assert who(second) != who(first)
        assert {who(client(url, headers=cookie(second))) for _ in range(30)} == {who(second)}
        if who(first) != "shop-3":
            shop.processes["shop-3"].stop()
            shop.echo(who(first), app="shop")


@pytest.mark.parametrize("way", ["sidecar", "gateway"])
def test_a_service_keeps_sessions_by_whatever_rule_requests_come(shop: Mesh, way: str) -> None:
    policy = """
apiVersion: gateway.networking.x-k8s.io/v1alpha1
kind: XBackendTrafficPolicy
metadata: {name: shop}
spec: {targetRefs: [{name: shop}], sessionPersistence: {sessionName: basket}}
"""
    at_gateway = route(f"{{{SHOP}}}").replace('{group: "", kind: Service, name: shop}, ', "")
    with shop.applied(at_gateway), shop.applied(policy):
        client, url = ways(shop)[way]
        until("the proxy knows", lambda: client(url).set_cookies)
        first = client(url)
        assert cookie(first)["cookie"].startswith("basket=")
        assert {who(client(url, headers=cookie(first))) for _ in range(30)} == {who(first)}
        assert len({who(client(url)) for _ in range(30)}) == 2
        client.close()


CHANGES = (
    route(f"{{{SHOP}}}"),
    route(f"{{{SHOP}, {SESSION}}}"),
    route(f"{{{split(1, 1)}, {SESSION}}}"),
    route(f"{{{split(9, 1)}, sessionPersistence: {{type: Cookie}}}}"),
    route(
        f"{{{SHOP}, timeouts: {{backendRequest: 5s}}, retry: {{attempts: 2, codes: [503]}}}}",
        annotations="{weft.dev/hedge: on-per-try-timeout}",
    ),
    route(
        f"{{{split(1, 1)}, filters: "
        "[{type: RequestMirror, requestMirror: {backendRef: {name: canary, port: 80}}},"
        " {type: CORS, cors: {allowOrigins: ['https://a.example']}}]}"
    ),
    route(f"{{{SHOP}, sessionPersistence: {{type: Header, sessionName: x-basket}}}}"),
    """
apiVersion: gateway.networking.k8s.io/v1
kind: GRPCRoute
metadata: {name: shop}
spec:
  parentRefs: [{group: "", kind: Service, name: shop}]
  rules: [{backendRefs: [{name: shop, port: 80}]}]
""",
    """
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: shop-part}
spec: {http: [{match: [{uri: {prefix: /}, statPrefix: shop}], route: [{destination: {host: shop}}]}]}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: shop}
spec:
  hosts: [shop]
  http: [{delegate: {name: shop-part}, retries: {attempts: 2, retryOn: "5xx,unavailable", retryRemoteLocalities: true}}]
""",
)


def change(mesh: Mesh) -> None:
    """Each change, then all of them away."""
    for text in CHANGES:
        mesh.weft("apply", "-f", "-", "--wait", stdin=text, check=False)  # host conflicts are told, not refused
    for text in (CHANGES[0], *CHANGES[-2:]):
        mesh.delete(text)


def test_changing_any_of_these_under_load_fails_no_request(shop: Mesh) -> None:
    host, port = shop.proxy_of("caller")

    async def during() -> None:
        await asyncio.to_thread(change, shop)

    load = asyncio.run(steady_load("http://shop/", f"http://{host}:{port}", 200, during))
    assert not load.failures, load.failures[:3]
    assert load.sent > 200
