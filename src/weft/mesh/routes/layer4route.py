"""TCPRoute and TLSRoute: connections of Services' ports and of Gateways' listeners, divided over Services.

https://gateway-api.sigs.k8s.io/reference/spec/#tcproute and #tlsroute
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar, Protocol, TypeVar

from weft.mesh.routes.backendrefs import BackendFinder
from weft.mesh.routes.connections import ConnectionRule, Layer4Route, WeightedTarget, weighted_target
from weft.mesh.routes.gatewayroute import GatewayRouteKind
from weft.mesh.routes.kind import ConnectionRules, Converted, Layer, Referent
from weft.mesh.routes.reach import Attempt
from weft.mesh.services.service import BackendKey, Frontend
from weft.model.document import Document, ObjectKey
from weft.model.origin import FieldPath
from weft.schema.kinds import layer4routes as api
from weft.schema.kinds.httproute import BackendObjectReference, ParentReference


class Layer4Spec(Protocol):
    """What the specifications of these kinds have in common."""

    @property
    def parent_refs(self) -> tuple[ParentReference, ...]:
        """What it attaches to."""
        ...

    @property
    def hostnames(self) -> tuple[str, ...]:
        """The server names it is for."""
        ...

    @property
    def rules(self) -> tuple[api.Layer4RouteRule, ...]:
        """Its one rule."""
        ...


Layer4T = TypeVar("Layer4T", bound=Layer4Spec)


class Layer4RouteKind(GatewayRouteKind[Layer4T]):
    """A kind of the Gateway API that is about connections only."""

    hostnames_in_mesh: ClassVar[bool] = True

    def layers(self, document: Document[Layer4T]) -> tuple[Layer, ...]:  # noqa: ARG002 - always the same
        """Connections."""
        return ("connections",)

    def references(self, spec: Layer4T) -> Iterable[BackendObjectReference]:
        """Its backends."""
        for rule in spec.rules:
            yield from rule.backend_refs

    def rules(
        self,
        document: Document[Layer4T],  # noqa: ARG002 - none for requests
        port: int,  # noqa: ARG002
        side: str,  # noqa: ARG002
        referents: tuple[Referent, ...],  # noqa: ARG002
    ) -> Converted:
        """None: requests are nothing it knows of."""
        return Converted()

    def connections(
        self,
        document: Document[Layer4T],
        port: int,  # noqa: ARG002 - the same on every port and side
        side: str,  # noqa: ARG002
        tls: bool | None,  # noqa: ARG002
        referents: tuple[Referent, ...],
    ) -> ConnectionRules:
        """Its rule."""
        found = dict(zip(self.referred(document), referents, strict=True))
        finder = self.finder(document, found)
        rules = []
        for index, rule in enumerate(document.spec.rules):
            path: FieldPath = ("spec", "rules", index)
            targets = []
            for place, reference in enumerate(rule.backend_refs):
                key = finder.find((*path, "backendRefs", place), reference)
                targets.append(self.target(key, finder.frontend_of(reference), reference.weight))
            route = Layer4Route(tuple(targets), document.at(*path), document.key)
            rules.append(ConnectionRule(route, document.spec.hostnames))
        return ConnectionRules(tuple(rules), tuple(dict.fromkeys(finder.problems)))

    def finder(self, document: Document[Layer4T], found: dict[ObjectKey, Referent]) -> BackendFinder:
        """What finds the ports that its rules name."""
        return BackendFinder(self.kind, document, found, [])

    def target(self, key: BackendKey | None, frontend: Frontend | None, weight: int) -> WeightedTarget:
        """A port that was found, or not, as a target."""
        return weighted_target(key, frontend, weight)

    def fields(
        self,
        document: Document[Layer4T],  # noqa: ARG002 - see connections
        index: int,
        place: int,  # noqa: ARG002
    ) -> tuple[FieldPath, FieldPath]:
        """``spec.rules[index]``."""
        path: FieldPath = ("spec", "rules", index)
        return path, path

    def attempts(self, document: Document[Layer4T]) -> tuple[Attempt, ...]:  # noqa: ARG002 - see rules
        """None."""
        return ()


class TcpRouteKind(Layer4RouteKind[api.TcpRouteSpec]):
    """The oldest TCPRoute of a port or listener has it: nothing tells its connections from those of another."""

    kind = "TCPRoute"
    specificity = 1
    alone_in_mesh = True
    alone_at_gateways = True

    def carried_by(self, document: Document[api.TcpRouteSpec], protocol: str, *, opened: bool) -> bool:  # noqa: ARG002
        """TCP, and TLS that ends at the listener."""
        return protocol == "TCP" or (protocol == "TLS" and opened)


class TlsRouteKind(Layer4RouteKind[api.TlsRouteSpec]):
    """TLSRoutes share a port: the server name decides. At a Gateway the oldest has its name alone."""

    kind = "TLSRoute"
    specificity = 2
    alone_at_gateways = True

    def carried_by(self, document: Document[api.TlsRouteSpec], protocol: str, *, opened: bool) -> bool:  # noqa: ARG002
        """TLS, whether it ends at the listener or is passed on."""
        return protocol == "TLS"
