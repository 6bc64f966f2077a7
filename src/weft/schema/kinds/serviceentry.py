"""Istio networking: ServiceEntry, a service that no Service document describes, mostly outside the mesh."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Literal

from weft.schema.kinds.workloadentry import WorkloadEntrySpec
from weft.schema.scalars import (
    AddressRange,
    Export,
    HeaderValue,
    Hostname,
    LabelKey,
    LabelValue,
    Length,
    Name,
    Port,
    ServiceProtocol,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceEntryPort:
    """A port callers name. `target_port` is the instances' port behind it, if it is another."""

    number: Port
    name: Name
    protocol: ServiceProtocol = "TCP"
    target_port: Port | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class EntrySelector:
    """The workloads and WorkloadEntries of the same namespace with all of these labels."""

    labels: Mapping[LabelKey, LabelValue]


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceEntrySpec:
    """https://istio.io/latest/docs/reference/config/networking/service-entry/

    `hosts` are what callers name, with a leading `*.` every name under it; `addresses` are further names of the same
    service. `endpoints`, or what `workload_selector` selects, are its instances; without both DNS knows them, or with
    NONE and DYNAMIC_DNS the name that each caller calls. `subject_alt_names` are those that the certificate of the
    server may have.
    """

    hosts: Annotated[tuple[Hostname, ...], Length(1, 256)]
    addresses: Annotated[tuple[AddressRange, ...], Length(0, 256)] = ()
    ports: Annotated[tuple[ServiceEntryPort, ...], Length(0, 256)] = ()
    location: Literal["MESH_EXTERNAL", "MESH_INTERNAL"] = "MESH_EXTERNAL"
    resolution: Literal["NONE", "STATIC", "DNS", "DNS_ROUND_ROBIN", "DYNAMIC_DNS"] = "NONE"
    endpoints: Annotated[tuple[WorkloadEntrySpec, ...], Length(0, 4096)] = ()
    workload_selector: EntrySelector | None = None
    export_to: tuple[Export, ...] = ()
    subject_alt_names: tuple[HeaderValue, ...] = ()
