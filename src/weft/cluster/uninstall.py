"""Taking weft out of a cluster: webhooks first, so that nothing waits for them; what runs with a sidecar goes on."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass

from weft.cluster.applying import delete, path_of, title
from weft.cluster.definitions import PATH as DEFINITIONS
from weft.cluster.install import Change, InstallError, members
from weft.cluster.installed import LABELS
from weft.cluster.installed import NAME as INSTALLED
from weft.cluster.pods import pod_facts
from weft.cluster.reading import Reader, all_of, labels_of, name_of, namespace_of
from weft.cluster.record import MANAGED_BY, NAME, Record, record_path
from weft.schema.definitions import DEFINED
from weft.sources.kubernetes.client import ApiClient
from weft.sources.kubernetes.server_objects import Json

_FIRST = ("MutatingWebhookConfiguration", "ValidatingWebhookConfiguration", "Deployment", "DaemonSet")
_LAST = ("Role", "RoleBinding", "ClusterRole", "ClusterRoleBinding", "ServiceAccount")
_CLASS = "GatewayClass"
STATE = "weft.dev/state"
"""The label of the Secrets that hold authority, keys and store."""
_GATEWAY = "gateway.networking.k8s.io/gateway-name"


@dataclass(frozen=True, slots=True)
class Remaining:
    """What goes on without the control plane: pods with a sidecar, Deployments that Gateways became; and documents of
    weft's kinds, by kind. `unseen` may not be listed, so there may be more."""

    sidecars: int
    gateways: int
    documents: Mapping[str, int]
    unseen: tuple[str, ...] = ()

    @property
    def text(self) -> str:
        """It for people."""
        pods = f"{self.sidecars} {'pod has' if self.sidecars == 1 else 'pods have'} a sidecar"
        made = f"{self.gateways} {'Deployment' if self.gateways == 1 else 'Deployments'} of Gateways"
        if self.unseen:
            return f"what has a sidecar is not known: you may not list {', '.join(self.unseen)}"
        if not self.sidecars and not self.gateways:
            return "no pod has a sidecar"
        return (
            f"{pods}, and there are {made}: they go on until their certificates end, within a "
            "day; take the labels off the namespaces, and restart these pods"
        )


async def remaining(client: ApiClient, namespace: str) -> Remaining:
    """What remains when the installation in `namespace` goes. ApiError."""
    reader = Reader(client)
    pods, deployments = await all_of(
        reader.every("/api/v1/pods", "pods"), reader.every("/apis/apps/v1/deployments", "deployments", _GATEWAY)
    )
    lists = await all_of(
        *(reader.every(f"/apis/{kind.group}/{kind.versions[0]}/{kind.plural}", kind.plural) for kind in DEFINED)
    )
    documents = {kind.plural: len(found) for kind, found in zip(DEFINED, lists, strict=True) if found}
    sidecars = sum(bool(each.image) for each in pod_facts(pods, [], namespace))
    return Remaining(
        sidecars, sum(name_of(each).endswith("-weft") for each in deployments), documents, tuple(reader.unread)
    )


async def uninstall(client: ApiClient, record: Record, namespace: str, *, dry: bool = False) -> AsyncIterator[Change]:
    """Remove the objects of an installation, each as it is done, or with `dry` only tell them; but no GatewayClass that
    another serves, or may serve. ApiError."""
    served = await _served(client, namespace)
    for each in sorted(await members(client, record, namespace), key=_order):
        if each["kind"] == _CLASS and served:
            yield Change("kept", f"{title(each)}, which another control plane {served}")
            continue
        if not dry:
            await delete(client, path_of(each))
        yield Change("removed", title(each))
    if dry or await delete(client, record_path(namespace)):
        yield Change("removed", f"ConfigMap {namespace}/{NAME}")


async def _served(client: ApiClient, namespace: str) -> str:
    """What another control plane of weft, a revision or one in another namespace, does with the cluster's GatewayClass;
    empty if there is none."""
    reader = Reader(client)
    found = await reader.every("/apis/apps/v1/deployments", "deployments of all namespaces", LABELS)
    if any((namespace_of(each), name_of(each)) != (namespace, INSTALLED) for each in found):
        return "serves"
    return f"may serve: you may not list {', '.join(reader.unread)}" if reader.unread else ""


def _order(thing: Json) -> int:
    kind = thing["kind"]
    if kind in _FIRST:
        return _FIRST.index(kind)
    return len(_FIRST) + (1 + _LAST.index(kind) if kind in _LAST else 0)


def check_documents(there: Remaining, *, documents: bool) -> None:
    """InstallError if there are documents of weft's kinds, or may be, unless they are to go as well."""
    if there.unseen and not documents:
        raise InstallError(
            f"you may not list {', '.join(there.unseen)}, so there may be documents, which would go with their "
            "definitions: say --with-documents, or keep them"
        )
    if there.documents and not documents:
        counts = ", ".join(f"{count} {plural}" for plural, count in sorted(there.documents.items()))
        raise InstallError(
            f"there are {counts}, which would go with their definitions: say --with-documents, or keep them"
        )


async def purged(client: ApiClient, namespace: str) -> AsyncIterator[Change]:
    """Remove the definitions of weft's kinds, and what holds the mesh's authority; each as it is done. ApiError."""
    for kind in DEFINED:
        name = f"{kind.plural}.{kind.group}"
        if await delete(client, f"{DEFINITIONS}/{name}"):
            yield Change("removed", f"CustomResourceDefinition {name}")
    reader = Reader(client)
    kept = f"/api/v1/namespaces/{namespace}/secrets"
    for each in await reader.every(kept, "secrets", STATE):
        await delete(client, f"{kept}/{name_of(each)}")
        yield Change("removed", f"Secret {namespace}/{name_of(each)}")
    own = await reader.one(f"/api/v1/namespaces/{namespace}", "namespaces")
    if labels_of(own).get(MANAGED_BY) == NAME:
        await delete(client, f"/api/v1/namespaces/{namespace}")
        yield Change("removed", f"Namespace {namespace}")
