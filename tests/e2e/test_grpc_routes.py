"""GRPCRoute and gRPC in VirtualServices: real clients and servers of gRPC through sidecars and a gateway."""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest

from support.mesh import APPS, Mesh, until

EXAMPLE = Path(__file__).parents[2] / "examples" / "grpcroute.yaml"
SERVICES, _, ROUTE = EXAMPLE.read_text().rpartition("---\n")
VIRTUAL = """
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: greeter}
spec:
  hosts: [greeter]
  http:
    - match: [{uri: {prefix: /test.Other/}}]
      fault: {abort: {grpcStatus: RESOURCE_EXHAUSTED, percentage: {value: 100}}}
      route: [{destination: {host: greeter}}]
    - retries: {attempts: 3, retryOn: "cancelled,deadline-exceeded,resource-exhausted,internal,unavailable"}
      route: [{destination: {host: greeter}}]
"""


@pytest.fixture(scope="module")
def greeters(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mesh]:
    """Two gRPC servers, a caller with a port of its own for one of them, and a gateway."""
    root = tmp_path_factory.mktemp("grpc")
    mesh = Mesh(root / "home", root / "logs")
    try:
        mesh.serve("--xds-port", "0", "--agent-port", "0", "--admin-port", "0")
        mesh.apply(SERVICES)
        for name in ("greeter", "canary"):
            mesh.run(name, [sys.executable, str(APPS / "grpc_echo.py")], port="50051:auto", health="tcp", wait=False)
        mesh.echo("caller", more=["--upstream", "greeter:50051"], wait=False)
        mesh.gateway("edge", "80=auto")
        mesh.wait_healthy("greeter", "canary", "caller")
        yield mesh
    finally:
        mesh.stop()


def proxied(mesh: Mesh) -> grpc.Channel:
    host, port = mesh.proxy_of("caller")
    return grpc.insecure_channel("greeter:50051", options=[("grpc.http_proxy", f"http://{host}:{port}")])


def direct(mesh: Mesh) -> grpc.Channel:
    address = mesh.workload("caller")["upstreams"][0]["listen"]
    return _straight(f"{address['host']}:{address['port']}")


def edge(mesh: Mesh) -> grpc.Channel:
    address = mesh.workload("edge")["gateway"]["ports"][0][1]
    return _straight(f"{address['host']}:{address['port']}")


def _straight(target: str) -> grpc.Channel:
    return grpc.insecure_channel(target, options=[("grpc.enable_http_proxy", 0)])


def call(channel: grpc.Channel, method: str, request: bytes = b"", **metadata: str) -> str:
    """The answer, or the name of the status."""
    ask: grpc.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(f"/{method}")
    headers = tuple((key.replace("_", "-"), value) for key, value in metadata.items())
    try:
        return ask(request, metadata=headers, timeout=20).decode()
    except grpc.RpcError as error:
        return str(error.code().name)


WAYS = {"by HTTP_PROXY": proxied, "by a port of its own": direct, "by the gateway": edge}


@pytest.mark.parametrize("way", WAYS)
def test_calls_are_routed_by_service_method_and_header(greeters: Mesh, way: str) -> None:
    with greeters.applied(ROUTE), WAYS[way](greeters) as channel:
        until("the route is there", lambda: "canary" in call(channel, "test.Other/Metadata"))
        told = json.loads(call(channel, "test.Other/Metadata"))
        assert (told["workload"], told["metadata"]["x-rule"]) == ("canary", "other")
        assert json.loads(call(channel, "test.Echo/Metadata"))["workload"] == "greeter"
        assert json.loads(call(channel, "test.Echo/Metadata", x_canary="yes"))["workload"] == "canary"
        shares = Counter(call(channel, "test.Echo/Unary", b"x") for _ in range(100))
        assert shares.keys() == {"greeter:x", "canary:x"}, "one connection, balanced call by call"
        assert call(channel, "test.Echo/Nowhere") == "UNAVAILABLE"
        assert call(channel, "test.Other/Unary") == "UNIMPLEMENTED"
        chat: grpc.StreamStreamMultiCallable[bytes, bytes] = channel.stream_stream("/test.Echo/Chat")
        assert list(chat(iter([b"1", b"2"]), timeout=20)) == [b"greeter:1", b"greeter:2"]


def test_statuses_are_retried_and_injected(greeters: Mesh) -> None:
    statuses = ("CANCELLED", "DEADLINE_EXCEEDED", "RESOURCE_EXHAUSTED", "INTERNAL", "UNAVAILABLE")
    with proxied(greeters) as channel:
        assert call(channel, "test.Echo/Fail", b"INTERNAL 1 plain") == "INTERNAL", "nothing retries what was processed"
        with greeters.applied(VIRTUAL):
            until("the fault is there", lambda: call(channel, "test.Other/Unary") == "RESOURCE_EXHAUSTED")
            for status in statuses:
                assert call(channel, "test.Echo/Fail", f"{status} 2 {status}".encode()) == "greeter:3"
            assert call(channel, "test.Echo/Fail", b"DATA_LOSS 1 other") == "DATA_LOSS"


def test_outlier_detection_counts_statuses_as_errors(greeters: Mesh) -> None:
    rule = """
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: greeter}
spec:
  host: greeter
  trafficPolicy:
    outlierDetection: {consecutive5xxErrors: 3, interval: 1s, baseEjectionTime: 60s, maxEjectionPercent: 100}
"""
    with greeters.applied(rule), proxied(greeters) as channel:
        until("the server is asked", lambda: call(channel, "test.Echo/Unary", b"x") == "greeter:x")
        found = [call(channel, "test.Echo/Fail", f"INTERNAL 9 eject{number}".encode()) for number in range(3)]
        assert found == ["INTERNAL"] * 3
        until("the server is out", lambda: call(channel, "test.Echo/Unary", b"x") == "UNAVAILABLE")
