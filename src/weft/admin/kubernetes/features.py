"""The features of the Gateway API that weft has, by the names that its conformance suite gives them.

https://gateway-api.sigs.k8s.io/geps/gep-2162/. Each is here only if the compiler's golden files or tests against a real
Envoy have it; what is only read, or does part of what the name means, is not: a BackendTLSPolicy has Services as its
ancestors here, where the suite wants Gateways. Features of a mesh are no matter of a GatewayClass.
"""

from __future__ import annotations

FEATURES: tuple[str, ...] = (
    "GRPCRoute",
    "Gateway",
    "GatewayHTTPListenerIsolation",
    "GatewayPort8080",
    "HTTPRoute",
    "HTTPRoute303RedirectStatusCode",
    "HTTPRoute307RedirectStatusCode",
    "HTTPRoute308RedirectStatusCode",
    "HTTPRouteBackendRequestHeaderModification",
    "HTTPRouteBackendTimeout",
    "HTTPRouteCORS",
    "HTTPRouteHostRewrite",
    "HTTPRouteMethodMatching",
    "HTTPRouteParentRefPort",
    "HTTPRoutePathRedirect",
    "HTTPRoutePathRewrite",
    "HTTPRoutePortRedirect",
    "HTTPRouteQueryParamMatching",
    "HTTPRouteRequestMirror",
    "HTTPRouteRequestTimeout",
    "HTTPRouteResponseHeaderModification",
    "HTTPRouteSchemeRedirect",
    "ListenerSet",
    "ReferenceGrant",
    "TCPRoute",
    "TLSRoute",
    "UDPRoute",
)
"""In the order of their names, as the API wants them."""
