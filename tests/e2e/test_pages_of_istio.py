"""The steps of Istio's tasks about traffic, with documents of the same shape: each page's fields, and what it has the
reader see. docs/published-pages.md has the list of pages and where each is tried."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from support.certificates import TestAuthority
from support.http import Client
from support.mesh import APPS, Mesh, until
from support.outside import REGISTRY_ONLY
from support.pages import get, get_over_tls, greeting, secret
from support.tls_server import tls_server_in_thread

Edge = dict[int, tuple[str, int]]
ISTIO = "apiVersion: networking.istio.io/v1alpha3\n"
ROUTES = "apiVersion: gateway.networking.k8s.io/v1beta1\n"
HTTPBIN = """
apiVersion: v1
kind: Service
metadata: {name: httpbin, labels: {app: httpbin, service: httpbin}}
spec: {ports: [{name: http, port: 8000, targetPort: 8080}], selector: {app: echo}}
---
"""
INGRESS = f"""{HTTPBIN}{ISTIO}kind: Gateway
metadata: {{name: httpbin-gateway}}
spec:
  selector: {{istio: ingressgateway}}
  servers: [{{port: {{number: 80, name: http, protocol: HTTP}}, hosts: ["%s"]}}]
---
{ISTIO}kind: VirtualService
metadata: {{name: httpbin}}
spec:
  hosts: ["%s"]
  gateways: [httpbin-gateway]
  http:
  - match: [{{uri: {{prefix: /status}}}}, {{uri: {{prefix: /delay}}}}]
    route: [{{destination: {{port: {{number: 8000}}, host: httpbin}}}}]
"""
INGRESS_ROUTE = f"""{HTTPBIN}{ROUTES}kind: Gateway
metadata: {{name: edge}}
spec:
  gatewayClassName: istio
  listeners:
  - name: http
    hostname: "httpbin.example.com"
    port: 80
    protocol: HTTP
    allowedRoutes: {{namespaces: {{from: Same}}}}
---
{ROUTES}kind: HTTPRoute
metadata: {{name: httpbin}}
spec:
  parentRefs: [{{name: edge}}]
  hostnames: ["httpbin.example.com"]
  rules:
  - matches: [{{path: {{type: PathPrefix, value: /status}}}}, {{path: {{type: PathPrefix, value: /delay}}}}]
    backendRefs: [{{name: httpbin, port: 8000}}]
"""
INGRESS_PAGES = {"Istio APIs": INGRESS % (("httpbin.example.com",) * 2), "Gateway API": INGRESS_ROUTE}


@pytest.mark.parametrize("tab", INGRESS_PAGES)
def test_ingress_gateways(world: Mesh, edge: Edge, tab: str) -> None:
    with world.applied(INGRESS_PAGES[tab]):
        assert get(edge[80], "/status/200", "httpbin.example.com").status == 200
        assert get(edge[80], "/headers", "httpbin.example.com").status == 404
        assert get(edge[80], "/status/200", "other.example.com").status == 404
    with world.applied(INGRESS % ("*", "*")):
        assert get(edge[80], "/status/200", "any.example.com").status == 200


SECURE = f"""{HTTPBIN}{ROUTES}kind: Gateway
metadata: {{name: edge}}
spec:
  gatewayClassName: istio
  listeners:
  - name: https
    hostname: "httpbin.example.com"
    port: 443
    protocol: HTTPS
    tls:
      mode: Terminate
      certificateRefs: [{{name: httpbin-credential}}]%s
    allowedRoutes:
      namespaces: {{from: Selector, selector: {{matchLabels: {{kubernetes.io/metadata.name: default}}}}}}
---
{ROUTES}kind: HTTPRoute
metadata: {{name: httpbin}}
spec:
  parentRefs: [{{name: edge}}]
  hostnames: ["httpbin.example.com"]
  rules: [{{matches: [{{path: {{type: PathPrefix, value: /status}}}}], backendRefs: [{{name: httpbin, port: 8000}}]}}]
"""
MUTUAL = "\n      options: {gateway.istio.io/tls-terminate-mode: MUTUAL}"


def test_secure_gateways_with_the_gateway_api(world: Mesh, edge: Edge, tmp_path: Path) -> None:
    """A certificate, another one in its place, and clients that have to show one."""
    first, second, clients = TestAuthority(), TestAuthority(), TestAuthority()
    host = "httpbin.example.com"
    files = {}
    for name, authority in (("client", clients), ("stranger", second)):
        leaf = authority.issue(dns=(f"{name}.example.com",))
        files[name] = str(tmp_path / name)
        (tmp_path / name).write_bytes(leaf.chain + leaf.key)

    def ask(authority: TestAuthority, client: str = "") -> int:
        return get_over_tls(edge[443], "/status/418", host, authority.bundle, files.get(client, ""))

    credential = secret("httpbin-credential", first.issue(dns=(host,)))
    with world.applied(SECURE % "" + credential):
        until("the first answers", lambda: ask(first) == 418)
        assert ask(second) == 0
        world.apply(secret("httpbin-credential", second.issue(dns=(host,))))
        until("the other certificate is shown", lambda: ask(second) == 418)
        assert ask(first) == 0
        world.apply(SECURE % MUTUAL + secret("httpbin-credential", first.issue(dns=(host,)), ca_crt=clients.bundle))
        until("clients are asked", lambda: ask(first, "client") == 418)
        assert [ask(first), ask(first, "stranger")] == [0, 0]


TCP_ECHO = "".join(
    f"""
apiVersion: v1
kind: Service
metadata: {{name: {name}}}
spec: {{ports: [{{name: tcp, port: 9000}}], selector: {{app: tcp-echo{version}}}}}
---"""
    for name, version in (("tcp-echo", ""), ("tcp-echo-v1", ", version: v1"), ("tcp-echo-v2", ", version: v2"))
)
TCP_ISTIO = f"""
{ISTIO}kind: Gateway
metadata: {{name: tcp-echo-gateway}}
spec:
  selector: {{istio: ingressgateway}}
  servers: [{{port: {{number: 31400, name: tcp, protocol: TCP}}, hosts: ["*"]}}]
---
{ISTIO}kind: DestinationRule
metadata: {{name: tcp-echo-destination}}
spec: {{host: tcp-echo, subsets: [{{name: v1, labels: {{version: v1}}}}, {{name: v2, labels: {{version: v2}}}}]}}
---
{ISTIO}kind: VirtualService
metadata: {{name: tcp-echo}}
spec:
  hosts: ["*"]
  gateways: [tcp-echo-gateway]
  tcp:
  - match: [{{port: 31400}}]
    route:
    - {{destination: {{host: tcp-echo, port: {{number: 9000}}, subset: v1}}, weight: %d}}
    - {{destination: {{host: tcp-echo, port: {{number: 9000}}, subset: v2}}, weight: %d}}
"""
TCP_ROUTE = f"""
{ROUTES}kind: Gateway
metadata: {{name: edge}}
spec:
  gatewayClassName: istio
  listeners: [{{name: tcp-31400, protocol: TCP, port: 31400, allowedRoutes: {{kinds: [{{kind: TCPRoute}}]}}}}]
---
apiVersion: gateway.networking.k8s.io/v1alpha2
kind: TCPRoute
metadata: {{name: tcp-echo}}
spec:
  parentRefs: [{{group: gateway.networking.k8s.io, kind: Gateway, name: edge, sectionName: tcp-31400}}]
  rules:
  - backendRefs:
    - {{group: "", kind: Service, name: tcp-echo-v1, port: 9000, weight: %d}}
    - {{group: "", kind: Service, name: tcp-echo-v2, port: 9000, weight: %d}}
"""


@pytest.fixture(scope="module")
def tcp_echo(world: Mesh) -> Iterator[Mesh]:
    """Two versions of a server that says its name."""
    server = [sys.executable, str(APPS / "tcp_name.py")]
    names = ("tcp-echo-v1", "tcp-echo-v2")
    for name in names:
        options = {"app": "tcp-echo", "version": name[-2:], "port": "9000:auto", "health": "tcp"}
        world.run(name, server, wait=False, **options)  # type: ignore[arg-type] # all of them are texts
    world.wait_healthy(*names)
    with world.applied(TCP_ECHO):
        yield world
    for name in names:
        world.processes[name].stop()


@pytest.mark.parametrize("tab", [TCP_ISTIO, TCP_ROUTE], ids=["Istio APIs", "Gateway API"])
def test_tcp_traffic_shifting(tcp_echo: Mesh, edge: Edge, tab: str) -> None:
    def answering(count: int) -> Counter[str]:
        return Counter(greeting(edge[31400]) for _ in range(count))

    with tcp_echo.applied(tab % (100, 0)):
        until("the port is open", lambda: answering(1) == {"tcp-echo-v1": 1})
        assert answering(20) == {"tcp-echo-v1": 20}
        tcp_echo.apply(tab % (80, 20))
        found = answering(150)
        assert set(found) == {"tcp-echo-v1", "tcp-echo-v2"}
        assert 5 <= found["tcp-echo-v2"] <= 60, found  # 30 expected, five standard deviations and more


SUBSETS = f"""{HTTPBIN}{ISTIO}kind: DestinationRule
metadata: {{name: httpbin}}
spec: {{host: httpbin, subsets: [{{name: v1, labels: {{version: v1}}}}, {{name: v2, labels: {{version: v2}}}}]}}
---
"""
TO_V1 = f"""{ISTIO}kind: VirtualService
metadata: {{name: httpbin}}
spec:
  hosts: [httpbin]
  http:
  - route: [{{destination: {{host: httpbin, subset: v1}}, weight: 100}}]%s
"""
MIRROR = "\n    mirror: {host: httpbin, subset: v2}\n    mirrorPercentage: {value: 100.0}"


def copies(world: Mesh, path: str) -> int:
    """How many requests for a path the second version has had; asked past the mesh."""
    where = world.workload("echo-v2")["ports"][0]["application"]
    return int(get((where["host"], where["port"]), "/counts", "v2").json()["seen"].get(path, 0))


def test_mirroring(world: Mesh, client: Client) -> None:
    with world.applied(SUBSETS + TO_V1 % ""):
        assert client("http://httpbin:8000/headers/first").json()["workload"] == "echo-v1"
        world.apply(TO_V1 % MIRROR)
        for _ in range(5):
            assert client("http://httpbin:8000/headers/copied").json()["workload"] == "echo-v1"
        until("all copies have come", lambda: copies(world, "/headers/copied") == 5)
        assert copies(world, "/headers/first") == 0


BREAKER = f"""
{ISTIO}kind: DestinationRule
metadata: {{name: httpbin}}
spec:
  host: httpbin
  trafficPolicy:
    connectionPool: {{tcp: {{maxConnections: 1}}, http: {{http1MaxPendingRequests: 1, maxRequestsPerConnection: 1}}}}
    outlierDetection: {{consecutive5xxErrors: 1, interval: 1s, baseEjectionTime: 3m, maxEjectionPercent: 100}}
"""


def test_circuit_breaking(world: Mesh) -> None:
    """What is neither under way nor the next one in line is turned away."""

    def at_once(count: int) -> Counter[int]:
        with ThreadPoolExecutor(count) as pool:
            return Counter(pool.map(lambda _: one(), range(count)))

    def one() -> int:
        client = Client(world.proxy_of("client"))
        try:
            return client("http://httpbin:8000/delay/0.5").status
        finally:
            client.close()

    with world.applied(HTTPBIN):
        assert at_once(6) == {200: 6}
        with world.applied(BREAKER):
            assert at_once(1) == {200: 1}
            until("somebody is turned away", lambda: set(at_once(6)) == {200, 503})


EXTERNAL = f"""
{ISTIO}kind: ServiceEntry
metadata: {{name: httpbin-ext}}
spec:
  hosts: [httpbin.example.org]
  ports: [{{number: 80, name: http, protocol: HTTP}}]
  resolution: DNS
  location: MESH_EXTERNAL
  endpoints: [{{address: 127.0.0.1, ports: {{http: %d}}}}]
"""
MANAGED = {
    "Istio APIs": f"""
{ISTIO}kind: VirtualService
metadata: {{name: httpbin-ext}}
spec:
  hosts: [httpbin.example.org]
  http: [{{timeout: 1s, route: [{{destination: {{host: httpbin.example.org}}, weight: 100}}]}}]
""",
    "Gateway API": f"""
{ROUTES}kind: HTTPRoute
metadata: {{name: httpbin-ext}}
spec:
  parentRefs: [{{kind: ServiceEntry, group: networking.istio.io, name: httpbin-ext}}]
  hostnames: [httpbin.example.org]
  rules:
  - timeouts: {{request: 1s}}
    backendRefs: [{{kind: Hostname, group: networking.istio.io, name: httpbin.example.org, port: 80}}]
""",
}


@pytest.mark.parametrize("tab", MANAGED)
def test_accessing_external_services(world: Mesh, client: Client, tab: str) -> None:
    where = world.workload("other")["ports"][0]["application"]
    with world.applied(REGISTRY_ONLY):
        assert client("http://httpbin.example.org/headers").status == 502
        with world.applied(EXTERNAL % where["port"]):
            assert client("http://httpbin.example.org/headers").json()["host"] == "httpbin.example.org"
            assert client("http://httpbin.example.org/delay/1.5").status == 200
            with world.applied(MANAGED[tab]):
                until("what is quick is answered", lambda: client("http://httpbin.example.org/headers").status == 200)
                assert client("http://httpbin.example.org/delay/9").status == 504
                told = world.weft("explain", "--from", "client", "http://httpbin.example.org/headers").stdout
                assert ("HTTPRoute" if tab == "Gateway API" else "VirtualService") + " default/httpbin-ext" in told


ORIGINATED = f"""
{ISTIO}kind: ServiceEntry
metadata: {{name: edition}}
spec:
  hosts: [edition.example.test]
  ports:
  - {{number: 80, name: http-port, protocol: HTTP, targetPort: %d}}
  - {{number: 443, name: https-port, protocol: HTTPS}}
  resolution: DNS
  endpoints: [{{address: 127.0.0.1}}]
---
{ISTIO}kind: DestinationRule
metadata: {{name: edition}}
spec:
  host: edition.example.test
  workloadSelector: {{matchLabels: {{app: client}}}}
  trafficPolicy: {{portLevelSettings: [{{port: {{number: 80}}, tls: {{mode: SIMPLE, credentialName: public}}}}]}}
"""


def test_tls_origination_for_egress_traffic(world: Mesh, client: Client) -> None:
    """The page trusts the authorities of its machine; here the server's own stand in a Secret."""
    public = TestAuthority()
    leaf = public.issue(dns=("edition.example.test",))
    with tls_server_in_thread(leaf) as server:
        with world.applied(ORIGINATED % server.port + secret("public", leaf, ca_crt=public.bundle)):
            answer = client("http://edition.example.test/politics").json()
            assert (answer["sni"], answer["host"]) == ("edition.example.test", "edition.example.test")
        with world.applied((ORIGINATED % server.port).partition("---")[0]):
            assert client("http://edition.example.test/politics").status != 200, "it takes the rule to speak TLS"
