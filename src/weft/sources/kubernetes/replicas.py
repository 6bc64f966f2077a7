"""Where the replicas of a control plane are: the Pods of a namespace that have certain labels, followed by a watch."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from urllib.parse import quote

import msgspec

from weft.aio.cell import Cell
from weft.model.origin import Origin
from weft.model.problem import Problem, Severity
from weft.sources.kubernetes.access import Credentials
from weft.sources.kubernetes.client import ApiClient
from weft.sources.kubernetes.documents import PREFIX
from weft.sources.kubernetes.reflection import Changes, Told
from weft.sources.kubernetes.reflector import USUAL, Pace, Reflector

_ENDED = frozenset(("Succeeded", "Failed"))
_FORBIDDEN = 403


@dataclass(frozen=True, slots=True, order=True)
class Place:
    """One replica: the name of its Pod, whose `uid` tells it from a later one of that name, and its address."""

    name: str
    host: str
    uid: str = ""


class _Status(msgspec.Struct, rename="camel"):
    phase: str = ""
    pod_ip: str = msgspec.field(default="", name="podIP")


class _Pod(msgspec.Struct):
    status: _Status = msgspec.field(default_factory=_Status)


class ReplicaPods:
    """`labels` is a selector of Kubernetes, ``app=weft,component=control-plane``; `name` is what people call the
    server. A Pod is there from when it has an address until it is no more, also while it ends: its proxies are."""

    def __init__(self, name: str, credentials: Credentials, namespace: str, labels: str, *, pace: Pace = USUAL) -> None:
        self._name = name
        self._credentials = credentials
        self._path = f"/api/v1/namespaces/{namespace}/pods?labelSelector={quote(labels, safe='')}"
        self._pace = pace
        self._places: Cell[tuple[Place, ...] | None] = Cell(None)
        self._reflector: Reflector[Place | None] | None = None
        self._stirred = asyncio.Event()

    @property
    def places(self) -> Cell[tuple[Place, ...] | None]:
        """The last value; None: the Pods were not read yet."""
        return self._places

    def problems(self) -> tuple[Problem, ...]:
        """What keeps the Pods from being read. An API server that is away is told by the source of documents."""
        failure = self._reflector.failure if self._reflector is not None else None
        if failure is None or failure.status != _FORBIDDEN:
            return ()
        text = f"the control plane's own pods cannot be read: {failure.message}; proxies of other replicas are unknown"
        expected = "a Role that allows to watch pods in the control plane's namespace"
        origin = Origin(f"{PREFIX}{self._name}")
        return (Problem(Severity.ERROR, "kubernetes-refused", text, origin, expected=expected),)

    async def run(self) -> None:
        """Follow for ever."""
        async with ApiClient(self._credentials) as client, asyncio.TaskGroup() as group:
            pods: Reflector[Place | None]
            pods = Reflector(client, self._path, read_place, self._changed, self._stirred.set, self._pace)
            self._reflector = pods
            group.create_task(pods.run())
            while True:
                await self._stirred.wait()
                self._stirred.clear()
                found = tuple(sorted(place for place in pods.values.values() if place is not None))
                if pods.whole and found != self._places.value:
                    self._places.set(found)

    def _changed(self, _: Changes[Place | None]) -> None:
        self._stirred.set()


def read_place(told: Told, _: Place | None) -> Place | None:
    """Where a Pod is; None if it is nowhere yet, or has ended."""
    try:
        status = msgspec.json.decode(told.text, type=_Pod).status
    except msgspec.MsgspecError:
        return None
    if not status.pod_ip or status.phase in _ENDED:
        return None
    return Place(told.name, status.pod_ip, told.uid)
