"""What a control plane says in its cluster of how commands reach its admin API: names that both sides know."""

from __future__ import annotations

PODS, ROOTS, NAME, PORT = "pods", "roots.pem", "name", "port"
"""Entries of the ConfigMap: the labels of its pods, which the chart writes, and what the control plane does: the roots
of the mesh, the name that the certificate of the admin API is for, and its port in a pod."""
DEFAULT = "default"


def door_name(revision: str = DEFAULT) -> str:
    """The name of the ConfigMap of a revision."""
    return "weft-door" if revision == DEFAULT else f"weft-{revision}-door"
