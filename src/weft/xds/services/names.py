"""Names of clusters, and of a listener that one leads to."""

from __future__ import annotations

from weft.mesh.services.service import BackendKey

XDS_CLUSTER = "weft-control-plane"
"""The control plane's, which the bootstrap has."""
NOWHERE = "nowhere"
"""A cluster without endpoints. Connections that are led there are closed."""
CAPTURE_LISTENER = "captured"
"""The listener of captured connections."""
_AS_TCP = "|tcp"


def cluster_name(backend: BackendKey) -> str:
    """The name of a backend's cluster, in Istio's form: ``outbound|PORT|SUBSET|HOST``; with ``|tcp`` behind it where
    connections are carried as they are though the port may speak HTTP."""
    return endpoints_name(backend) + _AS_TCP if backend.opaque else endpoints_name(backend)


def endpoints_name(backend: BackendKey) -> str:
    """The name of a backend's endpoints. They are the same however connections are carried."""
    return f"outbound|{backend.port}|{backend.subset}|{backend.host}"


def passed_name(backend: BackendKey) -> str:
    """The server name by which a gateway is asked to pass mutual TLS on to a backend, in Istio's form, and the cluster
    that does."""
    return f"outbound_.{backend.port}_.{backend.subset}_.{backend.host}"


def tunnel_name(backend: BackendKey) -> str:
    """The name of the internal listener that reads what is inside a CONNECT to a port, and of the cluster that leads
    there."""
    return f"tunnel|{backend.port}|{backend.host}"


def service_part(name: str) -> str:
    """What the names of the clusters of one port of a service have in common, whatever subset they are of."""
    direction, _, rest = name.partition("|")
    port, _, rest = rest.partition("|")
    host = rest.partition("|")[2]
    return f"{direction}|{port}||{host.removesuffix(_AS_TCP)}"


def inbound_cluster_name(port: int) -> str:
    """The name of the cluster that leads to the application's port."""
    return f"inbound|{port}"


def inbound_route_name(port: int, service: str, number: int) -> str:
    """The name of the route to the application's port: ``inbound|PORT|SERVICE|NUMBER``, where the Service's port of
    that number leads there (SERVICE is empty where none does). Metrics know by it what a request was for."""
    return f"{inbound_cluster_name(port)}|{service}|{number}"
