"""Drafts: a publication of the build loop as the revisions it is, ready to be written."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from weft.admin.history.notes import Note, Step
from weft.admin.history.record import ChangedObject, Kept, Record, Versions, is_secret, kept_document
from weft.admin.history.resources import Layers
from weft.admin.history.shelf import Head, Shelf
from weft.admin.owners import API, FILE, owner_of
from weft.discovery.status import WaitResult
from weft.mesh.differences import exchanged
from weft.model.document import Document, ObjectKey
from weft.model.origin import Origin
from weft.model.unreadable import Unreadable
from weft.sources.stored import stored_key

Documents = tuple[Document[object], ...]
_OBJECTS = 1000
"""Of one revision, that are kept and listed by name."""
_PLACES = 3


@dataclass(slots=True)
class Publication:
    """What the build loop told: the documents in force before (None: what the control plane before this one had) and
    after, the revisions of snapshot and store, what was seen at proxies, and when it began (monotonic and epoch
    seconds). `first` waits for proxies from the moment of the publication; `notes` and `drafts` are filled in while it
    is written. `behind`: other control planes have written since the one before, so that counts as before."""

    before: Documents | None
    after: Documents
    revision: int
    store_revision: int
    watched: Mapping[str, tuple[Layers, Layers]]
    begun: float = field(default_factory=time.monotonic)
    time: float = field(default_factory=time.time)
    first: asyncio.Future[WaitResult] | None = None
    notes: list[Note] | None = None
    drafts: list[Draft] | None = None
    written: list[Record] = field(default_factory=list)
    behind: bool = False


@dataclass(frozen=True, slots=True)
class Draft:
    """A revision that is to be written. `heads` are the latest states of its objects by their keys in the store."""

    record: Record
    versions: tuple[Versions, ...]
    heads: Mapping[str, Head | None]


@dataclass(frozen=True, slots=True)
class _Row:
    """One object of a draft."""

    key: ObjectKey
    owner: str
    origin: Origin
    versions: Versions
    before: str
    after: str

    @property
    def object(self) -> ChangedObject:
        change = "created" if not self.before else "changed" if self.after else "deleted"
        return ChangedObject(
            self.key.group,
            self.key.kind,
            self.key.namespace,
            self.key.name,
            change,
            self.owner,
            self.origin.source,
            self.origin.line,
            self.before,
            self.after,
        )


async def build_drafts(
    publication: Publication, notes: Iterable[Note], shelf: Shelf, secret: bytes, in_files: Collection[ObjectKey]
) -> list[Draft]:
    """The revisions that a publication is: each change through the admin API, and then what files changed."""
    found: list[Draft] = []
    told = {one.key for one in publication.after if isinstance(one.spec, Unreadable) and is_secret(one.key)}
    """Secrets that cannot be read now have not changed by that."""
    for note in notes:
        told.update(step.key for step in note.steps)
        rows = await asyncio.to_thread(_rows, [(step, API) for step in note.steps], secret)
        found.append(_draft(note.who, note.action, rows, publication.time, note.revision))
    if publication.before is None or publication.behind:
        rows = await _since_last_run(publication.after, shelf, secret, in_files, told)
        action = "start" if publication.before is None else "edit"
    else:
        steps = [step for step in _steps(*exchanged(publication.before, publication.after)) if step.key not in told]
        owners = [(step, await _owner(step, shelf, in_files)) for step in steps]
        rows = await asyncio.to_thread(_rows, owners, secret)
        action = "edit"
    rows = [row for row in rows if row.before != row.after]
    if rows:
        found.append(_draft(_places(rows), action, rows, publication.time, 0))
    return found


def _steps(gone: Iterable[Document[object]], come: Iterable[Document[object]]) -> list[Step]:
    """Documents that went and came, put together by their objects."""
    old, new = ({one.key: one for one in documents} for documents in (gone, come))
    return [Step(key, old.get(key), new.get(key)) for key in sorted(old.keys() | new.keys())]


async def _owner(step: Step, shelf: Shelf, in_files: Collection[ObjectKey]) -> str:
    """Whose document it is; of one that is gone, whose it was."""
    if step.new is not None:
        return owner_of(step.new, in_files)
    head = await shelf.head(stored_key(step.key))
    return head.owner if head is not None else FILE


def _rows(steps: Iterable[tuple[Step, str]], secret: bytes) -> list[_Row]:
    """Steps with their owners as rows. Of thousands this takes a while: not for the event loop."""
    return [_row(step, owner, secret) for step, owner in steps]


def _row(step: Step, owner: str, secret: bytes) -> _Row:
    before, after = (kept_document(one, secret) if one is not None else None for one in (step.old, step.new))
    shown = step.new or step.old
    origin = shown.origin if shown is not None else Origin("")
    return _Row(
        step.key, owner, origin, Versions(before, after), before.hash if before else "", after.hash if after else ""
    )


async def _since_last_run(
    documents: Documents, shelf: Shelf, secret: bytes, in_files: Collection[ObjectKey], told: Collection[ObjectKey]
) -> list[_Row]:
    """What is different from what the control plane before this one knew."""
    heads = await shelf.heads()
    kept = await asyncio.to_thread(lambda: {one.key: kept_document(one, secret) for one in documents})
    rows = []
    for document in documents:
        key, after, head = document.key, kept[document.key], heads.get(stored_key(document.key))
        if key not in told and (head is None or head.hash != after.hash):
            before = await _last(shelf, head, key)
            versions = Versions(before, after, left_out=head is not None and before is None)
            owner = owner_of(document, in_files)
            rows.append(_Row(key, owner, document.origin, versions, head.hash if head else "", after.hash))
    for name, head in heads.items():
        key = _object_key(name)
        if key not in kept and key not in told:
            before = await _last(shelf, head, key)
            origin = Origin(before.source if before else "")
            rows.append(_Row(key, head.owner, origin, Versions(before, left_out=before is None), head.hash, ""))
    return rows


async def _last(shelf: Shelf, head: Head | None, key: ObjectKey) -> Kept | None:
    """An object as the history has it last."""
    record = await shelf.record(head.revision) if head is not None else None
    if record is not None:
        for one, versions in zip(record.objects, await shelf.versions(record), strict=False):
            if one.key == key:
                return versions.after
    return None


def _object_key(name: str) -> ObjectKey:
    """The object of a key in the store."""
    group, kind, namespace, rest = name.split("/", 3)
    return ObjectKey(group, kind, namespace, rest)


def _places(rows: Sequence[_Row]) -> str:
    """The files that rows come from, the first of them by name."""
    names = list(dict.fromkeys(row.origin.source for row in rows if row.origin.source))
    more = f" and {len(names) - _PLACES} more" if len(names) > _PLACES else ""
    return ", ".join(names[:_PLACES]) + more


def _draft(who: str, action: str, rows: Sequence[_Row], now: float, store_revision: int) -> Draft:
    objects = tuple(row.object for row in rows[:_OBJECTS])
    record = Record(0, now, who, action, objects, len(rows), store_revision)
    heads = {stored_key(row.key): Head(row.after, 0, row.owner) if row.after else None for row in rows}
    return Draft(record, tuple(row.versions for row in rows[:_OBJECTS]), heads)
