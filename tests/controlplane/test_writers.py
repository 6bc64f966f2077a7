"""Who writes to a cluster's API server: gateways are made by nobody, where that is not wanted."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from weft.admin.context import Compiled
from weft.aio.cell import Cell
from weft.controlplane.gateways import GatewayKeeper
from weft.controlplane.kubernetes import kubernetes_sources
from weft.controlplane.settings import GatewaySettings, ServeSettings, WebhookSettings
from weft.controlplane.writers import cluster_writers
from weft.inject.settings import InjectionSettings
from weft.model.snapshot import MeshSettings
from weft.settings.home import Home
from weft.sources.collector import Collector
from weft.sources.kubernetes.kubeconfig import KubeconfigFile
from weft.telemetry.metrics import Registry

INJECTION = InjectionSettings("weft.test/weft:1", "weft.weft-system.svc:15013", "sha256:00")
FILE = KubeconfigFile("/etc/weft/kubeconfig")


def keepers(webhooks: WebhookSettings | None, injection: InjectionSettings | None = INJECTION) -> int:
    registry = Registry()
    collector = Collector(kubernetes_sources(FILE, registry)[0], MeshSettings())
    home = Home(Path("/var/lib/weft/home"))
    settings = ServeSettings(home, kubernetes=FILE, kubernetes_writes="weft-system", webhooks=webhooks)
    compiled: Cell[Compiled] = Cell(Compiled(0, None))
    found = cluster_writers(settings, collector, compiled, lambda *_: None, lambda: injection, registry)
    return sum(isinstance(each, GatewayKeeper) for each in found)


def test_gateways_are_made_where_that_is_wanted() -> None:
    wanted = WebhookSettings(image=INJECTION.image)
    assert keepers(wanted) == 1
    assert keepers(replace(wanted, gateways=GatewaySettings(made=False))) == 0
    assert keepers(wanted, injection=None) == 0
    assert keepers(None) == 0
