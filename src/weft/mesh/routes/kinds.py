"""The kinds of route that the mesh understands. A new one is a file beside this and a line here."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from weft.mesh.routes.grpcroute import GrpcRouteKind
from weft.mesh.routes.httproute import HttpRouteKind
from weft.mesh.routes.kind import RouteDocument, RouteKind
from weft.mesh.routes.layer4route import TcpRouteKind, TlsRouteKind
from weft.mesh.routes.trafficsplit import JoinedSplit, TrafficSplitKind
from weft.mesh.routes.udproute import UdpRouteKind
from weft.mesh.routes.virtualservice import VirtualServiceKind
from weft.mesh.routes.virtualservice_delegates import JoinedSpec
from weft.schema.kinds.grpcroute import GrpcRouteSpec
from weft.schema.kinds.httproute import HttpRouteSpec
from weft.schema.kinds.layer4routes import TcpRouteSpec, TlsRouteSpec, UdpRouteSpec
from weft.schema.kinds.virtualservice import VirtualServiceSpec

ROUTE_KINDS: Mapping[type[object], RouteKind[Any]] = MappingProxyType(
    {
        VirtualServiceSpec: VirtualServiceKind(),
        HttpRouteSpec: HttpRouteKind(),
        GrpcRouteSpec: GrpcRouteKind(),
        TlsRouteSpec: TlsRouteKind(),
        TcpRouteSpec: TcpRouteKind(),
        UdpRouteSpec: UdpRouteKind(),
        JoinedSplit: TrafficSplitKind(),
    }
)


_JOINED = ROUTE_KINDS[VirtualServiceSpec]


def kind_of(document: RouteDocument) -> RouteKind[Any]:
    """The kind of a route document."""
    return _JOINED if isinstance(document.spec, JoinedSpec) else ROUTE_KINDS[type(document.spec)]
