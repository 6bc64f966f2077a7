"""What Kiali and Flagger ask of Prometheus: by metric, labels that they read, and the form of the question.

Read out of their sources: Kiali's graph (graph/telemetry/istio and its appenders responseTime, throughput and
securityPolicy), its metrics and health pages (prometheus/metrics.go), and Flagger's Istio observer.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

_SOURCE = "source_workload_namespace,source_workload,source_canonical_service,source_canonical_revision"
_DESTINATION = (
    "destination_service_namespace,destination_service,destination_service_name,destination_workload_namespace,"
    "destination_workload,destination_canonical_service,destination_canonical_revision"
)
_CLUSTERS = "source_cluster,destination_cluster"
_HTTP = f"{_CLUSTERS},{_SOURCE},{_DESTINATION},request_protocol,response_code,grpc_response_status,response_flags"
_TCP = f"{_CLUSTERS},{_SOURCE},{_DESTINATION},response_flags"
_POLICY = f"{_CLUSTERS},{_SOURCE},source_principal,{_DESTINATION},destination_principal,connection_security_policy"
_FINE = 'response_code=~"2[0-9]{2}$",grpc_response_status=~"^0$|^$"'
_MAY_LACK = {"grpc_response_status"}
"""Labels that only some requests have; Kiali knows."""


@dataclass(frozen=True)
class Question:
    """A question and the labels that its answer must have, or Kiali leaves it out."""

    name: str
    query: str
    labels: frozenset[str] = frozenset()


def _question(name: str, query: str, by: str = "") -> Question:
    return Question(name, query, frozenset(by.split(",") if by else ()) - _MAY_LACK)


def kiali_questions(
    namespace: str, other: str, service: str, workload: str, app: str, window: str
) -> Iterator[Question]:
    """Kiali's, about `namespace`, which is called from the namespace `other` too, and by somebody unknown."""
    inside = f'reporter="source",source_workload_namespace="{namespace}"'
    unknown = f'reporter="destination",source_workload="unknown",destination_workload_namespace="{namespace}"'
    outside = (
        f'reporter="source",source_workload_namespace!="{namespace}",source_workload!="unknown",'
        f'destination_service_namespace="{namespace}"'
    )
    places = (("inside", inside), ("unknown", unknown), ("outside", outside))
    for place, labels in places:
        query = f"sum(rate(istio_requests_total{{{labels}}}[{window}])) by ({_HTTP}) > 0"
        yield _question(f"graph, HTTP, {place}", query, _HTTP)
        duration = f"istio_request_duration_milliseconds_bucket{{{labels},{_FINE}}}"
        by = f"{_CLUSTERS},{_SOURCE},{_DESTINATION}"
        query = f"histogram_quantile(0.95, sum(rate({duration}[{window}])) by (le,{by})) > 0"
        yield _question(f"graph, response time, {place}", query, by)
        average = f"istio_request_duration_milliseconds_sum{{{labels},{_FINE}}}"
        count = f"istio_request_duration_milliseconds_count{{{labels},{_FINE}}}"
        query = f"sum(rate({average}[{window}])) by ({by}) / sum(rate({count}[{window}])) by ({by}) > 0"
        yield _question(f"graph, average response time, {place}", query, by)
    for place, labels in (places[0], places[1]):
        for metric in ("istio_tcp_sent_bytes_total", "istio_tcp_received_bytes_total"):
            query = f"sum(rate({metric}{{{labels}}}[{window}])) by ({_TCP}) > 0"
            if place == "inside":
                yield _question(f"graph, TCP, {place}, {metric}", query, _TCP)
    by = f"{_CLUSTERS},{_SOURCE},{_DESTINATION}"
    for metric, reporter in (("istio_request_bytes_sum", "source"), ("istio_response_bytes_sum", "destination")):
        for place, labels in (
            ("inside", f'source_workload_namespace="{namespace}"'),
            ("outside", f'source_workload_namespace!="{namespace}",destination_service_namespace="{namespace}"'),
        ):
            query = f'sum(rate({metric}{{reporter="{reporter}",{labels}}}[{window}])) by ({by}) > 0'
            yield _question(f"graph, throughput, {place}, {metric}", query, by)
    for place, labels in (
        ("inside", f'source_workload_namespace="{namespace}"'),
        ("outside", f'source_workload_namespace!="{namespace}",destination_service_namespace="{namespace}"'),
    ):
        parts = (
            f'(sum(rate({metric}{{reporter="destination",{labels}}}[{window}])) by ({_POLICY}) > 0)'
            for metric in ("istio_requests_total", "istio_tcp_sent_bytes_total")
        )
        yield _question(f"graph, security, {place}", " OR ".join(parts), _POLICY)
    yield from _pages(namespace, other, service, workload, app, window)


def _pages(namespace: str, other: str, service: str, workload: str, app: str, window: str) -> Iterator[Question]:
    """The pages of services, workloads and applications, and their health."""
    for name, labels in (
        ("service", f'destination_service_name="{service}",destination_service_namespace="{namespace}"'),
        ("workload, in", f'destination_workload_namespace="{namespace}",destination_workload="{workload}"'),
        ("app, in", f'destination_workload_namespace="{namespace}",destination_canonical_service="{app}"'),
        ("app, out", f'source_workload_namespace="{other}",source_canonical_service="caller"'),
        ("namespace", f'destination_service_namespace="{namespace}"'),
    ):
        yield _question(f"health, {name}", f"rate(istio_requests_total{{{labels}}}[{window}]) > 0")
    labels = f'reporter="destination",destination_workload_namespace="{namespace}",destination_workload="{workload}"'
    rates = (
        ("request_count", "istio_requests_total", labels),
        ("request_error_count", "istio_requests_total", f'{labels},response_code=~"^0$|^[4-5]\\\\d\\\\d$"'),
    )
    for name, metric, chosen in rates:
        query = f"sum(rate({metric}{{{chosen}}}[{window}]))"
        yield _question(f"page, {name}", f"round({query}, 0.001000) > 0.001000 or {query}")
    for metric in ("istio_request_bytes", "istio_response_bytes", "istio_request_duration_milliseconds"):
        query = f"sum(rate({metric}_sum{{{labels}}}[{window}])) / sum(rate({metric}_count{{{labels}}}[{window}]))"
        yield _question(f"page, {metric} average", f"round({query}, 0.001000) > 0.001000 or {query}")
        for quantile in ("0.5", "0.95", "0.99", "0.999"):
            query = f"histogram_quantile({quantile}, sum(rate({metric}_bucket{{{labels}}}[{window}])) by (le))"
            yield _question(f"page, {metric} {quantile}", f"round({query}, 0.001000) > 0.001000 or {query}")
    for metric in ("istio_tcp_sent_bytes_total", "istio_tcp_received_bytes_total"):
        query = f'sum(rate({metric}{{reporter="source",source_workload_namespace="{namespace}"}}[{window}]))'
        yield _question(f"page, {metric}", f"round({query}, 0.001000) > 0.001000 or {query}")


def flagger_questions(namespace: str, target: str, window: str) -> Iterator[Question]:
    """Flagger's, about a workload: the share of requests that succeed, and the 99th percentile."""
    labels = f'reporter="destination",destination_workload_namespace="{namespace}",destination_workload=~"{target}"'
    success = f'sum(rate(istio_requests_total{{{labels},response_code!~"5.*"}}[{window}]))'
    yield _question("success rate", f"{success} / sum(rate(istio_requests_total{{{labels}}}[{window}])) * 100")
    bucket = f"istio_request_duration_milliseconds_bucket{{{labels}}}"
    yield _question("duration", f"histogram_quantile(0.99, sum(rate({bucket}[{window}])) by (le))")
