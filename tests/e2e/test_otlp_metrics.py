"""Metrics over OTLP, read by a real OpenTelemetry collector: what a message says, and a mesh that pushes."""

from __future__ import annotations

import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from support.envoy import free_port
from support.http import Client
from support.mesh import Mesh, until
from support.observability import EXAMPLE, CollectorFiles, Jaeger, attributes, running_collector
from weft.agent.metrics.families import Family, Sample
from weft.agent.metrics.otlp import otlp_of
from weft.model.series import Peer

MESH_CONFIG = (EXAMPLE / "otlp-metrics.yaml").read_text().replace("15s", "1s")
OWN = Peer("reviews-v2", "shop", "reviews", "v2", "spiffe://cluster.local/ns/shop/sa/reviews")
FAMILIES = (
    Family("istio_requests_total", "counter", "Requests.", (Sample((("response_code", "200"),), 7),)),
    Family(
        "istio_request_duration_milliseconds",
        "histogram",
        "Time.",
        (Sample((("response_code", "200"),), bins=((0.0, 0.0, 2), (1.0, 0.1, 3), (8.0, 0.1, 1))),),
    ),
    Family("envoy_server_live", "gauge", "", (Sample((), 1),)),
    Family("nothing", "gauge", "", ()),
)


@pytest.fixture(scope="module")
def collector(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CollectorFiles]:
    nobody = Jaeger(*(free_port() for _ in range(4)))
    with running_collector(tmp_path_factory.mktemp("collector"), nobody) as files:
        yield files


def found(collector: CollectorFiles, service: str, name: str) -> dict[str, Any]:
    """The latest of a metric of a service; LookupError while there is none."""
    every = [one for one in collector.metrics() if one["name"] == name and one["resource"]["service.name"] == service]
    return every[-1]


def test_a_message_is_what_the_families_are(collector: CollectorFiles) -> None:
    request = urllib.request.Request(
        f"http://127.0.0.1:{collector.otlp_http}/v1/metrics",
        otlp_of(FAMILIES, OWN, 1_700_000_000_000_000_000),
        {"Content-Type": "application/x-protobuf"},
    )
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(request, timeout=10) as answer:
        assert answer.status == 200
    requests = until("it is there", lambda: found(collector, "reviews", "istio_requests_total"))
    assert requests["resource"] == {
        "service.name": "reviews",
        "service.namespace": "shop",
        "service.version": "v2",
        "service.instance.id": "reviews-v2.shop",
    }
    assert requests["sum"]["isMonotonic"] is True
    (point,) = requests["sum"]["dataPoints"]
    assert (point["asDouble"], point["timeUnixNano"]) == (7, "1700000000000000000")
    assert attributes(point) == {"response_code": "200"}
    (live,) = found(collector, "reviews", "envoy_server_live")["gauge"]["dataPoints"]
    assert live["asDouble"] == 1
    duration = found(collector, "reviews", "istio_request_duration_milliseconds")
    assert duration["unit"] == "ms"
    (histogram,) = duration["exponentialHistogram"]["dataPoints"]
    base, first = 2 ** (2 ** -histogram["scale"]), histogram["positive"].get("offset", 0)
    counts = {
        first + place: int(count) for place, count in enumerate(histogram["positive"]["bucketCounts"]) if int(count)
    }
    assert sorted(counts.values()) == [1, 3]
    for index, count in counts.items():
        middle = 8.05 if count == 1 else 1.05
        assert base**index < middle <= base ** (index + 1)
    assert (int(histogram["count"]), int(histogram["zeroCount"])) == (6, 2)
    assert histogram["sum"] == pytest.approx(3 * 1.05 + 8.05)


def test_the_proxies_of_a_mesh_push_while_the_mesh_config_asks_for_it(
    world: Mesh, client: Client, collector: CollectorFiles
) -> None:
    with world.applied(MESH_CONFIG.replace("4318", str(collector.otlp_http))):
        for _ in range(5):
            assert client("http://echo/").status == 200

        def pushed() -> dict[str, Any]:
            points = found(collector, "client", "istio_requests_total")["sum"]["dataPoints"]
            calls = [each for each in map(_flat, points) if each["destination_service_name"] == "echo"]
            assert sum(each["value"] for each in calls) >= 5
            return calls[0]

        calls = until("the caller's proxy has pushed", pushed, 60)
        assert calls["reporter"] == "source"
        assert calls["source_workload"] == "client"
        until("and so have the others", lambda: found(collector, "echo", "weft_agent_info"))
    problems = [one for one in world.problems() if "otlp" in str(one).lower()]
    assert problems == []


def _flat(point: dict[str, Any]) -> dict[str, Any]:
    return attributes(point) | {"value": point["asDouble"]}


def test_a_collector_in_plaintext_on_a_network_is_refused(world: Mesh, tmp_path: Path) -> None:
    path = tmp_path / "mesh.yaml"
    path.write_text(MESH_CONFIG.replace("127.0.0.1", "10.0.0.9"))
    done = world.weft("apply", "-f", str(path), check=False)
    assert done.returncode == 1
    assert "would be plaintext on a network" in done.stderr
    assert "expected https, or a loopback address" in done.stderr
