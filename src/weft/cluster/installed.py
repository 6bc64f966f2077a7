"""What is installed of weft in a cluster: the workload of the control plane, its pods, its Service and its Leases."""

from __future__ import annotations

from dataclasses import dataclass

from weft.cluster.manifests import Features
from weft.cluster.pods import epoch, is_ready
from weft.cluster.reading import Reader, all_of, annotations_of, labels_of, member, name_of
from weft.cluster.revisions import RELEASE
from weft.findings.cluster.facts import ENDPOINTS, LEASES, PODS, ControlPod, InstallationFact, LeaseFact
from weft.model.revisions import DEFAULT, Revision
from weft.sources.kubernetes.leadership import lease_of
from weft.sources.kubernetes.server_objects import Json
from weft.sources.kubernetes.shared.repository import HEAD as STATE

WORKLOAD = "weft"
"""What the workload of the default is called, its Service and its ClusterRole; of another revision, with its suffix."""
_TAG = "--revision-tag="
_VERSION, _MANAGED_BY = "app.kubernetes.io/version", "app.kubernetes.io/managed-by"
_KINDS = (("statefulsets", "statefulset"), ("deployments", "deployment"))


@dataclass(frozen=True, slots=True)
class Installed:
    """An installation. `account` is the name of its ServiceAccount, `release` that of Helm's release, if any; `names`
    are what labels call it."""

    fact: InstallationFact
    lease: LeaseFact | None
    state_lease: LeaseFact | None
    features: Features
    account: str
    release: str
    names: Revision


async def find_installed(reader: Reader, namespace: str, now: float, revision: str = DEFAULT) -> Installed | None:
    """The control plane of a revision in `namespace`; None if there is none."""
    apps, name = f"/apis/apps/v1/namespaces/{namespace}", f"{WORKLOAD}{Revision(revision).suffix}"
    found = await all_of(*(reader.one(f"{apps}/{plural}/{name}", f"{plural} of {namespace}") for plural, _ in _KINDS))
    workload, kind = next(((each, kind) for each, (_, kind) in zip(found, _KINDS, strict=True) if each), ({}, ""))
    if not workload:
        return None
    slices = f"/apis/discovery.k8s.io/v1/namespaces/{namespace}/endpointslices"
    leases = f"/apis/coordination.k8s.io/v1/namespaces/{namespace}/leases"
    labels = f"app.kubernetes.io/name={name},app.kubernetes.io/component=control-plane"
    pods, endpoints, held, state, role = await all_of(
        reader.every(f"/api/v1/namespaces/{namespace}/pods", PODS, labels),
        reader.every(slices, ENDPOINTS, f"kubernetes.io/service-name={name}"),
        reader.one(f"{leases}/{lease_of(revision)}", LEASES),
        reader.one(f"{leases}/{STATE}", LEASES),
        reader.one(f"/apis/rbac.authorization.k8s.io/v1/clusterroles/{name}", "cluster roles"),
    )
    container: Json = next(iter(member(workload, "spec", "template", "spec", "containers") or ()), {})
    fact = InstallationFact(
        workload=f"{kind}/{name}",
        version=labels_of(workload).get(_VERSION, ""),
        image=str(container.get("image") or ""),
        managed_by=labels_of(workload).get(_MANAGED_BY, ""),
        wanted=int(member(workload, "spec", "replicas") or 0),
        pods=tuple(_control_pod(each) for each in pods if not member(each, "metadata", "deletionTimestamp")),
        endpoints=sum(_is_taken(each) for one in endpoints for each in one.get("endpoints") or ()),
        shared="--state=kubernetes" in _words(container),
    )
    account = str(member(workload, "spec", "template", "spec", "serviceAccountName") or name)
    release = annotations_of(workload).get(RELEASE, "")
    tags = tuple(each.removeprefix(_TAG) for each in _words(container) if each.startswith(_TAG))
    names = Revision(revision, tags)
    features = _features(container, role, names)
    return Installed(fact, _lease(held, now), _lease(state, now), features, account, release, names)


def _is_taken(endpoint: Json) -> bool:
    return member(endpoint, "conditions", "ready") is not False


def _features(container: Json, role: Json, names: Revision) -> Features:
    """Which parts are switched on, by the options and the rights of the control plane."""
    words = _words(container)
    injection = any(each.startswith("--sidecar-image") for each in words)
    named = {name for rule in role.get("rules") or () for name in rule.get("resourceNames") or ()}
    validation = f"weft-validator{names.suffix}" in named or not role
    return Features(injection=injection, gateways=injection and "--no-gateways" not in words, validation=validation)


def _words(container: Json) -> list[str]:
    return [str(each) for each in (*(container.get("command") or ()), *(container.get("args") or ()))]


def _control_pod(pod: Json) -> ControlPod:
    statuses = member(pod, "status", "containerStatuses") or ()
    restarts = sum(int(each.get("restartCount") or 0) for each in statuses)
    if is_ready(pod):
        return ControlPod(name_of(pod), True, "", restarts)
    return ControlPod(name_of(pod), False, _why(pod, list(statuses)), restarts)


def _why(pod: Json, statuses: list[Json]) -> str:
    for each in statuses:
        waiting = member(each, "state", "waiting") or {}
        if waiting.get("reason"):
            said = f": {waiting['message']}" if waiting.get("message") else ""
            return f"its container waits: {waiting['reason']}{said}"
    conditions = member(pod, "status", "conditions") or ()
    for each in conditions:
        if each.get("type") == "PodScheduled" and each.get("status") == "False":
            return f"it has no node: {each.get('message') or each.get('reason') or 'it waits'}"
    running = any(member(each, "state", "running") for each in statuses)
    return "it runs and is not ready: its log says what it waits for" if running else "it has not started"


def _lease(held: Json, now: float) -> LeaseFact | None:
    if not held:
        return None
    renewed = epoch(str(member(held, "spec", "renewTime") or ""))
    lasting = int(member(held, "spec", "leaseDurationSeconds") or 0)
    return LeaseFact(str(member(held, "spec", "holderIdentity") or ""), now - renewed, lasting)
