"""The columns of `weft get` for services and instances outside the mesh, who is told of them, and proxies."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

Columns = tuple[Sequence[str], Callable[[Mapping[str, Any]], Sequence[str]]]


def _joined(values: Sequence[Any] | None) -> str:
    return ",".join(str(value) for value in values or ())


def _pairs(labels: Mapping[str, str]) -> str:
    return ",".join(f"{key}={value}" for key, value in labels.items())


def _service_entry(spec: Mapping[str, Any]) -> Sequence[str]:
    ports = _joined([f"{port['number']}/{port.get('protocol', 'TCP')}" for port in spec.get("ports") or ()])
    selector = (spec.get("workloadSelector") or {}).get("labels") or {}
    behind = _pairs(selector) or _joined([one.get("address", "") for one in spec.get("endpoints") or ()]) or "-"
    where = "inside" if spec.get("location") == "MESH_INTERNAL" else "outside"
    return _joined(spec.get("hosts")), ports, where, spec.get("resolution", "NONE"), behind


def _workload_entry(spec: Mapping[str, Any]) -> Sequence[str]:
    ports = _joined([f"{name}={number}" for name, number in sorted((spec.get("ports") or {}).items())])
    return spec.get("address", ""), ports or "-", _pairs(spec.get("labels") or {}), spec.get("serviceAccount") or "-"


def _workload_group(spec: Mapping[str, Any]) -> Sequence[str]:
    template, probe = spec.get("template") or {}, spec.get("probe") or {}
    ports = _joined([f"{name}={number}" for name, number in sorted((template.get("ports") or {}).items())])
    labels = {**(template.get("labels") or {}), **((spec.get("metadata") or {}).get("labels") or {})}
    states = [one["state"] for one in (spec.get("status") or {}).get("workloads") or ()]
    there = f"{states.count('healthy')}/{len(states)} healthy" if states else "none"
    http, tcp = probe.get("httpGet"), probe.get("tcpSocket")
    asked = f"http:{http['port']}{http.get('path', '/')}" if http else f"tcp:{tcp['port']}" if tcp else "-"
    return there, ports or "-", _pairs(labels), template.get("serviceAccount") or "default", asked


def _sidecar(spec: Mapping[str, Any]) -> Sequence[str]:
    labels = (spec.get("workloadSelector") or {}).get("labels") or {}
    hosts = _joined([host for listener in spec.get("egress") or () for host in listener.get("hosts") or ()])
    ports = _joined([listener["port"]["number"] for listener in spec.get("ingress") or ()])
    mode = (spec.get("outboundTrafficPolicy") or {}).get("mode", "")
    return _pairs(labels) or "(all)", hosts or "(inherited)", ports or "(all)", mode or "(inherited)"


def _proxy_config(spec: Mapping[str, Any]) -> Sequence[str]:
    labels = (spec.get("selector") or {}).get("matchLabels") or {}
    http10 = (spec.get("environmentVariables") or {}).get("ISTIO_META_HTTP10")
    workers = spec.get("concurrency")
    shown = "(inherited)" if workers is None else str(workers or "one a core")
    return _pairs(labels) or "(all)", shown, {"1": "yes", "0": "no"}.get(str(http10), "(inherited)")


COLUMNS: Mapping[str, Columns] = {
    "ServiceEntry": (("HOSTS", "PORTS", "LOCATION", "RESOLUTION", "ENDPOINTS"), _service_entry),
    "ProxyConfig": (("FOR", "WORKERS", "HTTP/1.0"), _proxy_config),
    "Sidecar": (("FOR", "EGRESS", "INGRESS", "OTHER HOSTS"), _sidecar),
    "WorkloadGroup": (("WORKLOADS", "PORTS", "LABELS", "SERVICE ACCOUNT", "PROBE"), _workload_group),
    "WorkloadEntry": (("ADDRESS", "PORTS", "LABELS", "SERVICE ACCOUNT"), _workload_entry),
}
