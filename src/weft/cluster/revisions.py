"""Revisions of weft beside each other in a cluster: which there are, whose the agent of nodes is that they share, and
what of that is nobody's any more."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import msgspec

from weft.cluster.reading import Reader, all_of, annotations_of, labels_of, member, name_of, namespace_of
from weft.cluster.record import ID, MANAGED_BY, NAME, PART_OF, PART_OF_WEFT, applyset_id
from weft.findings.cluster.told import numbers
from weft.model.revisions import DEFAULT, REVISION
from weft.schema.wording import nearest_name
from weft.sources.kubernetes.client import ApiClient
from weft.sources.kubernetes.server_objects import Json

CONTROL_PLANES = "app.kubernetes.io/component=control-plane,app.kubernetes.io/part-of=weft"
"""The labels of the workloads of every revision."""
HELM, RELEASE, _RELEASE_NAMESPACE = "Helm", "meta.helm.sh/release-name", "meta.helm.sh/release-namespace"
CLASS = "GatewayClass"
_WORKLOADS = ("statefulsets", "deployments")
_RECORDS = ",".join((ID, *(f"{key}={value}" for key, value in {**PART_OF_WEFT, MANAGED_BY: NAME}.items())))
_COMPONENT, _VERSION = "app.kubernetes.io/component", "app.kubernetes.io/version"
_TRUST_DOMAIN = "--trust-domain="
_AGENT = "/namespaces/kube-system"
_SHARED = (
    ("DaemonSet", "apps/v1", f"/apis/apps/v1{_AGENT}/daemonsets/weft-cni"),
    ("ServiceAccount", "v1", f"/api/v1{_AGENT}/serviceaccounts/weft-cni"),
    (CLASS, "gateway.networking.k8s.io/v1", "/apis/gateway.networking.k8s.io/v1/gatewayclasses/weft"),
)
"""Objects of which there is one for all revisions: their kind, its version, and where they stand."""


@dataclass(frozen=True, slots=True)
class Neighbour:
    """A revision of a namespace. `cni`: nodes capture its pods. `applyset` is the id of its objects, if `weft install`
    has made them."""

    namespace: str
    revision: str
    version: str = ""
    trust_domain: str = ""
    cni: bool = False
    applyset: str = ""

    def __str__(self) -> str:
        return f"the revision {self.revision} in {self.namespace}"


async def revisions_of(reader: Reader, namespace: str = "") -> tuple[Neighbour, ...]:
    """The revisions of a namespace, or of all; one too whose installation was broken off before it had a control plane.
    What may not be listed is missing, and `unread`. ApiError."""
    inside = f"/namespaces/{namespace}" if namespace else ""
    lists = await all_of(
        reader.every(f"/api/v1{inside}/configmaps", "configmaps", _RECORDS),
        *(reader.every(f"/apis/apps/v1{inside}/{each}", each, CONTROL_PLANES) for each in _WORKLOADS),
    )
    found = {(each.namespace, each.revision): each for each in map(_recorded, lists[0])}
    for each in (_running(one) for workloads in lists[1:] for one in workloads):
        key = (each.namespace, each.revision)
        found[key] = replace(each, applyset=found[key].applyset) if key in found else each
    return tuple(sorted(found.values(), key=lambda each: (each.namespace, each.revision != DEFAULT, each.revision)))


def _running(workload: Json) -> Neighbour:
    name = name_of(workload)
    revision = labels_of(workload).get(REVISION) or (DEFAULT if name == "weft" else name.removeprefix("weft-"))
    container: Json = next(iter(member(workload, "spec", "template", "spec", "containers") or ()), {})
    words = [str(each) for each in (*(container.get("command") or ()), *(container.get("args") or ()))]
    return Neighbour(
        namespace_of(workload),
        revision,
        labels_of(workload).get(_VERSION, ""),
        next((each.removeprefix(_TRUST_DOMAIN) for each in words if each.startswith(_TRUST_DOMAIN)), ""),
        "--cni" in words,
    )


def _recorded(record: Json) -> Neighbour:
    """Another version may have written it: what is not there is not said."""
    data = member(record, "data") or {}
    try:
        settings = msgspec.json.decode(str(data.get("settings", "")))
    except msgspec.MsgspecError:
        settings = {}
    namespace, revision = namespace_of(record), name_of(record).removeprefix(NAME).removeprefix("-") or DEFAULT
    return Neighbour(
        namespace,
        revision,
        str(data.get("version") or ""),
        str(member(settings, "trust_domain") or ""),
        member(settings, "features", "cni") is True,
        applyset_id(namespace, revision),
    )


def beside(found: Sequence[Neighbour], namespace: str, revision: str) -> tuple[Neighbour, ...]:
    """`found` without that one."""
    return tuple(each for each in found if (each.namespace, each.revision) != (namespace, revision))


def missing(revision: str, namespace: str, others: Sequence[Neighbour]) -> str:
    """Says that a revision is not in a namespace, and which are."""
    if not others:
        return f"there is no weft in the namespace {namespace}"
    names = [each.revision for each in others]
    near = nearest_name(revision, names)
    is_there = f"there {'is' if len(names) == 1 else 'are'} {', '.join(names)}"
    text = f"the revision {revision} of weft is not in the namespace {namespace}; {is_there}"
    return f"{text}; did you mean '{near}'?" if near else f"{text} (--revision {names[0]})"


def is_older(version: str, others: Sequence[Neighbour]) -> bool:
    """Whether one of the others is of a later release than `version`."""
    return any(numbers(each.version) > numbers(version) for each in others)


# -- what revisions share ----------------------------------------------------------------------------------------------


def is_agent(thing: Json) -> bool:
    """Whether it belongs to the agent of nodes, of which there is one for all revisions."""
    return labels_of(thing).get(_COMPONENT) == "cni"


def is_anothers(
    there: Json, own: str, release: tuple[str, str], others: Sequence[Neighbour], unseen: Sequence[str] = ()
) -> bool:
    """Whether a shared object that is `there` is another revision's: in its ApplySet, or in none where one of the
    `others` that have it is Helm's or kubectl's. `own` is the ApplySet that asks, `release` that of Helm which it was
    before, if any, and its namespace. Where there is something `unseen` what is not known is another's."""
    applyset = labels_of(there).get(PART_OF, "")
    if applyset:
        known = [each.cni for each in others if each.applyset == applyset]
        return applyset != own and (any(known) if known else bool(unseen))
    if RELEASE in annotations_of(there):
        if tuple(annotations_of(there).get(key, "") for key in (RELEASE, _RELEASE_NAMESPACE)) == release:
            return False
        if unseen:
            return True
    return any(each.cni and not each.applyset for each in others)


async def orphans(client: ApiClient) -> list[Json]:
    """The shared objects that an installation has left to others when it went: there is no record any more of the
    ApplySet that they are in. ApiError."""
    reader = Reader(client)
    found = await all_of(*(reader.one(path, path) for _, _, path in _SHARED))
    ours = [
        {**each, "apiVersion": version, "kind": kind}
        for (kind, version, _), each in zip(_SHARED, found, strict=True)
        if labels_of(each).get(MANAGED_BY) == NAME and PART_OF in labels_of(each)
    ]
    return [each for each in ours if not await _has_record(client, labels_of(each)[PART_OF])]


async def _has_record(client: ApiClient, applyset: str) -> bool:
    """Whether somebody has that ApplySet, in any namespace; or may have, where that may not be read."""
    reader = Reader(client)
    found = await reader.every("/api/v1/configmaps", "records of all namespaces", f"{ID}={applyset}")
    return bool(found or reader.unread)


def who_needs(others: Sequence[Neighbour], unseen: Sequence[str] = ()) -> str:
    """That some of the others need the agent of nodes, or may, where there is something `unseen`; for people. Empty:
    none does."""
    needing = [str(each) for each in others if each.cni]
    if needing:
        return f"{' and '.join(needing)} {'needs' if len(needing) == 1 else 'need'}"
    return f"another revision may need: you may not list {', '.join(unseen)} of all namespaces" if unseen else ""
