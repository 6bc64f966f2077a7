"""What workloads may not ask for that share a proxy, said at the line that asks."""

from __future__ import annotations

from typing import TYPE_CHECKING

from weft.agent.host.parameters import DEFAULT_NAME
from weft.agent.host.privileges import EXPECTED as PRIVILEGED
from weft.agent.host.privileges import may_enter_namespaces
from weft.model.network_namespace import EXPECTED, namespace_path
from weft.model.origin import FieldPath
from weft.schema.walk import Walk

if TYPE_CHECKING:
    from weft.local.meshfile import MeshFile

_EXPECTED = "a proxy of its own for this workload (proxy: sidecar)"
HOST = DEFAULT_NAME
"""The name of the process, and of the proxy, that carries them."""


def check_shared(walk: Walk, mesh: MeshFile) -> None:
    """Note what a shared proxy does not do, and names that it takes."""
    for index, workload in enumerate(mesh.workloads):
        path = ("workloads", index)
        if (workload.namespace, workload.name) == ("default", HOST):
            walk.error((*path, "name"), "duplicate", f"the name '{HOST}' is the shared proxy's", "a name of its own")
        alone = workload.proxy == "sidecar"
        _check_namespace(walk, (*path, "networkNamespace"), workload.network_namespace, alone=alone)
        if alone:
            continue
        fields = {"capture": workload.capture, "inboundCapture": workload.inbound_capture, "dns": workload.dns}
        for field, value in fields.items():
            if value != "off":
                walk.error(
                    (*path, field), "bad-value", f"found '{value}' behind a shared proxy", f"off, or {_EXPECTED}"
                )
        if workload.identity_from:
            found = "a certificate from another authority behind a shared proxy"
            walk.error((*path, "identityFrom"), "bad-value", found, _EXPECTED)


def check_sidecars(walk: Walk, mesh: MeshFile) -> None:
    """Note words that mean nothing where nobody shares a proxy."""
    for index, workload in enumerate(mesh.workloads):
        _check_namespace(walk, ("workloads", index, "networkNamespace"), workload.network_namespace, alone=True)
        if workload.proxy:
            found = "proxy: sidecar, and every workload of this mesh has one"
            walk.error(("workloads", index, "proxy"), "bad-value", found, "proxy: shared for the mesh, or no such line")


def check_host(walk: Walk, mesh: MeshFile) -> None:
    """The same, and what this process may not do."""
    check_shared(walk, mesh)
    for index, workload in enumerate(mesh.workloads):
        if workload.network_namespace and workload.proxy != "sidecar" and not may_enter_namespaces():
            found = f"this process may not enter '{workload.network_namespace}'"
            walk.error(("workloads", index, "networkNamespace"), "bad-value", found, PRIVILEGED)


def _check_namespace(walk: Walk, path: FieldPath, text: str, *, alone: bool) -> None:
    if text and alone:
        found = f"found '{text}' for a workload with a proxy of its own, which is in the namespace where it is started"
        walk.error(path, "bad-value", found, "a shared proxy, or no such line and `ip netns exec NAME weft run ...`")
    elif text and not namespace_path(text):
        walk.error(path, "bad-value", f"found '{text}'", EXPECTED)
