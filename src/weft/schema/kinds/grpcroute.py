"""Gateway API v1: GRPCRoute, for Gateway parents and (GAMMA) Service parents."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from weft.schema.kinds.httproute import (
    BackendObjectReference,
    HeaderMatch,
    HeaderModifier,
    ParentReference,
    RequestMirror,
)
from weft.schema.kinds.sessionpersistence import SessionPersistence
from weft.schema.scalars import Hostname, Length, Range, Subdomain


@dataclass(frozen=True, slots=True, kw_only=True)
class GrpcMethodMatch:
    """The gRPC service (with its package, without a slash) and the method; at least one of them. Case matters. A
    regular expression must match the whole of its part."""

    type: Literal["Exact", "RegularExpression"] = "Exact"
    service: Annotated[str, Length(0, 1024)] = ""
    method: Annotated[str, Length(0, 1024)] = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class GrpcRouteMatch:
    """All conditions must hold. Without `method` every call meets it."""

    method: GrpcMethodMatch | None = None
    headers: Annotated[tuple[HeaderMatch, ...], Length(0, 16)] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class GrpcRouteFilter:
    """One filter; the field of its type must be set and no other."""

    type: Literal["RequestHeaderModifier", "ResponseHeaderModifier", "RequestMirror"]
    request_header_modifier: HeaderModifier | None = None
    response_header_modifier: HeaderModifier | None = None
    request_mirror: RequestMirror | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class GrpcBackendRef(BackendObjectReference):
    """A weighted backend with filters of its own."""

    weight: Annotated[int, Range(0, 1_000_000)] = 1
    filters: Annotated[tuple[GrpcRouteFilter, ...], Length(0, 16)] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class GrpcRouteRule:
    """A rule; without matches it takes every call; without backends callers get the status UNAVAILABLE."""

    name: Subdomain | None = None
    matches: Annotated[tuple[GrpcRouteMatch, ...], Length(0, 64)] = ()
    filters: Annotated[tuple[GrpcRouteFilter, ...], Length(0, 16)] = ()
    backend_refs: Annotated[tuple[GrpcBackendRef, ...], Length(0, 16)] = ()
    session_persistence: SessionPersistence | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class GrpcRouteSpec:
    """https://gateway-api.sigs.k8s.io/reference/spec/#grpcroute"""

    parent_refs: Annotated[tuple[ParentReference, ...], Length(0, 32)] = ()
    hostnames: Annotated[tuple[Hostname, ...], Length(0, 16)] = ()
    rules: Annotated[tuple[GrpcRouteRule, ...], Length(0, 16)] = ()
