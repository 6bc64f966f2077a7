"""Consul in words: its kinds and annotations on Kubernetes. https://developer.hashicorp.com/consul/docs/k8s/crds"""

from __future__ import annotations

from collections.abc import Mapping

from weft.migrate.words import Word, Words, differs, missing, needless, same, words

_POOL = "connectionPool of a DestinationRule"
_PARTITIONS = "there are namespaces, and no partitions, peers or data centres"
_ROUTE = "a rule of an HTTPRoute"
_PASSIVE = "outlierDetection of a DestinationRule"

KINDS: Mapping[str, Words] = {
    "ServiceDefaults": words({
        "protocol": differs("`appProtocol` of the Service's port, or its name before the dash"),
        "mode mutualTLSMode": differs("pods are captured always; PeerAuthentication says who may be without TLS"),
        "transparentProxy.dialedDirectly": same("pods are called by their own addresses, too"),
        "transparentProxy.outboundListenerPort": needless("the ports of capture are weft's"),
        "meshGateway": missing(_PARTITIONS),
        "expose": differs("probes of pods are rewritten; a port is left out by excludeInboundPorts"),
        "externalSNI": differs("`sni` of a DestinationRule's tls"),
        "upstreamConfig": differs(f"{_POOL}; overrides are a Sidecar or a DestinationRule of the caller's namespace"),
        "upstreamConfig.defaults.limits upstreamConfig.overrides.limits": differs(_POOL),
        "upstreamConfig.defaults.passiveHealthCheck upstreamConfig.overrides.passiveHealthCheck": differs(_PASSIVE),
        "upstreamConfig.defaults.connectTimeoutMs upstreamConfig.overrides.connectTimeoutMs": differs(
            f"`tcp.connectTimeout` of the {_POOL}"
        ),
        "destination": differs("a ServiceEntry"),
        "maxInboundConnections": differs(f"`tcp.maxConnections` of the {_POOL}; an OverloadPolicy bounds requests"),
        "localConnectTimeoutMs localRequestTimeoutMs": differs("timeouts are the callers': `timeouts` of an HTTPRoute"),
        "rateLimits": differs("a RateLimitPolicy, mode Local"),
        "balanceInboundConnections": missing("connections are spread by the kernel"),
        "envoyExtensions": differs("an EnvoyFilter, an external authorization provider, or a policy of weft.dev"),
    }),
    "ServiceRouter": words({
        "routes": differs(_ROUTE),
        "routes.match.http": differs(f"`matches` of {_ROUTE}"),
        "routes.match.http.caseInsensitive": differs("a VirtualService with ignoreUriCase"),
        "routes.match.http.header.invert": differs("`withoutHeaders` of a VirtualService's match"),
        "routes.destination": differs(f"`backendRefs` and `filters` of {_ROUTE}"),
        "routes.destination.prefixRewrite": differs("the filter URLRewrite"),
        "routes.destination.requestTimeout routes.destination.idleTimeout": differs(f"`timeouts` of {_ROUTE}"),
        "routes.destination.numRetries routes.destination.retryOn routes.destination.retryOnConnectFailure "
        "routes.destination.retryOnStatusCodes": differs(f"`retry` of {_ROUTE}"),
        "routes.destination.requestHeaders routes.destination.responseHeaders": differs("filters of headers"),
        "routes.destination.partition": missing(_PARTITIONS),
        "routes.destination.serviceSubset": differs("a Service of its own with the subset's selector"),
    }),
    "ServiceSplitter": words({
        "splits": differs("weights of an HTTPRoute's `backendRefs`"),
        "splits.serviceSubset": differs("a Service of its own with the subset's selector"),
        "splits.partition": missing(_PARTITIONS),
        "splits.requestHeaders splits.responseHeaders": differs("filters of the backendRef"),
    }),
    "ServiceResolver": words({
        "defaultSubset": differs("an HTTPRoute that sends all requests to that subset's Service"),
        "subsets": differs("subsets of a DestinationRule: labels instead of filters"),
        "subsets.onlyPassing": needless("only instances that are ready are called"),
        "redirect": differs("an HTTPRoute of the Service with another backend"),
        "redirect.datacenter redirect.partition redirect.peer redirect.samenessGroup": missing(_PARTITIONS),
        "failover": differs("a FallbackPolicy"),
        "failover.datacenters failover.targets.peer failover.targets.datacenter failover.samenessGroup "
        "failover.targets.partition": missing(_PARTITIONS),
        "prioritizeByLocality": differs("localityLbSetting"),
        "connectTimeout requestTimeout": differs(f"`tcp.connectTimeout` of the {_POOL}; `timeouts` of {_ROUTE}"),
        "loadBalancer": differs("loadBalancer of a DestinationRule"),
    }),
    "ServiceIntentions": words({
        "destination": differs("`selector` or `targetRefs` of an AuthorizationPolicy"),
        "sources": differs("rules of an AuthorizationPolicy: `from[].source.principals`"),
        "sources.action": differs("`action` of an AuthorizationPolicy: DENY goes before ALLOW, whatever is more exact"),
        "sources.permissions": differs("`to[].operation` of an AuthorizationPolicy"),
        "sources.peer sources.partition sources.samenessGroup": missing(_PARTITIONS),
        "jwt sources.permissions.jwt": differs("a RequestAuthentication, and `when` with request.auth.claims"),
    }),
    "ProxyDefaults": words({
        "config": differs("MeshConfig: tracing, access logs; EnvoyFilter for the rest"),
        "config.protocol": differs("`appProtocol` of each Service's port"),
        "mode": needless("pods are captured always"),
        "meshGateway failoverPolicy": missing(_PARTITIONS),
        "expose": differs("probes of pods are rewritten"),
        "accessLogs": differs("accessLogFile of the MeshConfig, or a Telemetry"),
        "prioritizeByLocality": differs("localityLbSetting of the MeshConfig"),
        "envoyExtensions": differs("an EnvoyFilter"),
        "mutualTLSMode": differs("a mesh-wide PeerAuthentication"),
        "transparentProxy": needless("the ports of capture are weft's"),
    }),
    "Mesh": words({
        "transparentProxy.meshDestinationsOnly": differs("outboundTrafficPolicy REGISTRY_ONLY of the MeshConfig"),
        "tls": differs("mutual TLS is TLS 1.3"),
        "http": needless("paths are normalised, and who called is in x-forwarded-client-cert, by weft's own rules"),
        "peering": missing(_PARTITIONS),
        "allowEnablingPermissiveMutualTLS": differs("who may write a PeerAuthentication is said by RBAC"),
        "validateClusters": needless("a proxy's configuration is checked as a whole"),
    }),
    "IngressGateway": words({
        "listeners tls defaults": differs("a Gateway and HTTPRoutes of the Gateway API"),
    }),
    "TerminatingGateway": words({
        "services": differs("ServiceEntries with a DestinationRule's tls, through an egress gateway if you want one"),
    }),
    "JWTProvider": words({
        "issuer audiences jsonWebKeySet locations forwarding": differs("jwtRules of a RequestAuthentication"),
        "cacheConfig clockSkewSeconds": needless("tokens are not cached; 60 s of skew are allowed"),
    }),
    "ExportedServices": words({"*": missing(_PARTITIONS)}),
    "SamenessGroup": words({"*": missing(_PARTITIONS)}),
    "PeeringAcceptor": words({"*": missing(_PARTITIONS)}),
    "PeeringDialer": words({"*": missing(_PARTITIONS)}),
    "ControlPlaneRequestLimit": words({"*": needless("the control plane bounds what is asked of it")}),
    "GatewayClassConfig": words({"*": differs("`infrastructure` of Gateways, `parametersRef` of their class")}),
    "MeshGateway": words({"*": missing(_PARTITIONS)}),
    "RouteRetryFilter": words({"*": differs(f"`retry` of {_ROUTE}")}),
    "RouteTimeoutFilter": words({"*": differs(f"`timeouts` of {_ROUTE}")}),
    "RouteAuthFilter": words({"*": differs("a RequestAuthentication and an AuthorizationPolicy of the Gateway")}),
    "GatewayPolicy": words({"*": differs("a RequestAuthentication and an AuthorizationPolicy of the Gateway")}),
    "Registration": words({"*": differs("a ServiceEntry with a WorkloadEntry")}),
}  # fmt: skip
"""By kind of consul.hashicorp.com, below `spec`."""

_HASHICORP = "consul.hashicorp.com/"
_SIDE = f"{_HASHICORP}sidecar-proxy-"
_CPU = "annotations sidecar.istio.io/proxyCPU, proxyMemory, proxyCPULimit, proxyMemoryLimit"
ANNOTATIONS: Mapping[str, Word] = {
    f"{_HASHICORP}connect-inject": differs("the label sidecar.istio.io/inject of the pod, or its namespace's"),
    f"{_HASHICORP}transparent-proxy": needless("pods are captured always"),
    f"{_HASHICORP}transparent-proxy-exclude-": differs("annotations traffic.sidecar.istio.io/exclude…"),
    f"{_HASHICORP}transparent-proxy-overwrite-probes": same("probes are rewritten"),
    f"{_HASHICORP}connect-service": differs("the Service that selects the pod"),
    f"{_HASHICORP}connect-service-port": differs("targetPort of the Service"),
    f"{_HASHICORP}connect-service-protocol": differs("appProtocol of the Service's port"),
    f"{_HASHICORP}connect-service-upstreams": differs("the Service's own name: calls are captured"),
    f"{_HASHICORP}service-tags": differs("labels of the pod"),
    f"{_HASHICORP}service-meta-": differs("labels of the pod"),
    f"{_SIDE}cpu-": differs(_CPU),
    f"{_SIDE}memory-": differs(_CPU),
    f"{_HASHICORP}": missing("weft does not know it"),
}
"""By the key of a label or an annotation, or what it begins with. The longest counts."""
