"""Names of the processes of a mesh: in messages, by `weft ps`, and of their logs."""

from __future__ import annotations

UP_LOG = "_up.log"
"""Among the logs, what a `weft up` in the background says."""
CONTROL_PLANE = "control-plane"
"""The control plane's."""


def process_name(namespace: str, name: str) -> str:
    """The name of the process of a workload or gateway."""
    return name if namespace == "default" else f"{name}.{namespace}"
