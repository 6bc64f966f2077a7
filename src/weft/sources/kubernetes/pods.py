"""The source of workloads behind a Kubernetes API server: its Pods, EndpointSlices and Nodes, joined."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TypeVar

from weft.aio.cell import Cell
from weft.model.locality import Locality
from weft.model.origin import Origin
from weft.model.problem import Problem, Severity
from weft.sources.contents import Contents
from weft.sources.kubernetes.access import Credentials
from weft.sources.kubernetes.client import ApiClient
from weft.sources.kubernetes.documents import PREFIX
from weft.sources.kubernetes.join import Join
from weft.sources.kubernetes.objects import Pod, Slice, read_node, read_pod, read_slice
from weft.sources.kubernetes.reflection import Changes, Decode
from weft.sources.kubernetes.reflector import USUAL, Failure, Pace, Reflector
from weft.sources.kubernetes.scope import Gate, Scope, place_of
from weft.sources.kubernetes.source import KindState, tell_waiting

ValueT = TypeVar("ValueT")
_FORBIDDEN = 403
PODS, SLICES, NODES = "/api/v1/pods", "/apis/discovery.k8s.io/v1/endpointslices", "/api/v1/nodes"


@dataclass(frozen=True, slots=True)
class _Kind:
    """One of the three kinds. `without` says what the mesh does where it may not be read."""

    name: str
    without: str
    reflector: Reflector[Pod | None] | Reflector[Slice | None] | Reflector[Locality | None]

    @property
    def refused(self) -> bool:
        """Whether weft may not read it, and never could."""
        failure = self.reflector.failure
        return failure is not None and failure.status == _FORBIDDEN and not self.reflector.whole

    @property
    def settled(self) -> bool:
        """Whether nothing has to be waited for."""
        return self.reflector.whole or self.refused


class PodSource:
    """`name` is what people call the server. `contents` is None until all three kinds were read once. Where Pods or
    EndpointSlices may not be read, there are no workloads of it; where Nodes may not, nobody knows where they run."""

    def __init__(self, name: str, credentials: Credentials, *, pace: Pace = USUAL, scope: Scope | None = None) -> None:
        self._name = name
        self._credentials = credentials
        self._pace = pace
        self._scope = scope
        self._contents: Cell[Contents | None] = Cell(None)
        self._join = Join()
        self._kinds: tuple[_Kind, ...] = ()
        self._stirred = asyncio.Event()

    @property
    def contents(self) -> Cell[Contents | None]:
        """The last value."""
        return self._contents

    def states(self) -> tuple[KindState, ...]:
        """How it stands with each kind."""
        found = []
        for each in self._kinds:
            one = each.reflector
            found.append(KindState(each.name, one.size, one.lists, one.whole and one.failure is None))
        return tuple(found)

    def problems(self) -> tuple[Problem, ...]:
        """What keeps a kind from being followed; told also while there are no contents."""
        failures = [(each, each.reflector.failure) for each in self._kinds]
        refused = [self._refused(each, one) for each, one in failures if one and one.status == _FORBIDDEN]
        first = next(((each, one) for each, one in failures if one and one.status != _FORBIDDEN), None)
        return (*refused, *([self._unavailable(*first)] if first is not None else []))

    async def run(self) -> None:
        """Follow for ever."""
        async with ApiClient(self._credentials) as client, asyncio.TaskGroup() as group:
            if self._scope is not None:
                self._scope.listeners.append(self._stirred.set)
                await self._scope.known()
            none = "there are no workloads of it in the mesh"
            join = self._join
            pods: Reflector[Pod | None] = self._reflector(client, PODS, read_pod, join.take_pods)
            slices: Reflector[Slice | None] = self._reflector(client, SLICES, read_slice, join.take_slices)
            nodes: Reflector[Locality | None] = self._reflector(client, NODES, read_node, join.take_nodes, placed=False)
            self._kinds = (
                _Kind("pods", none, pods),
                _Kind("endpointslices.discovery.k8s.io", none, slices),
                _Kind("nodes", "nobody knows in which region and zone its workloads run", nodes),
            )
            for reflector in (pods, slices, nodes):
                group.create_task(reflector.run())
            await self._publish()

    def _reflector(
        self,
        client: ApiClient,
        path: str,
        decode: Decode[ValueT],
        changed: Callable[[Changes[ValueT]], None],
        *,
        placed: bool = True,
    ) -> Reflector[ValueT]:
        """One kind, whose objects are `placed` in namespaces or not."""

        def take(changes: Changes[ValueT]) -> None:
            changed(changes)
            self._stirred.set()

        scope = self._scope
        if scope is None or not placed:
            return Reflector(client, path, decode, take, self._stirred.set, self._pace)
        gate = Gate(scope, take, place_of, needed=False)

        def stir() -> None:
            scope.stir()
            self._stirred.set()

        gate.reflector = Reflector(client, path, decode, gate.take, stir, self._pace, gate.keeps)
        scope.add(gate)
        return gate.reflector

    async def _publish(self) -> None:
        """Publish what is known, when something is new and everything was read once."""
        waiting: tuple[Problem, ...] = ()
        pods, slices, _ = self._kinds
        while True:
            await self._stirred.wait()
            self._stirred.clear()
            if self._contents.value is None and not all(each.settled for each in self._kinds):
                waiting = tell_waiting(self.problems(), waiting)
                continue
            contents = Contents(problems=self.problems())
            if pods.reflector.whole and slices.reflector.whole:
                join = self._join
                join.settle()
                problems = (*contents.problems, *join.problems)
                contents = Contents(workloads=join.workloads, instances=join.instances, problems=problems)
            view = self._scope.view.value if self._scope is not None else None
            contents = replace(contents, view=view)
            if contents != self._contents.value:
                self._contents.set(contents)
            await asyncio.sleep(0)  # others may have changed more meanwhile

    def _refused(self, kind: _Kind, failure: Failure) -> Problem:
        meanwhile = "what was read last stays in force" if kind.reflector.whole else kind.without
        text = f"{kind.name} cannot be read: {failure.message}; {meanwhile}"
        expected = f"a ClusterRole that allows to watch {kind.name}"
        return Problem(Severity.ERROR, "kubernetes-refused", text, Origin(f"{PREFIX}{self._name}"), expected=expected)

    def _unavailable(self, kind: _Kind, failure: Failure) -> Problem:
        nothing = self._contents.value is None
        meanwhile = "nothing was read yet" if nothing else "what was read last stays in force"
        text = f"{kind.name} of {self._name} cannot be followed: {failure.message}; {meanwhile}"
        origin, expected = Origin(f"{PREFIX}{self._name}"), "an API server that answers"
        return Problem(Severity.ERROR, "kubernetes-unavailable", text, origin, expected=expected)
