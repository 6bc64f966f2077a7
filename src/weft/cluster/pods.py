"""Pods, nodes and namespaces of a cluster as facts: which pods have a sidecar, and which should."""

from __future__ import annotations

from datetime import datetime

from weft.cluster.reading import annotations_of, labels_of, member, name_of, namespace_of
from weft.findings.cluster.facts import NamespaceFact, NodeFact, PodFact
from weft.inject.decision import Namespace, decide
from weft.inject.findings import ADMISSION, Findings
from weft.inject.names import PROXY, all_containers
from weft.inject.settings import InjectionSettings
from weft.model.revisions import DEFAULT, REVISION, USUAL, Revision
from weft.sources.kubernetes.server_objects import Json

_ENFORCE = "pod-security.kubernetes.io/enforce"
_GATEWAY_LABEL = "gateway.networking.k8s.io/gateway-name"
_ENDED = ("Succeeded", "Failed")
_OWNERS = {"ReplicaSet": "deployment", "StatefulSet": "statefulset", "DaemonSet": "daemonset"}


def node_facts(nodes: list[Json], beats: list[Json], now: float) -> tuple[NodeFact, ...]:
    """Nodes, with how far their clocks are ahead: a kubelet writes its time into its Lease."""
    renewed = {name_of(each): epoch(str(member(each, "spec", "renewTime") or "")) for each in beats}
    return tuple(
        NodeFact(
            name=name_of(each),
            kubelet=str(member(each, "status", "nodeInfo", "kubeletVersion") or ""),
            system=str(member(each, "status", "nodeInfo", "operatingSystem") or "linux"),
            architecture=str(member(each, "status", "nodeInfo", "architecture") or ""),
            kernel=str(member(each, "status", "nodeInfo", "kernelVersion") or ""),
            ready=_is_ready(each),
            ahead=max(0.0, renewed.get(name_of(each), 0.0) - now),
        )
        for each in nodes
    )


def injected_namespaces(namespaces: list[Json], own: str, names: Revision = USUAL) -> tuple[NamespaceFact, ...]:
    """The namespaces all of whose pods get sidecars of a revision, unless they say otherwise themselves."""
    pod: Json = {"metadata": {}, "spec": {}}
    return tuple(
        NamespaceFact(name_of(each), labels_of(each).get(_ENFORCE, ""))
        for each in namespaces
        if _wanted(pod, name_of(each), labels_of(each), own, names)
        and not member(each, "metadata", "deletionTimestamp")
    )


def pod_facts(pods: list[Json], namespaces: list[Json], own: str, names: Revision | None = None) -> tuple[PodFact, ...]:
    """The pods that run and have a sidecar, or should have one; with `names` only those of that revision."""
    labels = {name_of(each): labels_of(each) for each in namespaces}
    found = []
    for pod in pods:
        namespace = namespace_of(pod)
        ends = member(pod, "metadata", "deletionTimestamp") or member(pod, "status", "phase") in _ENDED
        if ends or _GATEWAY_LABEL in labels_of(pod):
            continue
        image = next((str(each.get("image")) for each in all_containers(pod) if each.get("name") == PROXY), "")
        if image and names is not None and labels_of(pod).get(REVISION, DEFAULT) not in names.names:
            continue  # another revision has injected it
        if image or _wanted(pod, namespace, labels.get(namespace, {}), own, names or USUAL):
            found.append(PodFact(namespace, name_of(pod), image, _restart(pod)))
    return tuple(found)


def _wanted(pod: Json, namespace: str, labels: dict[str, str], own: str, names: Revision) -> bool:
    """Whether the injector of a revision would put a sidecar into a pod."""
    settings = InjectionSettings(
        image="", server="", fingerprint="", namespace=own, revision=names.name, tags=names.tags
    )
    return decide(pod, Namespace(namespace, labels), settings, Findings(ADMISSION)).inject


def _restart(pod: Json) -> str:
    """The command that makes a pod anew."""
    owner = next((each for each in member(pod, "metadata", "ownerReferences") or () if each.get("controller")), None)
    kind = _OWNERS.get(owner.get("kind", "")) if owner is not None else None
    if kind is None or owner is None:
        return ""
    name = str(owner.get("name"))
    if kind == "deployment":
        name = name.removesuffix(f"-{labels_of(pod).get('pod-template-hash', '')}")
    return f"kubectl -n {namespace_of(pod)} rollout restart {kind} {name}"


def _is_ready(thing: Json) -> bool:
    conditions = member(thing, "status", "conditions") or ()
    return any(each.get("type") == "Ready" and each.get("status") == "True" for each in conditions)


def is_ready(pod: Json) -> bool:
    """Whether a pod is ready."""
    return _is_ready(pod)


def epoch(text: str) -> float:
    """A time of Kubernetes (RFC 3339) in seconds; 0 if it is none."""
    try:
        return datetime.fromisoformat(text).timestamp()
    except ValueError:
        return 0.0


__all__ = ["annotations_of", "epoch", "injected_namespaces", "is_ready", "node_facts", "pod_facts"]
