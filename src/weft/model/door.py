"""What a control plane says in its cluster of how commands reach its admin API: names that both sides know."""

from __future__ import annotations

CONFIG_MAP = "weft-door"
ROOTS, NAME, PORT = "roots.pem", "name", "port"
"""Its entries: the roots of the mesh, the name that the certificate of the admin API is for, and its port in a pod."""
SELECTOR = "app.kubernetes.io/name=weft,app.kubernetes.io/component=control-plane"
"""The labels of the pods."""
