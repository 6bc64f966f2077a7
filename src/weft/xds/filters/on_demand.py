"""The on-demand filter: a request to a cluster that this proxy was not told about waits until it is, for a while.

The cluster is asked for by name over the stream to the control plane, which always answers: with the cluster and its
endpoints, or with a removal, after which the router answers 503 at once. Mirrors are not asked for.
"""

from __future__ import annotations

from envoy.extensions.filters.http.on_demand.v3.on_demand_pb2 import OnDemand, OnDemandCds

from weft.xds.limits import ON_DEMAND_SECONDS
from weft.xds.messages import duration
from weft.xds.policies.tls import ads_source

NAME = "envoy.filters.http.on_demand"


def listener_config() -> OnDemand:
    """The same in every chain that has it."""
    return OnDemand(odcds=OnDemandCds(source=ads_source(), timeout=duration(ON_DEMAND_SECONDS)))
