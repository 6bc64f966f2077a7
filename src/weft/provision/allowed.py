"""What parameters may say of the five objects that a Gateway becomes.

An allow-list: weft makes the objects with rights of its own, and whoever may write a ConfigMap may not gain them. So
nothing is here by which other code would run with the keys of the Gateway, a pod would have anything of its node, or an
object would be another's. https://kubernetes.io/docs/reference/kubernetes-api/
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from weft.provision.shapes import Fields, Items, Leaf, Shape, Texts
from weft.schema.annotations import SERVICE_TYPES

PROXY: Final = "weft-proxy"
"""How the container of a Gateway's pods is called."""
PROXY_NAMES: Final = (PROXY, "istio-proxy")
"""How parameters may call it: as Istio does, too."""
LONGEST_GRACE: Final = 24 * 3600
"""Seconds; what the agent takes."""

MOST_PODS: Final = 1000
"""Of a Gateway."""

_TEXT, _NUMBER, _BOOLEAN, _SHARE = Leaf("text"), Leaf("integer"), Leaf("boolean"), Leaf("share")
_AT_LEAST_ONE = Leaf("integer", lowest=1)
_QUANTITIES = Texts(each=Leaf("quantity"))
_OWN_LABELS = ("gateway.networking.k8s.io/", "weft.dev/", "sidecar.istio.io/", "inject.istio.io/")
_OWN_LABEL_NAMES = frozenset(("app.kubernetes.io/managed-by", "istio.io/rev", "istio-injection"))
_ADDRESSES = re.compile(
    r"(?!use-)(.*[-_.])?((load-?balancer|static)?(ips?|ipv[46]|address|addresses)|(load-?balancer)?hostname"
    r"|(load-?balancer|lb)-?id|pip-.*|dns-label-name|eip-allocations|sharing-key)"
)
"""What stands behind the prefix, in lower case, of annotations by which load balancers give a Service an address."""
_LONGEST = 63
"""Of that, as Kubernetes has it."""
_CONFINING = ("apparmor.security", "seccomp.security")
_HARMLESS = frozenset(
    (
        "cluster-autoscaler.kubernetes.io/safe-to-evict",
        "karpenter.sh/do-not-disrupt",
        "kubectl.kubernetes.io/default-container",
        "kubectl.kubernetes.io/default-logs-container",
        "kubectl.kubernetes.io/restartedAt",
    )
)
"""Annotations of pods by which nobody adds code, a right or a device to them; so are those of Prometheus."""

_RUNS = "only weft says what runs with the keys of a Gateway"
_RIGHTS = "the pods of a Gateway have no right beyond weft's own choice"
_NODE = "the pods of a Gateway have nothing of their node"
_KNOWN = "weft knows its objects by it"
_ACCOUNT = "the process of a Gateway is known by a service account of its own"
_NAMES = "names mean to a Gateway what they mean to the mesh"
_ADDRESS = "'spec.addresses' of the Gateway says it"
_TAKEN = "it takes connections that are for others"
_STATUS = "it is Kubernetes' own to say"


def _label(name: str) -> str:
    own = name.startswith(_OWN_LABELS) or name in _OWN_LABEL_NAMES
    return _KNOWN if own else ""


def _annotation(name: str) -> str:
    if any(word in name for word in _CONFINING):
        return _RIGHTS
    return _KNOWN if name.startswith("weft.dev/") else ""


def _annotation_of_service(name: str) -> str:
    """There is no list of all load balancers, so this is one of what is refused."""
    prefix, _, rest = name.lower().rpartition("/")
    if prefix.startswith("external-dns.") or _ADDRESSES.fullmatch(rest[: _LONGEST + 1]):
        return (
            "'spec.addresses' of the Gateway says where it is reached, and 'spec.infrastructure.annotations' the rest"
        )
    return _annotation(name)


def _annotation_of_pod(name: str) -> str:
    """Webhooks, clouds, network plugins and runtimes act by annotations of pods, and nobody knows all of them."""
    if (why := _annotation(name)) or name in _HARMLESS or name.startswith("prometheus.io/"):
        return why
    return "others act by it, and 'spec.infrastructure.annotations' of the Gateway has it"


def _annotation_of_deployment(name: str) -> str:
    """Operators change Deployments by annotations with a prefix; those without are people's own."""
    return _annotation_of_pod(name) if "/" in name else ""


def _priority(name: str) -> str:
    return "it is for what a cluster cannot be without" if name.startswith("system-") else ""


_IDENTITY = dict.fromkeys(("name", "namespace", "ownerReferences", "finalizers", "uid", "generateName"), _KNOWN)
_LABELS = Texts(_label)
_METADATA = Fields({"labels": _LABELS, "annotations": Texts(_annotation)}, _IDENTITY, kept=True)
_OF_SERVICE = Fields({"labels": _LABELS, "annotations": Texts(_annotation_of_service)}, _IDENTITY, kept=True)
_OF_DEPLOYMENT = Fields({"labels": _LABELS, "annotations": Texts(_annotation_of_deployment)}, _IDENTITY, kept=True)
_OF_PODS_METADATA = Fields(
    {"annotations": Texts(_annotation_of_pod)},
    {**_IDENTITY, "labels": "policies go by them: 'spec.infrastructure.labels' of the Gateway has them"},
    kept=True,
)
_OF_ACCOUNT = Fields(
    {"labels": _LABELS},
    {
        **_IDENTITY,
        "annotations": "clouds give rights by them: 'spec.infrastructure.annotations' of the Gateway has them",
    },
    kept=True,
)

_EXPRESSION = Fields({"key": _TEXT, "operator": _TEXT, "values": Items(_TEXT)})
_SELECTOR = Fields({"matchLabels": Texts(), "matchExpressions": Items(_EXPRESSION)})
_NODES = Fields({"matchExpressions": Items(_EXPRESSION), "matchFields": Items(_EXPRESSION)})
_OF_LABELS: Mapping[str, Shape] = {
    "labelSelector": _SELECTOR,
    "matchLabelKeys": Items(_TEXT),
    "mismatchLabelKeys": Items(_TEXT),
}
_PODS = Fields({**_OF_LABELS, "topologyKey": _TEXT, "namespaceSelector": _SELECTOR, "namespaces": Items(_TEXT)})
_APART = Fields(
    {**_OF_LABELS, "topologyKey": Leaf("text", ("kubernetes.io/hostname",))},
    dict.fromkeys(("namespaceSelector", "namespaces"), "pods of others would be kept off nodes by it"),
)
"""Of pods that are never beside others: the scheduler keeps these off, too."""
_WEIGHT = Leaf("integer", lowest=1, most=100)


def _among_pods(required: Shape) -> Fields:
    preferred = Items(Fields({"weight": _WEIGHT, "podAffinityTerm": _PODS}))
    return Fields(
        {
            "requiredDuringSchedulingIgnoredDuringExecution": Items(required),
            "preferredDuringSchedulingIgnoredDuringExecution": preferred,
        }
    )


_AFFINITY = Fields(
    {
        "nodeAffinity": Fields(
            {
                "requiredDuringSchedulingIgnoredDuringExecution": Fields({"nodeSelectorTerms": Items(_NODES)}),
                "preferredDuringSchedulingIgnoredDuringExecution": Items(
                    Fields({"weight": _WEIGHT, "preference": _NODES})
                ),
            }
        ),
        "podAffinity": _among_pods(_PODS),
        "podAntiAffinity": _among_pods(_APART),
    }
)
_TOLERATION = Fields(
    {"key": _TEXT, "operator": _TEXT, "value": _TEXT, "effect": _TEXT, "tolerationSeconds": Leaf("integer", lowest=-1)}
)
_SPREAD = Fields(
    {
        "topologyKey": _TEXT,
        "maxSkew": _AT_LEAST_ONE,
        "minDomains": _AT_LEAST_ONE,
        "whenUnsatisfiable": Leaf("text", ("DoNotSchedule", "ScheduleAnyway")),
        "labelSelector": _SELECTOR,
        "matchLabelKeys": Items(_TEXT),
        "nodeAffinityPolicy": Leaf("text", ("Honor", "Ignore")),
        "nodeTaintsPolicy": Leaf("text", ("Honor", "Ignore")),
    }
)
_PROBE = Fields(
    {
        "periodSeconds": _AT_LEAST_ONE,
        "timeoutSeconds": _AT_LEAST_ONE,
        "failureThreshold": _AT_LEAST_ONE,
        "successThreshold": _AT_LEAST_ONE,
        "initialDelaySeconds": _NUMBER,
    },
    dict.fromkeys(("httpGet", "exec", "tcpSocket", "grpc"), "weft says how its proxies are asked"),
    kept=True,
)
_OF_CONTAINERS = (
    "image", "command", "args", "workingDir", "env", "envFrom", "lifecycle", "livenessProbe", "startupProbe", "stdin",
    "stdinOnce", "tty", "volumeMounts", "volumeDevices", "terminationMessagePath", "restartPolicy",
)  # fmt: skip
_CONTAINER = Fields(
    {
        "name": Leaf("text", PROXY_NAMES),
        "resources": Fields({"limits": _QUANTITIES, "requests": _QUANTITIES}),
        "imagePullPolicy": Leaf("text", ("Always", "IfNotPresent", "Never")),
        "readinessProbe": _PROBE,
    },
    {
        **dict.fromkeys(_OF_CONTAINERS, _RUNS),
        "securityContext": _RIGHTS,
        "ports": "listeners say it",
    },
)
_OF_PODS = {
    **dict.fromkeys(("hostNetwork", "hostPID", "hostIPC", "hostUsers", "shareProcessNamespace"), _NODE),
    **dict.fromkeys(("hostAliases", "dnsConfig", "dnsPolicy", "hostname", "subdomain", "setHostnameAsFQDN"), _NAMES),
    **dict.fromkeys(("initContainers", "ephemeralContainers", "volumes", "restartPolicy", "overhead"), _RUNS),
    **dict.fromkeys(("serviceAccountName", "serviceAccount", "automountServiceAccountToken"), _ACCOUNT),
    **dict.fromkeys(("securityContext", "os", "resourceClaims"), _RIGHTS),
    "nodeName": "the scheduler chooses: 'nodeSelector' and 'affinity' say among which nodes",
    "priority": "'priorityClassName' says it",
}
_POD = Fields(
    {
        "affinity": _AFFINITY,
        "containers": Items(_CONTAINER, ("name",), kept=True, lasting=True),
        "imagePullSecrets": Items(Fields({"name": _TEXT}), ("name",)),
        "nodeSelector": Texts(),
        "priorityClassName": Leaf("text", refused=_priority),
        "runtimeClassName": _TEXT,
        "schedulerName": _TEXT,
        "terminationGracePeriodSeconds": Leaf("integer", most=LONGEST_GRACE),
        "tolerations": Items(_TOLERATION),
        "topologySpreadConstraints": Items(_SPREAD, ("topologyKey", "whenUnsatisfiable")),
    },
    _OF_PODS,
    kept=True,
)
_STRATEGY = Fields(
    {
        "type": Leaf("text", ("RollingUpdate", "Recreate")),
        "rollingUpdate": Fields({"maxSurge": _SHARE, "maxUnavailable": _SHARE}),
    }
)
_DEPLOYMENT = Fields(
    {
        "replicas": Leaf("integer", most=MOST_PODS),
        "minReadySeconds": _NUMBER,
        "progressDeadlineSeconds": _AT_LEAST_ONE,
        "revisionHistoryLimit": _NUMBER,
        "strategy": _STRATEGY,
        "template": Fields({"metadata": _OF_PODS_METADATA, "spec": _POD}, kept=True),
    },
    {"selector": _KNOWN, "paused": "a Gateway would not follow its document"},
    kept=True,
)
_PORT = Fields(
    {
        "port": Leaf("integer", lowest=1, most=65535),
        "protocol": Leaf("text", ("TCP", "UDP")),
        "name": _TEXT,
        "nodePort": Leaf("integer", lowest=1, most=65535),
        "appProtocol": _TEXT,
    },
    {"targetPort": "listeners say it"},
)
_SERVICE = Fields(
    {
        "type": Leaf("text", SERVICE_TYPES),
        "ports": Items(_PORT, ("port", "protocol"), kept=True),
        "allocateLoadBalancerNodePorts": _BOOLEAN,
        "externalTrafficPolicy": Leaf("text", ("Cluster", "Local")),
        "healthCheckNodePort": Leaf("integer", lowest=1, most=65535),
        "internalTrafficPolicy": Leaf("text", ("Cluster", "Local")),
        "ipFamilies": Items(Leaf("text", ("IPv4", "IPv6"))),
        "ipFamilyPolicy": Leaf("text", ("SingleStack", "PreferDualStack", "RequireDualStack")),
        "loadBalancerClass": _TEXT,
        "loadBalancerSourceRanges": Items(_TEXT),
        "sessionAffinity": Leaf("text", ("None", "ClientIP")),
        "sessionAffinityConfig": Fields(
            {"clientIP": Fields({"timeoutSeconds": Leaf("integer", lowest=1, most=86400)})}
        ),
        "trafficDistribution": _TEXT,
    },
    {
        "selector": _KNOWN,
        **dict.fromkeys(("clusterIP", "clusterIPs", "loadBalancerIP"), _ADDRESS),
        **dict.fromkeys(("externalIPs", "externalName"), _TAKEN),
        "publishNotReadyAddresses": "clients would be sent to proxies that are not ready",
    },
    kept=True,
)
_METRIC_TARGET = Fields(
    {
        "type": Leaf("text", ("Utilization", "Value", "AverageValue")),
        "averageUtilization": _AT_LEAST_ONE,
        "averageValue": Leaf("quantity"),
        "value": Leaf("quantity"),
    }
)
_METRIC_NAME = Fields({"name": _TEXT, "selector": _SELECTOR})
_METRIC = Fields(
    {
        "type": Leaf("text", ("Resource", "ContainerResource", "Pods", "Object", "External")),
        "resource": Fields({"name": _TEXT, "target": _METRIC_TARGET}),
        "containerResource": Fields({"name": _TEXT, "container": _TEXT, "target": _METRIC_TARGET}),
        "pods": Fields({"metric": _METRIC_NAME, "target": _METRIC_TARGET}),
        "object": Fields(
            {
                "describedObject": Fields({"apiVersion": _TEXT, "kind": _TEXT, "name": _TEXT}),
                "metric": _METRIC_NAME,
                "target": _METRIC_TARGET,
            }
        ),
        "external": Fields({"metric": _METRIC_NAME, "target": _METRIC_TARGET}),
    }
)
_SCALING = Fields(
    {
        "stabilizationWindowSeconds": Leaf("integer", most=3600),
        "selectPolicy": Leaf("text", ("Max", "Min", "Disabled")),
        "tolerance": Leaf("quantity"),
        "policies": Items(
            Fields(
                {
                    "type": Leaf("text", ("Pods", "Percent")),
                    "value": _AT_LEAST_ONE,
                    "periodSeconds": Leaf("integer", lowest=1, most=1800),
                }
            )
        ),
    }
)
_AUTOSCALER = Fields(
    {
        "minReplicas": Leaf("integer", lowest=1, most=MOST_PODS),
        "maxReplicas": Leaf("integer", lowest=1, most=MOST_PODS),
        "metrics": Items(_METRIC),
        "behavior": Fields({"scaleUp": _SCALING, "scaleDown": _SCALING}),
    },
    {"scaleTargetRef": _KNOWN},
    kept=True,
)
_BUDGET = Fields(
    {
        "minAvailable": _SHARE,
        "maxUnavailable": _SHARE,
        "unhealthyPodEvictionPolicy": Leaf("text", ("IfHealthyBudget", "AlwaysAllow")),
    },
    {"selector": _KNOWN},
    kept=True,
)


def _whole(version: str, kind: str, spec: Fields | None, metadata: Fields = _METADATA) -> Fields:
    about: dict[str, Shape] = {"apiVersion": Leaf("text", (version,)), "kind": Leaf("text", (kind,))}
    parts: dict[str, Shape] = {"metadata": metadata}
    if spec is not None:
        parts["spec"] = spec
    refused = {"status": _STATUS}
    if spec is None:
        refused |= dict.fromkeys(("secrets", "imagePullSecrets", "automountServiceAccountToken"), _ACCOUNT)
    return Fields({**about, **parts}, refused)


SHAPES: Mapping[str, Fields] = {
    "deployment": _whole("apps/v1", "Deployment", _DEPLOYMENT, _OF_DEPLOYMENT),
    "service": _whole("v1", "Service", _SERVICE, _OF_SERVICE),
    "serviceAccount": _whole("v1", "ServiceAccount", None, _OF_ACCOUNT),
    "horizontalPodAutoscaler": _whole("autoscaling/v2", "HorizontalPodAutoscaler", _AUTOSCALER),
    "podDisruptionBudget": _whole("policy/v1", "PodDisruptionBudget", _BUDGET),
}
"""By the keys of a ConfigMap."""
