"""Patches of listeners: of the whole, of filter chains, of filters of connections and of requests."""

from __future__ import annotations

from typing import Any

from envoy.config.listener.v3.listener_components_pb2 import Filter, FilterChain
from envoy.config.listener.v3.listener_pb2 import Listener
from envoy.extensions.filters.network.http_connection_manager.v3.http_connection_manager_pb2 import (
    HttpConnectionManager,
    HttpFilter,
)

from weft.mesh.patches import Patch
from weft.schema.kinds.envoyfilter import FilterChainMatch
from weft.xds.patches.lists import change_list
from weft.xds.patches.messages import BadValueError, merged, message_from_json


def patch_listener(patch: Patch, listener: Listener) -> bool:
    """Change a listener in place; whether anything changed. What it listens on stays."""
    if patch.applies_to == "LISTENER":
        return _whole(patch, listener)
    said = patch.match.listener.filter_chain if patch.match.listener else None
    if patch.applies_to == "FILTER_CHAIN":
        return change_list(patch, listener.filter_chains, FilterChain, lambda chain: _is_meant(said, chain))
    changed = False
    for chain in listener.filter_chains:
        if _is_meant(said, chain):
            changed |= _filters(patch, said, chain)
    return changed


def _whole(patch: Patch, listener: Listener) -> bool:
    change = message_from_json(patch.value, Listener())
    if change.HasField("address") or change.additional_addresses or change.name:
        raise BadValueError("Listener: name and addresses are the mesh's: a Gateway or a workload's ports say them")
    merged(listener, change)
    return True


def _is_meant(said: FilterChainMatch | None, chain: FilterChain) -> bool:
    if said is None:
        return True
    match = chain.filter_chain_match
    if said.sni is not None and said.sni not in match.server_names:
        return False
    protocol = match.transport_protocol or ("tls" if chain.HasField("transport_socket") else "")
    if said.transport_protocol is not None and said.transport_protocol != protocol:
        return False
    return said.name in (None, chain.name)


def _filters(patch: Patch, said: FilterChainMatch | None, chain: FilterChain) -> bool:
    named = said.filter if said else None
    if patch.applies_to == "NETWORK_FILTER":
        return change_list(patch, chain.filters, Filter, lambda item: _has_name(item, named), terminal=True)
    changed = False
    for each in chain.filters:
        manager = HttpConnectionManager()
        if not _has_name(each, named) or not each.typed_config.Unpack(manager):
            continue
        inner = named.sub_filter if named else None
        if change_list(patch, manager.http_filters, HttpFilter, lambda item: _has_name(item, inner), terminal=True):  # noqa: B023
            each.typed_config.Pack(manager, deterministic=True)
            changed = True
    return changed


def _has_name(item: Any, named: Any) -> bool:
    """Slots have the name of their route configuration behind their own."""
    return named is None or item.name == named.name or item.name.partition("|")[0] == named.name
