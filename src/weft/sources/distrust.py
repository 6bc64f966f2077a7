"""Ends of trust of the store: which identities are revoked, and which certificates are refused."""

from __future__ import annotations

import msgspec

from weft.model.distrust import Distrust
from weft.model.problem import Problem
from weft.sources.buckets import BucketSource
from weft.sources.contents import Contents, source_problem
from weft.store.protocol import Entry, Put, Store

DISTRUST_BUCKET = "distrust"


def put_distrust(distrust: Distrust) -> Put:
    """The write that stores it."""
    return Put(DISTRUST_BUCKET, distrust.key, msgspec.json.encode(distrust))


def distrust_from_value(value: bytes) -> Distrust:
    """A stored one; msgspec.DecodeError if it is not one."""
    return msgspec.json.decode(value, type=Distrust)


def distrust_source(store: Store) -> BucketSource[Distrust]:
    """The ends of trust."""
    return BucketSource(store, DISTRUST_BUCKET, _decode, _hold)


def _hold(values: tuple[Distrust, ...], problems: tuple[Problem, ...], revision: int) -> Contents:
    return Contents(distrusted=values, problems=problems, store_revision=revision)


def _decode(entry: Entry, before: Distrust | None) -> tuple[Distrust | None, tuple[Problem, ...]]:
    """What cannot be read any more stays as it was."""
    try:
        found = distrust_from_value(entry.value)
    except msgspec.DecodeError:
        text = f"the end of trust {entry.key} cannot be decoded; revoke it again"
        return before, (source_problem("distrust-damaged", text, "store"),)
    return (before if before == found else found), ()
