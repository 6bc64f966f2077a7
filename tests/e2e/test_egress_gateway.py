"""An egress gateway: calls of a host outside leave through one proxy, with its identity, and no other way."""

from __future__ import annotations

from collections.abc import Iterator
from functools import reduce

import pytest

from support.http import Client
from support.mesh import Mesh, until
from support.outside import REGISTRY_ONLY, outside_server

GATE = "istio-egressgateway"
NAMES = """
apiVersion: v1
kind: Service
metadata: {name: istio-egressgateway, namespace: istio-system}
spec:
  type: ClusterIP
  selector: {app: istio-egressgateway, istio: egressgateway}
  ports:
  - {name: http2, port: 80, targetPort: 8080}
  - {name: https, port: 443, targetPort: 8443}
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: cnn}
spec:
  hosts: [edition.cnn.test]
  ports:
  - {number: 80, name: http-port, protocol: HTTP}
  resolution: STATIC
  endpoints: [{address: 127.0.0.1, ports: {http-port: %d}}]
"""
TASK = """
---
apiVersion: networking.istio.io/v1
kind: Gateway
metadata:
  name: istio-egressgateway
spec:
  selector:
    istio: egressgateway
  servers:
  - port:
      number: NUMBER
      name: NAME
      protocol: PROTOCOL
    hosts:
    - edition.cnn.testTLS
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata:
  name: egressgateway-for-cnn
spec:
  host: istio-egressgateway.istio-system.svc.cluster.local
  subsets:
  - name: cnnPOLICY
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata:
  name: direct-cnn-through-egress-gateway
spec:
  hosts:
  - edition.cnn.test
  gateways:
  - istio-egressgateway
  - mesh
  http:
  - match:
    - gateways:
      - mesh
      port: 80
    route:
    - destination:
        host: istio-egressgateway.istio-system.svc.cluster.local
        subset: cnn
        port:
          number: NUMBER
      weight: 100
  - match:
    - gateways:
      - istio-egressgateway
      port: NUMBER
    route:
    - destination:
        host: edition.cnn.test
        port:
          number: 80
      weight: 100
      headers: {request: {set: {x-left: by-the-gateway}}}
"""
"""Istio's task "Egress gateway for HTTP traffic", but for the header by which the test sees the way."""


def task(number: str, name: str, protocol: str, tls: str = "", policy: str = "") -> str:
    """The task with what it leaves to be chosen."""
    words = {"NUMBER": number, "NAME": name, "PROTOCOL": protocol, "TLS": tls, "POLICY": policy}
    return reduce(lambda text, word: text.replace(word, words[word]), words, TASK)


PUBLISHED = task("80", "http", "HTTP")
MUTUAL = task(
    "443",
    "https",
    "HTTPS",
    "\n    tls: {mode: ISTIO_MUTUAL}",
    "\n    trafficPolicy:\n      portLevelSettings:\n      - port: {number: 443}\n"
    "        tls: {mode: ISTIO_MUTUAL, sni: edition.cnn.test}",
)
"""The same over mutual TLS, as the task does it where the gateway makes TLS."""
POLICY = """
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: who-leaves, namespace: istio-system}
spec:
  selector: {matchLabels: {istio: egressgateway}}
  action: ALLOW
  rules: [{from: [{source: {principals: ["cluster.local/ns/default/sa/%s"]}}]}]
"""


@pytest.fixture(scope="module")
def leaving(world: Mesh) -> Iterator[Mesh]:
    """The mesh, in which only what documents name is called, with an egress gateway and a host outside."""
    with outside_server() as port, world.applied(REGISTRY_ONLY), world.applied(NAMES % port):
        _start_gateway(world)
        yield world
        world.processes["egress"].stop()


def _start_gateway(world: Mesh) -> None:
    words = ["-n", "istio-system", "--labels", "app=istio-egressgateway,istio=egressgateway"]
    world.spawn("egress", "gateway", GATE, *words, "--listen", "80=auto", "--listen", "443=auto")
    until("the gateway is healthy", lambda: world.workload(GATE, "istio-system")["state"] == "healthy")


def test_the_published_documents_lead_through_the_gateway(leaving: Mesh, client: Client) -> None:
    assert client("http://edition.cnn.test/").json()["left"] == ""
    with leaving.applied(PUBLISHED):
        answer = client("http://edition.cnn.test/").json()
        assert (answer["host"], answer["left"]) == ("edition.cnn.test", "by-the-gateway")


def test_the_gateway_knows_who_calls_over_mutual_tls(leaving: Mesh, client: Client) -> None:
    with leaving.applied(MUTUAL):
        assert client("http://edition.cnn.test/").json()["left"] == "by-the-gateway"
        with leaving.applied(POLICY % "client"):
            assert client("http://edition.cnn.test/").status == 200
        with leaving.applied(POLICY % "somebody"):
            assert client("http://edition.cnn.test/").status == 403


def test_without_the_gateway_nothing_leaves(leaving: Mesh, client: Client) -> None:
    with leaving.applied(PUBLISHED):
        leaving.processes["egress"].stop()
        assert client("http://edition.cnn.test/").status == 503
        _start_gateway(leaving)  # for the tests that follow, in whatever order
