"""What exists upstream and is not supported here: told apart from typing errors, and refused by name."""

from __future__ import annotations

from collections.abc import Mapping

from weft.schema.kinds import (
    core,
    destinationrule,
    gateway,
    httproute,
    meshconfig,
    peerauthentication,
    virtualservice,
)


def _fields(names: str, reason: str = "") -> dict[str, str]:
    """Fields, or values of a field, that are refused for one reason."""
    return dict.fromkeys(names.split(), reason)


UNSUPPORTED_FIELDS: Mapping[type, Mapping[str, str]] = {
    core.ServiceSpec: _fields("sessionAffinityConfig", "; use a DestinationRule with consistentHash"),
    gateway.GatewaySpec: _fields("addresses", "; `weft gateway` says where it binds")
    | _fields("infrastructure backendTLS allowedListeners tls defaultScope"),
    gateway.ListenerTls: _fields("frontendValidation"),
    httproute.HttpRouteSpec: _fields("useDefaultGateways"),
    httproute.RouteRule: _fields("sessionPersistence"),
    httproute.RouteFilter: _fields("extensionRef cors externalAuth"),
    virtualservice.VirtualServiceSpec: _fields("tcp tls exportTo"),
    virtualservice.HttpRoute: _fields("delegate")
    | _fields("websocketUpgrade", ": remove it; WebSocket passes on every HTTP port without it"),
    virtualservice.HttpMatchRequest: _fields("statPrefix"),
    virtualservice.HttpRetry: _fields("retryRemoteLocalities"),
    virtualservice.FaultDelay: _fields("exponentialDelay"),
    virtualservice.FaultAbort: _fields("http2Error"),
    destinationrule.DestinationRuleSpec: _fields("exportTo workloadSelector"),
    destinationrule.TrafficPolicy: _fields("tunnel proxyProtocol retryBudget"),
    destinationrule.PortTrafficPolicy: _fields("tunnel proxyProtocol retryBudget portLevelSettings"),
    destinationrule.LoadBalancer: _fields("localityLbSetting warmupDurationSecs warmup"),
    destinationrule.HttpSettings: _fields("h2UpgradePolicy useClientProtocol"),
    destinationrule.HttpCookie: _fields("attributes"),
    destinationrule.ClientTls: _fields(
        "clientCertificate privateKey caCertificates credentialName subjectAltNames sni insecureSkipVerify caCrl"
    ),
    peerauthentication.WorkloadSelector: _fields("matchExpressions"),
    meshconfig.MeshConfigSpec: _fields(
        "accessLogFile accessLogFormat accessLogEncoding enableEnvoyAccessLogService disableEnvoyListenerLog "
        "enableTracing extensionProviders defaultProviders enablePrometheusMerge inboundClusterStatName "
        "outboundClusterStatName pathNormalization tlsDefaults meshMTLS trustDomainAliases caCertificates ca "
        "localityLbSetting tcpKeepalive h2UpgradePolicy inboundTrafficPolicy defaultServiceExportTo "
        "defaultVirtualServiceExportTo defaultDestinationRuleExportTo dnsRefreshRate serviceSettings "
        "serviceScopeConfigs verifyCertificateAtClient hboneIdleTimeout",
        " yet: remove it",
    )
    | _fields(
        "proxyListenPort proxyInboundListenPort proxyHttpPort protocolDetectionTimeout ingressClass ingressService "
        "ingressControllerMode ingressSelector defaultConfig configSources certificates discoverySelectors",
        ": it is about how Istio is installed; remove it",
    ),
    meshconfig.ConfigMapSpec: _fields("binaryData immutable", ": remove it"),
    meshconfig.ConfigMapData: _fields("meshNetworks", " yet: there is one network; remove it"),
}
"""Fields of supported kinds, with what to say after "is not supported by weft"."""

_OUTSIDE_KUBERNETES = "it is for Kubernetes only"
_PUBLISH = "no port of the host is opened; a Gateway publishes services"

NO_EFFECT_FIELDS: Mapping[type, Mapping[str, str]] = {
    core.ServiceAccountSpec: _fields("secrets imagePullSecrets automountServiceAccountToken", _OUTSIDE_KUBERNETES),
    core.SecretSpec: _fields("immutable", "documents change when they are applied"),
    core.ServicePortSpec: _fields("nodePort", _PUBLISH),
    core.ServiceSpec: _fields(
        "externalIPs loadBalancerIP loadBalancerClass loadBalancerSourceRanges allocateLoadBalancerNodePorts "
        "externalTrafficPolicy healthCheckNodePort",
        _PUBLISH,
    )
    | _fields("trafficDistribution", "endpoints are chosen without regard to zones"),
}
"""Fields of supported kinds that are taken with a warning, because callers in the mesh meet the same without them. What
is said after "has no effect in weft: "."""

_OUTSIDE = "; inside the mesh use ISTIO_MUTUAL or DISABLE"

UNSUPPORTED_VALUES: Mapping[tuple[type, str], Mapping[str, str]] = {
    (core.ServiceSpec, "sessionAffinity"): _fields("ClientIP", "; use a DestinationRule with consistentHash"),
    (httproute.RouteFilter, "type"): _fields("ExtensionRef CORS ExternalAuth"),
    (destinationrule.ClientTls, "mode"): _fields("SIMPLE MUTUAL", _OUTSIDE),
    (destinationrule.LoadBalancer, "simple"): _fields("PASSTHROUGH"),
}
"""Values of fields, with what to say after "is not supported by weft"."""


def _kinds(group: str, names: str, reason: str = "") -> dict[tuple[str, str], str]:
    return {(group, name): reason for name in names.split()}


UNSUPPORTED_KINDS: Mapping[tuple[str, str], str] = (
    _kinds("", "Endpoints")
    | _kinds("discovery.k8s.io", "EndpointSlice")
    | _kinds("networking.k8s.io", "NetworkPolicy", "; a cluster's network enforces it, here it would keep nobody out")
    | _kinds("extensions", "NetworkPolicy", "; a cluster's network enforces it, here it would keep nobody out")
    | _kinds(
        "networking.istio.io",
        "ServiceEntry WorkloadEntry WorkloadGroup Sidecar EnvoyFilter ProxyConfig",
    )
    | _kinds("networking.istio.io", "Gateway", "; use the Gateway of gateway.networking.k8s.io")
    | _kinds("security.istio.io", "AuthorizationPolicy RequestAuthentication")
    | _kinds("telemetry.istio.io", "Telemetry")
    | _kinds("extensions.istio.io", "WasmPlugin")
    | _kinds(
        "install.istio.io", "IstioOperator", "; its meshConfig goes into the spec of a MeshConfig of weft.dev/v1alpha1"
    )
    | _kinds(
        "gateway.networking.k8s.io",
        "GRPCRoute TLSRoute TCPRoute UDPRoute BackendTLSPolicy ListenerSet",
    )
    | _kinds("gateway.networking.k8s.io", "ReferencePolicy", "; it is the old name of ReferenceGrant")
)
"""Group and name of kinds that say something about a mesh, with what to say after "is not supported yet by weft"."""
