"""Registered workloads of the store."""

from __future__ import annotations

import msgspec

from weft.aio.cell import Cell
from weft.model.problem import Problem
from weft.model.workload import Workload
from weft.sources.contents import Contents, source_problem
from weft.sources.following import follow_bucket
from weft.sources.mirror import Mirror
from weft.store.protocol import LEASED_BUCKET, Entry, Put, Store


def workload_key(namespace: str, name: str) -> str:
    """The store key of a registration, which is also its lease key."""
    return f"{namespace}/{name}"


def workload_key_of_proxy(proxy: str) -> str:
    """The store key of the registration of a proxy (`Workload.proxy`)."""
    name, _, namespace = proxy.partition(".")
    return workload_key(namespace, name)


def put_workload(workload: Workload) -> Put:
    """The write that stores `workload`."""
    return Put(LEASED_BUCKET, workload_key(workload.namespace, workload.name), msgspec.json.encode(workload))


def workload_from_value(value: bytes) -> Workload:
    """A stored registration; msgspec.DecodeError if it is not one."""
    return msgspec.json.decode(value, type=Workload)


class WorkloadsSource:
    """The registered workloads."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._contents: Cell[Contents | None] = Cell(None)

    @property
    def contents(self) -> Cell[Contents | None]:
        """The last value."""
        return self._contents

    async def run(self) -> None:
        """Follow the store for ever."""
        mirror = Mirror(_decode)
        async for change in follow_bucket(self._store, LEASED_BUCKET):
            await mirror.take(change)
            contents = Contents(workloads=mirror.values, problems=mirror.problems, store_revision=change.revision)
            self._contents.set(contents)


def _decode(entry: Entry, before: Workload | None) -> tuple[Workload | None, tuple[Problem, ...]]:
    try:
        workload = workload_from_value(entry.value)
    except msgspec.DecodeError:
        text = f"the registration {entry.key} cannot be decoded; restart its agent"
        return None, (source_problem("registration-damaged", text, "store"),)
    return (before if before == workload else workload), ()
