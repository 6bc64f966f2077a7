"""Annotations: weft's own, with what they may say; and those by which other projects change traffic."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from weft.model.identity import is_dns_label
from weft.schema.others import FOREIGN_GROUPS, owner_of

ACCESS_LOG = "weft.dev/access-log"
"""On a route: whether its requests have lines in access logs, whatever these say."""
ACCESS_LOG_SAMPLING = "weft.dev/access-log-sampling"
"""On a Telemetry: the percentage of lines that its access logs write of what went well."""
TRACE_SAMPLING = "weft.dev/trace-sampling"
"""On a route: the percentage of its requests that are traced where the caller did not decide."""
HEDGE = "weft.dev/hedge"
"""On a route: whether a request that changes nothing is sent a second time when its try takes too long."""
JWKS_FETCH = "weft.dev/jwks-fetch"
"""On a RequestAuthentication: who fetches the keys of its issuers."""
DEFAULT_ACCESS = "weft.dev/default-access"
"""On a Namespace: whether its workloads may be called where no policy says so. A workload's label of this name can say
`deny`."""
EXPORT_TO = "networking.istio.io/exportTo"
"""On a Service: the namespaces whose callers are told of it, with commas between them."""
SERVICE_TYPE = "networking.istio.io/service-type"
"""On a Gateway of the Gateway API in a cluster: the type of the Service that leads to its process."""
SERVICE_TYPES = ("LoadBalancer", "ClusterIP", "NodePort")
HTTP3 = "weft.dev/http3"
"""On a Gateway of either API, or a ListenerSet: whether its HTTPS listeners offer HTTP/3 too."""
GROUP = "weft.dev/group"
"""On a WorkloadEntry: the WorkloadGroup of its namespace as whose probe says the control plane asks for its health."""
OWN_DOMAIN = "weft.dev/"


def _percentage(text: str) -> bool:
    try:
        return 0 <= float(text) <= 100
    except ValueError:
        return False


def _on_or_off(text: str) -> bool:
    return text in ("on", "off")


def _true_or_false(text: str) -> bool:
    return text in ("true", "false")


def _when_hedged(text: str) -> bool:
    return text == "on-per-try-timeout"


def _who_fetches(text: str) -> bool:
    return text in ("control-plane", "proxy")


def _allow_or_deny(text: str) -> bool:
    return text in ("allow", "deny")


def _exports(text: str) -> bool:
    words = [word.strip() for word in text.split(",")]
    return all(word in (".", "*", "~") or is_dns_label(word) for word in words)


def _service_type(text: str) -> bool:
    return text in SERVICE_TYPES


OWN: Mapping[str, tuple[Callable[[str], bool], str]] = {
    ACCESS_LOG: (_on_or_off, "'on' or 'off'"),
    ACCESS_LOG_SAMPLING: (_percentage, "a percentage from 0 to 100"),
    HEDGE: (_when_hedged, "'on-per-try-timeout'"),
    JWKS_FETCH: (_who_fetches, "'control-plane' or 'proxy'"),
    TRACE_SAMPLING: (_percentage, "a percentage from 0 to 100"),
    HTTP3: (_true_or_false, "'true' or 'false'"),
    GROUP: (is_dns_label, "the name of a WorkloadGroup"),
    DEFAULT_ACCESS: (_allow_or_deny, "'allow' or 'deny'"),
}
"""Ours: whether a text is right, and what would be."""
READ: Mapping[str, tuple[Callable[[str], bool], str]] = {
    EXPORT_TO: (_exports, "namespaces with commas between them, '.' for its own, '*' for all, or '~' for none"),
    SERVICE_TYPE: (_service_type, "'LoadBalancer', 'ClusterIP' or 'NodePort'"),
}
"""Those of others that are in force here, in the same words."""

_DOMAINS: Mapping[str, str] = {
    **FOREIGN_GROUPS,
    "istio.io": "Istio",
    "contour.heptio.com": "Contour",
    "nginx.com": "NGINX",
    "nginx.ingress.kubernetes.io": "ingress-nginx",
    "traefik.ingress.kubernetes.io": "Traefik",
    "haproxy-ingress.github.io": "HAProxy Ingress",
    "ingress.kubernetes.io": "ingress controllers",
    "service.kubernetes.io": "Kubernetes",
    "service.alpha.kubernetes.io": "Kubernetes",
}
"""Domains of annotations (and everything below them) whose owners change traffic by them."""
_WITHOUT_TRAFFIC = frozenset(
    (
        "linkerd.io/inject", "linkerd.io/created-by", "linkerd.io/proxy-version", "kuma.io/sidecar-injection",
        "consul.hashicorp.com/connect-inject",
        "istio.io/dry-run", EXPORT_TO, SERVICE_TYPE,
    )
)  # fmt: skip
"""Annotations of theirs that say only who gets a sidecar, or who wrote the document."""

_PROTOCOL = "the appProtocol of the Service's port"
_RETRIES = "the retry of an HTTPRoute's rule, or the retries of a VirtualService"
_TIMEOUTS = "the timeouts of an HTTPRoute's rule"
_REWRITE = "a URLRewrite filter of an HTTPRoute's rule"
_POOL = "the connectionPool of a DestinationRule"
_STICKY = "consistentHash in a DestinationRule"
_INSTEAD: tuple[tuple[str, str], ...] = (
    ("retry.linkerd.io/", _RETRIES),
    ("timeout.linkerd.io/", _TIMEOUTS),
    ("balancer.linkerd.io/failure-accrual", "the outlierDetection of a DestinationRule"),
    ("config.linkerd.io/opaque-ports", "appProtocol: tcp on the Service's port"),
    ("config.linkerd.io/default-inbound-policy", "a PeerAuthentication"),
    (".service.kuma.io/protocol", _PROTOCOL),
    ("konghq.com/protocol", _PROTOCOL),
    ("konghq.com/retries", _RETRIES),
    ("konghq.com/connect-timeout", _POOL),
    ("konghq.com/read-timeout", _TIMEOUTS),
    ("konghq.com/write-timeout", _TIMEOUTS),
    ("konghq.com/strip-path", _REWRITE),
    ("konghq.com/path", _REWRITE),
    ("konghq.com/host-header", _REWRITE),
    ("projectcontour.io/upstream-protocol", _PROTOCOL),
    ("projectcontour.io/num-retries", _RETRIES),
    ("projectcontour.io/retry-on", _RETRIES),
    ("projectcontour.io/per-try-timeout", _RETRIES),
    ("projectcontour.io/response-timeout", _TIMEOUTS),
    ("projectcontour.io/max-", _POOL),
    ("nginx.ingress.kubernetes.io/backend-protocol", _PROTOCOL),
    ("nginx.ingress.kubernetes.io/proxy-next-upstream", _RETRIES),
    ("nginx.ingress.kubernetes.io/proxy-connect-timeout", _POOL),
    ("nginx.ingress.kubernetes.io/proxy-", _TIMEOUTS),
    ("nginx.ingress.kubernetes.io/rewrite-target", _REWRITE),
    ("nginx.ingress.kubernetes.io/canary", "the weights of an HTTPRoute's backendRefs"),
    ("nginx.ingress.kubernetes.io/affinity", _STICKY),
    ("traefik.ingress.kubernetes.io/service.sticky", _STICKY),
    ("traefik.ingress.kubernetes.io/service.serversscheme", _PROTOCOL),
)
"""What an annotation's name holds, and what weft has for it. The first that fits counts."""


def foreign_annotation(key: str) -> str:
    """What is to be said of an annotation by which another project changes traffic; empty for all others."""
    domain, slash, _ = key.partition("/")
    owner = owner_of(domain, _DOMAINS) if slash and key not in _WITHOUT_TRAFFIC else ""
    if not owner:
        return ""
    instead = next((words for part, words in _INSTEAD if part in key), "")
    return f"the annotation '{key}' is for {owner} and has no effect in weft" + (f"; use {instead}" if instead else "")
