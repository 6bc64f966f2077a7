"""What proxies say about traffic, and why, in the admin API; and what agents are told of the metrics they serve."""

from __future__ import annotations

from pathlib import Path

from support.control import Rig
from weft.agent.certificates import CertificateFiles
from weft.agent.client import ControlPlaneClient
from weft.agent.keys import make_key
from weft.agent.parameters import ControlPlane
from weft.model.telemetry import UNCHANGED, MetricOverride, MetricTag
from weft.model.workload import SocketAddress, Workload, WorkloadPort, WorkloadState
from weft.testing import eventually

WORKLOAD = Workload(
    "reviews-v1",
    "default",
    "reviews",
    (("app", "reviews"),),
    (WorkloadPort(9080, SocketAddress("127.0.0.1", 9080), SocketAddress("127.0.0.1", 30001)),),
)
TELEMETRY = """
apiVersion: telemetry.istio.io/v1
kind: Telemetry
metadata: {name: labels}
spec:
  metrics: [{overrides: [{match: {metric: REQUEST_COUNT, mode: SERVER}, tagOverrides: {place: {value: "'here'"}}}]}]
  accessLogging: [{match: {mode: CLIENT}, providers: [{name: envoy}], filter: {expression: response.code >= 400}}]
"""
HERE = MetricOverride("REQUEST_COUNT", tags=(MetricTag("place", "here"),))


async def test_agents_are_told_what_documents_change_of_metrics(rig: Rig, tmp_path: Path) -> None:
    client = ControlPlaneClient(
        ControlPlane(), rig.home.agent_socket, CertificateFiles(tmp_path), WORKLOAD.namespace, WORKLOAD.name
    )
    assert (await client.register(WORKLOAD, make_key().csr)).metrics == UNCHANGED
    (rig.files / "telemetry.yaml").write_text(TELEMETRY)

    async def told() -> bool:
        return (await client.renew(WorkloadState.HEALTHY)).metrics.destination == (HERE,)

    await eventually("the agent is told", told)
    assert (await client.register(WORKLOAD, make_key().csr)).metrics.destination == (HERE,)

    async with rig.session() as session, session.get("/v1/proxies/reviews-v1/signals") as answer:
        shown = await answer.json()
    assert shown["proxy"] == "reviews-v1.default"
    assert [one["metric"] for one in shown["metrics"]["destination"]] == ["REQUEST_COUNT"]
    found = {(one["side"], one["signal"]): one for one in shown["signals"]}
    assert set(found) == {
        ("calls it makes", "metrics"),
        ("calls it makes", "access log"),
        ("calls to it", "metrics"),
    }
    log = found["calls it makes", "access log"]
    assert log["what"] == "/dev/stdout, where response.code >= 400"
    assert log["object"] == {
        "group": "telemetry.istio.io",
        "kind": "Telemetry",
        "namespace": "default",
        "name": "labels",
    }
    assert log["source"].endswith("telemetry.yaml:7")
    assert found["calls it makes", "metrics"]["object"] is None


async def test_a_proxy_that_nobody_knows_is_told_with_the_nearest_name(rig: Rig, tmp_path: Path) -> None:
    client = ControlPlaneClient(
        ControlPlane(), rig.home.agent_socket, CertificateFiles(tmp_path), WORKLOAD.namespace, WORKLOAD.name
    )
    await client.register(WORKLOAD, make_key().csr)

    async def told() -> bool:
        async with rig.session() as session, session.get("/v1/proxies/reviews-v2/signals") as answer:
            assert answer.status == 404
            return "did you mean 'reviews-v1.default'" in (await answer.json())["error"]

    await eventually("its neighbour is known", told)
