"""What is outside the mesh, and instances that only documents describe, called through a sidecar."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from support.certificates import TestAuthority
from support.http import Client, steady_load
from support.mesh import Mesh, until
from support.outside import REGISTRY_ONLY, outside_server, through


@pytest.fixture(scope="module")
def ports() -> Iterator[tuple[int, int]]:
    """Two servers outside."""
    with ExitStack() as stack:
        yield stack.enter_context(outside_server()), stack.enter_context(outside_server())


@pytest.fixture(scope="module")
def closed(world: Mesh) -> Iterator[Mesh]:
    """The mesh, in which only what documents name is called."""
    with world.applied(REGISTRY_ONLY):
        yield world


def entry(host: str, port: str, rest: str, name: str = "outside", more: str = "") -> str:
    """A ServiceEntry of one host and port."""
    return f"""
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {{name: {name}}}
spec:
  hosts: ["{host}"]
  ports: [{port}]
  {rest}
{more}"""


HTTP = "{number: 80, name: http, protocol: HTTP}"


def called(client: Client, url: str, count: int = 1) -> set[int]:
    """The ports of those who answered."""
    answers = [client(url) for _ in range(count)]
    assert {answer.status for answer in answers} == {200}
    return {answer.json()["port"] for answer in answers}


def test_written_endpoints(closed: Mesh, client: Client, ports: tuple[int, int]) -> None:
    assert client("http://api.example.test/").status == 502
    one, two = ports
    both = (
        f"endpoints: [{{address: 127.0.0.1, ports: {{http: {one}}}}}, {{address: 127.0.0.1, ports: {{http: {two}}}}}]"
    )
    with closed.applied(entry("api.example.test", HTTP, "resolution: STATIC\n  addresses: [192.0.2.77]\n  " + both)):
        assert called(client, "http://api.example.test/", 20) == {one, two}
        assert called(client, "http://192.0.2.77/", 20) == {one, two}
        answer = client("http://api.example.test/").json()
        assert answer["host"] == "api.example.test"
        # A port that the entry does not have is of nobody in a mesh of registered hosts.
        assert client("http://api.example.test:81/").status == 502
        shown = closed.weft("get", "serviceentries").stdout
        assert "api.example.test" in shown
    assert client("http://api.example.test/").status == 502


def test_weights_and_subsets_of_written_endpoints(closed: Mesh, client: Client, ports: tuple[int, int]) -> None:
    one, two = ports
    both = (
        f"endpoints: [{{address: 127.0.0.1, ports: {{http: {one}}}, labels: {{version: old}}, weight: 100}}, "
        f"{{address: 127.0.0.1, ports: {{http: {two}}}, labels: {{version: new}}}}]"
    )
    rules = """
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: outside}
spec:
  host: api.example.test
  trafficPolicy: {loadBalancer: {simple: ROUND_ROBIN}}
  subsets: [{name: new, labels: {version: new}}]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: outside}
spec:
  hosts: [api.example.test]
  http:
    - match: [{uri: {prefix: /new}}]
      route: [{destination: {host: api.example.test, subset: new}}]
    - route: [{destination: {host: api.example.test}}]
"""
    with closed.applied(entry("api.example.test", HTTP, "resolution: STATIC\n  " + both) + rules):
        assert called(client, "http://api.example.test/new", 5) == {two}
        many = [client("http://api.example.test/").json()["port"] for _ in range(60)]
        assert many.count(one) > many.count(two)


def test_names_are_looked_up(closed: Mesh, client: Client, ports: tuple[int, int]) -> None:
    one, two = ports
    both = f"endpoints: [{{address: localhost.localdomain, ports: {{http: {one}}}}}]"
    refused = closed.weft(
        "apply", "-f", "-", stdin=entry("db.example.test", HTTP, "resolution: DNS\n  " + both), check=False
    )
    assert "own host" in refused.stderr
    named = (
        f"endpoints: [{{address: 127.0.0.1, ports: {{http: {one}}}}}, {{address: 127.0.0.1, ports: {{http: {two}}}}}]"
    )
    with closed.applied(entry("db.example.test", HTTP, "resolution: DNS\n  " + named)):
        assert called(client, "http://db.example.test/", 20) == {one, two}
    single = f"endpoints: [{{address: 127.0.0.1, ports: {{http: {two}}}}}]"
    with closed.applied(entry("db.example.test", HTTP, "resolution: DNS_ROUND_ROBIN\n  " + single)):
        assert called(client, "http://db.example.test/", 3) == {two}


@pytest.mark.parametrize("resolution", ["NONE", "DYNAMIC_DNS"])
def test_a_wildcard_leads_each_caller_to_the_host_it_calls(
    closed: Mesh, client: Client, ports: tuple[int, int], resolution: str
) -> None:
    one, two = ports
    wanted = f"{{number: {one}, name: http, protocol: HTTP}}"
    assert client(f"http://a.localhost:{one}/").status == 502
    with closed.applied(entry("*.localhost", wanted, f"resolution: {resolution}")):
        assert called(client, f"http://a.localhost:{one}/") == {one}
        assert called(client, f"http://b.localhost:{one}/") == {one}
        assert client(f"http://a.localhost:{two}/").status == 502


def test_tls_is_carried_to_the_host_as_it_is(closed: Mesh, tmp_path: Path) -> None:
    authority = TestAuthority()
    leaf = authority.issue(dns=("secure.localhost",))
    (tmp_path / "tls.pem").write_bytes(leaf.chain + leaf.key)
    (tmp_path / "ca.pem").write_bytes(authority.bundle)
    serving = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    serving.load_cert_chain(tmp_path / "tls.pem")
    trusting = ssl.create_default_context(cafile=str(tmp_path / "ca.pem"))
    proxy = closed.proxy_of("client")
    with outside_server(serving) as port:
        exact = entry(
            "secure.localhost",
            f"{{number: {port}, name: tls, protocol: TLS}}",
            "resolution: STATIC\n  endpoints: [{address: 127.0.0.1}]",
        )
        wild = entry("*.localhost", f"{{number: {port}, name: https, protocol: HTTPS}}", "resolution: DYNAMIC_DNS")
        for text in (exact, wild):
            with pytest.raises(ConnectionError):
                through(proxy, "secure.localhost", port)
            with closed.applied(text):
                sock = through(proxy, "secure.localhost", port)
                with trusting.wrap_socket(sock, server_hostname="secure.localhost") as tls:
                    tls.sendall(b"GET / HTTP/1.1\r\nHost: secure.localhost\r\nConnection: close\r\n\r\n")
                    assert tls.recv(64).startswith(b"HTTP/1.1 200")


DESCRIBED = """
---
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {name: legacy}
spec:
  address: 127.0.0.1
  labels: {app: echo}
  ports: {http: %d}
"""


def test_a_service_has_registered_and_described_instances(closed: Mesh, client: Client, ports: tuple[int, int]) -> None:
    with closed.applied(DESCRIBED % ports[0]):
        found = until("both are called", lambda: _instances(client) == {"echo-v1", "echo-v2", str(ports[0])})
        assert found
        assert "legacy" in closed.weft("get", "workloadentries").stdout
    assert _instances(client) == {"echo-v1", "echo-v2"}


def _instances(client: Client) -> set[str]:
    answers = [client("http://echo/") for _ in range(20)]
    assert {answer.status for answer in answers} == {200}
    bodies = [answer.json() for answer in answers]
    return {str(body.get("workload") or body["port"]) for body in bodies}


def test_inside_the_mesh_an_entry_is_called_over_mutual_tls(closed: Mesh, client: Client) -> None:
    host, port = closed.inbound_of("other")
    meshed = """
---
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {name: moved}
spec:
  address: %s
  labels: {app: moved, security.istio.io/tlsMode: istio}
  ports: {http: %d}
  serviceAccount: %s
"""
    rest = "location: MESH_INTERNAL\n  resolution: STATIC\n  workloadSelector: {labels: {app: moved}}"
    with closed.applied(entry("moved.example.test", HTTP, rest) + meshed % (host, port, "other")):
        answer = client("http://moved.example.test/")
        assert (answer.status, answer.json()["workload"]) == (200, "other")
    with closed.applied(entry("moved.example.test", HTTP, rest) + meshed % (host, port, "somebody")):
        assert client("http://moved.example.test/").status == 503


SIDECAR = """
---
apiVersion: networking.istio.io/v1
kind: Sidecar
metadata: {name: client}
spec: {%s}
"""


def test_a_sidecar_narrows_what_its_proxy_is_told(closed: Mesh, client: Client, ports: tuple[int, int]) -> None:
    one, two = ports
    outside = entry(
        "api.example.test",
        f"{{number: {one}, name: http, protocol: HTTP}}",
        "resolution: STATIC\n  endpoints: [{address: 127.0.0.1}]",
    )
    rest = "workloadSelector: {labels: {app: client}}, egress: [{hosts: ['./other.default.svc.cluster.local']}]"
    with closed.applied(outside):
        assert client("http://echo/").status == client("http://other/").status == 200
        with closed.applied(SIDECAR % rest):
            assert client("http://other/").status == 200
            assert client("http://echo/").status == 502
            assert client(f"http://api.example.test:{one}/").status == 502
            assert client(f"http://localhost:{two}/").status == 502
            opened = SIDECAR % (rest + ", outboundTrafficPolicy: {mode: ALLOW_ANY}")
            with closed.applied(opened):
                assert client(f"http://localhost:{two}/").status == 200
            closed.apply(SIDECAR % rest)
        assert client("http://echo/").status == 200


def test_a_service_that_is_not_exported_is_not_called(closed: Mesh, client: Client, ports: tuple[int, int]) -> None:
    one = ports[0]
    here = "resolution: STATIC\n  endpoints: [{address: 127.0.0.1}]\n  exportTo: [%s]"
    port = f"{{number: {one}, name: http, protocol: HTTP}}"
    text = entry("api.example.test", port, here)
    with closed.applied(text % "elsewhere"):
        assert client(f"http://api.example.test:{one}/").status == 502
        closed.apply(text % '"."')
        assert client(f"http://api.example.test:{one}/").status == 200
        closed.apply(text % '"~"')
        assert client(f"http://api.example.test:{one}/").status == 502


def test_a_sidecar_has_another_port_of_the_host_served(closed: Mesh, client: Client, ports: tuple[int, int]) -> None:
    served = "workloadSelector: {labels: {app: other}}, ingress: [{port: {number: 8080, protocol: HTTP, name: http}, "
    served += f"defaultEndpoint: '127.0.0.1:{ports[0]}'}}], inboundConnectionPool: {{tcp: {{maxConnections: 50}}}}"
    with closed.applied(SIDECAR % served):
        assert client("http://other/").json()["port"] == ports[0]
    assert client("http://other/").json()["workload"] == "other"


async def test_changing_it_under_load_fails_no_request(closed: Mesh, ports: tuple[int, int]) -> None:
    """Entries, their endpoints, exports and Sidecars change while calls go to what they do not touch."""
    one, two = ports
    both = f"{{address: 127.0.0.1, ports: {{http: {one}}}}}, {{address: 127.0.0.1, ports: {{http: {two}}}}}"
    texts = [
        entry("api.example.test", HTTP, f"resolution: STATIC\n  endpoints: [{found}]{more}")
        for found in (both, f"{{address: 127.0.0.1, ports: {{http: {one}}}}}")
        for more in ("", "\n  exportTo: ['*']", "\n  exportTo: ['.']")
    ]
    texts += [texts[0] + SIDECAR % "egress: [{hosts: ['./*']}]", texts[0] + SIDECAR % "egress: [{hosts: ['*/*']}]"]
    await asyncio.to_thread(closed.apply, texts[0])
    host, port = closed.proxy_of("client")

    async def change() -> None:
        for text in texts:
            await asyncio.to_thread(closed.apply, text)

    try:
        load = await steady_load("http://api.example.test/", f"http://{host}:{port}", 200, change)
    finally:
        await asyncio.to_thread(closed.delete, texts[-1])
    assert load.failures == []
    assert load.sent > 100


async def test_each_namespace_has_its_own_and_others_coming_under_load_fail_nothing(
    closed: Mesh, client: Client, ports: tuple[int, int]
) -> None:
    """What others declare for themselves, or for everybody, leads no call of a namespace with its own elsewhere."""
    one, two = ports

    def of(namespace: str, port: int, export: str) -> str:
        rest = f"resolution: STATIC\n  endpoints: [{{address: 127.0.0.1, ports: {{http: {port}}}}}]"
        text = entry("api.example.test", HTTP, f"{rest}\n  exportTo: ['{export}']")
        return text.replace("{name: outside}", f"{{name: outside, namespace: {namespace}}}")

    host, port = closed.proxy_of("client")
    proc = closed.echo("far-client", more=("--namespace", "far"), wait=False)
    until("it is healthy", lambda: closed.workload("far-client", "far")["state"] == "healthy")
    found = closed.workload("far-client", "far")["outbound"]
    far = Client((found["host"], found["port"]))
    try:
        with closed.applied(of("far", two, ".")):
            assert client("http://api.example.test/").status == 502
            assert called(far, "http://api.example.test/") == {two}
            with closed.applied(of("default", one, ".")):

                async def change() -> None:
                    for export in ("*", ".", "~", "*"):
                        await asyncio.to_thread(closed.apply, of("far", two, export))
                        assert await asyncio.to_thread(called, Client((host, port)), "http://api.example.test/", 5) == {
                            one
                        }

                load = await steady_load("http://api.example.test/", f"http://{host}:{port}", 200, change)
                assert load.failures == []
                assert called(client, "http://api.example.test/", 20) == {one}
                assert called(far, "http://api.example.test/", 5) == {two}
            assert called(client, "http://api.example.test/", 5) == {two}
    finally:
        far.close()
        proc.stop()
