"""SPIFFE identities (SPIFFE-ID specification, section 2) and proxy names."""

from __future__ import annotations

import re
from dataclasses import dataclass

DEFAULT_TRUST_DOMAIN = "cluster.local"
DNS_SUFFIX = "cluster.local"
_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
_POD_UID = re.compile(r"[-0-9A-Za-z]{1,63}")
_TRUST_DOMAIN = re.compile(r"[a-z0-9._-]{1,255}")


def is_dns_label(text: str) -> bool:
    """Whether `text` is an RFC 1123 label, as namespaces and service accounts of weft must be."""
    return _LABEL.fullmatch(text) is not None


def is_pod_uid(text: str) -> bool:
    """Whether `text` can be the uid of a Pod (RFC 4122; nobody promises that form)."""
    return _POD_UID.fullmatch(text) is not None


def is_trust_domain(text: str) -> bool:
    """Whether `text` may stand as a SPIFFE trust domain."""
    return _TRUST_DOMAIN.fullmatch(text) is not None


@dataclass(frozen=True, slots=True, order=True)
class SpiffeId:
    """A workload identity: ``spiffe://<trust-domain>/ns/<namespace>/sa/<service-account>``."""

    trust_domain: str
    namespace: str
    service_account: str

    def __str__(self) -> str:
        return f"spiffe://{self.trust_domain}/ns/{self.namespace}/sa/{self.service_account}"


def spiffe_id_from_text(text: str) -> SpiffeId | None:
    """The identity in `text`, or None unless it has exactly the form weft issues."""
    head, _, rest = text.partition("://")
    parts = rest.split("/")
    if head != "spiffe" or len(parts) != 5 or parts[1] != "ns" or parts[3] != "sa":
        return None
    if not is_trust_domain(parts[0]) or not is_dns_label(parts[2]) or not is_dns_label(parts[4]):
        return None
    return SpiffeId(parts[0], parts[2], parts[4])


def proxy_name(workload: str, namespace: str) -> str:
    """The name of a workload's proxy: Envoy's node id and the common name of its certificate."""
    return f"{workload}.{namespace}"
