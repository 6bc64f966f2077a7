"""What workloads may not ask for that share a proxy, said at the line that asks."""

from __future__ import annotations

from typing import TYPE_CHECKING

from weft.agent.host.parameters import DEFAULT_NAME
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
        if workload.proxy == "sidecar":
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
        if workload.proxy:
            found = "proxy: sidecar, and every workload of this mesh has one"
            walk.error(("workloads", index, "proxy"), "bad-value", found, "proxy: shared for the mesh, or no such line")
