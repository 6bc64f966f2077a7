"""What ports say to who is nobody, or somebody else: a closed list (class 7), and no secret of others (class 8)."""

from __future__ import annotations

import json
import re
import socket
import subprocess
from pathlib import Path

from envoy.config.core.v3.base_pb2 import Node
from envoy.service.discovery.v3.discovery_pb2 import (
    DeltaDiscoveryRequest,
    DiscoveryRequest,
)

from security.test_attacks import control_port, say
from security.test_greedy_workloads import certificate
from security.test_hand_shakes import SECURE, certificate_secret
from support.http import tls_context
from support.mesh import Mesh
from weft.discovery.grpc_tls import grpc
from weft.discovery.server import SERVICE
from weft.xds.snapshot import SECRET

OTHER_SERVICES = (
    SERVICE,
    "envoy.service.secret.v3.SecretDiscoveryService",
    "envoy.service.cluster.v3.ClusterDiscoveryService",
    "envoy.service.listener.v3.ListenerDiscoveryService",
    "envoy.service.status.v3.ClientStatusDiscoveryService",
    "envoy.service.load_stats.v3.LoadReportingService",
    "grpc.reflection.v1.ServerReflection",
    "grpc.reflection.v1alpha.ServerReflection",
    "grpc.health.v1.Health",
    "grpc.channelz.v1.Channelz",
)
METHODS = (
    "DeltaAggregatedResources", "StreamAggregatedResources", "DeltaSecrets", "StreamSecrets", "FetchSecrets",
    "FetchClusters",
    "FetchListeners", "StreamClientStatus", "FetchClientStatus", "StreamLoadStats", "ServerReflectionInfo",
    "Check", "GetServers",
)  # fmt: skip
ADMIN_PATHS = (
    "workloads", "documents", "proxies", "problems", "events", "secrets", "tokens", "principals", "ca",
    "identities", "requests",
    "tap", "metrics", "openapi.json", "graph", "history", "traffic", "authz/matrix", "proxies/front.default/config",
)  # fmt: skip
DEBUG_PATHS = (
    "/debug/syncz", "/debug/config_dump", "/debug/pprof/", "/config_dump", "/clusters", "/stats", "/certs",
    "/quitquitquit",
    "/logging", "/server_info", "/.env", "/admin.token", "/..%2fadmin.token", "/static/../admin.token",
)  # fmt: skip


def channel(mesh: Mesh, name: str) -> grpc.Channel:
    """To the xDS port, with the certificate of a workload, or without one."""
    bundle = (mesh.home / "control-plane/trust-bundle.pem").read_bytes()
    own: tuple[bytes, bytes] | tuple[None, None] = (None, None)
    if name:
        files = certificate(mesh, name)
        own = ((files / "key.pem").read_bytes(), (files / "chain.pem").read_bytes())
    return grpc.secure_channel(
        mesh.endpoints()["xds"],
        grpc.ssl_channel_credentials(bundle, *own),
        [("grpc.ssl_target_name_override", "localhost"), ("grpc.enable_retries", 0)],
    )


def answer(line: grpc.Channel, path: str, *requests: bytes) -> tuple[str, bytes]:
    """The first message that comes back, or the code that the call ends with."""
    method: grpc.StreamStreamMultiCallable[bytes, bytes] = line.stream_stream(path)
    try:
        return "OK", next(iter(method(iter(requests), timeout=10)))
    except StopIteration:
        return "OK", b""
    except grpc.RpcError as error:
        return str(error.code().name), b""


def test_xds_answers_two_methods_and_nobody_without_a_certificate(target: Mesh) -> None:
    with channel(target, "") as line:
        for method in METHODS[:2]:
            assert answer(line, f"/{SERVICE}/{method}", b"")[0] == "UNAVAILABLE"
    with channel(target, "client") as line:
        found = {
            f"{service}/{method}": answer(line, f"/{service}/{method}", b"")[0]
            for service in OTHER_SERVICES
            for method in METHODS
        }
    known = {name for name, code in found.items() if code != "UNIMPLEMENTED"}
    assert known == {f"{SERVICE}/{method}" for method in METHODS[:2]}
    assert {found[name] for name in known} == {"PERMISSION_DENIED"}, "there is no node id"


def test_other_ports_say_nothing_to_nobody(target: Mesh) -> None:
    address = control_port(target, "admin")
    for path in ADMIN_PATHS:
        for method in ("GET", "POST", "DELETE"):
            status, _ = say(address, f"{method} /v1/{path} HTTP/1.1", "Host: localhost", "Content-Length: 0")
            assert status == 401, (method, path, status)
    for path in DEBUG_PATHS:
        assert say(address, f"GET {path} HTTP/1.1", "Host: localhost")[0] in {401, 404}, path
    bundle = str(target.home / "control-plane/trust-bundle.pem")
    for path, status in (*((path, 404) for path in DEBUG_PATHS), ("/v1/workloads/default/shop/trust", 401)):
        with (
            socket.create_connection(control_port(target, "agent_api"), 10) as raw,
            tls_context(bundle).wrap_socket(raw) as tls,
        ):
            tls.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
            assert int(tls.recv(100).split()[1]) in {status, 401, 404}, path


def test_every_tcp_port_of_the_mesh_is_one_of_those_that_are_known(target: Mesh) -> None:
    """Nothing else listens, for debugging or otherwise."""
    listening = subprocess.run(["ss", "-ltnpH"], capture_output=True, text=True, check=True).stdout.splitlines()
    pid = target.processes["control-plane"].pid
    own = {int(line.split()[3].rsplit(":", 1)[1]) for line in listening if f"pid={pid}," in line}
    ends = {int(port) for end in target.endpoints().values() for port in re.findall(r":(\d+)", str(end))}
    assert own
    assert own <= ends, own - ends


SECRET_NAMES = [
    "*", "", "shop", "default/shop", "shop.default", "kubernetes://shop", "kubernetes-gateway://default/shop",
    "secure",
    "../shop", "spiffe://cluster.local/ns/default/sa/shop", "key.pem", "file:///etc/passwd", "identity",
    "default", "ROOTCA",
]  # fmt: skip


def test_nobody_is_told_a_secret_of_others(target: Mesh, tmp_path: Path) -> None:
    """By the name that its holder has it under, by others, by the wildcard, in both variants of the protocol."""
    with target.applied(SECURE + certificate_secret(tmp_path)):
        gateway = target.gateway("secure", "443=auto")
        thief = target.echo("thief")
        try:
            dump = json.loads(target.weft("proxy", "config", "secure", "secrets", "-o", "json").stdout)
            names = [*SECRET_NAMES, *_names(dump)]
            assert len(names) > len(SECRET_NAMES), dump
            with channel(target, "thief") as line:
                told = b"".join(_told(line, node, names) for node in ("thief.default", "secure.default"))
            with channel(target, "secure") as line:
                assert b"PRIVATE KEY" in _told(line, "secure.default", names), "its holder is told"
            assert b"PRIVATE KEY" not in told
        finally:
            thief.stop()
            gateway.stop()


def _names(found: object) -> list[str]:
    if isinstance(found, dict):
        return [text for key, value in found.items() for text in ([value] if key == "name" else _names(value))]
    return [text for value in found for text in _names(value)] if isinstance(found, list) else []


def _told(line: grpc.Channel, node: str, names: list[str]) -> bytes:
    """All that comes back for these names."""
    found = b""
    for wanted in ([], ["*"], names):
        delta = DeltaDiscoveryRequest(node=Node(id=node), type_url=SECRET, resource_names_subscribe=wanted)
        found += answer(line, f"/{SERVICE}/DeltaAggregatedResources", delta.SerializeToString())[1]
        whole = DiscoveryRequest(node=Node(id=node), type_url=SECRET, resource_names=wanted)
        found += answer(line, f"/{SERVICE}/StreamAggregatedResources", whole.SerializeToString())[1]
    return found
