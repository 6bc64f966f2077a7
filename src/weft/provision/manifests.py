"""Manifests: the objects of Kubernetes that a planned Gateway becomes, as server-side apply takes them.

All of them are owned by the Gateway document, so they go with it, and the Kubernetes API server is who removes them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from weft.model.gateway_process import GATEWAY_CLASS, GATEWAY_NAME
from weft.model.revisions import DEFAULT, REVISION
from weft.provision.plan import GatewayPlan
from weft.schema.annotations import SERVICE_TYPES

MANAGED = "app.kubernetes.io/managed-by"
MANAGER = "weft"

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
    found = [
        _object(plan, "v1", "ServiceAccount", "serviceaccounts", {}),
        _object(plan, "apps/v1", "Deployment", "deployments", {"spec": _deployment(plan, pods)}),
        _object(plan, "policy/v1", "PodDisruptionBudget", "poddisruptionbudgets", {"spec": _budget(plan)}),
    ]
    if pods.most:
        found.append(_scaled(plan, {"spec": _autoscaler(plan, pods)}))
    found.append(_object(plan, "v1", "Service", "services", {"spec": _service(plan, pods.service_type)}))
    return tuple(found)


def retired_of(plan: GatewayPlan, pods: GatewayPods) -> tuple[ApiObject, ...]:
    """What a Gateway had with other settings, and is to be gone."""
    return () if pods.most else (_scaled(plan, {}),)


def _scaled(plan: GatewayPlan, rest: Manifest) -> ApiObject:
    return _object(plan, "autoscaling/v2", "HorizontalPodAutoscaler", "horizontalpodautoscalers", rest)


def _object(plan: GatewayPlan, version: str, kind: str, plural: str, rest: Manifest) -> ApiObject:
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
    body = {"apiVersion": version, "kind": kind, "metadata": metadata, **rest}
    return ApiObject(f"{root}/namespaces/{plan.key.namespace}/{plural}/{plan.name}", body)


def _labels(plan: GatewayPlan) -> dict[str, str]:
    """The Gateway's own win over those that its document asks for."""
    return {**dict(plan.labels), **_selector(plan), MANAGED: MANAGER}


def _selector(plan: GatewayPlan) -> dict[str, str]:
    return {GATEWAY_NAME: plan.key.name, GATEWAY_CLASS: plan.gateway_class}


def _deployment(plan: GatewayPlan, pods: GatewayPods) -> Manifest:
    labels = {**_labels(plan), "sidecar.istio.io/inject": "false", REVISION: pods.revision}
    metadata: dict[str, Any] = {"labels": labels}
    if plan.annotations:
        metadata["annotations"] = dict(plan.annotations)
    return {
        **({} if pods.most else {"replicas": pods.fewest}),
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
        "maxReplicas": pods.most,
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
    kind = plan.service_type or usual
    return {"type": kind, "selector": _selector(plan), "ports": ports, **_addressed(kind, plan.address)}


def _addressed(kind: str, address: str) -> Manifest:
    """What asks for an address: of the load balancer, or that of the Service itself."""
    if not address:
        return {}
    if kind == "LoadBalancer":
        return {"loadBalancerIP": address}
    family = "IPv6" if ":" in address else "IPv4"
    return {"clusterIP": address, "clusterIPs": [address], "ipFamilies": [family], "ipFamilyPolicy": "SingleStack"}
