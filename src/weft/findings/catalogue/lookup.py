"""Looking codes up: by word or number, also that of Istio."""

from __future__ import annotations

from weft.findings.catalogue.access import ACCESS
from weft.findings.catalogue.analysis import ANALYSIS, TRAFFIC
from weft.findings.catalogue.authority import AUTHORITY
from weft.findings.catalogue.authorization import AUTHORIZATION
from weft.findings.catalogue.cluster_gateways import CLUSTER_GATEWAYS
from weft.findings.catalogue.clusters import CLUSTERS
from weft.findings.catalogue.connections import CONNECTIONS
from weft.findings.catalogue.control_plane import CONTROL_PLANE, PROXIES
from weft.findings.catalogue.documents import DOCUMENTS
from weft.findings.catalogue.entry import Entry
from weft.findings.catalogue.federation import FEDERATION
from weft.findings.catalogue.gateways import GATEWAYS
from weft.findings.catalogue.guards import GUARDS
from weft.findings.catalogue.http_routes import HTTP_ROUTES
from weft.findings.catalogue.imports import IMPORTS
from weft.findings.catalogue.injection import INJECTION
from weft.findings.catalogue.istio import NOT_HERE
from weft.findings.catalogue.kubernetes import KUBERNETES, VIEW
from weft.findings.catalogue.origination import ORIGINATION
from weft.findings.catalogue.outside import OUTSIDE
from weft.findings.catalogue.patches import PATCHES
from weft.findings.catalogue.replicas import REPLICAS
from weft.findings.catalogue.requests import REQUESTS
from weft.findings.catalogue.resilience import RESILIENCE
from weft.findings.catalogue.routes import ROUTES
from weft.findings.catalogue.secrets import SECRETS
from weft.findings.catalogue.servers import SERVERS
from weft.findings.catalogue.signals import SIGNALS
from weft.findings.catalogue.tokens import TOKENS
from weft.findings.catalogue.trust import TRUST
from weft.findings.catalogue.workloads import SECURITY, WORKLOADS
from weft.schema.wording import nearest_name

PAGE = "docs/findings.md"
CHAPTERS: tuple[tuple[str, tuple[Entry, ...]], ...] = (
    ("Documents", DOCUMENTS),
    ("Between documents", ROUTES),
    ("Connections", CONNECTIONS),
    ("Routes of HTTP and gRPC", HTTP_ROUTES),
    ("Gateways", GATEWAYS),
    ("Servers of gateways", SERVERS),
    ("Outside the mesh", OUTSIDE),
    ("Security", SECURITY),
    ("Workloads and services", WORKLOADS),
    ("Proxies", PROXIES),
    ("The control plane", CONTROL_PLANE),
    ("The certificate authority", AUTHORITY),
    ("Secrets", SECRETS),
    ("Analysis", ANALYSIS),
    ("Traffic", TRAFFIC),
    ("Requests", REQUESTS),
    ("Signals", SIGNALS),
    ("Federation", FEDERATION),
    ("The end of trust", TRUST),
    ("Access", (*ACCESS, *AUTHORIZATION)),
    ("Guards", GUARDS),
    ("Patches", PATCHES),
    ("Resilience", RESILIENCE),
    ("Tokens", TOKENS),
    ("Imports", IMPORTS),
    ("Kubernetes", KUBERNETES),
    ("What pods and namespaces ask for", VIEW),
    ("Injection", INJECTION),
    ("Several control planes", REPLICAS),
    ("Gateways of a cluster", CLUSTER_GATEWAYS),
    ("Clusters", CLUSTERS),
    ("Servers outside", ORIGINATION),
)
ENTRIES: dict[str, Entry] = {entry.code: entry for _, entries in CHAPTERS for entry in entries}
_NUMBERS: dict[str, Entry] = {entry.number: entry for entry in ENTRIES.values()}


def entry_of(code: str) -> Entry | None:
    """The entry of a code as Problems carry it."""
    return ENTRIES.get(code)


def found(text: str) -> tuple[Entry, ...]:
    """The entries that a person means: by the word, by our number, or by the number of an Istio message."""
    word = text.strip().lower()
    upper = word.upper()
    if word in ENTRIES:
        return (ENTRIES[word],)
    if upper in _NUMBERS:
        return (_NUMBERS[upper],)
    return tuple(entry for entry in ENTRIES.values() if upper in entry.istio)


def not_found(text: str) -> str:
    """What to say of a code that is none of ours."""
    upper = text.strip().upper()
    if upper in NOT_HERE:
        return f"{upper} has no code here: {NOT_HERE[upper]}"
    near = nearest_name(text.strip().lower(), ENTRIES) or nearest_name(upper, _NUMBERS)
    hint = f"; did you mean '{near}'?" if near else ""
    return f"there is no code '{text[:60]}'{hint}"


def page_of(code: str) -> str:
    """Where the pages say more."""
    return f"{PAGE}#{code}"
