"""What injection puts into a pod, by name: containers, volumes, ports, paths, and the annotation that tells of it."""

from __future__ import annotations

from typing import Any

Json = dict[str, Any]
"""An object of Kubernetes as JSON: injection passes on what it does not know."""

INIT = "weft-init"
"""The init container that installs the rules of capture."""
PROXY = "weft-proxy"
"""The agent and Envoy. A pod with a container of this name is in the mesh."""
DATA = "weft-data"
TOKEN = "weft-token"  # noqa: S105 - the name of a volume
"""Volumes: the agent's home, in memory, and the token of the pod's ServiceAccount."""

STATUS = "weft.dev/status"
"""The annotation that says what was put in, as JSON (`weft.inject.status`)."""
ISTIO_INJECT = "sidecar.istio.io/inject"
"""A label that says who gets a sidecar; those of namespaces too are in `weft.model.revisions`."""

PROXY_USER = 1337
"""The user and group of the proxy, whose connections are not captured."""
OUTBOUND, INBOUND, METRICS, READY = 15001, 15006, 15020, 15021
"""Ports of the sidecar: captured connections of the application and of its callers, metrics with the application's
probes, and whether the proxy is ready."""
READY_PATH = "/healthz/ready"
HOME = "/var/lib/weft"
TOKEN_DIRECTORY = "/var/run/secrets/weft.dev/token"  # noqa: S105 - a path
AUDIENCE = "weft"
TOKEN_SECONDS = 3600
"""For how long the token is valid; the kubelet renews it before."""

OTHER_SIDECARS = ("istio-proxy", "linkerd-proxy", "kuma-sidecar", "consul-dataplane")
"""Containers of other meshes: two that capture the same connections cannot be in one pod."""


def member(value: object, *keys: str) -> Any:
    """What stands in `value` below `keys`; None where nothing does, or something else than a mapping is on the way."""
    for key in keys:
        if not isinstance(value, dict):
            return None
        value = value.get(key)
    return value


def containers_of(pod: Json, field: str) -> list[Json]:
    """The containers of a pod, or its ``initContainers``."""
    found = member(pod, "spec", field)
    return [each for each in found if isinstance(each, dict)] if isinstance(found, list) else []


def all_containers(pod: Json) -> list[Json]:
    """Init containers, then containers."""
    return [*containers_of(pod, "initContainers"), *containers_of(pod, "containers")]


def texts_of(value: object) -> dict[str, str]:
    """Labels or annotations; nothing where there are none."""
    if not isinstance(value, dict):
        return {}
    return {key: text for key, text in value.items() if isinstance(text, str)}
