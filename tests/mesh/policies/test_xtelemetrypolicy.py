"""XTelemetryPolicy: the traces of a gateway, over what a Telemetry says of them."""

from __future__ import annotations

import pytest

from support.meshdocs import gateway_workload
from support.telemetry import GATEWAY, World, config
from weft.mesh.services.service import BackendKey
from weft.mesh.signals import Collector

POLICY = """
---
apiVersion: gateway.networking.x-k8s.io/v1alpha1
kind: XTelemetryPolicy
metadata: {name: %s}
spec:
  targetRefs: [{group: gateway.networking.k8s.io, kind: Gateway, name: %s}]
  tracing: {%s}
"""
TO_WEB = "mode: Enabled, provider: {backendRef: {name: web, port: 9080}}"


def test_a_policy_of_the_gateway_api_goes_over_what_telemetry_says_of_a_gateways_traces() -> None:
    edge, traced = gateway_workload("edge"), config("defaultProviders: {tracing: [otel]}")
    more = "samplingRate: {numerator: 1, denominator: 4}, serviceName: shop, parentBasedSampling: {mode: Enabled}"
    world = World(traced, GATEWAY, POLICY % ("p", "edge", f"{TO_WEB}, {more}"), of=edge)
    tracing, reporter = world.out.signals.tracing, world.out.signals.reporter
    assert tracing is not None
    assert reporter is not None
    assert (tracing.provider, tracing.sampling, tracing.strangers_decide) == ("opentelemetry-http", 25.0, True)
    assert tracing.collector == Collector(BackendKey("web.default.svc.cluster.local", 9080))
    assert reporter.service == "shop"
    assert [each.what for each in world.out.asked if each.signal == "traces"] == ["25 %"]
    off = World(traced, GATEWAY, POLICY % ("p", "edge", "mode: Disabled"), of=edge)
    assert off.out.signals.tracing is None
    default = World(traced, GATEWAY, POLICY % ("p", "edge", ""), of=edge).out.signals.tracing
    assert default is not None
    assert default.provider == "opentelemetry-grpc"
    sidecar = World(traced, GATEWAY, POLICY % ("p", "edge", "mode: Disabled")).out.signals.tracing
    assert sidecar is not None, "it is for gateways"


@pytest.mark.parametrize(
    ("texts", "codes"),
    [
        ((POLICY % ("p", "edg", "mode: Disabled"),), ["unknown-gateway"]),
        ((POLICY % ("p", "edge", "mode: Disabled"), POLICY % ("q", "edge", "")), ["policy-conflict"]),
        ((POLICY % ("p", "edge", TO_WEB.replace("web", "wed")),), ["unknown-service"]),
        ((POLICY % ("p", "edge", TO_WEB.replace("9080", "1")),), ["unknown-port"]),
        ((POLICY % ("p", "edge", TO_WEB.replace("name", "namespace: other, name")),), ["reference-not-granted"]),
    ],
)
def test_what_is_wrong_with_a_policy_is_told(texts: tuple[str, ...], codes: list[str]) -> None:
    world = World(config(), GATEWAY, *texts)
    assert world.codes == codes
    if codes == ["policy-conflict"]:
        assert "is for the same Gateway default/edge" in world.mesh.mesh.problems[0].message
