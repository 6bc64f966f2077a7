"""Linkerd in words: its kinds, its annotations, and the values of its charts.

https://linkerd.io/2/reference/ has the kinds and the annotations.
"""

from __future__ import annotations

from collections.abc import Mapping

from weft.migrate.words import Word, Words, differs, missing, needless, same, words

_POLICY = "policy.linkerd.io"
_ACCESS = "an AuthorizationPolicy of Istio's API"

KINDS: Mapping[tuple[str, str], Words] = {
    ("linkerd.io", "ServiceProfile"): words({
        "routes": differs("an HTTPRoute of the Service, with a rule for each"),
        "routes.condition": differs("`matches` of an HTTPRoute's rule: path (RegularExpression) and method"),
        "routes.condition.not": missing("matches cannot be negated; write the rest as a rule after this one"),
        "routes.condition.any": differs("several `matches` of one rule"),
        "routes.condition.all": differs("one entry of `matches` with all of it"),
        "routes.name": differs("`name` of the rule"),
        "routes.isRetryable": differs("`retry` of the HTTPRoute's rule"),
        "routes.timeout": differs("`timeouts.request` of the HTTPRoute's rule"),
        "routes.responseClasses": differs("`retry.codes` says what is tried again; metrics count 5xx as failures"),
        "retryBudget": differs("`retryBudget` of a DestinationRule's connectionPool"),
        "dstOverrides": differs("weights of an HTTPRoute's `backendRefs`"),
        "opaquePorts": differs("`appProtocol: tcp` of the Service's port"),
    }),
    (_POLICY, "Server"): words({
        "podSelector": differs(f"`selector.matchLabels` of {_ACCESS}"),
        "podSelector.matchExpressions": missing("a selector has labels only: one document for each value"),
        "externalWorkloadSelector": differs(f"`selector.matchLabels` of {_ACCESS}: VMs are workloads as pods are"),
        "port": differs(f"`to[].operation.ports` of {_ACCESS}"),
        "proxyProtocol": differs("`appProtocol` of the Service's port"),
        "accessPolicy": differs(f"{_ACCESS}; `audit` is action AUDIT, or the annotation istio.io/dry-run", "deny"),
    }),
    (_POLICY, "ServerAuthorization"): words({
        "server": differs(f"`selector` and `ports` of {_ACCESS}: those of the Server"),
        "client.meshTLS.identities": differs(f"`from[].source.principals` of {_ACCESS}: spiffe names"),
        "client.meshTLS.serviceAccounts": differs(f"`from[].source.principals` of {_ACCESS}"),
        "client.meshTLS.unauthenticatedTLS": missing("callers with TLS and without a certificate are refused"),
        "client.unauthenticated": differs("a rule without `from`, and PeerAuthentication PERMISSIVE for that port"),
        "client.networks": differs(f"`from[].source.ipBlocks` of {_ACCESS}"),
        "client.networks.except": differs(f"`from[].source.notIpBlocks` of {_ACCESS}"),
    }),
    (_POLICY, "AuthorizationPolicy"): words({
        "targetRef": differs(f"`selector` or `targetRefs` of {_ACCESS}"),
        "requiredAuthenticationRefs": differs(f"`from[].source` of {_ACCESS}; several are all demanded in one source"),
    }),
    (_POLICY, "MeshTLSAuthentication"): words({
        "identities": differs(f"`from[].source.principals` of {_ACCESS}: spiffe names", "*"),
        "identityRefs": differs(
            f"`from[].source.principals` (ServiceAccount) or `namespaces` (Namespace) of {_ACCESS}"
        ),
    }),
    (_POLICY, "NetworkAuthentication"): words({
        "networks": differs(f"`from[].source.ipBlocks` of {_ACCESS}"),
        "networks.except": differs(f"`from[].source.notIpBlocks` of {_ACCESS}"),
    }),
    (_POLICY, "HTTPRoute"): words({
        "parentRefs": differs("apiVersion gateway.networking.k8s.io/v1; a parent of kind Server becomes its Service"),
        "hostnames rules": same("as it is, in gateway.networking.k8s.io/v1"),
    }),
    (_POLICY, "GRPCRoute"): words({
        "parentRefs hostnames rules": same("as it is, in gateway.networking.k8s.io/v1"),
    }),
    (_POLICY, "HTTPLocalRateLimitPolicy"): words({
        "targetRef": differs("`targetRefs` of a RateLimitPolicy: the Service"),
        "total": differs("`limits` of a RateLimitPolicy, mode Local"),
        "identity": differs("`by: [{type: Identity}]` of a RateLimitPolicy's limit"),
        "overrides": missing("every caller has the same limit"),
    }),
    (_POLICY, "EgressNetwork"): words({
        "networks": differs("a ServiceEntry with these `addresses`"),
        "trafficPolicy": differs("`outboundTrafficPolicy` of the MeshConfig or a Sidecar: Deny is REGISTRY_ONLY"),
    }),
    ("workload.linkerd.io", "ExternalWorkload"): words({
        "meshTLS workloadIPs ports": differs("`weft run` on that host registers the workload; else a WorkloadEntry"),
    }),
    ("multicluster.linkerd.io", "Link"): words({"*": missing("a mesh is one cluster, and hosts beside it")}),
    ("jaeger.linkerd.io", "*"): words({"*": differs("`extensionProviders` of the MeshConfig, and a Telemetry")}),
}  # fmt: skip
"""By API group and kind, below `spec`."""

_CONFIG = "config.linkerd.io/"
_CPU = "annotations sidecar.istio.io/proxyCPU, proxyMemory, proxyCPULimit, proxyMemoryLimit"
_PORTS = "annotations traffic.sidecar.istio.io/excludeInboundPorts, excludeOutboundPorts, excludeOutboundIPRanges"
ANNOTATIONS: Mapping[str, Word] = {
    "linkerd.io/inject": differs("the label istio-injection: enabled, or sidecar.istio.io/inject of a pod"),
    "linkerd.io/created-by": needless("Linkerd wrote it"),
    "linkerd.io/trust-root-sha256": needless("Linkerd wrote it"),
    "linkerd.io/proxy-version": needless("Linkerd wrote it"),
    f"{_CONFIG}default-inbound-policy": differs(
        "weft.dev/default-access: deny, and PeerAuthentication for who may be without TLS", "all-unauthenticated"
    ),
    f"{_CONFIG}skip-inbound-ports": differs(_PORTS),
    f"{_CONFIG}skip-outbound-ports": differs(_PORTS),
    f"{_CONFIG}skip-subnets": differs(_PORTS),
    f"{_CONFIG}opaque-ports": differs("appProtocol: tcp of the Service's port"),
    f"{_CONFIG}proxy-cpu-request": differs(_CPU),
    f"{_CONFIG}proxy-cpu-limit": differs(_CPU),
    f"{_CONFIG}proxy-memory-request": differs(_CPU),
    f"{_CONFIG}proxy-memory-limit": differs(_CPU),
    f"{_CONFIG}proxy-await": needless("the proxy is ready before the application starts"),
    f"{_CONFIG}proxy-enable-native-sidecar": same("native sidecars are the default; sidecar.istio.io/nativeSidecar"),
    f"{_CONFIG}shutdown-grace-period": differs("terminationDrainDuration of proxy.istio.io/config"),
    f"{_CONFIG}access-log": differs("a Telemetry with accessLogging"),
    f"{_CONFIG}": missing("the proxy is Envoy, and set by weft"),
    "retry.linkerd.io/": differs("`retry` of an HTTPRoute's rule"),
    "timeout.linkerd.io/": differs("`timeouts` of an HTTPRoute's rule"),
    "balancer.linkerd.io/": differs("outlierDetection of a DestinationRule, or an EjectionPolicy"),
    "viz.linkerd.io/": needless("the dashboard and `weft tap` need no word"),
    "mirror.linkerd.io/": missing("a mesh is one cluster, and hosts beside it"),
    "multicluster.linkerd.io/": missing("a mesh is one cluster, and hosts beside it"),
}
"""By the key of a label or an annotation, or what it begins with. The longest counts."""
