"""HTTP/3 at a gateway, with an Envoy as its client: hosts by server name, the routes and policies of the TLS listener,
Alt-Svc, a certificate that changes, what is refused, hostile datagrams, and turning it on and off under load."""

from __future__ import annotations

import asyncio
import json
import os
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from support.certificates import TestAuthority
from support.envoy import free_port, running_envoy
from support.http import Client, steady_load, tls_context
from support.mesh import Mesh, until

PRODUCTPAGE = """
apiVersion: v1
kind: Service
metadata: {name: productpage}
spec: {selector: {app: productpage}, ports: [{name: http, port: 9080, targetPort: 8080}]}
"""
GATEWAY = """
apiVersion: networking.istio.io/v1
kind: Gateway
metadata:
  name: front
  annotations: {weft.dev/http3: "true"}
spec:
  selector: {istio: ingressgateway}
  servers:
  - port: {number: 443, name: shop, protocol: HTTPS}
    tls: {mode: SIMPLE, credentialName: shop}
    hosts: [shop.example.com]
  - port: {number: 443, name: local, protocol: HTTPS}
    tls: {mode: SIMPLE, credentialName: local}
    hosts: [localhost]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: shop}
spec:
  hosts: ["*"]
  gateways: [front]
  http: [{match: [{uri: {prefix: /page}}], route: [{destination: {host: productpage, port: {number: 9080}}}]}]
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: closed}
spec:
  selector: {matchLabels: {istio: ingressgateway}}
  action: DENY
  rules: [{to: [{operation: {paths: [/page/closed]}}]}]
"""
PARTNERS = """
apiVersion: networking.istio.io/v1
kind: Gateway
metadata:
  name: partners
  annotations: {weft.dev/http3: "true"}
spec:
  selector: {istio: ingressgateway}
  servers:
  - port: {number: 443, name: partners, protocol: HTTPS}
    tls: {mode: MUTUAL, credentialName: shop}
    hosts: [partners.example.com]
"""
ROOTS = TestAuthority(), TestAuthority()


@pytest.fixture(scope="module")
def ingress(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mesh]:
    root = tmp_path_factory.mktemp("ingress")
    mesh = Mesh(root / "home", root / "logs")
    try:
        mesh.serve("--xds-port", "0", "--agent-port", "0", "--admin-port", "0")
        mesh.apply(PRODUCTPAGE)
        mesh.echo("productpage", app="productpage", version="v1", wait=False)
        mesh.gateway("istio-ingressgateway", *(f"{port}={free_port()}" for port in (443, 8443)))
        mesh.wait_healthy("productpage")
        yield mesh
    finally:
        mesh.stop()


def bound(mesh: Mesh, port: int) -> int:
    """Where the gateway's listener on `port` is."""
    ports = mesh.workload("istio-ingressgateway")["gateway"]["ports"]
    return next(int(address["port"]) for number, address in ports if number == port)


def secret(name: str, host: str, root: TestAuthority) -> str:
    leaf = root.issue(dns=(host,))
    data = {"tls.crt": leaf.chain.decode(), "tls.key": leaf.key.decode(), "ca.crt": root.bundle.decode()}
    return json.dumps({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "stringData": data})


def documents(*more: str) -> str:
    shop, local = secret("shop", "shop.example.com", ROOTS[0]), secret("local", "localhost", ROOTS[0])
    return "\n---\n".join((shop, local, GATEWAY, *more))


class Http3Client:
    """Requests over HTTP/3 through a client's Envoy, each with a hand-shake of its own; `root` says by which authority
    the server's certificate has to be."""

    def __init__(self, port: int) -> None:
        self.url = f"http://127.0.0.1:{port}"

    def __call__(self, host: str, path: str = "/page", root: int = 0) -> tuple[int, str]:
        client = Client()
        try:
            answer = client(f"{self.url}{path}", headers={"host": f"{root}.{host}"})
            return answer.status, answer.headers.get("alt-svc", "")
        finally:
            client.close()


def bootstrap(listen: int, to: int, hosts: tuple[str, ...]) -> str:
    """An Envoy that passes requests for ROOT.HOST on over HTTP/3, asking for HOST."""
    sides = [(root, host) for root in (0, 1) for host in hosts]

    def cluster(root: int, host: str) -> dict[str, object]:
        validation = {
            "trusted_ca": {"inline_string": ROOTS[root].bundle.decode()},
            "match_typed_subject_alt_names": [{"san_type": "DNS", "matcher": {"exact": host}}],
        }
        tls = {"sni": host, "common_tls_context": {"validation_context": validation}}
        address = {"socket_address": {"protocol": "UDP", "address": "127.0.0.1", "port_value": to}}
        quic = "type.googleapis.com/envoy.extensions.transport_sockets.quic.v3.QuicUpstreamTransport"
        options = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
        return {
            "name": f"{root}.{host}",
            "connect_timeout": "5s",
            "load_assignment": {
                "cluster_name": "x",
                "endpoints": [{"lb_endpoints": [{"endpoint": {"address": address}}]}],
            },
            "transport_socket": {
                "name": "envoy.transport_sockets.quic",
                "typed_config": {"@type": quic, "upstream_tls_context": tls},
            },
            "typed_extension_protocol_options": {
                options: {
                    "@type": f"type.googleapis.com/{options}",
                    "common_http_protocol_options": {"max_requests_per_connection": 1},
                    "explicit_http_config": {"http3_protocol_options": {}},
                }
            },
        }

    def virtual_host(name: str, host: str) -> dict[str, object]:
        route = {"match": {"prefix": "/"}, "route": {"cluster": name, "host_rewrite_literal": host}}
        return {"name": name, "domains": [name], "routes": [route]}

    base = "type.googleapis.com/envoy.extensions.filters"
    router = {"name": "envoy.filters.http.router", "typed_config": {"@type": f"{base}.http.router.v3.Router"}}
    manager = {
        "@type": f"{base}.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "client",
        "route_config": {"virtual_hosts": [virtual_host(f"{root}.{host}", host) for root, host in sides]},
        "http_filters": [router],
    }
    listener = {
        "address": {"socket_address": {"address": "127.0.0.1", "port_value": listen}},
        "filter_chains": [{"filters": [{"name": "http", "typed_config": manager}]}],
    }
    static = {"listeners": [listener], "clusters": [cluster(root, host) for root, host in sides]}
    return json.dumps({"admin": {"address": {"pipe": {"path": "admin.sock"}}}, "static_resources": static})


@asynccontextmanager
async def http3_client(mesh: Mesh, directory: Path, *more: str) -> AsyncIterator[Http3Client]:
    listen = free_port()
    config = bootstrap(listen, bound(mesh, 443), ("shop.example.com", "localhost", *more))
    async with running_envoy(config, directory):
        yield Http3Client(listen)


def test_http3_has_the_hosts_routes_policies_and_certificates_of_the_tls_listener(
    ingress: Mesh, tmp_path: Path
) -> None:
    async def main() -> None:
        async with http3_client(ingress, tmp_path, "partners.example.com") as ask:
            await asyncio.to_thread(meet, ask)
        (tmp_path / "new").mkdir()
        async with http3_client(ingress, tmp_path / "new", "partners.example.com") as ask:
            await asyncio.to_thread(meet_as_a_new_client, ask)

    def meet(ask: Http3Client) -> None:
        offer = f'h3=":{bound(ingress, 443)}"; ma=3600'
        until("the page over HTTP/3", lambda: ask("shop.example.com") == (200, offer))
        assert ask("localhost") == (200, offer)
        assert ask("shop.example.com", "/elsewhere")[0] == 404
        assert ask("shop.example.com", "/page/closed")[0] == 403
        assert ask("shop.example.com", root=1)[0] == 503  # a certificate of another authority
        ingress.apply(secret("shop", "shop.example.com", ROOTS[1]))
        until("the other certificate", lambda: ask("shop.example.com", root=1)[0] == 200)
        assert ask("localhost")[0] == 200

    def meet_as_a_new_client(ask: Http3Client) -> None:
        """One without a session to resume."""
        assert ask("shop.example.com")[0] == 503
        assert ask("shop.example.com", root=1)[0] == 200
        assert ask("partners.example.com")[0] == 503  # which asks for certificates, so it is not there

    with ingress.applied(documents()):
        refused = ingress.weft("apply", "-f", "-", "--wait", stdin=PARTNERS, check=False)
        said = refused.stdout + refused.stderr
        assert "http3-not-offered" in ingress.weft("describe", "gateways.networking.istio.io", "partners").stdout + said
        asyncio.run(main())
        ingress.delete(PARTNERS)


def test_the_example_runs(ingress: Mesh, tmp_path: Path) -> None:
    example = (Path(__file__).parents[2] / "examples/http3.yaml").read_text()

    async def main() -> None:
        async with http3_client(ingress, tmp_path) as ask:
            await asyncio.to_thread(until, "the page", lambda: ask("localhost", "/productpage")[0] == 200)

    with ingress.applied("\n---\n".join((secret("page", "localhost", ROOTS[0]), example))):
        asyncio.run(main())


def test_it_is_turned_on_and_off_and_no_request_over_tls_fails(ingress: Mesh, tmp_path: Path) -> None:
    (tmp_path / "ca").write_bytes(ROOTS[0].bundle)
    off = GATEWAY.replace('"true"', '"false"', 1)

    async def main() -> None:
        async with http3_client(ingress, tmp_path) as ask:

            async def change() -> None:
                for text, there in ((off, False), (GATEWAY, True)):
                    await asyncio.to_thread(ingress.apply, text)
                    wanted = 200 if there else 503
                    await asyncio.to_thread(until, f"{wanted}", lambda w=wanted: ask("localhost")[0] == w)

            await asyncio.to_thread(until, "the page", lambda: ask("localhost")[0] == 200)
            url, context = f"https://localhost:{bound(ingress, 443)}/page", tls_context(str(tmp_path / "ca"))
            load = await steady_load(url, None, 100, change, context=context)
            assert load.failures == []
            assert load.sent > 20

    with ingress.applied(documents()):
        asyncio.run(main())


def test_datagrams_that_mean_nothing_disturb_nobody(ingress: Mesh, tmp_path: Path) -> None:
    async def main() -> None:
        async with http3_client(ingress, tmp_path) as ask:
            await asyncio.to_thread(until, "the page", lambda: ask("localhost")[0] == 200)
            await asyncio.to_thread(flood, ask)

    def flood(ask: Http3Client) -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as hostile:
            hostile.connect(("127.0.0.1", bound(ingress, 443)))
            for turn in range(20):
                for length in range(1, 1400, 28):
                    hostile.send(os.urandom(length))
                    initial = b"\xc3\x00\x00\x00\x01\x08" + os.urandom(
                        8
                    )  # a first packet of QUIC version 1, false inside
                    hostile.send(initial + os.urandom(1200))
                assert ask("localhost")[0] == 200, turn

    with ingress.applied(documents()):
        asyncio.run(main())


def test_a_port_that_cannot_be_had_over_udp_is_told_of_and_tls_goes_on(ingress: Mesh, tmp_path: Path) -> None:
    (tmp_path / "ca").write_bytes(ROOTS[0].bundle)
    other = documents().replace("number: 443", "number: 8443")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind(("127.0.0.1", bound(ingress, 8443)))
        done = ingress.weft("apply", "-f", "-", "--wait", stdin=other, check=False)
        assert "gateway|8443|http3" in done.stdout + done.stderr
        url, context = f"https://localhost:{bound(ingress, 8443)}/page", tls_context(str(tmp_path / "ca"))
        load = asyncio.run(steady_load(url, None, 20, lambda: asyncio.sleep(1), context=context))
        assert load.failures == []
        ingress.weft("delete", "-f", "-", stdin=other)
