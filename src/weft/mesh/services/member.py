"""Members: instances without an agent, as documents or a cluster describe them, whatever service they are behind."""

from __future__ import annotations

import enum
from dataclasses import dataclass

from weft.model.document import ObjectKey
from weft.model.labels import Labels
from weft.model.locality import NOWHERE, Locality
from weft.model.origin import Origin
from weft.model.workload import WorkloadState


class PortNames(enum.StrEnum):
    """What the names of a member's ports mean. SERVICE: the ports of services, where these differ from the targetPort.
    ONLY: the ports of its service, and it serves no others. TARGET: what a targetPort that is a name means."""

    SERVICE = "service"
    ONLY = "only"
    TARGET = "target"


@dataclass(frozen=True, slots=True, eq=False)
class Member:
    """One instance: its address (a name where DNS is asked), and ports of it by name. `account` (empty: nobody said) is
    whose certificate its proxy has, if it is `meshed`, that is behind one. With `service`, a name in its namespace, it
    is behind that Service alone. Compared by identity."""

    key: ObjectKey
    origin: Origin
    address: str
    ports: tuple[tuple[str, int], ...] = ()
    labels: Labels = ()
    locality: Locality = NOWHERE
    weight: int = 1
    account: str = ""
    meshed: bool = False
    state: WorkloadState = WorkloadState.HEALTHY
    names: PortNames = PortNames.SERVICE
    service: str = ""

    @property
    def name(self) -> str:
        """What people are told: the name of its document and its namespace, as of a proxy."""
        return f"{self.key.name}.{self.key.namespace}"

    def port(self, name: str, target: int | str, number: int) -> int | None:
        """Where it serves a service's port of this name, targetPort and number; None if it does not."""
        ports = dict(self.ports)
        if self.names is PortNames.ONLY:
            return ports.get(name)
        if self.names is PortNames.TARGET:
            return target if isinstance(target, int) else ports.get(target)
        found = ports.get(name) or ports.get(str(target)) or target
        return found if isinstance(found, int) else number
