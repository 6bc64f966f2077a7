"""Undoing a revision: the documents as they were before it are applied again, if nobody has changed them since."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from weft.admin.context import ApiContext
from weft.admin.documents import document_hash
from weft.admin.history.comparing import kept_diff, kept_yaml
from weft.admin.history.notes import Step, noting
from weft.admin.history.record import ChangedObject, Record, Versions, document_of, is_secret, kept_document
from weft.admin.replies import Refused
from weft.model.document import Document, key_mapping
from weft.sources.contents import owned_keys
from weft.sources.stored import BUCKET, document_from_entry, put_document, stored_key
from weft.store.protocol import Change, Delete, Entry, Put


@dataclass(frozen=True, slots=True)
class Undone:
    """One object: what is stored now, and the document that takes its place (None: it is deleted). `diff` is from the
    one to the other."""

    about: ChangedObject
    entry: Entry | None
    now: Document[object] | None
    then: Document[object] | None
    diff: str

    @property
    def change(self) -> str:
        """What undoing does to it."""
        if self.now is None:
            return "created" if self.then is not None else "unchanged"
        if self.then is None:
            return "deleted"
        return "configured" if self.diff else "unchanged"


@dataclass(frozen=True, slots=True)
class Plan:
    """What undoing a revision comes to. `left` are objects that stay as they are, each with the reason."""

    undone: tuple[Undone, ...]
    left: tuple[tuple[ChangedObject, str], ...]


async def plan_undo(context: ApiContext, record: Record, *, force: bool) -> Plan:
    """How a revision is undone. Refused (409) when it is of files, or when objects were changed since, but for `force`,
    which undoes later changes of the same objects, too."""
    recorder = context.history
    versions = await recorder.shelf.versions(record)
    _check_owner(context, record, versions)
    secret = await recorder.hash_key()
    undone, left, conflicts = [], [], []
    for one, each in zip(record.objects, versions, strict=True):
        reason = _not_kept(one, each)
        if reason:
            left.append((one, reason))
            continue
        entry = await context.store.get(BUCKET, stored_key(one.key))
        now = document_from_entry(entry)[0] if entry is not None else None
        kept = kept_document(now, secret) if now is not None else None
        held = kept.hash if kept is not None else ""
        if held not in (one.after, one.before) and not force:
            head = await recorder.shelf.head(stored_key(one.key))
            conflicts.append({**key_mapping(one.key), "revision": head.revision if head else 0})
            continue
        then = document_of(each.before, one.namespace) if each.before is not None else None
        title, same = f"before revision {record.revision}", held == one.before
        diff = "" if same else await asyncio.to_thread(kept_diff, kept, each.before, "in force", title)
        undone.append(Undone(one, entry, now, then, diff))
    _check_conflicts(record, conflicts)
    if record.object_count > len(record.objects):
        raise Refused(409, "not-kept", f"revision {record.revision} has too many documents to be undone as one")
    if left and not undone:
        raise Refused(409, "not-kept", f"revision {record.revision} cannot be undone: {left[0][0].key}: {left[0][1]}")
    return Plan(tuple(undone), tuple(left))


def _check_owner(context: ApiContext, record: Record, versions: Sequence[Versions]) -> None:
    """What files say can be changed in the files only."""
    if record.action == "start" and all(one.change == "created" for one in record.objects):
        raise Refused(409, "first-revision", f"revision {record.revision} is what the mesh was started with")
    owned = owned_keys(context.files)
    of_files = [
        (one, each)
        for one, each in zip(record.objects, versions, strict=True)
        if one.owner == "file" or one.key in owned
    ]
    if not of_files:
        return
    files = [
        {
            **key_mapping(one.key),
            "source": one.source,
            "line": one.line,
            "before": kept_yaml(each.before) if each.before is not None else None,
            "left_out": each.left_out,
        }
        for one, each in of_files
    ]
    places = ", ".join(dict.fromkeys(one.source for one, _ in of_files))
    text = f"revision {record.revision} was made in {places}: undo it there; nothing was changed"
    raise Refused(409, "owned-by-file", text, files=files)


def _not_kept(one: ChangedObject, versions: Versions) -> str:
    """Why an object cannot be made what it was; empty: it can."""
    if versions.left_out:
        return "it was too large to be kept"
    if one.before and is_secret(one.key):
        return "the values of secrets are not kept: apply the former ones again"
    if versions.before is not None and document_of(versions.before, one.namespace) is None:
        return "this weft cannot read what it was"
    return ""


def _check_conflicts(record: Record, conflicts: Sequence[Mapping[str, object]]) -> None:
    if conflicts:
        first = ", ".join(f"{one['kind']} {one['name']} by revision {one['revision']}" for one in conflicts[:5])
        raise Refused(
            409,
            "changed-since",
            f"revision {record.revision} cannot be undone alone, because its objects were changed since: {first}",
            conflicts=list(conflicts),
        )


async def write_undo(context: ApiContext, who: str, record: Record, plan: Plan) -> int:
    """Write it, in one step. The store's revision; ConflictError when somebody was faster."""
    changes: list[Change] = []
    written: list[tuple[Put, Document[object]]] = []
    expect, steps = {}, []
    action = f"undo {record.revision}"
    for one in plan.undone:
        if one.change == "unchanged":
            continue
        key = one.about.key
        expect[BUCKET, stored_key(key)] = one.entry.revision if one.entry is not None else 0
        if one.then is None:
            changes.append(Delete(BUCKET, stored_key(key)))
        else:
            then = replace(one.then, generation=one.now.generation + 1 if one.now is not None else 1)
            put = put_document(then, then.generation)
            changes.append(put)
            written.append((put, then))
        steps.append(Step(key, one.now, one.then))
        hashes = {"before": document_hash(one.now), "after": document_hash(one.then)}
        changes.append(context.audit.done(who, action, object=str(key), **hashes))
    context.applied.expect(written)
    with noting(context.history.notes, who, action, steps) as note:
        note.revision = await context.store.write(changes, expect)
    return note.revision
