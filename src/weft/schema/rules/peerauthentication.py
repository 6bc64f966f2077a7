"""Rules of PeerAuthentication."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from weft.schema.findings import Finding, Rule, missing
from weft.schema.kinds.peerauthentication import PeerAuthenticationSpec


def peer_authentication(spec: PeerAuthenticationSpec) -> Iterator[Finding]:
    """Modes per port are for selected workloads only."""
    selected = spec.selector is not None and spec.selector.match_labels
    if spec.port_level_mtls and not selected:
        yield missing((), "'portLevelMtls' needs 'selector' with 'matchLabels'", "selector")


RULES: Mapping[type, tuple[Rule, ...]] = {PeerAuthenticationSpec: (peer_authentication,)}
