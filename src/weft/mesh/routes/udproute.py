"""UDPRoute: datagrams of Gateways' listeners, divided over the UDP ports of Services.

https://gateway-api.sigs.k8s.io/reference/spec/#udproute
"""

from __future__ import annotations

from dataclasses import dataclass

from weft.mesh.problems import one_of, problem_at
from weft.mesh.routes.backendrefs import BackendFinder
from weft.mesh.routes.connections import WeightedTarget
from weft.mesh.routes.gatewayroute import in_mesh
from weft.mesh.routes.kind import Claims, Referent
from weft.mesh.routes.layer4route import Layer4RouteKind
from weft.mesh.services.catalog import Catalog
from weft.mesh.services.service import BackendKey, Frontend, FrontendPort
from weft.model.document import Document, ObjectKey
from weft.model.origin import FieldPath
from weft.model.problem import Problem
from weft.schema.kinds.layer4routes import UdpRouteSpec


@dataclass(frozen=True, slots=True)
class DatagramFinder(BackendFinder):
    """Finds UDP ports. A TCP port of the same number is another one."""

    def port_of(self, frontend: Frontend, number: int) -> FrontendPort | None:
        """The UDP port of a number."""
        return next((port for port in frontend.datagrams if port.number == number), None)

    def unknown(self, frontend: Frontend, path: FieldPath, number: int) -> Problem:
        """There is no such UDP port."""
        ports = [str(port.number) for port in frontend.datagrams]
        message = f"{frontend.key} has no port {number} with protocol UDP"
        return problem_at(self.document, path, "unknown-port", message, one_of(ports, "a Service with a UDP port"))


class UdpRouteKind(Layer4RouteKind[UdpRouteSpec]):
    """The oldest UDPRoute of a listener has it: nothing tells its datagrams from those of another."""

    kind = "UDPRoute"
    specificity = 0
    alone_in_mesh = True
    alone_at_gateways = True

    def carried_by(self, document: Document[UdpRouteSpec], protocol: str, *, opened: bool) -> bool:  # noqa: ARG002
        """UDP."""
        return protocol == "UDP"

    def claims(self, document: Document[UdpRouteSpec], catalog: Catalog) -> Claims:  # noqa: ARG002
        """None: proxies of workloads carry no UDP, so a Service cannot be its parent."""
        return Claims(
            problems=tuple(
                problem_at(
                    document,
                    ("spec", "parentRefs", index),
                    "udp-in-mesh",
                    f"proxies of workloads carry no UDP, so no rule for {parent.kind} '{parent.name}' is in force",
                    "a Gateway with a listener for UDP",
                )
                for index, parent in enumerate(document.spec.parent_refs)
                if in_mesh(parent)
            )
        )

    def finder(self, document: Document[UdpRouteSpec], found: dict[ObjectKey, Referent]) -> BackendFinder:
        """Finds UDP ports."""
        return DatagramFinder(self.kind, document, found, [])

    def target(self, key: BackendKey | None, frontend: Frontend | None, weight: int) -> WeightedTarget:  # noqa: ARG002
        """A UDP port as a target."""
        return WeightedTarget(key, weight)
