"""Istio's Gateway as it is published: bookinfo's ingress, TLS and mutual TLS, several hosts with their certificates, a
certificate that changes under load, the redirect to HTTPS, what clients without a certificate meet, and TLS that passes
by name."""

from __future__ import annotations

import asyncio
import json
import socket
import ssl
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.x509.oid import NameOID

from support.certificates import TestAuthority
from support.envoy import free_port
from support.http import Client, steady_load, tls_context
from support.mesh import APPS, Mesh, until

BOOKINFO = """
apiVersion: networking.istio.io/v1
kind: Gateway
metadata:
  name: bookinfo-gateway
spec:
  # The selector matches the ingress gateway pod labels.
  # If you installed Istio using Helm following the standard documentation, this would be "istio=ingress"
  selector:
    istio: ingressgateway # use istio default controller
  servers:
  - port:
      number: 8080
      name: http
      protocol: HTTP
    hosts:
    - "*"
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata:
  name: bookinfo
spec:
  hosts:
  - "*"
  gateways:
  - bookinfo-gateway
  http:
  - match:
    - uri:
        exact: /productpage
    - uri:
        prefix: /static
    - uri:
        exact: /login
    - uri:
        exact: /logout
    - uri:
        prefix: /api/v1/products
    route:
    - destination:
        host: productpage
        port:
          number: 9080
"""
"""Istio's samples/bookinfo/networking/bookinfo-gateway.yaml."""
PRODUCTPAGE = """
apiVersion: v1
kind: Service
metadata: {name: productpage}
spec: {selector: {app: productpage}, ports: [{name: http, port: 9080, targetPort: 8080}]}
"""
SECURE = """
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: mygateway}
spec:
  selector: {istio: ingressgateway}
  servers:
  - port: {number: 80, name: http, protocol: HTTP}
    tls: {httpsRedirect: true}
    hosts: [httpbin.example.com]
  - port: {number: 443, name: https-httpbin, protocol: HTTPS}
    tls: {mode: SIMPLE, credentialName: httpbin-credential}
    hosts: [httpbin.example.com]
  - port: {number: 443, name: https-helloworld, protocol: HTTPS}
    tls: {mode: MUTUAL, credentialName: helloworld-credential}
    hosts: [helloworld.example.com]
  - port: {number: 443, name: https-optional, protocol: HTTPS}
    tls: {mode: OPTIONAL_MUTUAL, credentialName: helloworld-credential, minProtocolVersion: TLSV1_3}
    hosts: ["*.optional.example.com"]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: httpbin}
spec:
  hosts: ["*"]
  gateways: [mygateway]
  http: [{route: [{destination: {host: productpage, port: {number: 9080}}}]}]
"""


@pytest.fixture(scope="module")
def ingress(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mesh]:
    root = tmp_path_factory.mktemp("ingress")
    mesh = Mesh(root / "home", root / "logs")
    try:
        mesh.serve("--xds-port", "0", "--agent-port", "0", "--admin-port", "0")
        mesh.apply(PRODUCTPAGE)
        mesh.echo("productpage", app="productpage", version="v1", wait=False)
        for name in ("nginx", "vault"):
            server = [sys.executable, str(APPS / "tcp_name.py")]
            mesh.run(name, server, port="8443:auto", health="tcp", env={"WEFT_TEST_TLS": "1"}, wait=False)
        mesh.gateway("istio-ingressgateway", *(f"{port}={free_port()}" for port in (80, 443, 8080)))
        mesh.wait_healthy("productpage", "nginx", "vault")
        yield mesh
    finally:
        mesh.stop()


def bound(mesh: Mesh, port: int) -> int:
    """Where the gateway's listener on `port` is."""
    ports = mesh.workload("istio-ingressgateway")["gateway"]["ports"]
    return next(int(address["port"]) for number, address in ports if number == port)


def secret(name: str, **data: bytes) -> str:
    values = {key.replace("_", "."): value.decode() for key, value in data.items()}
    return json.dumps({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "stringData": values})


def test_the_published_ingress_of_bookinfo_runs_unchanged(ingress: Mesh) -> None:
    with ingress.applied(BOOKINFO):
        url, client = f"http://127.0.0.1:{bound(ingress, 8080)}", Client()
        until("the page", lambda: client(f"{url}/productpage").status == 200)
        assert client(f"{url}/api/v1/products/0").status == 200
        assert client(f"{url}/elsewhere").status == 404
        client.close()
        shown = ingress.weft("get", "gateways.networking.istio.io").stdout
        assert "bookinfo-gateway" in shown
        assert "istio=ingressgateway" in shown


def test_the_example_runs(ingress: Mesh) -> None:
    with ingress.applied((Path(__file__).parents[2] / "examples/istio-gateway.yaml").read_text()):
        client, url = Client(), f"http://127.0.0.1:{bound(ingress, 8080)}"
        until("the page of the example", lambda: client(f"{url}/productpage").status == 200)
        client.close()


def test_servers_have_certificates_and_clients_of_their_own(ingress: Mesh, tmp_path: Path) -> None:
    authority, clients, other = TestAuthority(), TestAuthority(), TestAuthority()
    one = authority.issue(dns=("httpbin.example.com",))
    two = authority.issue(dns=("helloworld.example.com", "*.optional.example.com"))
    (tmp_path / "ca").write_bytes(authority.bundle)
    for name, by in (("client", clients), ("stranger", other)):
        leaf = by.issue(dns=(f"{name}.example.com",))
        (tmp_path / name).write_bytes(leaf.chain + leaf.key)

    def ask(host: str, *options: str) -> str:
        where = f"127.0.0.1:{bound(ingress, 443)}"
        command = ["openssl", "s_client", "-quiet", "-connect", where, "-servername", host, *options]
        request = f"GET / HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n"
        command += ["-CAfile", str(tmp_path / "ca"), "-verify_return_error", "-verify_hostname", host]
        done = subprocess.run(command, input=request, capture_output=True, text=True, timeout=20, check=False)
        return done.stdout.split(" ")[1] if done.stdout.startswith("HTTP/1.1 ") else "refused"

    gone = clients.issue(dns=("gone.example.com",))
    (tmp_path / "gone").write_bytes(gone.chain + gone.key)
    mine, strange = ("-cert", str(tmp_path / "client")), ("-cert", str(tmp_path / "stranger"))
    documents = "\n---\n".join(
        (
            secret("httpbin-credential", tls_crt=one.chain, tls_key=one.key),
            secret(
                "helloworld-credential",
                tls_crt=two.chain,
                tls_key=two.key,
                ca_crt=clients.bundle,
                ca_crl=clients.crl(gone),
            ),
            SECURE,
        )
    )
    with ingress.applied(documents):
        until("the first answers", lambda: ask("httpbin.example.com") == "200")
        assert ask("httpbin.example.com", "-tls1_2") == "200"
        assert ask("helloworld.example.com", *mine) == "200"
        assert ask("helloworld.example.com") == "refused"
        assert ask("helloworld.example.com", *strange) == "refused"
        assert ask("helloworld.example.com", "-cert", str(tmp_path / "gone")) == "refused"
        assert ask("a.optional.example.com") == "200"
        assert ask("a.optional.example.com", *mine) == "200"
        assert ask("a.optional.example.com", *strange) == "refused"
        assert ask("a.optional.example.com", "-tls1_2") == "refused"
        assert ask("nobody.example.com") == "refused"
        client = Client()
        answer = client(f"http://127.0.0.1:{bound(ingress, 80)}/a?b", headers={"host": "httpbin.example.com"})
        assert (answer.status, answer.headers["location"]) == (
            301,
            f"https://httpbin.example.com:{bound(ingress, 443)}/a?b",
        )
        client.close()


def test_a_certificate_changes_under_load_and_no_request_fails(ingress: Mesh, tmp_path: Path) -> None:
    """Connections go on with the old one, new hand-shakes meet the new one."""
    roots = [TestAuthority(), TestAuthority()]
    leaves = [root.issue(dns=("localhost",)) for root in roots]
    gateway = SECURE.split("---", maxsplit=1)[0].replace("httpbin.example.com", "localhost")
    (tmp_path / "both").write_bytes(b"".join(root.bundle for root in roots))
    secrets = [secret("httpbin-credential", tls_crt=leaf.chain, tls_key=leaf.key) for leaf in leaves]
    other = TestAuthority().issue(dns=("x",))
    more = secret("helloworld-credential", tls_crt=other.chain, tls_key=other.key, ca_crt=roots[0].bundle)
    route = SECURE.split("---")[1]
    with ingress.applied("\n---\n".join((secrets[0], more, gateway, route))):
        port = bound(ingress, 443)

        def shown() -> bytes:
            command = ["openssl", "s_client", "-connect", f"127.0.0.1:{port}", "-servername", "localhost", "-showcerts"]
            return subprocess.run(command, input=b"", capture_output=True, timeout=20, check=False).stdout

        def body(leaf: bytes) -> bytes:
            return leaf.split(b"\n")[3]

        def shows(mark: bytes) -> bool:
            return mark in shown()

        until("the first certificate", lambda: shows(body(leaves[0].chain)))

        async def change() -> None:
            for place in (1, 0, 1):
                await asyncio.to_thread(ingress.apply, secrets[place])
                mark = body(leaves[place].chain)
                await asyncio.to_thread(until, "the other certificate", partial(shows, mark))

        context = tls_context(str(tmp_path / "both"))
        load = asyncio.run(steady_load(f"https://localhost:{port}/", None, 60, change, context=context))
        assert load.failures == []
        assert load.sent > 20


PASSING = """
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: cross-network-gateway}
spec:
  selector: {istio: ingressgateway}
  servers:
  - port: {number: 443, name: tls, protocol: TLS}
    tls: {mode: AUTO_PASSTHROUGH}
    hosts: ["*.local"]
  - port: {number: 443, name: mesh, protocol: HTTPS}
    tls: {mode: ISTIO_MUTUAL}
    hosts: [mesh.example.com]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: mesh}
spec:
  hosts: [mesh.example.com]
  gateways: [cross-network-gateway]
  http: [{route: [{destination: {host: productpage, port: {number: 9080}}}]}]
"""


def test_mutual_tls_of_the_mesh_ends_here_or_is_passed_on_by_the_name_it_asks_for(ingress: Mesh) -> None:
    chain = key = Path()
    for path in (ingress.home / "workloads/default/productpage").rglob("*.pem"):
        text = path.read_text()
        chain = path if text.count("BEGIN CERTIFICATE") >= 2 and "PRIVATE" not in text else chain
        key = path if "PRIVATE KEY" in text else key

    def ask(name: str, *options: str) -> str:
        where = f"127.0.0.1:{bound(ingress, 443)}"
        command = ["openssl", "s_client", "-quiet", "-connect", where, "-servername", name, "-alpn", "http/1.1"]
        request = "GET / HTTP/1.1\r\nHost: mesh.example.com\r\nConnection: close\r\n\r\n"
        done = subprocess.run(
            [*command, *options], input=request, capture_output=True, text=True, timeout=20, check=False
        )
        return done.stdout.split(" ")[1] if done.stdout.startswith("HTTP/1.1 ") else "refused"

    mine = ("-cert", str(chain), "-cert_chain", str(chain), "-key", str(key))
    with ingress.applied(PASSING):
        name = "outbound_.9080_._.productpage.default.svc.cluster.local"
        until("it is passed on", lambda: ask(name, *mine) == "200")
        assert ask(name) == "refused"
        assert ask("outbound_.9081_._.productpage.default.svc.cluster.local", *mine) == "refused"
        assert ask("mesh.example.com", *mine) == "200"
        assert ask("mesh.example.com") == "refused"


PASSED_BY_NAME = """
apiVersion: v1
kind: Service
metadata: {name: nginx}
spec: {selector: {app: nginx}, ports: [{name: https, port: 443, targetPort: 8443}]}
---
apiVersion: v1
kind: Service
metadata: {name: vault}
spec: {selector: {app: vault}, ports: [{name: tls, port: 8200, targetPort: 8443}]}
---
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: unopened}
spec:
  selector: {istio: ingressgateway}
  servers:
  - port: {number: 443, name: tls, protocol: TLS}
    tls: {mode: PASSTHROUGH}
    hosts: ["*.example.com"]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: unopened}
spec:
  hosts: [nginx.example.com, vault.example.com]
  gateways: [unopened]
  tls:
  - match: [{port: 443, sniHosts: [nginx.example.com]}]
    route: [{destination: {host: nginx, port: {number: 443}}}]
  - match: [{port: 443, sniHosts: [vault.example.com]}]
    route: [{destination: {host: vault, port: {number: 8200}}}]
"""


def test_tls_is_passed_on_by_name_to_servers_with_certificates_of_their_own(ingress: Mesh) -> None:
    def ask(name: str) -> tuple[str, str]:
        """Whose certificate is shown, and who answers behind it."""
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        with socket.create_connection(("127.0.0.1", bound(ingress, 443)), timeout=10) as opened:
            try:
                with context.wrap_socket(opened, server_hostname=name) as secured:
                    shown = x509.load_der_x509_certificate(secured.getpeercert(binary_form=True) or b"")
                    [owner] = shown.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
                    return str(owner.value), secured.makefile().readline().strip()
            except OSError:
                return "", ""

    with ingress.applied(PASSED_BY_NAME):
        for name in ("nginx", "vault"):
            until(f"{name} answers", lambda: ask(f"{name}.example.com") == (name, name))  # noqa: B023
        assert ask("other.example.com") == ("", "")
        turned = PASSED_BY_NAME.replace("host: vault, port: {number: 8200}", "host: nginx, port: {number: 443}")
        ingress.apply(turned)
        until("it is passed to the other", lambda: ask("vault.example.com") == ("nginx", "nginx"))


VALIDATING = """
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: istio-ingressgateway}
spec:
  gatewayClassName: weft
  addresses: [{value: 127.0.0.1}]
  tls:
    frontend:
      default: {validation: {caCertificateRefs: [{group: "", kind: ConfigMap, name: clients}]}}
      perPort:
        - port: 80
          tls:
            validation:
              caCertificateRefs: [{group: "", kind: ConfigMap, name: clients}]
              mode: AllowInsecureFallback
  listeners:
    - {name: one, port: 443, protocol: HTTPS, tls: {certificateRefs: [{name: ecdsa}, {name: other}]}}
    - {name: two, port: 80, protocol: HTTPS, tls: {certificateRefs: [{name: ecdsa}]}}
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: productpage}
spec: {parentRefs: [{name: istio-ingressgateway}], rules: [{backendRefs: [{name: productpage, port: 9080}]}]}
"""


def test_the_gateway_api_asks_clients_for_certificates_port_by_port(ingress: Mesh, tmp_path: Path) -> None:
    """And several certificates of one listener are chosen by the name that a client asks for."""
    authority, clients, strangers = TestAuthority(), TestAuthority(), TestAuthority()
    names = {"ecdsa": "a.example.com", "other": "b.example.com"}
    leaves = {name: authority.issue(dns=(host,)) for name, host in names.items()}
    (tmp_path / "ca").write_bytes(authority.bundle)
    for name, by in (("client", clients), ("stranger", strangers)):
        leaf = by.issue(dns=(f"{name}.example.com",))
        (tmp_path / name).write_bytes(leaf.chain + leaf.key)
    false = clients.issue(uri="spiffe://cluster.local/ns/default/sa/productpage")
    (tmp_path / "false").write_bytes(false.chain + false.key)
    config = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "clients"}}
    map_of_clients = json.dumps(config | {"data": {"ca.crt": clients.bundle.decode()}})
    secrets = [secret(name, tls_crt=leaf.chain, tls_key=leaf.key) for name, leaf in leaves.items()]

    def ask(port: int, host: str, who: str = "") -> str:
        command = [
            "openssl",
            "s_client",
            "-quiet",
            "-connect",
            f"127.0.0.1:{bound(ingress, port)}",
            "-servername",
            host,
        ]
        command += ["-CAfile", str(tmp_path / "ca"), "-verify_return_error", "-verify_hostname", host]
        command += ["-cert", str(tmp_path / who)] if who else []
        request = f"GET / HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n"
        done = subprocess.run(command, input=request, capture_output=True, text=True, timeout=20, check=False)
        return done.stdout.split(" ")[1] if done.stdout.startswith("HTTP/1.1 ") else "refused"

    with ingress.applied("\n---\n".join((*secrets, map_of_clients, VALIDATING))):
        until("who is vouched for gets in", lambda: ask(443, "a.example.com", "client") == "200")
        assert ask(443, "b.example.com", "client") == "200"
        assert [ask(443, "a.example.com", who) for who in ("", "stranger")] == ["refused", "refused"]
        assert [ask(80, "a.example.com", who) for who in ("", "client", "stranger")] == ["200", "200", "200"]
        assert [ask(port, "a.example.com", "false") for port in (443, 80)] == ["refused", "refused"]
