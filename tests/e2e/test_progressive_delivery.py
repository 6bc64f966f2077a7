"""What Argo Rollouts and Flagger write, step by step, as their published examples for Istio and Gateway API have it.

The documents that a person applies are theirs; each step is what their controllers make of these. No request fails,
and where a step says shares the requests are divided so.
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
ROLLOUT = """
---
apiVersion: v1
kind: Service
metadata: {name: rollout}
spec: {selector: {part: rollout}, ports: [{name: http, port: 9898, targetPort: 8080}]}
"""
"""Argo Rollouts with one Service: its ReplicaSets differ by a label, which the controller writes into the subsets."""
TRAFFIC_POLICIES = "".join(
    f"""
---
apiVersion: networking.istio.io/v1alpha3
kind: DestinationRule
metadata: {{name: {name}}}
spec: {{host: {name}, trafficPolicy: {{tls: {{mode: ISTIO_MUTUAL}}}}}}
"""
    for name in ("podinfo-primary", "podinfo-canary")
)
"""What Flagger makes of `trafficPolicy` of a Canary."""
PRIMARY, CANARY = frozenset({"podinfo-primary"}), frozenset({"podinfo-canary"})
BOTH = PRIMARY | CANARY
Headers = Mapping[str, str]
NONE: Headers = {}


@dataclass(frozen=True)
class Step:
    """A document as a controller writes it, and who answers requests with which headers then; `canary` is the share of
    the canary per cent, where it is one of several."""

    document: str
    answers: tuple[tuple[Headers, frozenset[str]], ...]
    cookie: str = ""
    canary: int = 0


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


def subsets(stable: int, canary: int, hashes: tuple[str, str]) -> str:
    """The rule and the subsets between which a rollout is, with the hashes that the controller has written."""
    labels = [
        f"{{part: rollout, rollouts-pod-template-hash: {each}}}" if each else "{part: rollout}" for each in hashes
    ]
    return f"""
apiVersion: networking.istio.io/v1alpha3
kind: DestinationRule
metadata: {{name: rollout-destrule}}
spec:
  host: rollout
  subsets: [{{name: stable, labels: {labels[0]}}}, {{name: canary, labels: {labels[1]}}}]
---
apiVersion: networking.istio.io/v1alpha3
kind: VirtualService
metadata: {{name: rollout-vsvc}}
spec:
  hosts: [rollout]
  http:
  - name: primary
    route:
    - {{destination: {{host: rollout, subset: stable}}, weight: {stable}}}
    - {{destination: {{host: rollout, subset: canary}}, weight: {canary}}}
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
        Step(virtual_service(istio_route(90, 10)), ((NONE, BOTH),), canary=10),
        Step(virtual_service(istio_route(60, 40)), ((NONE, BOTH),), canary=40),
        Step(virtual_service(istio_route(0, 100)), ((NONE, CANARY),)),
    ),
    "Argo Rollouts with the Gateway API": (
        Step(http_route(gateway_rule(100, 0)), ((NONE, PRIMARY),)),
        Step(http_route(gateway_rule(100, 0) + GATEWAY_HEADER), ((NONE, PRIMARY), (MOZILLA, CANARY))),
        Step(http_route(gateway_rule(60, 40)), ((NONE, BOTH),), canary=40),
        Step(http_route(gateway_rule(0, 100)), ((NONE, CANARY),)),
    ),
    "Argo Rollouts with subsets": (
        Step(subsets(100, 0, ("5d8f", "5d8f")), ((NONE, PRIMARY),)),
        Step(subsets(100, 0, ("5d8f", "7c2a")), ((NONE, PRIMARY),)),
        Step(subsets(90, 10, ("5d8f", "7c2a")), ((NONE, BOTH),), canary=10),
        Step(subsets(50, 50, ("5d8f", "7c2a")), ((NONE, BOTH),), canary=50),
        Step(subsets(0, 100, ("5d8f", "7c2a")), ((NONE, CANARY),)),
        Step(subsets(100, 0, ("7c2a", "7c2a")), ((NONE, CANARY),)),
    ),
    "Flagger with Istio": (
        Step(virtual_service(istio_route(100, 0)), ((NONE, PRIMARY),)),
        Step(virtual_service(istio_route(90, 10)), ((NONE, BOTH),), canary=10),
        Step(virtual_service(istio_route(50, 50)), ((NONE, BOTH),), canary=50),
        Step(virtual_service(istio_route(100, 0)), ((NONE, PRIMARY),)),
    ),
    "Flagger with Istio, by header and session": (
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
        Step(http_route(gateway_rule(70, 30)), ((NONE, BOTH),), canary=30),
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
        mesh.apply(SERVICES + ROLLOUT + TRAFFIC_POLICIES)
        for name, found in (("podinfo-primary", "5d8f"), ("podinfo-canary", "7c2a")):
            labels = f"part=rollout,rollouts-pod-template-hash={found}"
            mesh.echo(name, wait=False, more=("--labels", labels))
        mesh.echo("caller", wait=False)
        mesh.wait_healthy("podinfo-primary", "podinfo-canary", "caller")
        client = Client(mesh.proxy_of("caller"))
        until("podinfo answers", lambda: client("http://podinfo:9898/").status == 200)
        client.close()
        yield mesh
    finally:
        mesh.stop()


def answering(client: Client, url: str, headers: Headers, count: int = 40) -> Counter[str]:
    return Counter(client(url, headers=headers).json()["workload"] for _ in range(count))


def url_of(steps: tuple[Step, ...]) -> str:
    """What is called: by name what the first document is for."""
    return "http://rollout:9898/" if "host: rollout" in steps[0].document else "http://podinfo:9898/"


def take(mesh: Mesh, steps: tuple[Step, ...]) -> None:
    """Apply each document, and see who answers."""
    client, url = Client(mesh.proxy_of("caller")), url_of(steps)
    for step in steps:
        mesh.apply(step.document, "--wait")
        for headers, expected in step.answers:
            found = answering(client, url, headers, 200 if step.canary else 40)
            assert set(found) == expected, step.document
            if step.canary:
                meant = step.canary / 100
                deviation = (found.total() * meant * (1 - meant)) ** 0.5
                assert abs(found["podinfo-canary"] - found.total() * meant) < 6 * deviation, (found, step.document)
        if step.cookie:
            given = [client(url) for _ in range(40)]
            assert {each.json()["workload"] for each in given if step.cookie in each.set_cookies} == CANARY
            assert {each.json()["workload"] for each in given if not each.set_cookies} == PRIMARY
    client.close()
    mesh.delete(steps[0].document)


@pytest.mark.parametrize("controller", STEPS)
def test_traffic_shifts_as_the_controller_writes(shop: Mesh, controller: str) -> None:
    host, port = shop.proxy_of("caller")

    async def during() -> None:
        await asyncio.to_thread(take, shop, STEPS[controller])

    load = asyncio.run(steady_load(url_of(STEPS[controller]), f"http://{host}:{port}", 100, during, least=101))
    assert not load.failures, load.failures[:3]
    assert load.sent > 100
