"""Who writes to the API server that documents come from: status and events, and the gateways of the cluster."""

from __future__ import annotations

from collections.abc import Callable

from weft.admin.context import Compiled
from weft.admin.kubernetes.confirmations import Lacking
from weft.admin.kubernetes.duty import Duty
from weft.aio.cell import Cell
from weft.controlplane.cluster import ClusterWrites, Told
from weft.controlplane.gateways import GatewayKeeper
from weft.controlplane.settings import ServeSettings
from weft.inject.gateway import gateway_pod_spec
from weft.inject.settings import InjectionSettings
from weft.model.document import ObjectKey
from weft.model.problem import Problem
from weft.model.revisions import USUAL
from weft.provision.manifests import GatewayPods
from weft.sources.collector import Collector
from weft.sources.kubernetes.access import Credentials
from weft.sources.kubernetes.client import ApiClient
from weft.sources.kubernetes.source import KubernetesSource
from weft.telemetry.metrics import Registry

Injection = Callable[[], InjectionSettings | None]


def cluster_writers(
    settings: ServeSettings,
    collector: Collector,
    compiled: Cell[Compiled],
    lacking: Lacking,
    injection: Injection,
    registry: Registry,
) -> tuple[ClusterWrites | GatewayKeeper, ...]:
    """Nobody, where nothing is to be written. Gateways are made where that is wanted and an image for their proxies is
    known."""
    if settings.kubernetes is None or settings.kubernetes_writes is None:
        return ()
    source = next(each for each in collector.sources if isinstance(each, KubernetesSource))
    credentials = Credentials(settings.kubernetes.access)

    def reached(key: ObjectKey) -> tuple[str, ...] | None:
        return keeper.reached(key) if keeper is not None else ()

    def problems() -> tuple[Problem, ...]:
        return (*collector.snapshot.problems, *(keeper.problems() if keeper is not None else ()))

    told = Told(compiled, problems, lacking, reached)
    revision = settings.webhooks.revision if settings.webhooks is not None else USUAL
    writes = ClusterWrites(source, credentials, settings.kubernetes_writes, told, registry, revision)
    keeper = _keeper(settings, compiled, injection, Duty(writes.leads, writes.owns))
    return (writes, keeper) if keeper is not None else (writes,)


def _keeper(
    settings: ServeSettings,
    compiled: Cell[Compiled],
    injection: Injection,
    duty: Duty,
) -> GatewayKeeper | None:
    file, wanted = settings.kubernetes, settings.webhooks
    if file is None or wanted is None or not wanted.gateways.made or injection() is None:
        return None

    asked = wanted.gateways

    def pods() -> GatewayPods:
        now = injection()
        spec = gateway_pod_spec(now) if now is not None else {}
        return GatewayPods(
            spec, asked.fewest, asked.most, service_type=asked.service_type, revision=wanted.revision.name
        )

    credentials = Credentials(file.access)
    return GatewayKeeper(lambda: ApiClient(credentials), compiled, lambda: compiled.value.documents, pods, duty)
