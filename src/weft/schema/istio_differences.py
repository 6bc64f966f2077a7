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
    "AuthorizationPolicy": (
        "CUSTOM: at most two providers are asked about one call, one after the other (Istio: one); a third closes the "
        "place. A provider that is not there refuses what the policy is for, and so does every TCP port. A server has "
        "10 s for an answer (Istio: 600 s); see [external authorization](../external-authorization.md).",
        "`request.headers[NAME]`: what lets a caller in has to fit all values of a header that is sent more than once "
        "(Istio: one of them), so a right value beside a wrong one helps nobody; see "
        "[authorization](../authorization.md#a-header-that-is-sent-twice).",
        "Where a rule looks at hosts, one that is neither a name nor an address is refused (Istio: compared as it is).",
        "Workloads of a provider's own Service are not asked about calls to themselves.",
    ),
    "DestinationRule": (
        "Of two documents for one host in a namespace the oldest is in force (Istio merges their subsets).",
        "Without `outlierDetection` an endpoint to which three connections in a row fail is left alone for 5 s, "
        "then longer (Istio: nothing).",
        "Without `connectionPool` there are bounds against runaway use: 4096 connections, 65536 requests, 1024 "
        "retries at a time (Istio: none), and a connection must be made within 5 s (Istio: 10 s; see "
        "`connectTimeout` of [MeshConfig](meshconfig.md)).",
    ),
    "WorkloadGroup": (
        "Probes ask the workload's own host only, and start no programs (Istio: any host, and `exec`).",
        "Workloads register themselves; no WorkloadEntry documents are made.",
    ),
    "PeerAuthentication": (
        "Without a document mutual TLS is required: STRICT (Istio: PERMISSIVE).",
        "Mutual TLS is TLS 1.3 (Istio: 1.2 or 1.3).",
        "A document that cannot be understood closes what it names, unless a good version of it is in force "
        "(Istio's webhook refuses it, or it is ignored).",
        "A change between plaintext and mutual TLS is made in steps that proxies confirm, so that no request fails.",
    ),
    "RequestAuthentication": (
        "Every token in a request has to be valid, wherever it stands (Istio: with several issuers, one of them; the "
        "others pass unseen), and `bearer` in another case, or with a tab, is refused (Istio: passes unseen).",
        "Keys of shared secrets (`kty: oct`) and RSA keys under 2048 bits are refused (Istio takes them).",
        "The control plane fetches keys from public addresses over https, or from networks that "
        "`jwksAllowedNetworks` of the [MeshConfig](meshconfig.md) states (Istio: from anywhere). Keys of a service of "
        "the mesh are fetched by proxies: `weft.dev/jwks-fetch: proxy`.",
        "Keys that cannot be fetched stay in force for a week; where there never were any, tokens are refused (Istio: "
        "a key that it makes up).",
        "`outputClaimToHeaders` does not write headers that say how a message is read or where it comes from.",
    ),
    "Telemetry": (
        "A provider that nobody defines is the problem `unknown-provider` (Istio says nothing).",
        "With `accessLogFile` and without default providers, an entry of `accessLogging` that names no provider is "
        "about that file (Istio: about nothing).",
        "`tagOverrides` take constants and attributes with few values; what clients choose is refused (Istio: any CEL "
        "expression), since every value of a label is a series of its own.",
        "`targetRefs` may name a Service, whose workloads are meant (Istio: a waypoint's), and no ServiceEntry.",
        "A metric that is disabled is not served, and the agent still counts it for `weft stat`; ALL_METRICS that are "
        "disabled are not counted at all, as in Istio.",
        "An expression with `string()`, or over a list, is refused: Envoy does not have these (Istio takes it, and the "
        "proxies refuse the listener).",
    ),
    "MeshConfig": (
        "Proxies write log files into a directory of their own: `path` and `accessLogFile` are names without slashes, "
        "or standard output (Istio: any path of the container).",
        "Headers are cut at 4096 bytes in the default formats of access logs (Istio: at none).",
        "A collector that is no Service is reached over TLS, but on loopback (Istio: as a ServiceEntry says).",
        "`defaultHttpRetryPolicy` needs `attempts`, and `outboundTrafficPolicy` needs `mode`: what leaving them "
        "out means in Istio (none, REGISTRY_ONLY) is the contrary of what most expect.",
        "`trustDomain` cannot be changed in a running mesh; another one is an error.",
    ),
}
"""By kind: each difference in a sentence or two, with what Istio does in brackets."""
