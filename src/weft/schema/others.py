"""Kinds and API groups that are not the mesh's: what is left out of a text, and which project a group belongs to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from weft.model.problem import Severity


@dataclass(frozen=True, slots=True)
class LeftOutKind:
    """Why documents of a kind are left out while the rest of their text is taken. A note, unless they say something
    about traffic that weft does not do."""

    reason: str
    severity: Severity = Severity.NOTE


_NO_CONTAINERS = LeftOutKind("weft runs no containers; weft up starts workloads")
_THE_CLUSTER = LeftOutKind("this is about the cluster, not about the mesh")
_INGRESS = LeftOutKind(
    "weft publishes services with a Gateway and an HTTPRoute, this is not in force", Severity.WARNING
)


def _kinds(group: str, names: str, because: LeftOutKind) -> dict[tuple[str, str], LeftOutKind]:
    return {(group, name): because for name in names.split()}


LEFT_OUT_KINDS: Mapping[tuple[str, str], LeftOutKind] = (
    _kinds("", "Pod PodTemplate ReplicationController ConfigMap PersistentVolumeClaim", _NO_CONTAINERS)
    | _kinds("apps", "Deployment StatefulSet DaemonSet ReplicaSet ControllerRevision", _NO_CONTAINERS)
    | _kinds("extensions", "Deployment DaemonSet ReplicaSet", _NO_CONTAINERS)
    | _kinds("batch", "Job CronJob", _NO_CONTAINERS)
    | _kinds("argoproj.io", "Rollout", _NO_CONTAINERS)
    | _kinds("autoscaling", "HorizontalPodAutoscaler", _NO_CONTAINERS)
    | _kinds("autoscaling.k8s.io", "VerticalPodAutoscaler", _NO_CONTAINERS)
    | _kinds("policy", "PodDisruptionBudget PodSecurityPolicy", _THE_CLUSTER)
    | _kinds("", "Node PersistentVolume LimitRange ResourceQuota Event Binding ComponentStatus", _THE_CLUSTER)
    | _kinds("storage.k8s.io", "StorageClass CSIDriver CSINode VolumeAttachment", _THE_CLUSTER)
    | _kinds("scheduling.k8s.io", "PriorityClass", _THE_CLUSTER)
    | _kinds("node.k8s.io", "RuntimeClass", _THE_CLUSTER)
    | _kinds("coordination.k8s.io", "Lease", _THE_CLUSTER)
    | _kinds("rbac.authorization.k8s.io", "Role ClusterRole RoleBinding ClusterRoleBinding", _THE_CLUSTER)
    | _kinds("apiextensions.k8s.io", "CustomResourceDefinition", _THE_CLUSTER)
    | _kinds("apiregistration.k8s.io", "APIService", _THE_CLUSTER)
    | _kinds("certificates.k8s.io", "CertificateSigningRequest", _THE_CLUSTER)
    | _kinds(
        "admissionregistration.k8s.io",
        "MutatingWebhookConfiguration ValidatingWebhookConfiguration ValidatingAdmissionPolicy "
        "ValidatingAdmissionPolicyBinding",
        _THE_CLUSTER,
    )
    | _kinds("networking.k8s.io", "Ingress IngressClass", _INGRESS)
    | _kinds("extensions", "Ingress", _INGRESS)
)
"""Group and name of kinds of Kubernetes (and what stands for them) that are left out."""

FOREIGN_GROUPS: Mapping[str, str] = {
    "gateway.envoyproxy.io": "Envoy Gateway",
    "kuma.io": "Kuma",
    "linkerd.io": "Linkerd",
    "projectcontour.io": "Contour",
    "traefik.io": "Traefik",
    "traefik.containo.us": "Traefik",
    "konghq.com": "Kong",
    "flagger.app": "Flagger",
    "consul.hashicorp.com": "Consul",
    "getambassador.io": "Emissary",
    "cilium.io": "Cilium",
    "projectcalico.org": "Calico",
    "knative.dev": "Knative",
    "gloo.solo.io": "Gloo",
    "kgateway.dev": "kgateway",
    "nginx.org": "NGINX",
    "haproxy.org": "HAProxy",
    "networking.gke.io": "Google Cloud",
}
"""API groups (and everything below them) of projects that say something about traffic in kinds of their own, which weft
does not read."""

OTHER_GROUPS: Mapping[str, str] = {
    "monitoring.coreos.com": "Prometheus Operator",
    "cert-manager.io": "cert-manager",
    "external-secrets.io": "External Secrets",
    "bitnami.com": "Sealed Secrets",
    "argoproj.io": "Argo",
    "fluxcd.io": "Flux",
    "keda.sh": "KEDA",
    "helm.cattle.io": "Helm",
    "kustomize.config.k8s.io": "Kustomize",
    "kyverno.io": "Kyverno",
    "opentelemetry.io": "OpenTelemetry",
    "jaegertracing.io": "Jaeger",
    "kiali.io": "Kiali",
    "grafana.com": "Grafana",
}
"""API groups of projects whose kinds say nothing about traffic."""


def left_out_kind(group: str, name: str) -> LeftOutKind | None:
    """Why a kind is left out, or None."""
    found = LEFT_OUT_KINDS.get((group, name))
    if found is not None:
        return found
    project = owner_of(group, OTHER_GROUPS)
    return LeftOutKind(f"{project}'s own, weft does not read it") if project else None


def project_of(group: str) -> str:
    """The project that says something about traffic under this API group, empty if weft knows none."""
    return owner_of(group, FOREIGN_GROUPS)


def owner_of(group: str, groups: Mapping[str, str]) -> str:
    """Whose domain of `groups` this is, or is below; empty if nobody's."""
    return next((name for suffix, name in groups.items() if f".{group}".endswith(f".{suffix}")), "")
