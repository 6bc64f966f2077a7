"""An Instance: an application without an agent of weft, as a cluster tells of it: a Pod, or an address of a slice."""

from __future__ import annotations

from dataclasses import dataclass

from weft.model.document import ObjectKey
from weft.model.labels import Labels
from weft.model.locality import NOWHERE, Locality
from weft.model.origin import Origin
from weft.model.workload import WorkloadState


@dataclass(frozen=True, slots=True)
class Instance:
    """One address at which an application is served. `key` is the Pod, or the EndpointSlice that has the address.

    Of a Pod `ports` are the ports of its containers that have names, and services find it by its `labels`. With
    `service` (a name in its namespace) it stands behind that service alone, and `ports` are those of the service, by
    their names. `account`: it has a proxy of the mesh with the certificate of this service account (empty: it has
    none, and is spoken to in plaintext). `state` is never STARTING: who has never been ready is no instance yet.
    """

    key: ObjectKey
    origin: Origin
    address: str
    labels: Labels = ()
    ports: tuple[tuple[str, int], ...] = ()
    locality: Locality = NOWHERE
    state: WorkloadState = WorkloadState.HEALTHY
    service: str = ""
    account: str = ""


def instance_order(instance: Instance) -> tuple[str, str, str, str, str]:
    """The sort key of instances in a snapshot."""
    key = instance.key
    return key.namespace, key.kind, key.name, instance.service, instance.address
