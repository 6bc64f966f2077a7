"""What a WorkloadGroup gives to a workload that is started from it: what the control plane tells its agent."""

from __future__ import annotations

from dataclasses import dataclass

from weft.model.labels import Labels


@dataclass(frozen=True, slots=True)
class GroupProbe:
    """How health is asked for: `kind` is http or tcp, `port` the workload's. Times in seconds; `host` is the header of
    that name, if there is one."""

    kind: str
    port: int
    path: str = "/"
    host: str = ""
    tls: bool = False
    headers: Labels = ()
    delay: float = 0.0
    interval: float = 10.0
    timeout: float = 1.0
    healthy_after: int = 1
    unhealthy_after: int = 3


@dataclass(frozen=True, slots=True)
class GroupAnswer:
    """``GET /v1/groups/{namespace}/{name}``. `metrics` is what the annotations of Prometheus say, `locality` text;
    empty is what the group does not say."""

    labels: Labels = ()
    ports: tuple[tuple[str, int], ...] = ()
    service_account: str = ""
    locality: str = ""
    weight: int = 1
    metrics: Labels = ()
    probe: GroupProbe | None = None
