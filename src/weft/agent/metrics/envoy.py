"""Envoy's own statistics under the names that Envoy's users know, and those of services under ours."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from weft.agent.metrics.families import Family, Kind, Labels, Sample
from weft.agent.metrics.verdicts import is_verdict, verdict_families

_CLUSTER = re.compile(r"cluster\.(.+?)\.((?:upstream_|outlier_detection\.|membership_|ssl\.|circuit_).*)")
_MANAGER = re.compile(r"(http|tcp)\.(outbound|inbound|gateway|upstream|admin)\.(.+)")
_LISTENER = re.compile(r"listener\.(.+)\.(downstream_[a-z_]+|ssl\.[a-z_]+|no_filter_chain_match)")
_NOT_A_NAME = re.compile(r"[^a-zA-Z0-9_]")
UPSTREAM: Mapping[str, tuple[str, str]] = {
    "upstream_rq_retry": ("retries_total", "Requests tried again."),
    "upstream_rq_retry_success": ("retries_successful_total", "Requests that succeeded when they were tried again."),
    "upstream_rq_retry_overflow": ("retries_refused_total", "Requests not tried again: too many were at once."),
    "upstream_rq_pending_overflow": ("requests_refused_total", "Requests refused: too many waited or were under way."),
    "upstream_cx_overflow": ("connections_refused_total", "Connections not made: there were too many."),
    "upstream_cx_connect_fail": ("connection_failures_total", "Connections that could not be made."),
    "upstream_rq_timeout": ("timeouts_total", "Requests that got no answer in time."),
    "outlier_detection.ejections_enforced_total": ("ejections_total", "Endpoints left alone after failures."),
    "outlier_detection.ejections_active": ("ejected_endpoints", "Endpoints left alone now."),
    "upstream_rq_pending_active": ("requests_pending", "Requests that wait for a connection."),
    "upstream_rq_active": ("requests_active", "Requests under way."),
    "upstream_cx_active": ("connections_active", "Connections."),
    "membership_healthy": ("endpoints_healthy", "Endpoints that may get requests."),
    "membership_total": ("endpoints", "Endpoints."),
}
"""Statistics of clusters that are exported with the labels of their service as ``weft_upstream_...``."""


def envoy_families(counters: Mapping[str, int], gauges: Mapping[str, int]) -> Iterator[Family]:
    """All statistics but those of traffic, which are told under Istio's names."""
    found: dict[str, tuple[Kind, str, list[Sample]]] = {}
    for kind, values in (("counter", counters), ("gauge", gauges)):
        for stat, value in sorted(values.items()):
            if not stat.startswith("weft.") and not is_verdict(stat):
                _add(found, "counter" if kind == "counter" else "gauge", stat, value)
    for name, (kind, text, samples) in sorted(found.items()):
        yield Family(name, kind, text, tuple(samples))
    yield from verdict_families(counters.items())


def _add(found: dict[str, tuple[Kind, str, list[Sample]]], kind: Kind, stat: str, value: int) -> None:
    name, labels = _name(stat)
    cluster = labels[0][1] if labels and labels[0][0] == "cluster_name" else ""
    what = stat.partition(f"{cluster}.")[2] if cluster else ""
    if cluster.startswith("outbound|") and what in UPSTREAM:
        ours, text = UPSTREAM[what]
        found.setdefault(f"weft_upstream_{ours}", (kind, text, []))[2].append(Sample(_of_service(cluster), value))
        return
    found.setdefault(f"envoy_{name}", (kind, "", []))[2].append(Sample(labels, value))


def _name(stat: str) -> tuple[str, Labels]:
    if cluster := _CLUSTER.fullmatch(stat):
        return _plain(f"cluster_{cluster[2]}"), (("cluster_name", cluster[1]),)
    if manager := _MANAGER.fullmatch(stat):
        label = "http_conn_manager_prefix" if manager[1] == "http" else "tcp_prefix"
        return _plain(f"{manager[1]}_{manager[3]}"), ((label, manager[2]),)
    if listener := _LISTENER.fullmatch(stat):
        return _plain(f"listener_{listener[2]}"), (("listener_address", listener[1]),)
    return _plain(stat), ()


def _plain(name: str) -> str:
    return _NOT_A_NAME.sub("_", name)


def _of_service(cluster: str) -> Labels:
    _, port, subset, host = cluster.split("|", 3)
    labels = [("destination_service", host.removesuffix("|tcp")), ("port", port), ("subset", subset)]
    if host.endswith("|tcp"):
        labels.append(("carried_as", "tcp"))
    return tuple(labels)
