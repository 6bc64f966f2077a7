"""What a control plane follows of a Kubernetes API server, documents and pods, with metrics of how it is followed."""

from __future__ import annotations

from collections.abc import Iterable
from urllib.parse import urlsplit

from weft.admin.audit import Audit
from weft.ca.authority import Authority
from weft.controlplane.door import Door
from weft.controlplane.settings import ServeSettings
from weft.mesh.policies.selector import Selector
from weft.model.door import door_name
from weft.settings.endpoints import Endpoints
from weft.sources.contents import Source
from weft.sources.kubernetes.access import Credentials
from weft.sources.kubernetes.kubeconfig import KubeconfigFile
from weft.sources.kubernetes.pods import PodSource
from weft.sources.kubernetes.referred import ReferredSource
from weft.sources.kubernetes.reviews import TokenReviews
from weft.sources.kubernetes.scope import Scope
from weft.sources.kubernetes.source import KindState, KubernetesSource
from weft.sources.kubernetes.user_reviews import UserReviews
from weft.telemetry.metrics import Family, Registry, gauge


def token_reviews(file: KubeconfigFile | None, audit: Audit) -> tuple[TokenReviews, ...]:
    """Who asks the API server that `file` names whose a Pod's token is; nobody where there is none."""
    if file is None:
        return ()

    def refused(text: str) -> None:
        audit.refused("weft", "review tokens", "kubernetes-refused", text)

    return (TokenReviews(file.title, Credentials(file.access), refused),)


def user_reviews(settings: ServeSettings) -> UserReviews | None:
    """Who asks the API server about its users; None where they are not taken."""
    if settings.kubernetes is None or settings.remote_admin is None or not settings.remote_admin.users:
        return None
    return UserReviews(settings.kubernetes.title, Credentials(settings.kubernetes.access))


def doors(settings: ServeSettings, authority: Authority, endpoints: Endpoints) -> tuple[Door, ...]:
    """Who says in the cluster how its users reach the admin API; nobody where they do not, or where nothing is
    written."""
    file, admin, namespace = settings.kubernetes, settings.remote_admin, settings.kubernetes_writes
    if file is None or admin is None or not admin.users or namespace is None:
        return ()
    where, credentials = urlsplit(endpoints.remote_admin), Credentials(file.access)
    name, port = where.hostname or "", where.port or 0
    config_map = door_name(settings.webhooks.revision.name) if settings.webhooks is not None else door_name()
    roots, changes = lambda: authority.bundle, authority.changes
    return (Door(file.title, credentials, namespace, config_map, roots, changes, name, port),)


def kubernetes_sources(
    file: KubeconfigFile, registry: Registry, selectors: tuple[Selector, ...] = (), always: Iterable[str] = ()
) -> tuple[list[Source], ReferredSource]:
    """The sources of the documents and of the workloads that the API server has which `file` names, and of the Secrets
    and ConfigMaps that documents refer to, which is also given by itself. With `selectors` of namespaces whose labels
    one of them matches, and those named `always`."""
    credentials = Credentials(file.access)
    scope = Scope(selectors, always) if selectors else None
    documents = KubernetesSource(file.title, credentials, scope=scope)
    pods = PodSource(file.title, credentials, scope=scope)
    referred = ReferredSource(file.title, credentials)
    registry.read(lambda: _families((*documents.states(), *pods.states(), *referred.states())))
    return [documents, pods, referred], referred


def _families(every: tuple[KindState, ...]) -> Iterable[Family]:
    states = sorted(every, key=lambda state: state.name)
    if not states:
        return
    followed = {(each.name,): float(each.followed) for each in states}
    yield gauge("weft_kubernetes_followed", "Whether the objects of a kind are followed now.", followed, "kind")
    objects = {(each.name,): float(each.objects) for each in states}
    yield gauge("weft_kubernetes_objects", "Objects of a kind.", objects, "kind")
    lists = {(each.name,): float(each.lists) for each in states}
    text = "How often all objects of a kind were listed: again after the server has forgotten the last place."
    yield gauge("weft_kubernetes_lists_total", text, lists, "kind", kind="counter")
