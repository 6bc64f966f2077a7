"""What exists upstream and is not supported here: told apart from typing errors, and refused by name."""

from __future__ import annotations

from collections.abc import Mapping

from weft.schema.kinds import (
    core,
    destinationrule,
    envoyfilter,
    gateway,
    grpcroute,
    httproute,
    istiogateway,
    meshconfig,
    peerauthentication,
    providers,
    proxyconfig,
    sessionpersistence,
    sidecar,
    smi,
    virtualservice,
    workloadentry,
    workloadgroup,
    xbackendtrafficpolicy,
    xtelemetrypolicy,
)


def _fields(names: str, reason: str = "") -> dict[str, str]:
    """Fields, or values of a field, that are refused for one reason."""
    return dict.fromkeys(names.split(), reason)


_FILES = ": certificates and keys come from Secrets, no proxy reads files that documents name; use credentialName"
UNSUPPORTED_FIELDS: Mapping[type, Mapping[str, str]] = {
    workloadgroup.ReadinessProbe: _fields(
        "exec", ": no document starts programs on hosts; use httpGet or tcpSocket, or `weft run --health`"
    )
    | _fields("grpc", "; use httpGet or tcpSocket"),
    core.ServiceSpec: _fields("sessionAffinityConfig", "; use a DestinationRule with consistentHash"),
    gateway.GatewaySpec: _fields("backendTLS defaultScope"),
    gateway.ListenerTls: _fields("frontendValidation"),
    istiogateway.GatewayServerSpec: _fields("defaultEndpoint", ": a route says where requests go"),
    istiogateway.GatewayServerPort: _fields("targetPort", ", which Istio ignores too: remove it"),
    istiogateway.ServerTls: _fields("serverCertificate privateKey caCertificates caCrl tlsCertificates", _FILES),
    grpcroute.GrpcRouteSpec: _fields("useDefaultGateways"),
    grpcroute.GrpcRouteFilter: _fields("extensionRef"),
    httproute.HttpRouteSpec: _fields("useDefaultGateways"),
    sessionpersistence.SessionPersistence: _fields(
        "idleTimeout",
        ": nobody keeps note of when a session was last used; use a permanent cookie with absoluteTimeout",
    ),
    httproute.RouteFilter: _fields("extensionRef"),
    virtualservice.L4MatchAttributes: _fields("sourceSubnet", "; Istio ignores it: use an AuthorizationPolicy"),
    virtualservice.FaultDelay: _fields("exponentialDelay", ": no proxy delays so (nor does Istio); use fixedDelay"),
    virtualservice.FaultAbort: _fields(
        "http2Error", ": no proxy aborts so (nor does Istio); use httpStatus or grpcStatus"
    ),
    destinationrule.PortTrafficPolicy: _fields("portLevelSettings"),
    destinationrule.HttpCookie: _fields("attributes"),
    destinationrule.ClientTls: _fields(
        "clientCertificate privateKey", ": no document names files of a proxy's machine; use credentialName"
    )
    | _fields("caCrl", ": no document names files of a proxy's machine; use ca.crl in the Secret of credentialName"),
    envoyfilter.ConfigMatch: _fields(
        "proxy", ": there is one version of proxies; remove it, or say with workloadSelector which workloads are meant"
    ),
    envoyfilter.FilterChainMatch: _fields(
        "applicationProtocols", ": filter chains are told apart by name, sni and transportProtocol"
    ),
    envoyfilter.RouteConfigurationMatch: _fields("portName", "; use portNumber"),
    envoyfilter.PatchValue: _fields(
        "filterClass", "; say the place with INSERT_BEFORE or INSERT_AFTER and the name of a filter"
    ),
    envoyfilter.EnvoyFilterSpec: _fields("targetRefs", "; use workloadSelector"),
    envoyfilter.ConfigPatch: _fields("listener routeConfiguration cluster", " here: conditions stand in match"),
    smi.SmiAccount: _fields("port", "; name a TCPRoute with this port in the rules"),
    xbackendtrafficpolicy.BudgetDetails: _fields(
        "interval", ": Envoy counts the requests that are under way, over no interval; remove it"
    ),
    sidecar.IngressListener: _fields("bind", "; `weft run` says where the proxy is reached")
    | _fields("tls", "; a PeerAuthentication says what the port accepts"),
    sidecar.EgressListener: _fields("bind", "; `weft run --upstream` opens a port that leads to a service"),
    sidecar.IngressPort: _fields("targetPort", "; use defaultEndpoint"),
    sidecar.EgressPort: _fields("targetPort", ": it means nothing here"),
    meshconfig.OutboundTrafficPolicy: _fields("egressProxy", "; a VirtualService leads through an egress gateway"),
    peerauthentication.WorkloadSelector: _fields("matchExpressions"),
    meshconfig.MeshConfigSpec: _fields(
        "enableEnvoyAccessLogService disableEnvoyListenerLog inboundClusterStatName outboundClusterStatName "
        "pathNormalization tlsDefaults meshMTLS trustDomainAliases caCertificates ca "
        "tcpKeepalive h2UpgradePolicy inboundTrafficPolicy dnsRefreshRate serviceSettings "
        "serviceScopeConfigs verifyCertificateAtClient hboneIdleTimeout",
        " yet: remove it",
    )
    | _fields(
        "proxyListenPort proxyInboundListenPort proxyHttpPort protocolDetectionTimeout ingressClass ingressService "
        "ingressControllerMode ingressSelector configSources certificates discoverySelectors",
        ": it is about how Istio is installed; remove it",
    ),
    providers.ExtensionProvider: _fields("lightstep", "; it takes OTLP: use opentelemetry")
    | _fields("datadog", "; its agent takes OTLP: use opentelemetry")
    | _fields("skywalking", "; its server takes OTLP and Zipkin's form: use opentelemetry or zipkin")
    | _fields("stackdriver", "; a collector sends it on: use opentelemetry and envoyOtelAls")
    | _fields("opencensus", "; Envoy does not have it any more: use opentelemetry")
    | _fields("sds", ": keys never leave the directory of the agent that made them"),
    providers.OpenTelemetryProvider: _fields("dynatraceSampler", ": the mesh samples by percentage")
    | _fields("resourceDetectors", ": spans name service, version, namespace and workload without it"),
    providers.ProviderHeader: _fields("envName", ": a proxy's environment holds nothing of yours; use value"),
    proxyconfig.ProxyConfig: _fields(
        "discoveryAddress serviceCluster configPath binaryPath proxyAdminPort controlPlaneAuthPolicy customConfigFile "
        "statNameLength statusPort image privateKeyProvider caCertificatesPem meshId readinessProbe "
        "proxyBootstrapTemplatePath runtimeValues zipkinAddress",
        ": it is about how Istio is installed; remove it",
    )
    | _fields(
        "drainDuration terminationDrainDuration parentShutdownDuration holdApplicationUntilProxyStarts "
        "proxyStatsMatcher extraStatTags interceptionMode gatewayTopology sds envoyAccessLogService "
        "envoyMetricsService availabilityZone proxyHeaders fileFlushInterval fileFlushMinSizeKb statsEvictionInterval",
        " yet: remove it",
    ),
    proxyconfig.ProxyConfigSpec: _fields(
        "image", ": a proxy is the Envoy that its agent finds (WEFT_ENVOY, the installed one, PATH); remove it"
    ),
    proxyconfig.ProxyTracing: _fields("lightstep datadog stackdriver openCensusAgent", "; use opentelemetry")
    | _fields("tlsSettings", ": collectors outside the mesh are reached over TLS, but on loopback")
    | _fields("enableIstioTags", " here; a Telemetry says it"),
    xtelemetrypolicy.TracingConfig: _fields("spanName", ": spans are named by the host that was called"),
    xtelemetrypolicy.ParentBasedSampling: _fields("samplingRate", ": who is sampled by a caller is sampled here"),
    meshconfig.ConfigMapSpec: _fields("binaryData immutable", ": remove it"),
    meshconfig.ConfigMapData: _fields("meshNetworks", " yet: there is one network; remove it"),
}
"""Fields of supported kinds, with what to say after "is not supported by weft"."""

_OUTSIDE_KUBERNETES = "it is for Kubernetes only"
_PUBLISH = "no port of the host is opened; a Gateway publishes services"

NO_EFFECT_FIELDS: Mapping[type, Mapping[str, str]] = {
    virtualservice.HttpRoute: _fields("websocketUpgrade", "WebSocket passes on every HTTP port, as in Istio"),
    gateway.GatewaySpec: _fields("infrastructure", "you start the gateway's process: `weft gateway --labels`"),
    workloadentry.WorkloadEntrySpec: _fields("network", "there is one network: callers connect to the address"),
    workloadgroup.GroupTemplate: _fields("network", "there is one network: callers connect to the address")
    | _fields("address", "each workload says where it is reached: weft run --inbound-address"),
    core.ServiceAccountSpec: _fields("secrets imagePullSecrets automountServiceAccountToken", _OUTSIDE_KUBERNETES),
    core.SecretSpec: _fields("immutable", "documents change when they are applied"),
    core.ServicePortSpec: _fields("nodePort", _PUBLISH),
    core.ServiceSpec: _fields(
        "externalIPs loadBalancerIP loadBalancerClass loadBalancerSourceRanges allocateLoadBalancerNodePorts "
        "externalTrafficPolicy healthCheckNodePort",
        _PUBLISH,
    ),
}
"""Fields of supported kinds that are taken with a warning, because callers in the mesh meet the same without them. What
is said after "has no effect in weft: "."""

UNSUPPORTED_VALUES: Mapping[tuple[type, str], Mapping[str, str]] = {
    (core.ServiceSpec, "trafficDistribution"): _fields("PreferSameNode", "; there are no nodes, use PreferSameZone"),
    (core.ServiceSpec, "sessionAffinity"): _fields("ClientIP", "; use a DestinationRule with consistentHash"),
    (httproute.RouteFilter, "type"): _fields("ExtensionRef"),
    (grpcroute.GrpcRouteFilter, "type"): _fields("ExtensionRef"),
    (sidecar.IngressListener, "captureMode"): _fields("IPTABLES", "; proxies are called where workloads say"),
    (sidecar.EgressListener, "captureMode"): _fields("IPTABLES", "; applications call their proxy"),
    (destinationrule.LoadBalancer, "simple"): _fields(
        "PASSTHROUGH", ": callers of the mesh name a host, so there is no address that they called"
    ),
    (envoyfilter.ConfigPatch, "applyTo"): _fields(
        "BOOTSTRAP", ": it is about how a proxy starts, and not asked for again"
    )
    | _fields("LISTENER_FILTER", ": no proxy of the mesh looks into connections that it is not called with")
    | _fields("EXTENSION_CONFIG", "; write the filter itself with HTTP_FILTER"),
}
"""Values of fields, with what to say after "is not supported by weft"."""


def _kinds(group: str, names: str, reason: str = "") -> dict[tuple[str, str], str]:
    return {(group, name): reason for name in names.split()}


UNSUPPORTED_KINDS: Mapping[tuple[str, str], str] = (
    _kinds("", "Endpoints")
    | _kinds("discovery.k8s.io", "EndpointSlice")
    | _kinds("networking.k8s.io", "NetworkPolicy", "; a cluster's network enforces it, here it would keep nobody out")
    | _kinds("extensions", "NetworkPolicy", "; a cluster's network enforces it, here it would keep nobody out")
    | _kinds("extensions.istio.io", "WasmPlugin")
    | _kinds(
        "install.istio.io", "IstioOperator", "; its meshConfig goes into the spec of a MeshConfig of weft.dev/v1alpha1"
    )
    | _kinds("gateway.networking.k8s.io", "ReferencePolicy", "; it is the old name of ReferenceGrant")
)
"""Group and name of kinds that say something about a mesh, with what to say after "is not supported yet by weft"."""
