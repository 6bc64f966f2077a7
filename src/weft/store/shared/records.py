"""What lies in the repository: batches, the head that names everything, parts of the log, snapshots. Bytes and back."""

from __future__ import annotations

import zlib
from collections.abc import Iterable
from typing import TypeVar

import msgspec

from weft.store.protocol import Entry, StoreError

FORMAT = 1
CHUNK_BYTES = 900_000
"""Of one object. A Secret holds at most 1 MiB, an object of etcd 1.5 MiB."""
LARGEST_BYTES = 256 * 1024 * 1024
"""Of anything that is read, when it is no longer compressed."""
_LEVEL = 1
ValueT = TypeVar("ValueT")


class Row(msgspec.Struct, frozen=True, array_like=True):
    """One change. No value: what is there is removed."""

    bucket: str
    key: str
    value: bytes | None


class Batch(msgspec.Struct, frozen=True, array_like=True):
    """What one write did. `index` counts batches, `revision` is the store's from then on, which those that only lease
    keep. `id` is unique, `by` is the replica, `time` and the ends of `leases` are epoch seconds."""

    index: int
    revision: int
    id: str
    by: str
    time: float
    rows: tuple[Row, ...]
    leases: dict[str, float]


class Part(msgspec.Struct, frozen=True, array_like=True):
    """Batches `first` to `last`: the objects that hold them, in order."""

    first: int
    last: int
    names: tuple[str, ...]


class Snapshot(msgspec.Struct, frozen=True, array_like=True):
    """Everything as it was after batch `index`: the objects that hold it, in order."""

    index: int
    names: tuple[str, ...]


class Head(msgspec.Struct, frozen=True):
    """The one object that is replaced: whoever replaces the version that he has read has written. `lineage` is drawn
    when it is made, `tail` are the batches that are in no part."""

    lineage: str
    index: int = 0
    snapshot: Snapshot | None = None
    parts: tuple[Part, ...] = ()
    tail: tuple[Batch, ...] = ()
    format: int = FORMAT

    @property
    def names(self) -> frozenset[str]:
        """All objects that it names."""
        found = [name for part in self.parts for name in part.names]
        return frozenset([*found, *(self.snapshot.names if self.snapshot is not None else ())])


class Kept(msgspec.Struct, frozen=True, array_like=True):
    """An entry in a snapshot, as `Entry` has it."""

    bucket: str
    key: str
    value: bytes
    revision: int
    created: float


class Everything(msgspec.Struct, frozen=True, array_like=True):
    """A snapshot: the entries, the leases with the replicas that hold them, and the ids of the last batches."""

    index: int
    revision: int
    entries: tuple[Kept, ...]
    leases: dict[str, tuple[float, str]]
    ids: tuple[str, ...]


def kept_from(entry: Entry) -> Kept:
    """An entry for a snapshot."""
    return Kept(entry.bucket, entry.key, entry.value, entry.revision, entry.created)


def packed(value: Head | Everything | tuple[Batch, ...]) -> bytes:
    """Bytes of it."""
    return zlib.compress(msgspec.msgpack.encode(value), _LEVEL)


def unpacked(data: bytes, kind: type[ValueT]) -> ValueT:
    """What `packed` was given. StoreError if it is damaged."""
    try:
        unzip = zlib.decompressobj()
        text = unzip.decompress(data, LARGEST_BYTES)
        if not unzip.eof or unzip.unconsumed_tail:
            raise StoreError("the shared store is damaged: an object is cut off, or too large")
        return msgspec.msgpack.decode(text, type=kind)
    except (zlib.error, msgspec.DecodeError) as error:
        raise StoreError(f"the shared store is damaged ({error}), or another version of weft wrote it") from error


def head_from(data: bytes) -> Head:
    """The head. StoreError if it is damaged, or of a version that is not known."""
    head = unpacked(data, Head)
    if head.format != FORMAT:
        text = f"the shared store has format {head.format}, and this version of weft reads {FORMAT}: it is too old"
        raise StoreError(text)
    return head


def chunks(data: bytes) -> Iterable[bytes]:
    """`data` in pieces that fit into an object each."""
    return (data[start : start + CHUNK_BYTES] for start in range(0, len(data), CHUNK_BYTES))


def size_of(batches: Iterable[Batch]) -> int:
    """About how many bytes they come to."""
    return sum(len(msgspec.msgpack.encode(batch)) for batch in batches)
