"""Istio security: PeerAuthentication."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from weft.schema.scalars import LabelKey, LabelValue, Port

Mode = Literal["UNSET", "DISABLE", "PERMISSIVE", "STRICT"]


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkloadSelector:
    """Workloads of the document's namespace that carry all of these labels."""

    match_labels: Mapping[LabelKey, LabelValue] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class MutualTls:
    """UNSET takes the mode of the wider scope."""

    mode: Mode = "UNSET"


@dataclass(frozen=True, slots=True, kw_only=True)
class PeerAuthenticationSpec:
    """https://istio.io/latest/docs/reference/config/security/peer_authentication/"""

    selector: WorkloadSelector | None = None
    mtls: MutualTls = MutualTls()
    port_level_mtls: Mapping[Port, MutualTls] = field(default_factory=dict)
