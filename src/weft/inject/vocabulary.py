"""The labels and annotations of a pod that say something to an injector: what weft does for each, or why it does not.

https://istio.io/latest/docs/reference/config/annotations/ and https://istio.io/latest/docs/reference/config/labels/
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass

from weft.inject.names import ISTIO_INJECT, STATUS
from weft.model.revisions import INJECTION, ISTIO_REVISION, REVISION


class Meaning(enum.Enum):
    """What becomes of a key: it is done; it is left out with a warning; or the pod is refused, since it would be
    connected otherwise than it says."""

    DONE = "done"
    WARNED = "warned"
    REFUSED = "refused"


@dataclass(frozen=True, slots=True)
class Word:
    """A key. `text` says what it does, or what is there instead; `fitting` are values of one that is not done which say
    what weft does anyway."""

    meaning: Meaning
    text: str
    fitting: tuple[str, ...] = ()


def _done(text: str) -> Word:
    return Word(Meaning.DONE, text)


def _warned(text: str, *fitting: str) -> Word:
    return Word(Meaning.WARNED, text, fitting)


def _refused(text: str, *fitting: str) -> Word:
    return Word(Meaning.REFUSED, text, fitting)


_STATISTICS = "which statistics Envoy keeps is weft's; the metrics themselves are changed by a Telemetry"
_PATH = "sidecar.istio.io/"
_TRAFFIC = "traffic.sidecar.istio.io/"
_READINESS = "readiness.status.sidecar.istio.io/"
PROXY_CONFIG = "proxy.istio.io/config"
INCLUDE_RANGES = f"{_TRAFFIC}includeOutboundIPRanges"
EXCLUDE_RANGES = f"{_TRAFFIC}excludeOutboundIPRanges"
INCLUDE_OUTBOUND = f"{_TRAFFIC}includeOutboundPorts"
EXCLUDE_OUTBOUND = f"{_TRAFFIC}excludeOutboundPorts"
INCLUDE_INBOUND = f"{_TRAFFIC}includeInboundPorts"
EXCLUDE_INBOUND = f"{_TRAFFIC}excludeInboundPorts"
EXCLUDE_INTERFACES = f"{_TRAFFIC}excludeInterfaces"
REWRITE_PROBES = f"{_PATH}rewriteAppHTTPProbers"
NATIVE = f"{_PATH}nativeSidecar"
CPU, CPU_LIMIT = f"{_PATH}proxyCPU", f"{_PATH}proxyCPULimit"
MEMORY, MEMORY_LIMIT = f"{_PATH}proxyMemory", f"{_PATH}proxyMemoryLimit"
IMAGE = f"{_PATH}proxyImage"
INITIAL_DELAY = f"{_READINESS}initialDelaySeconds"
PERIOD = f"{_READINESS}periodSeconds"
FAILURES = f"{_READINESS}failureThreshold"

WORDS: Mapping[str, Word] = {
    INJECTION: _done("`enabled` or `disabled`: whether the pod gets a sidecar"),
    ISTIO_INJECT: _done("`true` or `false`: whether the pod gets a sidecar"),
    REVISION: _done("the revision of the control plane that injects the pod, where its namespace does not say"),
    ISTIO_REVISION: _done("the same"),
    STATUS: _done("written by weft: what was put into the pod"),
    INCLUDE_RANGES: _done("only connections to these ranges are captured; `*`: all; empty: none"),
    EXCLUDE_RANGES: _done("connections to these ranges are left alone"),
    INCLUDE_OUTBOUND: _done("connections to these ports are captured too, wherever they go"),
    EXCLUDE_OUTBOUND: _done("connections to these ports are left alone"),
    INCLUDE_INBOUND: _done("only callers of these ports are captured; `*`: all; empty: none"),
    EXCLUDE_INBOUND: _done("callers of these ports are left alone"),
    EXCLUDE_INTERFACES: _done("what leaves or comes by these interfaces is left alone"),
    f"{_TRAFFIC}kubevirtInterfaces": _refused("connections of virtual machines are not captured"),
    "istio.io/reroute-virtual-interfaces": _refused("connections of virtual machines are not captured"),
    f"{_PATH}interceptionMode": _refused("connections are captured by REDIRECT only", "REDIRECT"),
    REWRITE_PROBES: _done("`false`: probes stay as they are; the kubelet then calls through the proxy, in plaintext"),
    NATIVE: _done("`true` or `false`: whether the proxy is a native sidecar"),
    CPU: _done("what the proxy's container requests"),
    MEMORY: _done("what the proxy's container requests"),
    CPU_LIMIT: _done("the limit of the proxy's container"),
    MEMORY_LIMIT: _done("the limit of the proxy's container"),
    IMAGE: _done("the image of the sidecar"),
    INITIAL_DELAY: _done("of the readiness probe of the proxy"),
    PERIOD: _done("of the readiness probe of the proxy"),
    FAILURES: _done("of the readiness probe of the proxy"),
    PROXY_CONFIG: _done("YAML: `holdApplicationUntilProxyStarts` and `terminationDrainDuration`"),
    f"{_READINESS}applicationPorts": _warned("the proxy is ready with its first configuration"),
    "status.sidecar.istio.io/port": _warned("the ports of probes are 15020 and 15021", "15020", "15021"),
    f"{_PATH}proxyImageType": _warned("name the image itself with sidecar.istio.io/proxyImage"),
    f"{_PATH}logLevel": _warned("Envoy's log is at the level that weft sets"),
    f"{_PATH}componentLogLevel": _warned("Envoy's log is at the level that weft sets"),
    f"{_PATH}agentLogLevel": _warned("the agent's log has one level"),
    f"{_PATH}bootstrapOverride": _warned("the bootstrap is weft's own; an EnvoyFilter changes the rest"),
    f"{_PATH}discoveryAddress": _warned("the control plane is the one that injects"),
    f"{_PATH}controlPlaneAuthPolicy": _warned("the control plane is spoken to over TLS always", "MUTUAL_TLS"),
    f"{_PATH}enableCoreDump": _warned("no core dumps are written: they hold keys", "false"),
    f"{_PATH}userVolume": _warned("the proxy has no volumes but its own; certificates come from Secrets"),
    f"{_PATH}userVolumeMount": _warned("the proxy has no volumes but its own; certificates come from Secrets"),
    f"{_PATH}extraStatTags": _warned(_STATISTICS),
    f"{_PATH}statsInclusionPrefixes": _warned(_STATISTICS),
    f"{_PATH}statsInclusionSuffixes": _warned(_STATISTICS),
    f"{_PATH}statsInclusionRegexps": _warned(_STATISTICS),
    f"{_PATH}statsHistogramBuckets": _warned(_STATISTICS),
    f"{_PATH}statsCompression": _warned(_STATISTICS),
    f"{_PATH}status": _warned("it is written by Istio's injector"),
    "inject.istio.io/templates": _refused("there is one template, that of a sidecar", "sidecar"),
    "proxy.istio.io/overrides": _warned("it is written by Istio's injector"),
    "prometheus.istio.io/merge-metrics": _warned("metrics of the application are not among the proxy's", "false"),
    "security.istio.io/autoMTLS": _warned(
        "callers decide by the DestinationRule, else mTLS where it is spoken", "true"
    ),
    "security.istio.io/tlsMode": _warned("a PeerAuthentication says what is taken", "istio"),
    "istio.io/dataplane-mode": _warned("there is no ambient mode: the pod gets a sidecar", "none"),
    "ambient.istio.io/redirection": _warned("there is no ambient mode: the pod gets a sidecar", "disabled"),
    "ambient.istio.io/bypass-inbound-capture": _warned("there is no ambient mode: the pod gets a sidecar", "false"),
    "ambient.istio.io/dns-capture": _warned("there is no ambient mode: the pod gets a sidecar", "false"),
    "topology.istio.io/network": _warned("all pods are of one network"),
    "topology.istio.io/subzone": _warned("a pod is where its node is"),
    "service.istio.io/canonical-name": _warned("metrics name workloads by what made the pod"),
    "service.istio.io/canonical-revision": _warned("metrics have the label `version` of the pod"),
    "service.istio.io/workload-name": _warned("metrics name workloads as they are called"),
}
"""Every key that weft knows."""

_FAMILY = "istio.io"
_OWN_DOMAIN = "weft.dev"
_NOT_OF_PODS = frozenset(("operator.istio.io", "install.operator.istio.io", "galley.istio.io", "gateway.istio.io"))
"""Domains of what other programs of Istio write for themselves."""
_OWN_ELSEWHERE = frozenset(("weft.dev/default-access",))
"""Labels of ours that the mesh reads."""


def word_of(key: str) -> Word | None:
    """What is to be said of a label or an annotation; None where it is none of an injector's business."""
    if key in WORDS:
        return WORDS[key]
    domain, slash, _ = key.partition("/")
    if not slash or domain in _NOT_OF_PODS or key in _OWN_ELSEWHERE:
        return None
    if domain == _TRAFFIC.rstrip("/"):
        return _refused("weft does not know it")
    if domain in (_OWN_DOMAIN, _FAMILY) or domain.endswith(f".{_FAMILY}"):
        return _warned("weft does not know it")
    return None
