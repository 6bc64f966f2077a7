"""Names of clusters."""

from __future__ import annotations

from weft.mesh.services.service import BackendKey

_AS_TCP = "|tcp"


def cluster_name(backend: BackendKey) -> str:
    """The name of a backend's cluster and of its endpoints, in Istio's form: ``outbound|PORT|SUBSET|HOST``."""
    return f"outbound|{backend.port}|{backend.subset}|{backend.host}"


def tcp_variant_name(backend: BackendKey) -> str:
    """The name of the cluster that carries an AUTO port as TCP: other ALPN, same endpoints."""
    return cluster_name(backend) + _AS_TCP


def service_part(name: str) -> str:
    """What the names of the clusters of one port of a service have in common, whatever subset they are of."""
    direction, _, rest = name.partition("|")
    port, _, rest = rest.partition("|")
    host = rest.partition("|")[2]
    return f"{direction}|{port}||{host.removesuffix(_AS_TCP)}"


def inbound_cluster_name(port: int) -> str:
    """The name of the cluster that leads to the application's port."""
    return f"inbound|{port}"
