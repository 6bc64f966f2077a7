"""Bundles of other trust domains, as they were fetched last and lie in the store."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from weft.model.bundles import ForeignBundle
from weft.model.problem import Problem
from weft.sources.buckets import BucketSource
from weft.sources.contents import Contents
from weft.store.protocol import Change, Delete, Entry, Put, Store

BUCKET = "trust-bundles"
_TIMES = "trust-bundle-times"
"""When each was fetched last, in a bucket of its own: that changes often, and nothing is compiled for it."""


def put_bundle(bundle: ForeignBundle) -> Put:
    """The write that keeps a bundle."""
    return Put(BUCKET, bundle.bundle.trust_domain, msgspec.json.encode(bundle))


def put_time(trust_domain: str, fetched: float) -> Put:
    """The write that keeps when (epoch seconds) the bundle of a trust domain was fetched."""
    return Put(_TIMES, trust_domain, msgspec.json.encode(fetched))


def forget(trust_domain: str) -> tuple[Change, ...]:
    """The writes that take a bundle out of force."""
    return Delete(BUCKET, trust_domain), Delete(_TIMES, trust_domain)


async def kept_bundles(store: Store) -> tuple[Mapping[str, ForeignBundle], Mapping[str, float]]:
    """What was fetched last and when, by trust domain. StoreError if it cannot be read."""
    bundles, times = {}, {}
    for entry in (await store.list(BUCKET))[1]:
        if (bundle := _decoded(entry)) is not None:
            bundles[entry.key] = bundle
    for entry in (await store.list(_TIMES))[1]:
        times[entry.key] = msgspec.json.decode(entry.value, type=float)
    return bundles, times


def bundles_source(store: Store) -> BucketSource[ForeignBundle]:
    """Gives the snapshot the bundles that were fetched."""
    return BucketSource(store, BUCKET, _kept, _hold)


def _hold(values: tuple[ForeignBundle, ...], problems: tuple[Problem, ...], revision: int) -> Contents:
    return Contents(bundles=values, problems=problems, store_revision=revision)


def _kept(entry: Entry, before: ForeignBundle | None) -> tuple[ForeignBundle | None, tuple[Problem, ...]]:
    found = _decoded(entry)
    return (before if found == before else found), ()


def _decoded(entry: Entry) -> ForeignBundle | None:
    """None for one of another version of weft: it is fetched again."""
    try:
        return msgspec.json.decode(entry.value, type=ForeignBundle)
    except msgspec.DecodeError:
        return None
