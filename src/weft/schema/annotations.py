"""Annotations by which other projects change traffic: whose they are, and what weft has instead."""

from __future__ import annotations

from collections.abc import Mapping

from weft.schema.others import FOREIGN_GROUPS, owner_of

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
