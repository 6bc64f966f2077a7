"""Taking weft out of a cluster: webhooks first, so that nothing waits for them; what runs with a sidecar goes on."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass

from weft.cluster.applying import delete, path_of, title
from weft.cluster.definitions import PATH as DEFINITIONS
from weft.cluster.install import Change, InstallError, is_there, members
from weft.cluster.installed import WORKLOAD
from weft.cluster.pods import pod_facts
from weft.cluster.reading import METADATA, Reader, all_of, labels_of, member, name_of, namespace_of
from weft.cluster.record import MANAGED_BY, NAME, Record, record_name, record_path
from weft.cluster.revisions import CLASS, CONTROL_PLANES, Neighbour, is_agent, orphans, who_needs
from weft.model.revisions import DEFAULT, REVISION, Revision
from weft.schema.definitions import DEFINED
from weft.sources.kubernetes.client import ApiClient
from weft.sources.kubernetes.server_objects import Json

_FIRST = ("MutatingWebhookConfiguration", "ValidatingWebhookConfiguration", "Deployment", "DaemonSet")
_LAST = ("Role", "RoleBinding", "ClusterRole", "ClusterRoleBinding", "ServiceAccount")
STATE = "weft.dev/state"
"""The label of the Secrets that hold authority, keys and store."""
_GATEWAY = "gateway.networking.k8s.io/gateway-name"


@dataclass(frozen=True, slots=True)
class Remaining:
    """What goes on without the control plane: pods with a sidecar, Deployments that Gateways became; and documents of
    weft's kinds, by kind. `unseen` may not be listed, so there may be more. Beside `others`, revisions that stay, it is
    only what the one that goes has injected and made; its pods may move to those in its `namespace`."""

    sidecars: int
    gateways: int
    documents: Mapping[str, int]
    unseen: tuple[str, ...] = ()
    others: tuple[Neighbour, ...] = ()
    namespace: str = ""

    @property
    def text(self) -> str:
        """It for people."""
        pods = f"{self.sidecars} {'pod has' if self.sidecars == 1 else 'pods have'} a sidecar"
        made = f"{self.gateways} {'Deployment' if self.gateways == 1 else 'Deployments'} of Gateways"
        if self.unseen:
            return f"what has a sidecar is not known: you may not list {', '.join(self.unseen)}"
        if not self.sidecars and not self.gateways:
            return "no pod has a sidecar of it" if self.others else "no pod has a sidecar"
        near = next((each.revision for each in self.others if each.namespace == self.namespace), "")
        instead = (
            f"let the labels of their namespaces name another revision ({near})"
            if near
            else "take the labels off the namespaces"
        )
        return (
            f"{pods}{' of it' if self.others else ''}, and there are {made}: they go on until their certificates end, "
            f"within a day; {instead}, and restart these pods"
        )


async def remaining(
    client: ApiClient, namespace: str, names: Revision, others: tuple[Neighbour, ...] = ()
) -> Remaining:
    """What remains when the revision of these `names` in `namespace` goes. ApiError."""
    reader = Reader(client)
    pods, deployments = await all_of(
        reader.every("/api/v1/pods", "pods"), reader.every("/apis/apps/v1/deployments", "deployments", _GATEWAY)
    )
    lists = await all_of(
        *(reader.every(f"/apis/{kind.group}/{kind.versions[0]}/{kind.plural}", kind.plural) for kind in DEFINED)
    )
    documents = {kind.plural: len(found) for kind, found in zip(DEFINED, lists, strict=True) if found}
    if others:
        own = set(names.names) - {each.revision for each in others}  # a tag may be the name of one that stays
        pods = [each for each in pods if labels_of(each).get(REVISION, DEFAULT) in own]
        deployments = [each for each in deployments if _made_by(each) == names.name]
    sidecars = sum(bool(each.image) for each in pod_facts(pods, [], namespace))
    gateways = sum(name_of(each).endswith("-weft") for each in deployments)
    return Remaining(sidecars, gateways, documents, tuple(reader.unread), others, namespace)


def _made_by(deployment: Json) -> str:
    """The revision that has made the Deployment of a Gateway."""
    return str(member(deployment, "spec", "template", "metadata", "labels", REVISION) or DEFAULT)


async def uninstall(
    client: ApiClient,
    record: Record,
    others: Sequence[Neighbour] = (),
    unseen: Sequence[str] = (),
    *,
    dry: bool = False,
) -> AsyncIterator[Change]:
    """Remove the objects of an installation, each as it is done, or with `dry` only tell them; but no GatewayClass that
    another serves, or may serve, and not the agent of nodes that the `others` need, or may where there is something
    `unseen`. ApiError."""
    namespace, revision = record.settings.namespace, record.settings.revision
    served, needed = await _served(client, namespace, record.settings.names), who_needs(others, unseen)
    for each in sorted(await members(client, record), key=_order):
        if each["kind"] == CLASS and served:
            yield Change("kept", f"{title(each)}, which another control plane {served}")
            continue
        if is_agent(each) and needed:
            yield Change("kept", f"{title(each)}, which {needed}")
            continue
        if not dry:
            await delete(client, path_of(each))
        yield Change("removed", title(each))
    if dry or await delete(client, record_path(namespace, revision)):
        yield Change("removed", f"ConfigMap {namespace}/{record_name(revision)}")


async def left_over(client: ApiClient, *, dry: bool = False) -> AsyncIterator[Change]:
    """Remove what revisions share and no record leads to, when none of them is there any more; each as it is done, or
    with `dry` only tell them. ApiError."""
    for each in await orphans(client):
        if not dry:
            await delete(client, path_of(each))
        yield Change("removed", title(each))


async def _served(client: ApiClient, namespace: str, names: Revision) -> str:
    """What another control plane of weft, a revision or one in another namespace, does with the cluster's GatewayClass;
    empty if there is none."""
    reader = Reader(client)
    found = await reader.every("/apis/apps/v1/deployments", "deployments of all namespaces", CONTROL_PLANES)
    own = (namespace, f"{WORKLOAD}{names.suffix}")
    if any((namespace_of(each), name_of(each)) != own for each in found):
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


def check_alone(others: Sequence[Neighbour], unseen: Sequence[str] = ()) -> None:
    """InstallError if there are other revisions, which need what a purge takes, or may be: some things are `unseen`."""
    if unseen and not others:
        raise InstallError(
            f"you may not list {', '.join(unseen)} of all namespaces, so there may be another revision, from which "
            "--purge would take the definitions: purge as who may, or uninstall without --purge"
        )
    if others:
        raise InstallError(
            f"--purge would take the definitions and the mesh's authority away from {' and '.join(map(str, others))}: "
            f"uninstall {'it' if len(others) == 1 else 'them'} first, or this one without --purge"
        )


async def purged(client: ApiClient, namespace: str, *, dry: bool = False) -> AsyncIterator[Change]:
    """Remove the definitions of weft's kinds, what holds the mesh's authority, and the namespace if it is ours; each as
    it is done, or with `dry` only tell them. ApiError."""
    names = [f"{kind.plural}.{kind.group}" for kind in DEFINED]
    found = [(f"{DEFINITIONS}/{name}", f"CustomResourceDefinition {name}") for name in names]
    reader = Reader(client)
    secrets = f"/api/v1/namespaces/{namespace}/secrets"
    for each in await reader.every(secrets, "secrets", STATE, METADATA):
        found.append((f"{secrets}/{name_of(each)}", f"Secret {namespace}/{name_of(each)}"))
    own = await reader.one(f"/api/v1/namespaces/{namespace}", "namespaces")
    if labels_of(own).get(MANAGED_BY) == NAME:
        found.append((f"/api/v1/namespaces/{namespace}", f"Namespace {namespace}"))
    for path, what in found:
        if await is_there(client, path) if dry else await delete(client, path):
            yield Change("removed", what)
