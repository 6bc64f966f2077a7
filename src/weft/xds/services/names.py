"""Names of clusters."""

from __future__ import annotations

from weft.mesh.services.service import BackendKey


def cluster_name(backend: BackendKey) -> str:
    """The name of a backend's cluster and of its endpoints, in Istio's form: ``outbound|PORT|SUBSET|HOST``."""
    return f"outbound|{backend.port}|{backend.subset}|{backend.host}"


def tcp_variant_name(backend: BackendKey) -> str:
    """The name of the cluster that carries an AUTO port as TCP: other ALPN, same endpoints."""
    return f"{cluster_name(backend)}|tcp"


def inbound_cluster_name(port: int) -> str:
    """The name of the cluster that leads to the application's port."""
    return f"inbound|{port}"
