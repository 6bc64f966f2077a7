"""Where a document of Istio means something else here on purpose, for the reference pages.

What differs is mostly what documents leave out; where their own words mean something else, `weft validate` warns, too.
"""

from __future__ import annotations

from collections.abc import Mapping

DIFFERENCES: Mapping[str, tuple[str, ...]] = {
    "VirtualService": (
        "A document of one namespace that routes a service of another is in force for callers in its own namespace "
        "only (Istio: for all callers). `weft validate` warns: `differs-from-istio`. Put it into the service's "
        "namespace.",
        "Of two documents with one host the oldest is in force inside the mesh, and the other gets the problem "
        "`host-conflict` (Istio says nothing). At gateways their rules merge as in Istio: the oldest document's first, "
        "rules for every request last.",
        "A rule without `retries` is tried again only where the request cannot have been processed: "
        "connect-failure, refused-stream, reset-before-request (Istio also after unavailable and cancelled). A "
        "[MeshConfig](meshconfig.md) with `defaultHttpRetryPolicy: {attempts: 2}` makes it Istio's.",
        "The values of headers are sent as they are written: `%HOSTNAME%` and the like stay, and so do two percent "
        "signs (Istio hands them to Envoy, which replaces them, from the proxy's environment too). `weft validate` "
        "warns.",
        "Retries go to another endpoint also where a DestinationRule hashes (Istio: to the same); "
        "`retryIgnorePreviousHosts: false` turns it off.",
        "`NAME.NAMESPACE` names the service, as in Kubernetes' DNS (Istio takes a host with a dot as a full name).",
    ),
    "DestinationRule": (
        "Of two documents for one host in a namespace the oldest is in force (Istio merges their subsets).",
        "Without `outlierDetection` an endpoint to which three connections in a row fail is left alone for 5 s, "
        "then longer (Istio: nothing).",
        "Without `connectionPool` there are bounds against runaway use: 4096 connections, 65536 requests, 1024 "
        "retries at a time (Istio: none), and a connection must be made within 5 s (Istio: 10 s; see "
        "`connectTimeout` of [MeshConfig](meshconfig.md)).",
    ),
    "PeerAuthentication": (
        "Without a document mutual TLS is required: STRICT (Istio: PERMISSIVE).",
        "Mutual TLS is TLS 1.3 (Istio: 1.2 or 1.3).",
        "A document that cannot be understood closes what it names, unless a good version of it is in force "
        "(Istio's webhook refuses it, or it is ignored).",
        "A change between plaintext and mutual TLS is made in steps that proxies confirm, so that no request fails.",
    ),
    "MeshConfig": (
        "`defaultHttpRetryPolicy` needs `attempts`, and `outboundTrafficPolicy` needs `mode`: what leaving them "
        "out means in Istio (none, REGISTRY_ONLY) is the contrary of what most expect.",
        "`trustDomain` cannot be changed in a running mesh; another one is an error.",
    ),
}
"""By kind: each difference in a sentence or two, with what Istio does in brackets."""
