"""Series under Istio's names: every label, what documents change, and what was not kept apart."""

from __future__ import annotations

from dataclasses import replace

from weft.agent.metrics.envoy import envoy_families
from weft.agent.metrics.families import Family
from weft.agent.metrics.folded import Folded
from weft.agent.metrics.istio import istio_families
from weft.agent.series import Reading
from weft.model.series import Peer, Series, SeriesKey
from weft.model.telemetry import MetricOverride, MetricSettings, MetricTag

PAGE = Peer("productpage-v1", "default", "productpage", "v1", "spiffe://cluster.local/ns/default/sa/page")
REVIEWS = Peer("reviews-v2", "shop", "reviews", "v2", "spiffe://cluster.local/ns/shop/sa/reviews")
HOST = "reviews.shop.svc.cluster.local"
CALL = Series(SeriesKey("source", "http", HOST, 9080, "v2", REVIEWS, 200), 5, duration=((3.0, 0.1, 5),))
LABELS = {
    "reporter": "source",
    "source_workload": "productpage-v1",
    "source_workload_namespace": "default",
    "source_principal": "cluster.local/ns/default/sa/page",
    "source_app": "productpage",
    "source_version": "v1",
    "source_canonical_service": "productpage",
    "source_canonical_revision": "v1",
    "source_cluster": "weft",
    "destination_workload": "reviews-v2",
    "destination_workload_namespace": "shop",
    "destination_principal": "cluster.local/ns/shop/sa/reviews",
    "destination_app": "reviews",
    "destination_version": "v2",
    "destination_canonical_service": "reviews",
    "destination_canonical_revision": "v2",
    "destination_cluster": "weft",
    "destination_service": HOST,
    "destination_service_name": "reviews",
    "destination_service_namespace": "shop",
    "request_protocol": "http",
    "response_code": "200",
    "response_flags": "-",
    "connection_security_policy": "mutual_tls",
}


def families(*series: Series, settings: MetricSettings | None = None, **folded: tuple[int, int]) -> dict[str, Family]:
    found = istio_families(Reading(series, {}, {}), PAGE, folded, settings or MetricSettings())
    return {one.name: one for one in found}


def test_a_call_has_all_of_istios_labels() -> None:
    [sample] = families(CALL)["istio_requests_total"].samples
    assert dict(sample.labels) == LABELS
    assert sample.value == 5
    [duration] = families(CALL)["istio_request_duration_milliseconds"].samples
    assert dict(duration.labels) == LABELS
    assert duration.bins == ((3.0, 0.1, 5),)


def test_pods_are_called_by_what_made_them_and_are_one_series() -> None:
    pods = [replace(REVIEWS, workload=f"reviews-5d8f-{each}", owner="reviews") for each in ("abcde", "fghij")]
    series = [replace(CALL, key=replace(CALL.key, peer=each)) for each in pods]
    [sample] = families(*series)["istio_requests_total"].samples
    assert dict(sample.labels) == {**LABELS, "destination_workload": "reviews"}
    assert sample.value == 10


def test_the_destination_tells_the_caller_and_plaintext_is_none() -> None:
    key = SeriesKey("destination", "grpc", "productpage.default.svc.cluster.local", 9080, code=200, grpc_status="5")
    [sample] = families(Series(key, 1))["istio_requests_total"].samples
    labels = dict(sample.labels)
    assert {value for name, value in labels.items() if name.startswith("source_")} == {"unknown"}
    assert labels["destination_workload"] == "productpage-v1"
    assert labels["connection_security_policy"] == "none"
    assert labels["grpc_response_status"] == "5"


def test_routes_ports_and_subsets_are_no_labels_so_series_are_added() -> None:
    other = Series(SeriesKey("source", "http", HOST, 80, "", REVIEWS, 200, route="HTTPRoute a/b"), 2)
    [sample] = families(CALL, other)["istio_requests_total"].samples
    assert sample.value == 7


def test_hosts_outside() -> None:
    nobody = Series(SeriesKey("source", "http", code=200), 1)
    named = Series(SeriesKey("source", "tcp", "db.example.com", 5432), 1, opened=2)
    [sample] = families(nobody)["istio_requests_total"].samples
    assert dict(sample.labels)["destination_service_name"] == "PassthroughCluster"
    [opened] = families(named)["istio_tcp_connections_opened_total"].samples
    assert dict(opened.labels)["destination_service"] == "db.example.com"
    assert "response_code" not in dict(opened.labels)
    assert opened.value == 2


def test_documents_take_labels_away_add_others_and_switch_metrics_off() -> None:
    settings = MetricSettings(
        source=(
            MetricOverride(
                "REQUEST_COUNT", removed=("response_code",), tags=(MetricTag("port", "", "destination.port"),)
            ),
            MetricOverride("REQUEST_SIZE", disabled=True),
        )
    )
    failed = Series(SeriesKey("source", "http", HOST, 9080, "v2", REVIEWS, 503), 2)
    found = families(CALL, failed, settings=settings)
    [sample] = found["istio_requests_total"].samples
    assert sample.value == 7
    assert dict(sample.labels)["port"] == "9080"
    assert not found["istio_request_bytes"].samples
    assert found["istio_response_bytes"].samples


def test_what_was_not_kept_apart_is_one_more_series() -> None:
    found = families(CALL, source=(9, 0))["istio_requests_total"].samples
    assert [(dict(one.labels).get("destination_service"), one.value) for one in found] == [(HOST, 5), ("other", 9)]


def reading(everything: int, **kept: int) -> Reading:
    return Reading((), {}, {}, {"source": everything}, {("source", "duration", key): n for key, n in kept.items()})


def test_folded_counts_what_grew_nowhere_else() -> None:
    folded = Folded()
    assert folded.update(reading(10, a=10)) == {"source": (0, 0)}
    assert folded.update(reading(20, a=12)) == {"source": (8, 0)}
    assert folded.update(reading(20)) == {"source": (8, 0)}  # forgotten after it was idle for long
    assert folded.update(reading(23, a=3)) == {"source": (8, 0)}
    assert folded.update(reading(1, a=1)) == {"source": (8, 0)}  # Envoy started again
    assert folded.update(reading(4, a=1)) == {"source": (11, 0)}


def test_envoys_own_statistics_have_its_names_and_services_ours() -> None:
    counters = {
        "cluster.outbound|9080|v2|reviews.shop.svc.cluster.local.upstream_rq_retry": 3,
        "cluster.outbound|5432||db.shop.svc.cluster.local|tcp.upstream_cx_overflow": 1,
        "cluster.weft-control-plane.ssl.handshake": 2,
        "listener_manager.lds.update_success": 4,
        "weft.outbound.closed.key.x": 9,
    }
    gauges = {"http.inbound.downstream_rq_active": 1, "server.live": 1, "listener.127.0.0.1_80.downstream_cx_active": 2}
    found = {one.name: one for one in envoy_families(counters, gauges)}
    assert set(found) == {
        "weft_upstream_retries_total",
        "weft_upstream_connections_refused_total",
        "envoy_cluster_ssl_handshake",
        "envoy_listener_manager_lds_update_success",
        "envoy_http_downstream_rq_active",
        "envoy_server_live",
        "envoy_listener_downstream_cx_active",
    }
    [retries] = found["weft_upstream_retries_total"].samples
    assert dict(retries.labels) == {"destination_service": HOST, "port": "9080", "subset": "v2"}
    [refused] = found["weft_upstream_connections_refused_total"].samples
    assert dict(refused.labels)["carried_as"] == "tcp"
    [active] = found["envoy_http_downstream_rq_active"].samples
    assert active.labels == (("http_conn_manager_prefix", "inbound"),)
