"""A pod with its sidecar, from the pod and the settings; and the pod that it was."""

from __future__ import annotations

from dataclasses import dataclass

import msgspec

from weft.inject.checks import check_fitness, check_shape, check_size, tell_of_pod_security
from weft.inject.containers import init_container, proxy_container, volumes
from weft.inject.decision import Namespace, decide
from weft.inject.findings import ADMISSION, Findings, Place
from weft.inject.names import (
    DATA,
    INIT,
    PROXY,
    STATUS,
    TOKEN,
    Json,
    all_containers,
    containers_of,
    member,
    texts_of,
)
from weft.inject.probes import Moved, move_probes, restore_probes
from weft.inject.settings import InjectionSettings
from weft.inject.status import InjectionStatus, status_of, status_text
from weft.inject.wishes import Wishes, wishes_of
from weft.model.problem import Problem
from weft.model.revisions import REVISION

_DEFAULT_CONTAINER = "kubectl.kubernetes.io/default-container"


@dataclass(frozen=True, slots=True)
class Injected:
    """`pod` is None if it stays as it is, for the `reason`; with an error among `problems` it must not be made.
    `by_namespace` as in `Decision`."""

    pod: Json | None
    reason: str
    problems: tuple[Problem, ...] = ()
    by_namespace: bool = False


class UninjectError(ValueError):
    """A sidecar that cannot be taken out; the message says why."""


def inject_pod(pod: Json, namespace: Namespace, settings: InjectionSettings, place: Place = ADMISSION) -> Injected:
    """`pod` (a Pod, or the template of one) with its sidecar, if it is to have one."""
    findings = Findings(place)
    check_shape(pod, findings)
    if findings.refused():
        return Injected(None, "it is no pod", findings.problems())
    decision = decide(pod, namespace, settings, findings)
    if not decision.inject or findings.refused():
        return Injected(None, decision.reason, findings.problems(), decision.by_namespace)
    check_size(pod, findings)
    if findings.refused():
        return Injected(None, decision.reason, findings.problems())
    wishes = wishes_of(pod, findings)
    check_fitness(pod, findings)
    if not settings.cni:
        tell_of_pod_security(namespace, findings)
    native = _is_native(pod, settings, wishes, findings)
    moved = Moved()
    containers, inits = _with_moved_probes(pod, wishes, moved, findings)
    if findings.refused():
        return Injected(None, decision.reason, findings.problems())
    proxy = proxy_container(pod, settings, wishes, moved.served, native=native)
    init = init_container(settings, wishes)
    spec: Json = {**pod["spec"]}
    if native:
        # First the rules, then the proxy: other init containers may call others already, as the mesh has it.
        spec["initContainers"] = [init, proxy, *inits]
    else:
        # Rules come last: without a proxy, other init containers would reach nobody.
        spec["initContainers"] = [*inits, init]
        containers = [proxy, *containers]
    spec["containers"] = containers
    spec["volumes"] = [*(pod["spec"].get("volumes") or ()), *volumes()]
    image = wishes.image or settings.image
    status = _status(pod, settings.revision, image, moved, findings, native=native)
    if settings.cni:
        status = msgspec.structs.replace(status, capture=wishes.capture)
    metadata = _annotated(pod, status)
    first: Json = {key: pod[key] for key in ("apiVersion", "kind") if key in pod}
    rest: Json = {key: value for key, value in pod.items() if key not in ("metadata", "spec")}
    injected: Json = {**first, "metadata": metadata, "spec": spec, **rest}
    return Injected(injected, decision.reason, findings.problems())


def uninject_pod(pod: Json) -> Json | None:
    """The pod that `pod` was before it was injected; None if it was not. UninjectError if nothing tells what it was."""
    status = status_of(pod)
    if status is None:
        if any(each.get("name") in (PROXY, INIT) for each in all_containers(pod)):
            raise UninjectError(
                f"it has a container {PROXY} or {INIT}, but no annotation {STATUS} that says what it was"
            )
        return None
    spec: Json = dict(pod.get("spec") or {})
    for field, gone in (
        ("initContainers", status.init_containers),
        ("containers", status.containers),
        ("volumes", status.volumes),
    ):
        kept = [each for each in spec.get(field) or () if member(each, "name") not in gone]
        if field != "volumes":
            kept = [restore_probes(each, dict(status.probes)) for each in kept]
        spec[field] = kept
        if not kept and field in status.made:
            del spec[field]
    metadata: Json = dict(pod.get("metadata") or {})
    written = {STATUS, *status.annotations}
    metadata["annotations"] = {key: text for key, text in metadata["annotations"].items() if key not in written}
    if status.labels:
        metadata["labels"] = {
            key: text for key, text in texts_of(metadata.get("labels")).items() if key not in status.labels
        }
        if not metadata["labels"] and "labels" in status.made:
            del metadata["labels"]
    if not metadata["annotations"] and "annotations" in status.made:
        del metadata["annotations"]
    found = {**pod, "metadata": metadata, "spec": spec}
    if not metadata and "metadata" in status.made:
        del found["metadata"]
    return found


def is_injected(pod: Json) -> bool:
    """Whether it has a sidecar of weft."""
    return any(each.get("name") == PROXY for each in all_containers(pod))


def _is_native(pod: Json, settings: InjectionSettings, wishes: Wishes, findings: Findings) -> bool:
    """A pod that is to end, as that of a Job, ends only with a native sidecar, which the kubelet stops last."""
    if settings.cni:
        if wishes.native is False:
            text = "the node captures the pod before its first container: it gets a native sidecar, which starts first"
            findings.warn(text, "metadata", "annotations")
        return True
    native = settings.native if wishes.native is None else wishes.native
    ends = member(pod, "spec", "restartPolicy") in ("Never", "OnFailure")
    if not native and ends:
        if wishes.native is False:
            text = "the pod is to end, and would not with a proxy among its containers: it gets a native sidecar"
            findings.warn(text, "spec", "restartPolicy")
        return True
    if native and wishes.hold is False:
        findings.warn("the application waits for a native sidecar always", "metadata", "annotations")
    return native


def _with_moved_probes(pod: Json, wishes: Wishes, moved: Moved, findings: Findings) -> tuple[list[Json], list[Json]]:
    """The containers, and the init containers."""
    found: dict[str, list[Json]] = {"containers": [], "initContainers": []}
    for field, kept in found.items():
        for index, container in enumerate(containers_of(pod, field)):
            with_probes = field == "containers" or container.get("restartPolicy") == "Always"
            path = ("spec", field, index)
            move = wishes.probes and with_probes
            kept.append(move_probes(container, path, moved, findings) if move else container)
    return found["containers"], found["initContainers"]


def _status(pod: Json, revision: str, image: str, moved: Moved, findings: Findings, *, native: bool) -> InjectionStatus:
    """What is put in. A pod with the proxy first among its containers needs to say which one people mean."""
    annotations = member(pod, "metadata", "annotations")
    made = [name for name in ("initContainers", "volumes") if not pod["spec"].get(name)]
    made += [] if annotations else ["annotations"]
    labels = texts_of(member(pod, "metadata", "labels"))
    made += [] if labels else ["labels"]
    made += [] if pod.get("metadata") else ["metadata"]
    say = not native and _DEFAULT_CONTAINER not in (annotations or {})
    return InjectionStatus(
        revision=revision,
        image=image,
        init_containers=(INIT, PROXY) if native else (INIT,),
        containers=() if native else (PROXY,),
        volumes=(DATA, TOKEN),
        annotations=(_DEFAULT_CONTAINER,) if say else (),
        labels=() if REVISION in labels else (REVISION,),
        made=tuple(made),
        probes=moved.originals,
        warnings=tuple(each.message for each in findings.problems()),
    )


def _annotated(pod: Json, status: InjectionStatus) -> Json:
    metadata: Json = dict(pod.get("metadata") or {})
    annotations = dict(metadata.get("annotations") or {})
    for key in status.annotations:
        annotations[key] = str(containers_of(pod, "containers")[0].get("name"))
    annotations[STATUS] = status_text(status)
    labels = {**(metadata.get("labels") or {}), **dict.fromkeys(status.labels, status.revision)}
    return {**metadata, "labels": labels, "annotations": annotations}
