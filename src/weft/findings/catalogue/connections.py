"""Codes of rules for connections: TCP and TLS that nobody opens."""

from __future__ import annotations

from weft.findings.catalogue.entry import error, warning

CONNECTIONS = (
    error(
        1500,
        "not-tcp",
        "Rules for connections are for a port that carries HTTP, where requests are routed one by one.",
        "every port of 'reviews.default.svc.cluster.local' carries HTTP, where rules for connections have no effect",
        "Name a port that carries TCP, correct the port's name or appProtocol, or write rules for HTTP.",
    ),
    error(
        1502,
        "wrong-protocol",
        "A route names a Gateway none of whose listeners there carries what its rules are about: an HTTPRoute needs "
        "HTTP or HTTPS, a TLSRoute TLS, a TCPRoute TCP (or TLS that ends at the listener), a UDPRoute UDP.",
        "parentRefs[0]: Gateway default/edge carries HTTP there, which no rule of this document is for",
        "Name a listener of the right protocol (sectionName, port), or add one.",
    ),
    error(
        1503,
        "udp-in-mesh",
        "A UDPRoute names a Service as its parent. Proxies of workloads carry no UDP; gateways do.",
        "proxies of workloads carry no UDP, so no rule for Service 'dns' is in force",
        "Attach the route to a Gateway with a listener for UDP.",
    ),
    warning(
        1504,
        "udp-not-served",
        "A Service has a UDP port and selects workloads of the mesh, whose proxies carry no UDP. They are called there "
        "by nobody; what WorkloadEntries describe, without a proxy, is called by UDPRoutes of Gateways.",
        "proxies of workloads carry no UDP, so none of the workloads it selects serves port 53/UDP",
        "Describe who serves UDP by WorkloadEntries, or leave the port out.",
    ),
    warning(
        1505,
        "udp-closed",
        "An authorization policy covers a Gateway that has a listener for UDP. Nobody who sends a datagram can be "
        "asked who they are, so the whole port stays closed, whatever the rules say.",
        "the policy covers Gateway default/edge, whose UDP listeners (dns) stay closed by it",
        "Put the listener into a Gateway of its own, which no policy covers.",
    ),
    warning(
        1501,
        "no-tls-port",
        "The tls rules of a VirtualService are for ports that carry TLS, and none of its services has one.",
        "no port of these services carries TLS, so inside the mesh these rules are never in force",
        "Name the port https or tls (or set appProtocol), or put the rules under tcp.",
    ),
)
