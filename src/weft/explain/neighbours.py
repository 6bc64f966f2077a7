"""Calls that stay within the proxy of a host: what an explanation says of them in place of mutual TLS."""

from __future__ import annotations

from dataclasses import replace

from weft.explain.answer import EndpointState, Explanation, Hop

WITHIN = "within the host's proxy"


def told_neighbours(found: Explanation, inside: frozenset[str]) -> Explanation:
    """An explanation in which the instances at these addresses are called `inside` of the caller's proxy."""
    return replace(found, hops=tuple(_hop(each, inside) for each in found.hops)) if inside else found


def _hop(hop: Hop, inside: frozenset[str]) -> Hop:
    if hop.side != "outbound" or not hop.endpoints:
        return hop
    near = [each.address in inside for each in hop.endpoints]
    endpoints = tuple(_state(each) if is_near else each for each, is_near in zip(hop.endpoints, near, strict=True))
    transport = hop.transport
    if all(near):
        transport = WITHIN
    elif any(near):
        transport = f"{transport}; {WITHIN} to its neighbours"
    return replace(hop, endpoints=endpoints, transport=transport)


def _state(endpoint: EndpointState) -> EndpointState:
    return replace(endpoint, accepts=WITHIN)
