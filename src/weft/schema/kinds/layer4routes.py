"""Gateway API v1: TCPRoute, TLSRoute and UDPRoute, for Gateway parents and (GAMMA) Service parents."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from weft.schema.kinds.httproute import BackendObjectReference, ParentReference
from weft.schema.scalars import Hostname, Length, Range, Subdomain


@dataclass(frozen=True, slots=True, kw_only=True)
class Layer4BackendRef(BackendObjectReference):
    """A weighted backend. The share of one that does not exist is closed."""

    weight: Annotated[int, Range(0, 1_000_000)] = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Layer4RouteRule:
    """Where connections go."""

    name: Subdomain | None = None
    backend_refs: Annotated[tuple[Layer4BackendRef, ...], Length(1, 16)]


Layer4Rules = Annotated[tuple[Layer4RouteRule, ...], Length(1, 1)]
"""Exactly one: nothing would tell which of several a connection is for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TcpRouteSpec:
    """https://gateway-api.sigs.k8s.io/reference/spec/#tcproute

    Connections of a Service's TCP port, or of a Gateway's listener for TCP, or for TLS that ends there.
    """

    parent_refs: Annotated[tuple[ParentReference, ...], Length(0, 32)] = ()
    rules: Layer4Rules

    @property
    def hostnames(self) -> tuple[str, ...]:
        """None: nothing in a connection names a host."""
        return ()


@dataclass(frozen=True, slots=True, kw_only=True)
class TlsRouteSpec:
    """https://gateway-api.sigs.k8s.io/reference/spec/#tlsroute

    TLS by the server name that clients ask for: of a Gateway's listener for TLS, whether it ends there or is passed on
    unopened, or of a Service's TCP port. Without hostnames (v1alpha2) every name.
    """

    parent_refs: Annotated[tuple[ParentReference, ...], Length(0, 32)] = ()
    hostnames: Annotated[tuple[Hostname, ...], Length(0, 1024)] = ()
    rules: Layer4Rules


@dataclass(frozen=True, slots=True, kw_only=True)
class UdpRouteSpec:
    """https://gateway-api.sigs.k8s.io/reference/spec/#udproute

    Datagrams of a Gateway's listener for UDP. Sidecars carry none.
    """

    parent_refs: Annotated[tuple[ParentReference, ...], Length(0, 32)] = ()
    rules: Layer4Rules

    @property
    def hostnames(self) -> tuple[str, ...]:
        """None: nothing in a datagram names a host."""
        return ()
