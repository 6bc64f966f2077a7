"""The containers and volumes of the sidecar.

https://kubernetes.io/docs/concepts/workloads/pods/sidecar-containers/
"""

from __future__ import annotations

import json
from collections.abc import Mapping

from weft.inject.names import (
    AUDIENCE,
    DATA,
    HOME,
    INIT,
    METRICS,
    PROXY,
    PROXY_USER,
    READY,
    READY_PATH,
    TOKEN,
    TOKEN_DIRECTORY,
    TOKEN_SECONDS,
    Json,
    member,
)
from weft.inject.quantities import quantity
from weft.inject.settings import InjectionSettings
from weft.inject.wishes import Wishes
from weft.model.proof import proof_address

_FROM_POD = {
    "POD_NAME": "metadata.name",
    "POD_NAMESPACE": "metadata.namespace",
    "POD_IP": "status.podIP",
    "POD_SERVICE_ACCOUNT": "spec.serviceAccountName",
    "NODE_NAME": "spec.nodeName",
}
_HOLD_SECONDS = 600
"""For how long an application waits for its proxy, before that is started anew."""
_GRACE_SECONDS = 30
"""What Kubernetes gives a pod that does not say."""
_LONGEST_GRACE = 24 * 3600
"""What the agent takes."""
_INIT_REQUESTS, _INIT_MEMORY = {"cpu": "10m", "memory": "64Mi"}, "256Mi"


def init_container(settings: InjectionSettings, wishes: Wishes) -> Json:
    """What goes before the others, and ends. It installs the rules of capture, as root, with the rights for that and no
    others; or waits, without any right, until the node agent has installed them: a pod does not run without them."""
    requests = dict(_INIT_REQUESTS)
    limits = {"memory": _INIT_MEMORY}
    if wishes.cpu_limit or settings.resources.cpu_limit:
        limits["cpu"] = wishes.cpu_limit or settings.resources.cpu_limit
        requests["cpu"] = _at_most(requests["cpu"], limits["cpu"])
    verify = ["verify", proof_address(wishes.capture)]
    return {
        "name": INIT,
        "image": wishes.image or settings.image,
        "imagePullPolicy": settings.pull_policy,
        "command": ["weft", "pod", *(verify if settings.cni else ["init", *wishes.capture])],
        **({"env": _of_pod("NODE_NAME")} if settings.cni else {}),
        "resources": {"requests": requests, "limits": limits},
        "securityContext": _unprivileged() if settings.cni else _as_root(),
        **({"terminationMessagePolicy": "FallbackToLogsOnError"} if settings.cni else {}),
    }


def proxy_container(
    pod: Json, settings: InjectionSettings, wishes: Wishes, probes: Mapping[str, Json], *, native: bool
) -> Json:
    """The agent and Envoy, without any right. `probes` are what it asks for the kubelet."""
    ready = {"httpGet": {"path": READY_PATH, "port": READY, "scheme": "HTTP"}, "timeoutSeconds": 3}
    container: Json = {
        "name": PROXY,
        "image": wishes.image or settings.image,
        "imagePullPolicy": settings.pull_policy,
        "command": ["weft", "pod", "proxy"],
        "env": _environment(pod, settings, wishes, probes, native=native),
        "ports": [{"name": "weft-metrics", "containerPort": METRICS}, {"name": "weft-ready", "containerPort": READY}],
        "resources": _resources(settings, wishes),
        "readinessProbe": {**ready, "periodSeconds": 5, "failureThreshold": 3, **dict(wishes.readiness)},
        "securityContext": _unprivileged(),
        "volumeMounts": [
            {"name": DATA, "mountPath": HOME},
            {"name": TOKEN, "mountPath": TOKEN_DIRECTORY, "readOnly": True},
        ],
    }
    if native:
        container["restartPolicy"] = "Always"
        container["startupProbe"] = {**ready, "periodSeconds": 1, "failureThreshold": _HOLD_SECONDS}
    elif wishes.hold is not False:
        container["lifecycle"] = {"postStart": {"exec": {"command": ["weft", "pod", "wait"]}}}
    return container


def volumes() -> list[Json]:
    """The home of the agent, in memory since keys are in it, and the pod's token for the control plane."""
    token = {"path": "token", "audience": AUDIENCE, "expirationSeconds": TOKEN_SECONDS}
    return [
        {"name": DATA, "emptyDir": {"medium": "Memory", "sizeLimit": "256Mi"}},
        {"name": TOKEN, "projected": {"sources": [{"serviceAccountToken": token}]}},
    ]


def _environment(
    pod: Json, settings: InjectionSettings, wishes: Wishes, probes: Mapping[str, Json], *, native: bool
) -> list[Json]:
    grace = member(pod, "spec", "terminationGracePeriodSeconds")
    told = {
        "WEFT_SERVER": settings.server,
        "WEFT_CA_FINGERPRINT": settings.fingerprint,
        "WEFT_HOME": HOME,
        "WEFT_TOKEN_FILE": f"{TOKEN_DIRECTORY}/token",
        "WEFT_GRACE_SECONDS": str(min(max(grace, 0), _LONGEST_GRACE) if isinstance(grace, int) else _GRACE_SECONDS),
    }
    if wishes.drain is not None:
        told["WEFT_DRAIN_SECONDS"] = f"{wishes.drain:g}"
    elif native:
        told["WEFT_DRAIN_SECONDS"] = "0"  # applications have ended by then
    if probes:
        told["WEFT_POD_PROBES"] = json.dumps(probes, separators=(",", ":"), sort_keys=True)
    return [*_of_pod(*_FROM_POD), *({"name": name, "value": value} for name, value in told.items())]


def _of_pod(*names: str) -> list[Json]:
    return [{"name": name, "valueFrom": {"fieldRef": {"fieldPath": _FROM_POD[name]}}} for name in names]


def _as_root() -> Json:
    return {
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"], "add": ["NET_ADMIN", "NET_RAW"]},
        "privileged": False,
        "readOnlyRootFilesystem": True,
        "runAsUser": 0,
        "runAsGroup": 0,
        "runAsNonRoot": False,
        "seccompProfile": {"type": "RuntimeDefault"},
    }


def _unprivileged() -> Json:
    """What Pod Security calls restricted, and a root that cannot be written to."""
    capabilities = {"drop": ["ALL"]}
    as_proxy = {"runAsUser": PROXY_USER, "runAsGroup": PROXY_USER, "runAsNonRoot": True}
    return {**_as_root(), "capabilities": capabilities, **as_proxy}


def _resources(settings: InjectionSettings, wishes: Wishes) -> Json:
    """What the pod wants goes before what is usual; a usual request is not more than the limit."""
    usual = settings.resources
    limits = {"cpu": wishes.cpu_limit or usual.cpu_limit, "memory": wishes.memory_limit or usual.memory_limit}
    requests = {"cpu": wishes.cpu or usual.cpu, "memory": wishes.memory or usual.memory}
    asked = {"cpu": bool(wishes.cpu), "memory": bool(wishes.memory)}
    limited = {"cpu": bool(wishes.cpu_limit), "memory": bool(wishes.memory_limit)}
    for name, limit in limits.items():
        if limit and requests[name] and not asked[name]:
            requests[name] = _at_most(requests[name], limit)
        elif limit and requests[name] and not limited[name] and _at_most(requests[name], limit) == limit:
            limits[name] = requests[name]
    kept = {"requests": requests, "limits": limits}
    found = {kind: {name: text for name, text in of.items() if text} for kind, of in kept.items()}
    return {kind: of for kind, of in found.items() if of}


def _at_most(text: str, limit: str) -> str:
    """The smaller of two quantities."""
    one, other = quantity(text), quantity(limit)
    return limit if one is not None and other is not None and other < one else text
