"""The annotation proxy.istio.io/config of a pod: which of its fields are done.

https://istio.io/latest/docs/reference/config/istio.mesh.v1alpha1/#ProxyConfig
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from weft.inject.findings import Findings
from weft.inject.vocabulary import PROXY_CONFIG
from weft.schema.yaml_nodes import parse_documents, plain_value

HOLD, DRAIN = "holdApplicationUntilProxyStarts", "terminationDrainDuration"
DONE: Mapping[str, str] = {
    HOLD: "the application starts when the proxy is ready; native sidecars always do so",
    DRAIN: "how long the proxy serves on at least after it was told to stop",
}
INSTEAD: Mapping[str, str] = {
    "concurrency": "a ProxyConfig document with a selector says it",
    "environmentVariables": "a ProxyConfig document with a selector says it",
    "proxyMetadata": "a ProxyConfig document says what of it has a meaning here",
    "tracing": "a Telemetry says it",
    "drainDuration": "weft drains as docs/failure.md says",
    "parentShutdownDuration": "weft drains as docs/failure.md says",
    "discoveryAddress": "the control plane is the one that injects",
    "configPath": "there is none",
    "binaryPath": "it is that of the image",
    "customConfigFile": "the bootstrap is weft's own",
    "proxyBootstrapTemplatePath": "the bootstrap is weft's own",
    "serviceCluster": "a workload is called as its pod",
    "proxyAdminPort": "Envoy's admin interface is a unix socket",
    "controlPlaneAuthPolicy": "the control plane is spoken to over TLS always",
    "statNameLength": "it is Envoy's",
    "statusPort": "it is 15020",
    "image": "sidecar.istio.io/proxyImage says it",
    "extraStatTags": "the metrics are changed by a Telemetry",
    "proxyStatsMatcher": "the metrics are changed by a Telemetry",
    "gatewayTopology": "a MeshConfig says it",
    "readinessProbe": "the annotations readiness.status.sidecar.istio.io/ say it",
    "privateKeyProvider": "keys are made where they are used, in memory",
    "caCertificatesPem": "the roots of the mesh are told by the control plane",
    "envoyAccessLogService": "a Telemetry says it",
    "envoyMetricsService": "metrics are scraped, or pushed by a Telemetry",
    "meshId": "the trust domain names the mesh",
    "interceptionMode": "connections are captured by REDIRECT only",
    "runtimeValues": "Envoy's runtime is weft's",
    "sds": "keys come over a local file",
    "zipkinAddress": "a Telemetry says it",
    "availabilityZone": "a pod is where its node is",
    "proxyHeaders": "an EnvoyFilter says it",
    "fileFlushInterval": "it is Envoy's",
    "fileFlushMinSizeKb": "it is Envoy's",
}
"""Fields that are not done, and what is there instead."""
_DURATION = re.compile(r"(?:[0-9]+(?:\.[0-9]+)?(?:h|m|s|ms))+")
_PART = re.compile(r"([0-9]+(?:\.[0-9]+)?)(ms|h|m|s)")
_SECONDS = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 0.001}
_LONGEST = 24 * 3600.0
_LARGEST = 8 * 1024
"""Characters: YAML takes two milliseconds for each thousand."""


@dataclass(frozen=True, slots=True)
class ProxyWishes:
    """What is done of it. None: it does not say. `drain` in seconds."""

    hold: bool | None = None
    drain: float | None = None


def read_proxy_config(text: str, findings: Findings) -> ProxyWishes:
    """What the annotation says; fields that are not done, or cannot be read, are told."""
    path = ("metadata", "annotations", PROXY_CONFIG)
    if not text.strip():
        return ProxyWishes()
    if len(text) > _LARGEST:
        findings.refuse(f"{PROXY_CONFIG} has {len(text)} characters", *path, expected=f"at most {_LARGEST}")
        return ProxyWishes()
    documents = list(parse_documents(text, PROXY_CONFIG))
    problem = next((one for document in documents for one in document.problems), None)
    root = documents[0].root if len(documents) == 1 and problem is None else None
    given = plain_value(root) if root is not None else None
    if not isinstance(given, dict):
        said = f": {problem.message}" if problem is not None else ""
        findings.warn(f"{PROXY_CONFIG} cannot be read and does nothing{said}", *path, expected="one mapping in YAML")
        return ProxyWishes()
    hold, drain = given.get(HOLD), given.get(DRAIN)
    if hold is not None and not isinstance(hold, bool):
        findings.warn(f"{PROXY_CONFIG}: {HOLD} cannot be read", *path, expected="true or false")
    if drain is not None and _seconds(drain) is None:
        findings.warn(f"{PROXY_CONFIG}: {DRAIN} cannot be read", *path, expected="a duration such as 5s")
    for name in sorted(set(given) - set(DONE)):
        near = findings.nearest(name, (*DONE, *INSTEAD), 0.6) if name not in INSTEAD else ""
        message = f"{PROXY_CONFIG}: '{name[:80]}' is not done: {INSTEAD.get(name, 'weft does not know it')}"
        # How connections are led is not cosmetic: REDIRECT is what happens, all else does not.
        other_capture = name == "interceptionMode" and given[name] != "REDIRECT"
        tell = findings.refuse if other_capture else findings.warn
        if name != "interceptionMode" or other_capture:
            tell(message, *path, nearest=near)
    return ProxyWishes(hold if isinstance(hold, bool) else None, _seconds(drain))


def _seconds(value: object) -> float | None:
    """Seconds of a Go duration, at most a day."""
    if not isinstance(value, str) or len(value) > 40 or not _DURATION.fullmatch(value):
        return None
    seconds = sum(float(number) * _SECONDS[unit] for number, unit in _PART.findall(value))
    return seconds if seconds <= _LONGEST else None
