"""Traffic in Prometheus: what its answers come to, and what is said when it has none."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from weft.traffic.edges import Asked, UnknownTrafficError
from weft.traffic.latency import percentile
from weft.traffic.prometheus_client import PrometheusTraffic
from weft.traffic.promql import edge_queries, edges_from_answers, points_from_answers, series_queries

PAGE_TO_REVIEWS = {
    "reporter": "source",
    "source_workload": "page-v1",
    "source_workload_namespace": "default",
    "source_canonical_service": "page",
    "destination_workload": "reviews-v1",
    "destination_workload_namespace": "default",
    "destination_service": "reviews.default.svc.cluster.local",
    "request_protocol": "http",
    "connection_security_policy": "mutual_tls",
}
OK = {"response_code": "200", "response_flags": "-"}
FAILED = {"response_code": "503", "response_flags": "UF,URX"}


def sample(value: float, *labels: dict[str, str], **more: str) -> dict[str, Any]:
    metric: dict[str, str] = {}
    for some in labels:
        metric |= some
    return {"metric": metric | more, "value": [1000.0, str(value)]}


def test_an_edge_with_everything() -> None:
    answers = {
        "requests": [sample(89.6, PAGE_TO_REVIEWS, OK), sample(10.2, PAGE_TO_REVIEWS, FAILED)],
        "buckets": [
            sample(count, PAGE_TO_REVIEWS, le=bound)
            for bound, count in (("1", 0), ("5", 50), ("10", 99), ("+Inf", 100))
        ],
        "body_received": [sample(500, PAGE_TO_REVIEWS)],
        "body_sent": [sample(9000, PAGE_TO_REVIEWS)],
    }
    (edge,) = edges_from_answers(answers, 1000.0)
    assert (edge.source, edge.source_service) == ("default/page-v1", "default/page")
    assert (edge.destination, edge.destination_workload) == ("default/reviews", "default/reviews-v1")
    assert (edge.requests, edge.failures, edge.mtls, edge.protocol) == (100, 10, True, "http")
    assert edge.codes == (("200", 90), ("503", 10))
    assert edge.flags == (("UF", 10), ("URX", 10))
    assert percentile(edge.latency, 0.5) == 5.0
    assert (edge.bytes_sent, edge.bytes_received) == (500, 9000)


def test_native_histograms() -> None:
    native = {"buckets": [[0, "1", "2", "10"], [0, "2", "4", "30"]], "count": "40", "sum": "100"}
    answers = {
        "requests": [sample(40, PAGE_TO_REVIEWS, OK)],
        "native": [{"metric": PAGE_TO_REVIEWS, "histogram": [1000.0, native]}],
    }
    (edge,) = edges_from_answers(answers, 1000.0)
    assert edge.latency == ((1.0, 1.0, 10), (2.0, 2.0, 30))
    matrix = [{"metric": {}, "histograms": [[1010, native]]}]
    (point,) = points_from_answers({"native caller": matrix}, [1010], 10)
    assert point.latency == edge.latency


def test_both_sides_tell_of_a_call_and_it_counts_once() -> None:
    heard = PAGE_TO_REVIEWS | {"reporter": "destination"}
    stranger = heard | {"source_workload": "unknown", "source_workload_namespace": "unknown"}
    stranger |= {"source_canonical_service": "unknown", "connection_security_policy": "none"}
    silent = heard | {"source_workload": "silent-v1"}
    rows = [sample(10, PAGE_TO_REVIEWS, OK), sample(9, heard, OK), sample(4, stranger, OK), sample(3, silent, OK)]
    found = {edge.source: (edge.requests, edge.mtls) for edge in edges_from_answers({"requests": rows}, 1.0)}
    assert found == {"default/page-v1": (10, True), "": (4, False), "default/silent-v1": (3, True)}


def test_grpc_is_judged_by_its_status() -> None:
    labels = PAGE_TO_REVIEWS | {"request_protocol": "grpc"}
    rows = [sample(3, labels, OK, grpc_response_status="0"), sample(1, labels, OK, grpc_response_status="14")]
    (edge,) = edges_from_answers({"requests": rows}, 1.0)
    assert (edge.requests, edge.failures) == (4, 1)
    assert edge.codes == (("grpc 0", 3), ("grpc 14", 1))


def test_connections_and_values_that_are_none() -> None:
    labels = PAGE_TO_REVIEWS | {"request_protocol": "tcp"}
    answers = {
        "tcp_opened": [sample(2, labels)],
        "tcp_sent": [sample(2000, labels)],
        "requests": [sample(float("nan"), labels)],
    }
    (edge,) = edges_from_answers(answers, 1.0)
    assert (edge.requests, edge.connections_opened, edge.bytes_received) == (0, 2, 2000)
    assert edges_from_answers({"requests": [sample(0.2, labels, OK)]}, 1.0) == ()


def test_a_series_has_a_point_for_each_step_also_without_anything() -> None:
    rows = [{"metric": OK, "values": [[1010, "5"], [1030, "7"]]}, {"metric": FAILED, "values": [[1030, "2"]]}]
    answers = {"requests caller": rows, "requests callee": [{"metric": OK, "values": [[1010, "1"]]}]}
    points = points_from_answers(answers, range(1010, 1031, 10), 10)
    assert [(point.time, point.requests, point.failures) for point in points] == [
        (1000, 6, 0),
        (1010, 0, 0),
        (1020, 9, 2),
    ]


def test_filters_cannot_leave_their_string() -> None:
    wanted = Asked(source='default/x"} or vector(1) #', destination="default/reviews\n")
    for query in (*edge_queries(60, wanted).values(), *series_queries(60, wanted).values()):
        assert '\\"} or vector(1)' in query
        assert "\n" not in query


class _Prometheus(BaseHTTPRequestHandler):
    reply: tuple[int, bytes] = (200, b"")

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["content-length"]))
        self.send_response(self.reply[0])
        self.end_headers()
        self.wfile.write(self.reply[1])

    def log_message(self, *args: object) -> None:
        """Quiet."""


@pytest.fixture
def fake() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Prometheus)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()


REFUSED = json.dumps({"status": "error", "errorType": "execution", "error": "too many samples\x1b[31m"}).encode()


@pytest.mark.parametrize(
    ("reply", "says"),
    [
        ((422, REFUSED), r"refused a query: execution: too many samples\\x1b"),
        ((404, b"nothing here"), "is no Prometheus"),
        ((200, b"<html>"), "is no Prometheus"),
        ((401, b""), "wants credentials"),
    ],
)
async def test_what_a_prometheus_says_is_told_in_words(
    fake: str, reply: tuple[int, bytes], says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_Prometheus, "reply", reply)
    with pytest.raises(UnknownTrafficError, match=says):
        await PrometheusTraffic(fake).window(60)


async def test_nobody_there() -> None:
    with pytest.raises(UnknownTrafficError, match=r"no Prometheus answers at http://127\.0\.0\.1:1"):
        await PrometheusTraffic("127.0.0.1:1").window(60)


@pytest.mark.parametrize("url", ["ftp://x", "http://", "://", "http://user:secret@metrics.example:9090"])
def test_addresses_that_cannot_be(url: str) -> None:
    with pytest.raises(UnknownTrafficError) as told:
        PrometheusTraffic(url)
    assert "secret" not in str(told.value)


async def test_messages_have_no_password() -> None:
    traffic = PrometheusTraffic("http://user:secret@127.0.0.1:1/sub")
    assert traffic.where == "http://127.0.0.1:1/sub"
