"""What Argo Rollouts and Flagger write, step by step, as their published examples for Istio and Gateway API have it.

The documents that a person applies are theirs; each step is what their controllers make of these. No request fails.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import pytest

from support.http import Client, steady_load
from support.mesh import Mesh, until

SERVICES = """
apiVersion: v1
kind: Service
metadata: {name: podinfo}
spec: {selector: {app: podinfo-primary}, ports: [{name: http, port: 9898, targetPort: 8080}]}
---
apiVersion: v1
kind: Service
metadata: {name: podinfo-primary}
spec: {selector: {app: podinfo-primary}, ports: [{name: http, port: 9898, targetPort: 8080}]}
---
apiVersion: v1
kind: Service
metadata: {name: podinfo-canary}
spec: {selector: {app: podinfo-canary}, ports: [{name: http, port: 9898, targetPort: 8080}]}
"""
PRIMARY, CANARY = frozenset({"podinfo-primary"}), frozenset({"podinfo-canary"})
BOTH = PRIMARY | CANARY
Headers = Mapping[str, str]
NONE: Headers = {}


@dataclass(frozen=True)
class Step:
    """A document as a controller writes it, and who answers requests with which headers then."""

    document: str
    answers: tuple[tuple[Headers, frozenset[str]], ...]
    cookie: str = ""


def virtual_service(http: str) -> str:
    return f"""
apiVersion: networking.istio.io/v1alpha3
kind: VirtualService
metadata: {{name: podinfo}}
spec:
  hosts: [podinfo]
  http:
{http}"""


def istio_route(primary: int, canary: int, more: str = "") -> str:
    return f"""
    - name: primary
      route:
        - {{destination: {{host: podinfo-primary, port: {{number: 9898}}}}, weight: {primary}}}
        - {{destination: {{host: podinfo-canary, port: {{number: 9898}}}}, weight: {canary}{more}}}
"""


def http_route(rules: str) -> str:
    return f"""
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {{name: podinfo}}
spec:
  parentRefs: [{{group: "", kind: Service, name: podinfo, port: 9898}}]
  rules:
{rules}"""


def gateway_rule(primary: int, canary: int, match: str = "", filters: str = "", of_canary: str = "") -> str:
    return f"""
    - matches: [{{path: {{type: PathPrefix, value: /}}{match}}}]
      {filters}
      backendRefs:
        - {{group: "", kind: Service, name: podinfo-primary, port: 9898, weight: {primary}}}
        - {{group: "", kind: Service, name: podinfo-canary, port: 9898, weight: {canary}{of_canary}}}
"""


MANAGED_HEADER = """
    - name: set-header-1
      match: [{headers: {custom-header1: {exact: Mozilla}}}]
      route: [{destination: {host: podinfo-canary, port: {number: 9898}}, weight: 100}]
"""
MANAGED_MIRROR = """
    - name: mirror-route
      match: [{method: {exact: GET}, uri: {prefix: /}}]
      route:
        - {destination: {host: podinfo-primary, port: {number: 9898}}, weight: 100}
        - {destination: {host: podinfo-canary, port: {number: 9898}}, weight: 0}
      mirror: {host: podinfo-canary, port: {number: 9898}}
      mirrorPercentage: {value: 35}
"""
INSIDER = """
    - match:
        - headers: {x-canary: {exact: insider}}
        - headers: {cookie: {regex: "^(.*?;)?(canary=always)(;.*)?$"}}
      route:
        - {destination: {host: podinfo-primary}, weight: 0}
        - {destination: {host: podinfo-canary}, weight: 100}
    - route: [{destination: {host: podinfo-primary}, weight: 100}]
"""
SESSION = """
    - match: [{headers: {cookie: {regex: ".*flagger-cookie.*LpsIaLdoNZ.*"}}}]
      route:
        - {destination: {host: podinfo-primary}, weight: 0}
        - {destination: {host: podinfo-canary}, weight: 100}
"""
SET_COOKIE = "flagger-cookie=LpsIaLdoNZ; Max-Age=86400"
IN_SESSION: Headers = {"cookie": "flagger-cookie=LpsIaLdoNZ"}
ISTIO_COOKIE = f', headers: {{response: {{add: {{Set-Cookie: "{SET_COOKIE}"}}}}}}'
GATEWAY_COOKIE = (
    ", filters: [{type: ResponseHeaderModifier, responseHeaderModifier: "
    f'{{add: [{{name: Set-Cookie, value: "{SET_COOKIE}"}}]}}}}]'
)
GATEWAY_SESSION = gateway_rule(
    0, 100, ', headers: [{type: RegularExpression, name: Cookie, value: ".*flagger-cookie.*LpsIaLdoNZ.*"}]'
)
GATEWAY_HEADER = gateway_rule(0, 100, ", headers: [{type: Exact, name: custom-header1, value: Mozilla}]")
MIRROR = """filters:
        - {type: RequestMirror, requestMirror: {backendRef: {name: podinfo-canary, port: 9898}}}"""
MOZILLA: Headers = {"custom-header1": "Mozilla"}
STEPS = {
    "Argo Rollouts with Istio": (
        Step(virtual_service(istio_route(100, 0)), ((NONE, PRIMARY),)),
        Step(virtual_service(MANAGED_HEADER + istio_route(100, 0)), ((NONE, PRIMARY), (MOZILLA, CANARY))),
        Step(virtual_service(MANAGED_MIRROR + istio_route(100, 0)), ((NONE, PRIMARY),)),
        Step(virtual_service(istio_route(60, 40)), ((NONE, BOTH),)),
        Step(virtual_service(istio_route(0, 100)), ((NONE, CANARY),)),
    ),
    "Argo Rollouts with the Gateway API": (
        Step(http_route(gateway_rule(100, 0)), ((NONE, PRIMARY),)),
        Step(http_route(gateway_rule(100, 0) + GATEWAY_HEADER), ((NONE, PRIMARY), (MOZILLA, CANARY))),
        Step(http_route(gateway_rule(60, 40)), ((NONE, BOTH),)),
    ),
    "Flagger with Istio": (
        Step(
            virtual_service(INSIDER),
            ((NONE, PRIMARY), ({"x-canary": "insider"}, CANARY), ({"cookie": "a=b;canary=always;c=d"}, CANARY)),
        ),
        Step(
            virtual_service(SESSION + istio_route(60, 40, ISTIO_COOKIE)),
            ((NONE, BOTH), (IN_SESSION, CANARY)),
            cookie=SET_COOKIE,
        ),
    ),
    "Flagger with the Gateway API": (
        Step(http_route(gateway_rule(100, 0, filters=MIRROR)), ((NONE, PRIMARY),)),
        Step(
            http_route(GATEWAY_SESSION + gateway_rule(60, 40, of_canary=GATEWAY_COOKIE)),
            ((NONE, BOTH), (IN_SESSION, CANARY)),
            cookie=SET_COOKIE,
        ),
        Step(http_route(gateway_rule(0, 100)), ((NONE, CANARY),)),
    ),
}


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mesh]:
    """A primary, a canary, and who calls them."""
    root = tmp_path_factory.mktemp("progressive")
    mesh = Mesh(root / "home", root / "logs")
    try:
        mesh.serve("--xds-port", "0", "--agent-port", "0", "--admin-port", "0")
        mesh.apply(SERVICES)
        for name in ("podinfo-primary", "podinfo-canary", "caller"):
            mesh.echo(name, wait=False)
        mesh.wait_healthy("podinfo-primary", "podinfo-canary", "caller")
        client = Client(mesh.proxy_of("caller"))
        until("podinfo answers", lambda: client("http://podinfo:9898/").status == 200)
        client.close()
        yield mesh
    finally:
        mesh.stop()


def answering(client: Client, headers: Headers) -> frozenset[str]:
    return frozenset(Counter(client("http://podinfo:9898/", headers=headers).json()["workload"] for _ in range(40)))


def take(mesh: Mesh, steps: tuple[Step, ...]) -> None:
    """Apply each document, and see who answers."""
    client = Client(mesh.proxy_of("caller"))
    for step in steps:
        mesh.apply(step.document, "--wait")
        for headers, expected in step.answers:
            assert answering(client, headers) == expected, step.document
        if step.cookie:
            given = [client("http://podinfo:9898/") for _ in range(40)]
            assert {each.json()["workload"] for each in given if step.cookie in each.set_cookies} == CANARY
            assert {each.json()["workload"] for each in given if not each.set_cookies} == PRIMARY
    client.close()
    mesh.delete(steps[0].document)


@pytest.mark.parametrize("controller", STEPS)
def test_traffic_shifts_as_the_controller_writes(shop: Mesh, controller: str) -> None:
    host, port = shop.proxy_of("caller")

    async def during() -> None:
        await asyncio.to_thread(take, shop, STEPS[controller])

    load = asyncio.run(steady_load("http://podinfo:9898/", f"http://{host}:{port}", 200, during))
    assert not load.failures, load.failures[:3]
    assert load.sent > 100
