"""Manifests: the objects of Kubernetes that a planned Gateway becomes, as server-side apply takes them.

All of them are owned by the Gateway document, so they go with it, and the Kubernetes API server is who removes them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from weft.model.gateway_process import GATEWAY_CLASS, GATEWAY_NAME
from weft.model.revisions import DEFAULT, REVISION
from weft.provision.allowed import SHAPES
from weft.provision.merge import merged
from weft.provision.plan import GatewayPlan
from weft.schema.annotations import SERVICE_TYPES

MANAGED = "app.kubernetes.io/managed-by"
MANAGER = "weft"

GRACE = "WEFT_GRACE_SECONDS"
"""What tells the agent how long its pod has to end."""
_USUAL_GRACE = 30
"""What Kubernetes gives a pod that does not say."""
_KINDS = {
    "serviceAccount": ("v1", "ServiceAccount", "serviceaccounts"),
    "deployment": ("apps/v1", "Deployment", "deployments"),
    "podDisruptionBudget": ("policy/v1", "PodDisruptionBudget", "poddisruptionbudgets"),
    "horizontalPodAutoscaler": ("autoscaling/v2", "HorizontalPodAutoscaler", "horizontalpodautoscalers"),
    "service": ("v1", "Service", "services"),
}

_BOUNDS = ("minAvailable", "maxUnavailable")
"""Of a budget, which has one of them: the last that is said."""

Manifest = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class GatewayPods:
    """What all gateways of a cluster have: the pod template's spec, which says how the proxy is started, between how
    many pods the autoscaler chooses (`most` 0: there is none), the type of their Services, and which revision of the
    control plane they are told of."""

    spec: Mapping[str, Any]
    fewest: int = 1
    most: int = 5
    cpu_percent: int = 80
    service_type: str = SERVICE_TYPES[0]
    revision: str = DEFAULT


@dataclass(frozen=True, slots=True)
class ApiObject:
    """An object to apply, and the path of the API server at which it stands."""

    path: str
    body: Manifest


def objects_of(plan: GatewayPlan, pods: GatewayPods) -> tuple[ApiObject, ...]:
    """The objects of a Gateway, in the order in which they are applied. The Service is the last."""
    deployment = {"spec": _deployment(plan, pods)}
    of_pods = _object(plan, "deployment", deployment, _has_autoscaler(plan, pods))
    if not _has_autoscaler(plan, pods):
        of_pods = _counted(of_pods, pods.fewest)
    found = [_object(plan, "serviceAccount", {}), of_pods]
    if _has_budget(plan):
        found.append(_object(plan, "podDisruptionBudget", {"spec": _budget(plan)}))
    if _has_autoscaler(plan, pods):
        found.append(_object(plan, "horizontalPodAutoscaler", {"spec": _autoscaler(plan, pods)}))
    found.append(_object(plan, "service", {"spec": _service(plan, pods.service_type)}))
    return tuple(found)


def retired_of(plan: GatewayPlan, pods: GatewayPods) -> tuple[ApiObject, ...]:
    """What a Gateway had with other settings, and is to be gone."""
    found = [] if _has_autoscaler(plan, pods) else [_object(plan, "horizontalPodAutoscaler", {})]
    return tuple(found if _has_budget(plan) else [*found, _object(plan, "podDisruptionBudget", {})])


def _has_autoscaler(plan: GatewayPlan, pods: GatewayPods) -> bool:
    """What parameters say counts, and who says a number wants no other."""
    said = plan.parameters.says("horizontalPodAutoscaler")
    return not plan.parameters.counts_pods() and (bool(pods.most) if said is None else said)


def _has_budget(plan: GatewayPlan) -> bool:
    return plan.parameters.says("podDisruptionBudget") is not False


def _object(plan: GatewayPlan, what: str, rest: Manifest, scaled: bool = False) -> ApiObject:
    """One of the five, with what parameters say merged over it. Of a Deployment that is `scaled` nobody else says how
    many pods it has."""
    version, kind, plural = _KINDS[what]
    root = f"/apis/{version}" if "/" in version else f"/api/{version}"
    owner = {
        "apiVersion": "gateway.networking.k8s.io/v1",
        "kind": "Gateway",
        "name": plan.key.name,
        "uid": plan.uid,
        "controller": True,
    }
    metadata: dict[str, Any] = {
        "name": plan.name,
        "namespace": plan.key.namespace,
        "labels": _labels(plan),
        "ownerReferences": [owner],
    }
    if plan.annotations:
        metadata["annotations"] = dict(plan.annotations)
    body: Manifest = {"apiVersion": version, "kind": kind, "metadata": metadata, **rest}
    said = plan.parameters.of(what) if rest or what == "serviceAccount" else ()
    for overlay in said:
        body = merged(body, overlay, SHAPES[what])
    if said:
        found = body["metadata"]
        identity = {name: metadata[name] for name in ("name", "namespace", "ownerReferences")}
        labels = {**found.get("labels", {}), **_own_labels(plan)}
        about = {"apiVersion": version, "kind": kind, "metadata": {**found, **identity, "labels": labels}}
        body = {**body, **about}
    body = _settled(what, body, said)
    if what == "service" and said:  # null took away what was said of it, and not that there is one
        body = {**body, "spec": {"type": rest["spec"]["type"], **body["spec"]}}
    if scaled:
        body = {**body, "spec": {name: each for name, each in body["spec"].items() if name != "replicas"}}
    return ApiObject(f"{root}/namespaces/{plan.key.namespace}/{plural}/{plan.name}", body)


def _counted(deployment: ApiObject, fewest: int) -> ApiObject:
    """With a number of pods, which a null has taken away: Kubernetes would choose one."""
    body = deployment.body
    return ApiObject(deployment.path, {**body, "spec": {"replicas": fewest, **body["spec"]}})


def _settled(what: str, body: Manifest, said: Sequence[Mapping[str, Any]]) -> Manifest:
    """What hangs on what parameters say, and they did not: the other half of a pair, and what the agent is told."""
    specs = [each.get("spec") or {} for each in said]
    given = {name for each in specs for name, value in each.items() if value is not None}
    spec = dict(body.get("spec") or {})
    if what == "podDisruptionBudget":
        for each in specs:
            for one, other in (_BOUNDS, _BOUNDS[::-1]):
                if each.get(one) is not None and each.get(other) is None:
                    spec = {**spec, one: each[one]}
                    spec.pop(other, None)
    elif what == "horizontalPodAutoscaler" and spec.get("minReplicas", 0) > spec.get("maxReplicas", 0):
        if "maxReplicas" not in given:
            spec["maxReplicas"] = spec["minReplicas"]
        elif "minReplicas" not in given:
            spec["minReplicas"] = spec["maxReplicas"]
    elif what == "deployment" and said:
        if spec.get("strategy", {}).get("type") == "Recreate":
            spec["strategy"] = {"type": "Recreate"}
        template = spec["template"]
        spec["template"] = {**template, "spec": _with_grace(template["spec"])}
    return {**body, "spec": spec} if spec else body


def _with_grace(pod: Manifest) -> Manifest:
    """The agent has as long as its pod."""
    grace = str(pod.get("terminationGracePeriodSeconds", _USUAL_GRACE))
    told = {"name": GRACE, "value": grace}
    containers = [
        {**each, "env": [told if one["name"] == GRACE else one for one in each["env"]]} if "env" in each else each
        for each in pod.get("containers", ())
    ]
    return {**pod, "containers": containers}


def _labels(plan: GatewayPlan) -> dict[str, str]:
    """The Gateway's own win over those that its document asks for."""
    return {**dict(plan.labels), **_own_labels(plan)}


def _own_labels(plan: GatewayPlan) -> dict[str, str]:
    return {**_selector(plan), MANAGED: MANAGER}


def _selector(plan: GatewayPlan) -> dict[str, str]:
    return {GATEWAY_NAME: plan.key.name, GATEWAY_CLASS: plan.gateway_class}


def _deployment(plan: GatewayPlan, pods: GatewayPods) -> Manifest:
    labels = {**_labels(plan), "sidecar.istio.io/inject": "false", REVISION: pods.revision}
    metadata: dict[str, Any] = {"labels": labels}
    if plan.annotations:
        metadata["annotations"] = dict(plan.annotations)
    return {
        **({} if _has_autoscaler(plan, pods) else {"replicas": pods.fewest}),
        "selector": {"matchLabels": _selector(plan)},
        "strategy": {"rollingUpdate": {"maxSurge": "100%", "maxUnavailable": 0}},
        "template": {"metadata": metadata, "spec": {**pods.spec, "serviceAccountName": plan.name}},
    }


def _budget(plan: GatewayPlan) -> Manifest:
    """One at a time: a drain of a node waits, and does not wait for ever where there is but one pod."""
    return {"maxUnavailable": 1, "selector": {"matchLabels": _selector(plan)}}


def _autoscaler(plan: GatewayPlan, pods: GatewayPods) -> Manifest:
    target = {"type": "Utilization", "averageUtilization": pods.cpu_percent}
    return {
        "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": plan.name},
        "minReplicas": pods.fewest,
        "maxReplicas": max(pods.most, pods.fewest),
        "metrics": [{"type": "Resource", "resource": {"name": "cpu", "target": target}}],
    }


def _service(plan: GatewayPlan, usual: str) -> Manifest:
    ports = [
        {
            "name": port.name,
            "port": port.number,
            "protocol": port.transport,
            "targetPort": port.number,
            **({"appProtocol": port.application} if port.transport == "TCP" else {}),
        }
        for port in plan.ports
    ]
    specs = [each.get("spec") or {} for each in plan.parameters.of("service")]
    said = [each["type"] for each in specs if "type" in each]
    kind = (said[-1] if said else None) or plan.service_type or usual
    return {"type": kind, "selector": _selector(plan), "ports": ports, **_addressed(kind, plan.address)}


def _addressed(kind: str, address: str) -> Manifest:
    """What asks for an address: of the load balancer, or that of the Service itself."""
    if not address:
        return {}
    if kind == "LoadBalancer":
        return {"loadBalancerIP": address}
    family = "IPv6" if ":" in address else "IPv4"
    return {"clusterIP": address, "clusterIPs": [address], "ipFamilies": [family], "ipFamilyPolicy": "SingleStack"}
