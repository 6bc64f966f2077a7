"""TLS with a server outside, originated by sidecars and gateways: who shows which certificate, and who is believed."""

from __future__ import annotations

import json
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import AbstractContextManager
from functools import partial

import pytest

from support.certificates import Leaf, TestAuthority
from support.http import Client
from support.mesh import Mesh, until
from support.tls_server import TlsServer, tls_server_in_thread

HOST = "api.example.test"
PUBLIC = TestAuthority()
ENTRY = """
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: api}
spec:
  hosts: [api.example.test]
  location: MESH_EXTERNAL
  resolution: STATIC
  ports: [{number: 80, name: http, protocol: HTTP}]
  endpoints: [{address: 127.0.0.1, ports: {http: %d}}]
"""
RULE = """
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: api}
spec:
  host: api.example.test
  %s
  trafficPolicy:
    connectionPool: {http: {maxRequestsPerConnection: 5}}
    tls: {mode: MUTUAL, credentialName: api-client}
"""
SELECTOR = "workloadSelector: {matchLabels: {app: client}}"
POLICY = """
apiVersion: v1
kind: Service
metadata: {name: api-backend}
spec: {selector: {app: api-backend}, ports: [{name: http, port: 80}]}
---
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {name: api-backend}
spec: {address: 127.0.0.1, ports: {http: %d}, labels: {app: api-backend}}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: api-authorities}
data: {"ca.crt": %s}
---
apiVersion: gateway.networking.k8s.io/v1
kind: BackendTLSPolicy
metadata: {name: api}
spec:
  targetRefs: [{group: "", kind: Service, name: api-backend}]
  validation:
    hostname: api.example.test
    caCertificateRefs: [{group: "", kind: ConfigMap, name: %s}]
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: api}
spec:
  parentRefs: [{name: front}]
  hostnames: [api.shop.test]
  rules: [{backendRefs: [{name: api-backend, port: 80}]}]
"""


def credential(leaf: Leaf) -> str:
    data = {"tls.crt": leaf.chain.decode(), "tls.key": leaf.key.decode(), "ca.crt": PUBLIC.bundle.decode()}
    return f"apiVersion: v1\nkind: Secret\nmetadata: {{name: api-client}}\nstringData: {json.dumps(data)}\n"


def named(name: str) -> Leaf:
    return PUBLIC.issue(dns=(name,))


def running(clients: bytes = b"") -> AbstractContextManager[TlsServer]:
    """A server of HOST."""
    return tls_server_in_thread(named(HOST), clients)


@pytest.fixture(scope="module")
def outside(world: Mesh) -> Iterator[TlsServer]:
    """A server that wants to know who calls, and the documents by which the mesh calls it."""
    with running(PUBLIC.bundle) as server, world.applied(ENTRY % server.port):
        yield server


def ask(client: Client) -> tuple[int, str]:
    """The status, and who the server says called."""
    answer = client(f"http://{HOST}/")
    return answer.status, answer.json()["client"] if answer.status == 200 else ""


def test_a_sidecar_that_is_selected_shows_the_certificate_and_no_other(
    world: Mesh, client: Client, outside: TlsServer
) -> None:
    other = Client(world.proxy_of("other"))
    with world.applied(credential(named("first.example.test"))):
        with world.applied(RULE % SELECTOR):
            until("it is shown", lambda: ask(client) == (200, "first.example.test"))
            assert outside.names[-1] == HOST
            assert ask(other)[0] in (400, 503)  # no rule is for it, and the server speaks TLS only
        with world.applied(RULE % ""):
            assert ask(client) == ask(other) == (503, "")
            said = world.weft("explain", "--from", "client", f"http://{HOST}/", check=False).stdout
            assert "is not given the credential 'api-client'" in said
            world.echo("late").stop()  # what it is not given keeps nobody from starting
    other.close()


def _often(seen: Counter[tuple[int, str]], name: str) -> bool:
    return seen[200, name] > 50


def test_a_certificate_changes_under_load_and_no_request_fails(world: Mesh, client: Client, outside: TlsServer) -> None:
    seen: Counter[tuple[int, str]] = Counter()
    failed: list[BaseException] = []
    over = threading.Event()

    def load() -> None:
        own = Client(world.proxy_of("client"))
        try:
            while not over.wait(0.01):
                seen[ask(own)] += 1
        except OSError as error:
            failed.append(error)
        finally:
            own.close()

    with world.applied(credential(named("first.example.test"))), world.applied(RULE % SELECTOR):
        until("it is shown", lambda: ask(client) == (200, "first.example.test"))
        threads = [threading.Thread(target=load) for _ in range(3)]
        for thread in threads:
            thread.start()
        for name in ("second.example.test", "third.example.test"):
            world.apply(credential(named(name)))
            until(f"{name} is seen", partial(_often, seen, name))
        over.set()
        for thread in threads:
            thread.join()
    assert not failed
    assert {status for status, _ in seen} == {200}


def test_a_certificate_of_another_name_is_refused_and_explained(
    world: Mesh, client: Client, outside: TlsServer
) -> None:
    with world.applied(credential(named("first.example.test"))), world.applied(RULE % SELECTOR):
        until("it is believed", lambda: ask(client)[0] == 200)
        world.apply(RULE.replace("api-client}", "api-client, subjectAltNames: [else.example.test]}") % SELECTOR)
        until("it is not", lambda: ask(client)[0] == 503)
        until("the failure is known", lambda: bool(_explained(world)))
        said = _explained(world)
        assert "the certificate of the other side is not one that is expected there" in said
        assert "must prove else.example.test by the authorities of the Secret api-client" in said


def _explained(world: Mesh) -> str:
    """What is said of the failed requests to HOST, of which the mesh has seen others too."""
    found = json.loads(world.weft("requests", "-o", "json", check=False).stdout or "[]")
    rows = found if isinstance(found, list) else found.get("requests", found.get("items", []))
    ids = dict.fromkeys(row.get("id") or row.get("request_id") for row in rows if HOST in json.dumps(row))
    told = (world.weft("explain", one, check=False).stdout for one in ids)
    return next((text for text in told if "certificate of the other side" in text), "")


def test_a_gateway_believes_the_servers_of_a_policy(world: Mesh, front: tuple[Client, str]) -> None:
    outsider, url = front
    with running() as server:
        text = POLICY % (server.port, json.dumps(PUBLIC.bundle.decode()), "api-authorities")
        with world.applied(text):
            answer = outsider(url, headers={"Host": "api.shop.test"})
            assert (answer.status, answer.json()["sni"]) == (200, HOST)
            shown = json.loads(world.weft("get", "backendtlspolicy", "api", "-o", "json").stdout)
            assert '"Accepted"' in json.dumps(shown)
        missing = POLICY % (server.port, json.dumps(PUBLIC.bundle.decode()), "nothing")
        with world.applied(missing, check=False):
            assert outsider(url, headers={"Host": "api.shop.test"}).status == 503
            shown = world.weft("get", "backendtlspolicy", "api", "-o", "yaml").stdout
            assert "NoValidCACertificate" in shown and "InvalidCACertificateRef" in shown
