"""The steps of Istio's tasks about egress gateways, in the words of both APIs: TLS that is passed on, TLS that the
gateway makes, and one gateway for every host below a domain. docs/published-pages.md has the list of pages."""

from __future__ import annotations

import urllib.request
from collections.abc import Iterator

import pytest

from support.certificates import TestAuthority
from support.http import Client
from support.mesh import Mesh, until
from support.outside import REGISTRY_ONLY, outside_server, through
from support.pages import get_through, secret
from support.tls_server import TlsServer, tls_server_in_thread

ISTIO = "apiVersion: networking.istio.io/v1\n"
ROUTES = "apiVersion: gateway.networking.k8s.io/v1\n"
GATE = "egress-gateway"
PUBLIC = TestAuthority()
HOSTS = ("edition.cnn.test", "en.wikipedia.test", "www.wikipedia.test")
LEAF = PUBLIC.issue(dns=HOSTS)
SERVICE = """
apiVersion: v1
kind: Service
metadata: {name: egress-gateway-istio}
spec:
  selector: {gateway.networking.k8s.io/gateway-name: egress-gateway}
  ports: [{name: http2, port: 80}, {name: https, port: 443}]
---
"""
"""On Kubernetes Istio makes the Service of a Gateway. It is the one document that the pages do not have."""
ENTRY = f"""
{ISTIO}kind: ServiceEntry
metadata: {{name: cnn}}
spec:
  hosts: [edition.cnn.test]
  ports: [{{number: 80, name: http-port, protocol: HTTP}}, {{number: 443, name: %s}}]
  resolution: DNS
  endpoints: [{{address: 127.0.0.1, ports: {{http-port: %d, tls: %d}}}}]
---
"""
OPEN, PASSED = "https, protocol: HTTPS", "tls, protocol: TLS"


@pytest.fixture(scope="module")
def server() -> Iterator[TlsServer]:
    """A TLS server outside, with every name of these pages."""
    with tls_server_in_thread(LEAF) as found:
        yield found


@pytest.fixture(scope="module")
def leaving(world: Mesh) -> Iterator[Mesh]:
    """The mesh, in which only what documents name is called, with an egress gateway behind a Service."""
    with world.applied(REGISTRY_ONLY), world.applied(SERVICE):
        world.gateway(GATE, "80=auto", "443=auto", labels="istio=egressgateway")
        yield world
        world.processes[GATE].stop()


def entry(protocol: str, http: int = 1, tls: int = 1) -> str:
    text = ENTRY % (protocol, http, tls)
    return text if "tls, " in protocol else text.replace(", tls:", ", https:")


def tls(mesh: Mesh, host: str) -> int:
    """The status that the caller's application gets over TLS of its own, 0 if it gets no connection or none answers."""
    try:
        return get_through(through(mesh.proxy_of("client"), host, 443), "/politics", host, PUBLIC.bundle)
    except ConnectionError:
        return 0


def passed_on(mesh: Mesh, host: str) -> float:
    """How many connections to a host the gateway has counted."""
    port = mesh.workload(GATE)["metrics"]["port"]
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
        lines = answer.read().decode().splitlines()
    found = (line for line in lines if line.startswith("istio_tcp_connections_opened_total") and f'"{host}"' in line)
    return sum(float(line.rpartition(" ")[2]) for line in found)


HTTP_ROUTES = f"""
{ROUTES}kind: Gateway
metadata: {{name: egress-gateway, annotations: {{networking.istio.io/service-type: ClusterIP}}}}
spec:
  gatewayClassName: istio
  listeners:
  - name: http
    hostname: edition.cnn.test
    port: 80
    protocol: HTTP
    allowedRoutes: {{namespaces: {{from: Same}}}}
---
{ROUTES}kind: HTTPRoute
metadata: {{name: direct-cnn-to-egress-gateway}}
spec:
  parentRefs: [{{kind: ServiceEntry, group: networking.istio.io, name: cnn}}]
  rules: [{{backendRefs: [{{name: egress-gateway-istio, port: 80}}]}}]
---
{ROUTES}kind: HTTPRoute
metadata: {{name: forward-cnn-from-egress-gateway}}
spec:
  parentRefs: [{{name: egress-gateway}}]
  hostnames: [edition.cnn.test]
  rules:
  - filters:
    - {{type: RequestHeaderModifier, requestHeaderModifier: {{set: [{{name: x-left, value: by-the-gateway}}]}}}}
    backendRefs: [{{kind: Hostname, group: networking.istio.io, name: edition.cnn.test, port: 80}}]
"""


def test_egress_gateway_for_http_with_the_gateway_api(leaving: Mesh, client: Client) -> None:
    """The header is ours: by it the server sees the way."""
    with outside_server() as port, leaving.applied(entry(PASSED, http=port)):
        assert client("http://edition.cnn.test/politics").json()["left"] == ""
        with leaving.applied(HTTP_ROUTES):
            found = client("http://edition.cnn.test/politics").json()
            assert (found["host"], found["left"]) == ("edition.cnn.test", "by-the-gateway")
    assert client("http://edition.cnn.test/politics").status == 502


HTTPS = f"""
{ISTIO}kind: Gateway
metadata: {{name: istio-egressgateway}}
spec:
  selector: {{istio: egressgateway}}
  servers: [{{port: {{number: 443, name: tls, protocol: TLS}}, hosts: ["HOST"], tls: {{mode: PASSTHROUGH}}}}]
---
{ISTIO}kind: DestinationRule
metadata: {{name: egressgateway-for-cnn}}
spec: {{host: egress-gateway-istio.default.svc.cluster.local, subsets: [{{name: cnn}}]}}
---
{ISTIO}kind: VirtualService
metadata: {{name: direct-cnn-through-egress-gateway}}
spec:
  hosts: ["HOST"]
  gateways: [mesh, istio-egressgateway]
  tls:
  - match: [{{gateways: [mesh], port: 443, sniHosts: ["HOST"]}}]
    route:
    - destination: {{host: egress-gateway-istio.default.svc.cluster.local, subset: cnn, port: {{number: 443}}}}
  - match: [{{gateways: [istio-egressgateway], port: 443, sniHosts: ["HOST"]}}]
    route: [{{destination: {{host: TARGET, port: {{number: 443}}}}, weight: 100}}]
"""
TLS_ROUTES = f"""
{ROUTES}kind: Gateway
metadata: {{name: egress-gateway}}
spec:
  gatewayClassName: istio
  listeners:
  - name: tls
    hostname: "HOST"
    port: 443
    protocol: TLS
    tls: {{mode: Passthrough}}
    allowedRoutes: {{namespaces: {{from: Same}}}}
---
apiVersion: gateway.networking.k8s.io/v1alpha2
kind: TLSRoute
metadata: {{name: direct-to-egress-gateway}}
spec:
  parentRefs: [{{kind: ServiceEntry, group: networking.istio.io, name: ENTRY}}]
  rules: [{{backendRefs: [{{name: egress-gateway-istio, port: 443}}]}}]
---
apiVersion: gateway.networking.k8s.io/v1alpha2
kind: TLSRoute
metadata: {{name: forward-from-egress-gateway}}
spec:
  parentRefs: [{{name: egress-gateway}}]
  hostnames: ["HOST"]
  rules: [{{backendRefs: [{{kind: Hostname, group: networking.istio.io, name: TARGET, port: 443}}]}}]
"""
TABS = {"Istio APIs": HTTPS, "Gateway API": TLS_ROUTES}


@pytest.mark.parametrize("tab", TABS)
def test_egress_gateway_for_https(leaving: Mesh, server: TlsServer, tab: str) -> None:
    """The caller's own TLS reaches the server through the gateway, unopened."""
    documents = TABS[tab].replace("ENTRY", "cnn").replace("HOST", HOSTS[0]).replace("TARGET", HOSTS[0])
    assert tls(leaving, HOSTS[0]) == 0
    before = passed_on(leaving, HOSTS[0])
    with leaving.applied(entry(PASSED, tls=server.port) + documents):
        assert tls(leaving, HOSTS[0]) == 200
        until("the gateway has counted it", lambda: passed_on(leaving, HOSTS[0]) > before, 30)


WILDCARD = f"""
{ISTIO}kind: ServiceEntry
metadata: {{name: wikipedia}}
spec: {{hosts: ["*.wikipedia.test"], ports: [{{number: 443, name: https, protocol: HTTPS}}]}}
---
{ISTIO}kind: ServiceEntry
metadata: {{name: www-wikipedia}}
spec:
  hosts: [www.wikipedia.test]
  ports: [{{number: 443, name: https, protocol: HTTPS}}]
  resolution: DNS
  endpoints: [{{address: 127.0.0.1, ports: {{https: %d}}}}]
---
"""


@pytest.mark.parametrize("tab", TABS)
def test_wildcard_hosts_through_an_egress_gateway(leaving: Mesh, server: TlsServer, tab: str) -> None:
    """No name below the domain can be looked up here: whoever answers was reached through the gateway's host."""
    documents = TABS[tab].replace("ENTRY", "wikipedia").replace("HOST", "*.wikipedia.test").replace("TARGET", HOSTS[2])
    with leaving.applied(WILDCARD % server.port):
        assert tls(leaving, HOSTS[1]) == 0
        with leaving.applied(documents):
            assert tls(leaving, HOSTS[1]) == 200
            assert server.names[-1] == HOSTS[1]
            assert tls(leaving, "en.wikipedia.example") == 0


MADE = f"""
{ISTIO}kind: Gateway
metadata: {{name: istio-egressgateway}}
spec:
  selector: {{istio: egressgateway}}
  servers: [{{port: {{number: 80, name: http-port-for-tls-origination, protocol: HTTP}}, hosts: [edition.cnn.test]}}]
---
{ISTIO}kind: VirtualService
metadata: {{name: direct-cnn-through-egress-gateway}}
spec:
  hosts: [edition.cnn.test]
  gateways: [istio-egressgateway, mesh]
  http:
  - match: [{{gateways: [mesh], port: 80}}]
    route:
    - destination: {{host: egress-gateway-istio.default.svc.cluster.local, port: {{number: 80}}}}
      weight: 100
  - match: [{{gateways: [istio-egressgateway], port: 80}}]
    route: [{{destination: {{host: edition.cnn.test, port: {{number: 443}}}}, weight: 100}}]
---
"""
MADE_BY_ROUTES = f"""
{ROUTES}kind: Gateway
metadata: {{name: egress-gateway}}
spec:
  gatewayClassName: istio
  listeners:
  - name: https-listener-for-tls-origination
    hostname: edition.cnn.test
    port: 80
    protocol: HTTPS
    tls: {{mode: Terminate, options: {{gateway.istio.io/tls-terminate-mode: ISTIO_MUTUAL}}}}
    allowedRoutes: {{namespaces: {{from: Same}}}}
---
{ISTIO}kind: DestinationRule
metadata: {{name: egressgateway-for-cnn}}
spec:
  host: egress-gateway-istio.default.svc.cluster.local
  trafficPolicy:
    loadBalancer: {{simple: ROUND_ROBIN}}
    portLevelSettings: [{{port: {{number: 80}}, tls: {{mode: ISTIO_MUTUAL, sni: edition.cnn.test}}}}]
---
{ROUTES}kind: HTTPRoute
metadata: {{name: direct-cnn-to-egress-gateway}}
spec:
  parentRefs: [{{kind: ServiceEntry, group: networking.istio.io, name: cnn, port: 80}}]
  rules: [{{backendRefs: [{{name: egress-gateway-istio, port: 80}}]}}]
---
{ROUTES}kind: HTTPRoute
metadata: {{name: forward-cnn-from-egress-gateway}}
spec:
  parentRefs: [{{name: egress-gateway}}]
  hostnames: [edition.cnn.test]
  rules: [{{backendRefs: [{{kind: Hostname, group: networking.istio.io, name: edition.cnn.test, port: 443}}]}}]
---
"""
ORIGINATE = f"""
{ISTIO}kind: DestinationRule
metadata: {{name: originate-tls-for-edition-cnn}}
spec:
  host: edition.cnn.test
  trafficPolicy:
    loadBalancer: {{simple: ROUND_ROBIN}}
    portLevelSettings: [{{port: {{number: 443}}, tls: {{mode: SIMPLE, credentialName: public}}}}]
"""
WAYS = {"Istio APIs": MADE, "Gateway API": MADE_BY_ROUTES}


@pytest.mark.parametrize("tab", WAYS)
def test_an_egress_gateway_makes_tls(leaving: Mesh, client: Client, server: TlsServer, tab: str) -> None:
    """The page trusts the authorities of its machine. Here a Secret has the server's, which gateways only are given: so
    it is the gateway that makes TLS of the caller's plain request."""
    documents = entry(OPEN, tls=server.port) + WAYS[tab] + ORIGINATE
    with leaving.applied(documents + secret("public", LEAF, ca_crt=PUBLIC.bundle)):
        found = client("http://edition.cnn.test/politics").json()
        assert (found["host"], found["sni"]) == ("edition.cnn.test", "edition.cnn.test")
        assert found["line"].startswith("GET /politics")
