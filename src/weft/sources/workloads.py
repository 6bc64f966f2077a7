"""Registered workloads of the store."""

from __future__ import annotations

import msgspec

from weft.model.problem import Problem
from weft.model.workload import Workload
from weft.sources.buckets import BucketSource
from weft.sources.contents import Contents, source_problem
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


def workloads_source(store: Store) -> BucketSource[Workload]:
    """The registered workloads."""
    return BucketSource(store, LEASED_BUCKET, _decode, _hold)


def _hold(values: tuple[Workload, ...], problems: tuple[Problem, ...], revision: int) -> Contents:
    return Contents(workloads=values, problems=problems, store_revision=revision)


def _decode(entry: Entry, before: Workload | None) -> tuple[Workload | None, tuple[Problem, ...]]:
    try:
        workload = workload_from_value(entry.value)
    except msgspec.DecodeError:
        text = f"the registration {entry.key} cannot be decoded; restart its agent"
        return None, (source_problem("registration-damaged", text, "store"),)
    return (before if before == workload else workload), ()
