"""Istio's installation in words: Helm values (`values` of an IstioOperator, too), and the IstioOperator itself.

https://istio.io/latest/docs/reference/config/istio.operator.v1alpha1/ and the values of Istio's charts `base`,
`istiod`, `cni`, `ztunnel` and `gateway`.
"""

from __future__ import annotations

from weft.migrate.words import Words, differs, missing, needless, same, words

_PER_POD = "each pod says it by the same annotation; there is no default for all"
_CHART = "the chart's value"
_SCHEDULED = "`nodeSelector`, `tolerations`, `affinity`, `topologySpreadConstraints`, `priorityClassName` of the chart"
_AMBIENT = "there is no ambient mode: pods get sidecars, and a Service's policies are in force at its workloads"
_ONE_CLUSTER = "a mesh is one cluster, and hosts beside it; other meshes are told by FederatedTrustDomain"
_OWN_GATEWAYS = (
    "a Gateway of the Gateway API becomes Deployment and Service by itself; an Istio Gateway's selector is served by "
    "`weft gateway`, or by such a Gateway whose `infrastructure.labels` it selects"
)

VALUES: Words = words({
    "global.hub global.tag global.variant global.imagePullPolicy global.imagePullSecrets hub tag variant image "
    "pilot.image pilot.hub pilot.tag pilot.variant global.proxy.image global.proxy_init.image": differs(
        "`image.repository`, `image.tag`, `image.pullSecrets` and `injection.image` of the chart"
    ),
    "global.istioNamespace": needless("the namespace is Helm's `--namespace`"),
    "global.defaultResources global.defaultNodeSelector global.defaultTolerations": differs(
        f"`resources` of the chart, and {_SCHEDULED}"
    ),
    "global.defaultPodDisruptionBudget pilot.podDisruptionBudget podDisruptionBudget": same(
        f"{_CHART} `podDisruptionBudget.enabled`"
    ),
    "global.priorityClassName": same(f"{_CHART} `priorityClassName`"),
    "global.configValidation": same(f"{_CHART} `validation.enabled`"),
    "global.logging global.logAsJson": differs("weft has one log, in text, without scopes"),
    "global.meshID global.multiCluster global.network global.meshNetworks global.remotePilotAddress "
    "global.externalIstiod global.configCluster istiodRemote remotePilotAddress": missing(_ONE_CLUSTER),
    "global.caAddress global.caName global.certSigners global.pilotCertProvider": differs(
        "who signs is said to the control plane: its own root, an intermediate that is brought, or Vault (docs/ca.md)"
    ),
    "global.mountMtlsCerts global.jwtPolicy global.sds global.sts": needless(
        "keys stay in the proxy's directory, and tokens are bound to their pods, always"
    ),
    "global.omitSidecarInjectorConfigMap global.operatorManageWebhooks global.istiod global.platform "
    "global.trustBundleName global.resourceScope": needless("it is about Istio's own objects"),
    "global.waypoint global.hboneInitialWindowSize": missing(_AMBIENT),
    "global.networkPolicy": same(f"{_CHART} `networkPolicy.enabled`"),
    "global.proxy.autoInject": same("pods are injected where their namespace or they themselves say so", ),
    "global.proxy.clusterDomain": differs("names end in `svc.cluster.local`"),
    "global.proxy.resources": differs(
        "annotations `sidecar.istio.io/proxyCPU`, `proxyMemory`, `proxyCPULimit`, `proxyMemoryLimit` of the pods"
    ),
    "global.proxy.includeIPRanges global.proxy.excludeIPRanges global.proxy.includeInboundPorts "
    "global.proxy.excludeInboundPorts global.proxy.includeOutboundPorts global.proxy.excludeOutboundPorts": differs(
        f"annotations `traffic.sidecar.istio.io/…`: {_PER_POD}", "*", ""
    ),
    "global.proxy.privileged": differs("the proxy is never privileged", "false"),
    "global.proxy.enableCoreDump": missing("no core dumps are written: they hold keys", "false"),
    "global.proxy.logLevel global.proxy.componentLogLevel global.proxy.outlierLogPath": differs(
        "Envoy's log is at the level that weft sets"
    ),
    "global.proxy.readinessInitialDelaySeconds global.proxy.readinessPeriodSeconds "
    "global.proxy.readinessFailureThreshold": differs(
        f"annotations `readiness.status.sidecar.istio.io/…`: {_PER_POD}"
    ),
    "global.proxy.startupProbe global.proxy.statusPort global.proxy.lifecycle": needless(
        "the proxy's probes and its end are weft's"
    ),
    "global.proxy.holdApplicationUntilProxyStarts": needless("a native sidecar starts before the application, always"),
    "global.proxy.tracer global.tracer": differs("`extensionProviders` of the MeshConfig, and a Telemetry"),
    "global.proxy.seccompProfile": needless("the proxy's is RuntimeDefault"),
    "global.proxy_init": needless("what leads connections into the proxy is weft's own"),
    "global.nativeNftables": needless("the rules are written for what the kernel has"),
    "pilot.autoscaleEnabled pilot.autoscaleMin pilot.autoscaleMax pilot.autoscaleBehavior pilot.cpu pilot.memory "
    "pilot.replicaCount pilot.rollingMaxSurge pilot.rollingMaxUnavailable": differs(
        "how many control planes there are is said by values of weft's chart"
    ),
    "pilot.resources": same(f"{_CHART} `resources`"),
    "pilot.nodeSelector pilot.tolerations pilot.affinity pilot.topologySpreadConstraints": same(_SCHEDULED),
    "pilot.podAnnotations": same(f"{_CHART} `podAnnotations`"),
    "pilot.podLabels": same(f"{_CHART} `podLabels`"),
    "pilot.serviceAccountAnnotations": same(f"{_CHART} `serviceAccount.annotations`"),
    "pilot.serviceAnnotations pilot.deploymentLabels pilot.ipFamilyPolicy pilot.ipFamilies pilot.volumes "
    "pilot.volumeMounts pilot.initContainers pilot.seccompProfile pilot.enabled pilot.configMap "
    "pilot.configNamespace pilot.extraContainerArgs pilot.envVarFrom pilot.podDisruptionBudget": needless(
        "it is about istiod's own objects"
    ),
    "pilot.traceSampling": differs("`randomSamplingPercentage` of a Telemetry"),
    "pilot.cni": differs(f"{_CHART} `cni.enabled`"),
    "pilot.taint": needless("a pod that is not captured does not run"),
    "pilot.trustedZtunnelNamespace pilot.trustedZtunnelName": missing(_AMBIENT),
    "pilot.jwksResolverExtraRootCA": missing("keys come from servers whose certificates the system trusts"),
    "pilot.keepaliveMaxServerConnectionAge": needless("how long streams to proxies last is weft's own"),
    "pilot.env": differs("istiod's variables are not weft's; what is set otherwise is to be looked at one by one"),
    "pilot.env.PILOT_TRACE_SAMPLING": differs("`randomSamplingPercentage` of a Telemetry"),
    "pilot.env.PILOT_ENABLE_HEADLESS_SERVICE_POD_LISTENERS": same("pods of headless services are called by name"),
    "pilot.env.ENABLE_NATIVE_SIDECARS": same("native sidecars are the default; `injection.classic: true` turns it off"),
    "pilot.env.PILOT_ENABLE_AMBIENT pilot.env.PILOT_ENABLE_HBONE": missing(_AMBIENT),
    "pilot.env.PILOT_HTTP10": differs("ProxyConfig with `ISTIO_META_HTTP10`"),
    "pilot.env.PILOT_SCOPE_GATEWAY_TO_NAMESPACE": missing("an Istio Gateway may select a process of another namespace"),
    "pilot.env.EXTERNAL_ISTIOD": missing(_ONE_CLUSTER),
    "sidecarInjectorWebhook.rewriteAppHTTPProbe": same("probes are rewritten; the annotation turns it off for a pod"),
    "sidecarInjectorWebhook.enableNamespacesByDefault": missing("a namespace is injected where it says so", "false"),
    "sidecarInjectorWebhook.neverInjectSelector sidecarInjectorWebhook.alwaysInjectSelector": missing(
        "the label `sidecar.istio.io/inject` of the pods says it"
    ),
    "sidecarInjectorWebhook.injectedAnnotations sidecarInjectorWebhook.templates "
    "sidecarInjectorWebhook.defaultTemplates": missing("there is one template; annotations of pods change it"),
    "sidecarInjectorWebhook.reinvocationPolicy sidecarInjectorWebhook.reinvocation sidecarInjectorWebhook": needless(
        "it is about Istio's webhook"
    ),
    "telemetry": same("metrics have Istio's names, and are there without being asked for"),
    "telemetry.v2.stackdriver": missing("metrics go to Prometheus, or anywhere by OTLP (`otlpMetrics`)"),
    "meshConfig": same("the fields are those of weft's MeshConfig"),
    "revision": same(f"{_CHART} `revision`"),
    "revisionTags defaultRevision": same(f"{_CHART} `revisionTags`"),
    "ownerName base compatibilityVersion experimental profile installPackagePath "
    "enableIstioConfigCRDs": needless("it is about how Istio's charts are installed"),
    "cni": differs("`cni` of weft's chart"),
    "cni.ambient": missing(_AMBIENT),
    "cni.cniBinDir cni.cniConfDir": differs("directories of weft's CNI plugin: see `cni` of its chart"),
    "istio_cni": differs(f"{_CHART} `cni.enabled`"),
    "ztunnel": missing(_AMBIENT),
    "gateways gateway": differs(_OWN_GATEWAYS),
    "gateways.seccompProfile gateways.securityContext": needless("gateways run as restricted Pod Security wants it"),
})  # fmt: skip
"""By path in Helm values."""

FLAT = ("_internal_defaults_do_not_edit", "defaults")
"""Under these, charts have their own values once more."""

OPERATOR: Words = words({
    "profile hub tag namespace installPackagePath compatibilityVersion addonComponents "
    "resourceSuffix": needless("it is about how Istio is installed"),
    "revision": same(f"{_CHART} `revision`"),
    "components.base": needless("it is about how Istio is installed"),
    "components.pilot": differs("the control plane is installed by weft's chart, with values of its own"),
    "components.pilot.enabled components.istiodRemote": needless("it is about how Istio is installed"),
    "components.cni": differs(f"{_CHART} `cni.enabled`"),
    "components.ztunnel": missing(_AMBIENT),
    "components.ingressGateways components.egressGateways": differs(_OWN_GATEWAYS),
})  # fmt: skip
"""By path below `spec` of an IstioOperator, besides `meshConfig` and `values`."""
