"""Codes of HTTP and gRPC routes: kinds that do not merge, delegates, and what sessions cannot be."""

from __future__ import annotations

from weft.findings.catalogue.entry import error, warning

HTTP_ROUTES = (
    error(
        1520,
        "kind-conflict",
        "An HTTPRoute and a GRPCRoute want the same service, or overlapping hosts of one listener. Their rules never "
        "merge: for a service the GRPCRoute is in force, at a listener the older of the two.",
        "GRPCRoute default/cart already routes 'cart.default.svc.cluster.local', and its rules do not merge with those "
        "of a HTTPRoute",
        "Keep one of them for this host, or attach each to a port or host of its own.",
    ),
    error(
        1521,
        "session-split",
        "A rule with several backends keeps sessions by a header, which tells the instance but not the backend. No "
        "session is kept.",
        "a header tells the instance and not the backend, so no session is kept over several backends",
        "Keep sessions by a cookie, or send to one backend.",
    ),
    error(
        1522,
        "unknown-delegate",
        "A rule of a VirtualService delegates to a document that is not there, or that has hosts of its own. It is "
        "left out.",
        "there is no VirtualService default/cart-rules without hosts that is for this namespace",
        "Correct the name, or apply the document. A delegate has no hosts.",
    ),
    error(
        1523,
        "delegate-conflict",
        "A rule of a delegate asks for requests that the root's rule does not hand on to it. It is left out.",
        "its matches do not lie within those of VirtualService default/root (root.yaml:9), which delegates to it",
        "Narrow its matches: each of them lies within one match of the root.",
    ),
    warning(
        1524,
        "no-delegate-root",
        "A VirtualService without hosts is there for others to delegate to, and none does.",
        "it has no hosts, and no document delegates to it, so it has no effect",
        "Give it hosts, or name it as a delegate.",
    ),
    warning(
        1525,
        "hedge-without-limit",
        "A route is to send a second request when a try takes too long, and none of its rules says how long that is.",
        "metadata.annotations: no rule has a time limit for each try, so nothing is hedged",
        "Set timeouts.backendRequest (HTTPRoute) or retries.perTryTimeout (VirtualService).",
    ),
)
