"""Clients of gateways whose certificates are not the mesh's: none of them passes for a workload.

Whatever looks at a caller (RBAC, logs) believes the names in its certificate, whoever vouched for it. So a partner's
authority, or with AllowInsecureFallback anybody, could give itself the name of a workload. Such connections are closed.
"""

from __future__ import annotations

from collections.abc import Iterator

from envoy.config.listener.v3.listener_components_pb2 import Filter
from envoy.config.rbac.v3 import rbac_pb2
from envoy.config.rbac.v3.rbac_pb2 import Permission, Policy, Principal
from envoy.extensions.filters.network.rbac.v3.rbac_pb2 import RBAC
from envoy.type.matcher.v3.string_pb2 import StringMatcher

from weft.mesh.views import EdgeTls
from weft.xds.messages import packed


def client_filters(tls: EdgeTls | None, trust_domain: str) -> Iterator[Filter]:
    """What stands in front of a chain that asks clients for certificates of other authorities. Of certificates that
    nobody need vouch for, no SPIFFE name is believed at all."""
    if tls is None or tls.clients is None:
        return
    prefix = "spiffe://" if tls.clients.lenient else f"spiffe://{trust_domain}/"
    name = Principal.Authenticated(principal_name=StringMatcher(prefix=prefix, ignore_case=True))
    policy = Policy(permissions=[Permission(any=True)], principals=[Principal(authenticated=name)])
    rules = rbac_pb2.RBAC(action=rbac_pb2.RBAC.DENY, policies={"names-of-the-mesh": policy})
    yield Filter(name="envoy.filters.network.rbac", typed_config=packed(RBAC(rules=rules, stat_prefix="clients.")))
