"""Istio networking: WorkloadEntry, one instance of an application that does not register itself."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated

from weft.schema.scalars import InstanceAddress, LabelKey, LabelValue, LocalityText, Name, Port, Range


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkloadEntrySpec:
    """https://istio.io/latest/docs/reference/config/networking/workload-entry/

    `address` is an IP address, or a name where names are resolved (a ServiceEntry of resolution DNS). `ports` says, by
    the name of a service's port, at which port it is served; others are served at the targetPort. Behind a proxy of
    the mesh are those with the label `security.istio.io/tlsMode: istio`; their certificate is that of
    `service_account`. Without `weight` it counts 1.
    """

    address: InstanceAddress
    ports: Mapping[Name, Port] = field(default_factory=dict)
    labels: Mapping[LabelKey, LabelValue] = field(default_factory=dict)
    locality: LocalityText = ""
    weight: Annotated[int, Range(0, 128)] = 0
    service_account: Name = ""
