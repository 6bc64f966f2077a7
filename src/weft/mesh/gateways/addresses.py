"""Addresses that Gateways ask for: where their process listens, or in a cluster those of their Service.

https://gateway-api.sigs.k8s.io/reference/spec/#gatewayaddress
"""

from __future__ import annotations

from weft.mesh.problems import problem_at
from weft.model.document import Document
from weft.model.origin import FieldPath
from weft.model.problem import Problem
from weft.schema.findings import printable
from weft.schema.kinds.gateway import GatewaySpec

IP = "IPAddress"
UNSUPPORTED, NOT_BOUND = "unsupported-address", "bind-not-served"
_ADDRESSES: FieldPath = ("spec", "addresses")


def asked_addresses(spec: GatewaySpec) -> tuple[str, ...]:
    """The IP addresses that a Gateway asks for."""
    return tuple(dict.fromkeys(each.value for each in spec.addresses if each.type == IP and each.value))


def type_problems(document: Document[GatewaySpec]) -> tuple[Problem, ...]:
    """Addresses of types that weft does not know. With one the Gateway is not accepted, and its process stays as it
    was."""
    return tuple(
        problem_at(
            document,
            (*_ADDRESSES, index, "type"),
            UNSUPPORTED,
            f"addresses of type '{printable(each.type[:80])}' are not supported by weft",
            IP,
        )
        for index, each in enumerate(document.spec.addresses)
        if each.type != IP
    )


def bound_problem(document: Document[GatewaySpec]) -> Problem | None:
    """Why a process that listens where its document says cannot: it would have to bind several addresses, or one that
    nobody knows. It listens nowhere then, and not everywhere."""
    unknown = type_problems(document)
    if unknown:
        return unknown[0]
    if len(asked_addresses(document.spec)) < 2:
        return None
    message = "a gateway's process binds one address, so no listener is in force"
    return problem_at(document, (*_ADDRESSES, 1), NOT_BOUND, message, "one address")
