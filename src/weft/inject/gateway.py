"""The pods of a Gateway's process: a proxy alone, without any right but to listen at low ports of its own network."""

from __future__ import annotations

from weft.inject.containers import proxy_container, volumes
from weft.inject.names import Json
from weft.inject.settings import InjectionSettings
from weft.inject.wishes import Wishes
from weft.model.gateway_process import GATEWAY_NAME

_GRACE_SECONDS = 60
"""Clients from outside may have long requests."""


def gateway_pod_spec(settings: InjectionSettings) -> Json:
    """The spec of the pods of every Gateway, but for their service account. Which Gateway it is the pod's label says.

    https://kubernetes.io/docs/tasks/administer-cluster/sysctl-cluster/#safe-and-unsafe-sysctls
    """
    pod: Json = {"spec": {"terminationGracePeriodSeconds": _GRACE_SECONDS}}
    container = proxy_container(pod, settings, Wishes(hold=False), {}, native=False)
    of_label = {"fieldRef": {"fieldPath": f"metadata.labels['{GATEWAY_NAME}']"}}
    container["env"] = [*container["env"], {"name": "WEFT_POD_GATEWAY", "valueFrom": of_label}]
    low_ports = {"name": "net.ipv4.ip_unprivileged_port_start", "value": "0"}
    return {
        "automountServiceAccountToken": False,
        "terminationGracePeriodSeconds": _GRACE_SECONDS,
        "securityContext": {"sysctls": [low_ports], "seccompProfile": {"type": "RuntimeDefault"}},
        "containers": [container],
        "volumes": volumes(),
    }
