"""A workload with a certificate of the mesh that asks for too much, or lies: nobody else pays for it."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import ssl
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from envoy.config.core.v3.base_pb2 import Node
from envoy.service.discovery.v3.discovery_pb2 import DeltaDiscoveryRequest, DeltaDiscoveryResponse

from security.test_attacks import control_port
from support.http import tls_context
from support.mesh import Mesh, alive, until
from weft.discovery.grpc_tls import grpc
from weft.discovery.server import SERVICE
from weft.xds.snapshot import CLUSTER, LISTENER, ROUTES

RULE = """
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: shop}
spec: {hosts: [shop], http: [{headers: {response: {set: {x-number: "NUMBER"}}}, route: [{destination: {host: shop}}]}]}
"""


def certificate(mesh: Mesh, name: str) -> Path:
    return mesh.home / "workloads/default" / name / "certs/..data"


def client_context(mesh: Mesh, name: str) -> ssl.SSLContext:
    files = certificate(mesh, name)
    bundle = mesh.home / "control-plane/trust-bundle.pem"
    return tls_context(str(bundle), str(files / "chain.pem"), str(files / "key.pem"))


def renew(mesh: Mesh, name: str) -> int:
    return call(mesh, name, "POST", "/lease", json.dumps({"state": "healthy"}))


def call(mesh: Mesh, name: str, method: str, path: str = "", body: str = "") -> int:
    """Call the agent API as a workload about itself, and read until it closes the connection; the status."""
    head = f"{method} /v1/workloads/default/{name}{path} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n"
    with (
        socket.create_connection(control_port(mesh, "agent_api"), 60) as raw,
        client_context(mesh, name).wrap_socket(raw) as tls,
    ):
        tls.sendall((head + body).encode())
        answer = b""
        while piece := tls.recv(65536):
            answer += piece
    return int(answer.split()[1])


def test_one_certificate_holds_eight_connections_to_the_agent_api(target: Mesh) -> None:
    context = client_context(target, "client")
    with contextlib.ExitStack() as stack:
        held = []
        for _ in range(20):
            raw = stack.enter_context(socket.create_connection(control_port(target, "agent_api"), 60))
            held.append(stack.enter_context(context.wrap_socket(raw)))
        for tls in held[:-8]:
            tls.settimeout(60)
            with contextlib.suppress(ConnectionResetError):
                assert tls.recv(1) == b""
        assert renew(target, "shop") == 200
        assert renew(target, "client") == 200, "and closed by the answer"


class Liar(threading.Thread):
    """A proxy that takes its first clusters and listeners, and refuses everything after that with ugly words."""

    def __init__(self, mesh: Mesh, name: str) -> None:
        super().__init__(daemon=True)
        files, bundle = certificate(mesh, name), mesh.home / "control-plane/trust-bundle.pem"
        credentials = grpc.ssl_channel_credentials(
            bundle.read_bytes(), (files / "key.pem").read_bytes(), (files / "chain.pem").read_bytes()
        )
        self.name = f"{name}.default"
        self.channel = grpc.secure_channel(
            mesh.endpoints()["xds"], credentials, [("grpc.ssl_target_name_override", "localhost")]
        )
        self.refused = 0
        self._wake = threading.Condition()
        self._requests: list[DeltaDiscoveryRequest] = [
            DeltaDiscoveryRequest(node=Node(id=self.name), type_url=CLUSTER),
            DeltaDiscoveryRequest(type_url=LISTENER),
            DeltaDiscoveryRequest(type_url=ROUTES, resource_names_subscribe=["outbound"]),
        ]

    def _say(self) -> Iterator[bytes]:
        while True:
            with self._wake:
                while not self._requests:
                    self._wake.wait()
                request = self._requests.pop(0)
            yield request.SerializeToString()

    def run(self) -> None:
        method: grpc.StreamStreamMultiCallable[bytes, bytes] = self.channel.stream_stream(
            f"/{SERVICE}/DeltaAggregatedResources"
        )
        taken: set[str] = set()
        with contextlib.suppress(grpc.RpcError):
            for raw in method(self._say()):
                response = DeltaDiscoveryResponse.FromString(raw)
                answer = DeltaDiscoveryRequest(type_url=response.type_url, response_nonce=response.nonce)
                if response.type_url in taken:
                    self.refused += 1
                    answer.error_detail.message = "\x1b[2Jno\n\u202e"
                taken.add(response.type_url)
                with self._wake:
                    self._requests.append(answer)
                    self._wake.notify()


@pytest.fixture
def liar(target: Mesh) -> Iterator[Liar]:
    proc = target.echo("liar")
    state = target.state("liar")
    for pid in (proc.pid, state["envoy"]["pid"]):
        os.kill(pid, signal.SIGKILL)
    until("its Envoy is gone", lambda: not alive(state["envoy"]["pid"]))
    found = Liar(target, "liar")
    found.start()
    until("it is connected", lambda: found.name in {one["name"] for one in target.items("proxies")})
    yield found
    assert call(target, "liar", "DELETE") == 204
    found.channel.close()
    os.kill(state["application"]["pid"], signal.SIGKILL)


def test_a_proxy_that_refuses_what_others_take_fails_nobodys_apply(target: Mesh, liar: Liar) -> None:
    for number in range(3):
        done = target.weft("apply", "-f", "-", "--wait", stdin=RULE.replace("NUMBER", str(number)))
        assert "confirmed by" in done.stderr
    assert liar.refused
    assert "only liar.default refuses RouteConfiguration outbound" in done.stderr
    shown = done.stderr + target.weft("proxy", "status").stdout + json.dumps(target.problems(), ensure_ascii=False)
    shown += target.processes["control-plane"].log.read_text()
    assert "\\x1b[2Jno" in shown
    assert not {"\x1b", "\u202e"} & set(shown)
    target.weft("delete", "virtualservice", "shop", "--wait")
