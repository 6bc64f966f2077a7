"""WorkloadGroup: what it gives to a workload that is started from it.

https://istio.io/latest/docs/reference/config/networking/workload-group/
"""

from __future__ import annotations

from dataclasses import replace

from weft.model.groups import GroupAnswer, GroupProbe
from weft.model.labels import Labels, labels_from_mapping
from weft.schema.kinds.workloadgroup import ProbeHeader, ReadinessProbe, WorkloadGroupSpec
from weft.schema.rules.workloadgroup import METRICS


def build_group(spec: WorkloadGroupSpec) -> GroupAnswer:
    """What a workload takes from the group, where its own command line does not say it."""
    template, metadata = spec.template, spec.metadata
    return GroupAnswer(
        labels=labels_from_mapping({**template.labels, **metadata.labels}),
        ports=tuple(sorted(template.ports.items(), key=lambda port: port[1])),
        service_account=template.service_account,
        locality=template.locality,
        weight=template.weight or 1,
        metrics=labels_from_mapping(
            {name: metadata.annotations[name] for name in METRICS if name in metadata.annotations}
        ),
        probe=_probe(spec.probe) if spec.probe is not None else None,
    )


def _probe(probe: ReadinessProbe) -> GroupProbe | None:
    http, tcp = probe.http_get, probe.tcp_socket
    if http is not None:
        headers = dict(_headers(http.http_headers))
        host = headers.pop("host", "")
        asked = GroupProbe("http", http.port, http.path, host, http.scheme == "HTTPS", tuple(headers.items()))
    elif tcp is not None:
        asked = GroupProbe("tcp", tcp.port)
    else:
        return None
    return replace(
        asked,
        delay=float(probe.initial_delay_seconds),
        interval=float(probe.period_seconds or asked.interval),
        timeout=float(probe.timeout_seconds or asked.timeout),
        healthy_after=probe.success_threshold or asked.healthy_after,
        unhealthy_after=probe.failure_threshold or asked.unhealthy_after,
    )


def _headers(headers: tuple[ProbeHeader, ...]) -> Labels:
    """Names in lower case, each once: what is said of one several times stands in one, as HTTP has it."""
    found: dict[str, str] = {}
    for one in headers:
        name = one.name.lower()
        found[name] = f"{found[name]}, {one.value}" if name in found else one.value
    return tuple(found.items())
