"""What makes a pod unfit for a sidecar, and what its namespace will say of it."""

from __future__ import annotations

from weft.inject.decision import Namespace
from weft.inject.findings import Findings
from weft.inject.names import (
    DATA,
    INBOUND,
    INIT,
    METRICS,
    OUTBOUND,
    PROXY,
    PROXY_USER,
    READY,
    TOKEN,
    Json,
    containers_of,
    member,
    texts_of,
)
from weft.model.origin import FieldPath

_OWN_PORTS = (OUTBOUND, INBOUND, METRICS, READY)
_MOST_BYTES = 256 * 1024
"""Of all annotations of an object, as an API server has it; labels are bounded here alike."""
_MOST_KEYS, _MOST_CONTAINERS = 2000, 500
"""More than any pod has that runs, and few enough for some tens of milliseconds."""
_POD_SECURITY = "pod-security.kubernetes.io/enforce"


def check_shape(pod: Json, findings: Findings) -> None:
    """A pod of other types than Kubernetes' is none. An API server has seen to that."""
    for path, kind, optional in (
        (("metadata",), dict, True),
        (("metadata", "labels"), dict, True),
        (("metadata", "annotations"), dict, True),
        (("spec",), dict, False),
        (("spec", "containers"), list, True),
        (("spec", "initContainers"), list, True),
        (("spec", "volumes"), list, True),
    ):
        value = member(pod, *path)
        if not (isinstance(value, kind) or (optional and value is None)):
            findings.refuse("this is no part of a pod", *path, expected="a mapping" if kind is dict else "a list")
        elif isinstance(value, list) and not all(isinstance(each, dict) for each in value):
            findings.refuse("this is no part of a pod", *path, expected="a list of mappings")


def check_size(pod: Json, findings: Findings) -> None:
    """What takes long to judge: pods that are too large to run."""
    for field in ("initContainers", "containers"):
        count = len(containers_of(pod, field))
        if count > _MOST_CONTAINERS:
            findings.refuse(f"there are {count} {field}", "spec", field, expected=f"at most {_MOST_CONTAINERS}")
    for kind in ("labels", "annotations"):
        given = texts_of(member(pod, "metadata", kind))
        if len(given) > _MOST_KEYS:
            findings.refuse(f"there are {len(given)} {kind}", "metadata", kind, expected=f"at most {_MOST_KEYS}")
            continue
        size = sum(len((key + text).encode(errors="replace")) for key, text in given.items())
        if size > _MOST_BYTES:
            text = f"the {kind} have {size} bytes"
            findings.refuse(text, "metadata", kind, expected=f"at most {_MOST_BYTES} bytes")


def check_fitness(pod: Json, findings: Findings) -> None:
    """What makes a pod unfit for a sidecar."""
    if not containers_of(pod, "containers"):
        findings.refuse("there are no containers", "spec", expected="containers")
    of_pod = member(pod, "spec", "securityContext", "runAsUser")
    for field in ("initContainers", "containers"):
        for index, container in enumerate(containers_of(pod, field)):
            path = ("spec", field, index)
            if container.get("name") in (INIT, PROXY):
                findings.refuse(
                    f"the name {container['name']} is the sidecar's", *path, "name", expected="another name"
                )
            runs_on = field == "containers" or container.get("restartPolicy") == "Always"
            user = member(container, "securityContext", "runAsUser") or of_pod
            if runs_on and user == PROXY_USER:
                text = f"user {PROXY_USER} is the proxy's: connections of this container would go around the mesh"
                findings.refuse(text, *path, expected="another securityContext.runAsUser")
            _check_ports(container, path, findings)
    for index, volume in enumerate(member(pod, "spec", "volumes") or ()):
        if member(volume, "name") in (DATA, TOKEN):
            findings.refuse(
                f"the name {volume['name']} is the sidecar's", "spec", "volumes", index, expected="another name"
            )


def _check_ports(container: Json, path: FieldPath, findings: Findings) -> None:
    ports = container.get("ports")
    for index, port in enumerate(ports if isinstance(ports, list) else ()):
        number = member(port, "containerPort")
        if number in _OWN_PORTS and member(port, "protocol") in (None, "TCP"):
            text = f"port {number} is the sidecar's, which listens at {', '.join(map(str, _OWN_PORTS))}"
            findings.refuse(text, *path, "ports", index, "containerPort", expected="another port")


def tell_of_pod_security(namespace: Namespace, findings: Findings) -> None:
    """https://kubernetes.io/docs/concepts/security/pod-security-standards/"""
    level = (namespace.labels or {}).get(_POD_SECURITY, "privileged")
    if level != "privileged":
        text = f"the namespace enforces {level}, which refuses the NET_ADMIN and NET_RAW that {INIT} needs"
        findings.warn(text, "spec", expected=f"{_POD_SECURITY}: privileged")
