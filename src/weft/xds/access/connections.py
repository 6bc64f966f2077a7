"""Access to connections: Envoy's network RBAC filter, which stands in the chain of a TCP port itself.

https://www.envoyproxy.io/docs/envoy/latest/configuration/listeners/network_filters/rbac_filter

The rules of a connection that is open never change in Envoy, wherever they come from. In the chain they reach it all
the same: Envoy takes a changed chain for new connections at once, and ends those of the old one (ADR 0066).
"""

from __future__ import annotations

from envoy.config.listener.v3.listener_components_pb2 import Filter
from envoy.extensions.filters.network.rbac.v3.rbac_pb2 import RBAC
from envoy.type.matcher.v3.string_pb2 import StringMatcher

from weft.mesh.access.access import Access
from weft.mesh.access.policy import Action
from weft.xds.access.rules import callers_of, encode_rules, refuse_all
from weft.xds.messages import packed

_NAME = "envoy.filters.network.rbac"


def connection_filters(access: Access) -> list[Filter]:
    """What stands before the application: nothing where nothing is asked."""
    return [
        Filter(name=f"{_NAME}.{action.name.lower()}", typed_config=packed(config))
        for action in (Action.AUDIT, Action.DENY, Action.ALLOW)
        if (config := _config(access, action)) is not None
    ]


def refuses(access: Access) -> bool:
    """Whether somebody may be refused. RBAC decides with a caller's first byte: whoever is before it connects nobody
    until then, or a server that speaks first would speak to those who may not hear it."""
    return access.refuses


def admitted(access: Access) -> tuple[StringMatcher, ...] | None:
    """Identities of the mesh of which a caller needs one to be let in, empty for nobody; None where none can be named.

    RBAC decides with a caller's first byte, and until then a caller hears what the application says unasked. So the TLS
    handshake refuses already who cannot be let in: as far as every ALLOW rule asks for callers by name.
    """
    if access.closed or access.enforced(Action.CUSTOM):
        return ()
    policies = access.enforced(Action.ALLOW)
    if not policies:
        return None
    named = [callers_of(access, rule) for policy in policies for rule in policy.rules]
    if any(each is None for each in named):
        return None
    return tuple({each.SerializeToString(): each for found in named for each in found or ()}.values())


def _config(access: Access, action: Action) -> RBAC | None:
    policies = [policy for policy in access.policies if policy.action is action]
    enforced = [policy for policy in policies if not policy.dry_run]
    dry = [policy for policy in policies if policy.dry_run]
    # Nobody is asked about connections: what another would decide stays shut.
    custom = access.enforced(Action.CUSTOM) if action is Action.DENY else ()
    closed = access.closed if action is Action.DENY else ()
    config = RBAC(stat_prefix=f"tcp.inbound.{action.name.lower()}.", enforcement_type=RBAC.CONTINUOUS)
    if enforced or custom or closed:
        rules = encode_rules(access, (*enforced, *custom), action, http=False)
        refuse_all(rules, (each.rule_id for each in closed))
        config.rules.CopyFrom(rules)
    if dry:
        config.shadow_rules.CopyFrom(encode_rules(access, dry, action, http=False))
        config.shadow_rules_stat_prefix = f"dry_run_{action.name.lower()}_"
    return config if config.HasField("rules") or dry else None
