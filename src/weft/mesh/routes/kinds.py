"""The kinds of route that the mesh understands. A new one is a file beside this and a line here."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from weft.mesh.routes.httproute import HttpRouteKind
from weft.mesh.routes.kind import RouteDocument, RouteKind
from weft.mesh.routes.virtualservice import VirtualServiceKind
from weft.schema.kinds.httproute import HttpRouteSpec
from weft.schema.kinds.virtualservice import VirtualServiceSpec

ROUTE_KINDS: Mapping[type[object], RouteKind[Any]] = MappingProxyType(
    {VirtualServiceSpec: VirtualServiceKind(), HttpRouteSpec: HttpRouteKind()}
)


def kind_of(document: RouteDocument) -> RouteKind[Any]:
    """The kind of a route document."""
    return ROUTE_KINDS[type(document.spec)]
