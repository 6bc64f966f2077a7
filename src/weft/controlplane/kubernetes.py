"""What a control plane reads of a Kubernetes API server, with metrics of how it is followed."""

from __future__ import annotations

from collections.abc import Iterable

from weft.sources.kubernetes.access import Credentials
from weft.sources.kubernetes.kubeconfig import KubeconfigFile
from weft.sources.kubernetes.referred import ReferredSource
from weft.sources.kubernetes.source import KindState, KubernetesSource
from weft.telemetry.metrics import Family, Registry, gauge


def kubernetes_sources(file: KubeconfigFile, registry: Registry) -> tuple[KubernetesSource, ReferredSource]:
    """The source of the documents that the API server has which `file` names, and that of the Secrets and ConfigMaps
    that documents refer to."""
    credentials = Credentials(file.access)
    documents = KubernetesSource(file.title, credentials)
    referred = ReferredSource(file.title, credentials)
    registry.read(lambda: _families((*documents.states(), *referred.states())))
    return documents, referred


def _families(states: tuple[KindState, ...]) -> Iterable[Family]:
    if not states:
        return
    followed = {(each.name,): float(each.followed) for each in states}
    yield gauge("weft_kubernetes_followed", "Whether the objects of a kind are followed now.", followed, "kind")
    objects = {(each.name,): float(each.objects) for each in states}
    yield gauge("weft_kubernetes_objects", "Objects of a kind.", objects, "kind")
    lists = {(each.name,): float(each.lists) for each in states}
    text = "How often all objects of a kind were listed: again after the server has forgotten the last place."
    yield gauge("weft_kubernetes_lists_total", text, lists, "kind", kind="counter")
