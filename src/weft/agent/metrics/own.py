"""The agent's own metrics, and who its workload is, as its certificate says."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.x509.oid import NameOID

from weft import __version__
from weft.agent.metrics.families import Family, Sample, family
from weft.model.series import Peer

NOBODY = Peer("unknown", "unknown", "unknown", "", "unknown")


@dataclass(slots=True)
class AgentCounts:
    """What the agent counts of itself; those who do it add to it."""

    envoy_starts: int = 0
    application_failures: int = 0


def own_peer(chain: Path) -> tuple[Peer, float]:
    """Whom peers see in the certificate chain at `chain`, and when it ends (epoch seconds; 0 without one)."""
    try:
        leaf = x509.load_pem_x509_certificates(chain.read_bytes())[0]
        names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        uris: list[str] = names.get_values_for_type(x509.UniformResourceIdentifier)
    except (OSError, ValueError, IndexError, x509.ExtensionNotFound):
        return NOBODY, 0.0

    def part(kind: x509.ObjectIdentifier) -> str:
        found = leaf.subject.get_attributes_for_oid(kind)
        return str(found[0].value) if found else ""

    name = part(NameOID.COMMON_NAME) or part(NameOID.PSEUDONYM)
    workload, _, namespace = name.partition(".")
    service = part(NameOID.ORGANIZATION_NAME) or workload
    revision = part(NameOID.ORGANIZATIONAL_UNIT_NAME)
    peer = Peer(workload, namespace, service, revision, uris[0] if uris else "unknown", part(NameOID.TITLE))
    return peer, leaf.not_valid_after_utc.timestamp()


def own_trust_domain(chain: Path) -> str:
    """The trust domain of the certificate chain at `chain`; empty without one."""
    principal = own_peer(chain)[0].principal
    return principal.split("/")[2] if principal.startswith("spiffe://") else ""


def own_families(
    own: Peer, expiry: float, certificates: int, counts: AgentCounts, *, connected: bool, series: int, lag: float
) -> Iterator[Family]:
    """The ``weft_agent_...`` metrics."""
    info = (("workload", own.workload), ("namespace", own.namespace), ("version", __version__))
    yield Family("weft_agent_info", "gauge", "The agent's version.", (Sample(info, 1),))
    text = "When the workload's certificate ends, in seconds since the epoch."
    yield family("weft_agent_certificate_expiry_timestamp_seconds", "gauge", text, expiry)
    yield family("weft_agent_certificates_total", "counter", "Certificates that were put in place.", certificates)
    yield family("weft_agent_envoy_starts_total", "counter", "Starts of Envoy by this agent.", counts.envoy_starts)
    yield family("weft_agent_connected", "gauge", "Whether Envoy has a stream to the control plane.", int(connected))
    text = "Age of the oldest traffic that the control plane was not told of."
    yield family("weft_agent_report_lag_seconds", "gauge", text, lag)
    yield family("weft_agent_series", "gauge", "Series of traffic that Envoy keeps apart.", series)
    text = "How often the application's metrics could not be read."
    yield family("weft_agent_application_failures_total", "counter", text, counts.application_failures)
