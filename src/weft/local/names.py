"""Names of the processes of a mesh: in messages, by `weft ps`, and of their logs."""

from __future__ import annotations

CONTROL_PLANE = "control-plane"
"""The control plane's."""


def process_name(namespace: str, name: str) -> str:
    """The name of the process of a workload or gateway."""
    return name if namespace == "default" else f"{name}.{namespace}"
