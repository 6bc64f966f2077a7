"""The documents of a Kubernetes API server in a control plane, with metrics of how they are followed."""

from __future__ import annotations

from collections.abc import Iterable

from weft.admin.audit import Audit
from weft.sources.kubernetes.access import Credentials
from weft.sources.kubernetes.kubeconfig import KubeconfigFile
from weft.sources.kubernetes.reviews import TokenReviews
from weft.sources.kubernetes.source import KubernetesSource
from weft.telemetry.metrics import Family, Registry, gauge


def token_reviews(file: KubeconfigFile | None, audit: Audit) -> tuple[TokenReviews, ...]:
    """Who asks the API server that `file` names whose a Pod's token is; nobody where there is none."""
    if file is None:
        return ()

    def refused(text: str) -> None:
        audit.refused("weft", "review tokens", "kubernetes-refused", text)

    return (TokenReviews(file.title, Credentials(file.access), refused),)


def kubernetes_source(file: KubeconfigFile, registry: Registry) -> KubernetesSource:
    """The source of the documents that the API server has which `file` names."""
    source = KubernetesSource(file.title, Credentials(file.access))
    registry.read(lambda: _families(source))
    return source


def _families(source: KubernetesSource) -> Iterable[Family]:
    states = source.states()
    if not states:
        return
    followed = {(each.name,): float(each.followed) for each in states}
    yield gauge("weft_kubernetes_followed", "Whether the objects of a kind are followed now.", followed, "kind")
    objects = {(each.name,): float(each.objects) for each in states}
    yield gauge("weft_kubernetes_objects", "Objects of a kind.", objects, "kind")
    lists = {(each.name,): float(each.lists) for each in states}
    text = "How often all objects of a kind were listed: again after the server has forgotten the last place."
    yield gauge("weft_kubernetes_lists_total", text, lists, "kind", kind="counter")
