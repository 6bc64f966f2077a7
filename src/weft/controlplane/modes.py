"""What is in force of what is changed in steps: documents, kept for the next control plane to go on from.

Those that set mutual-TLS modes are kept always, those of services whose ports turn from requests to connections or back
while they do. Proxies hold what the last control plane told them. If another one began with what the documents say by
now, callers and servers would change at the moment at which each happens to come back.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import replace

import msgspec

from weft.mesh.policies.meshconfig import settings_documents
from weft.mesh.policies.peerauthentication import peer_documents
from weft.model.document import Document
from weft.sources.stored import document_from_entry, put_document, stored_key
from weft.store.protocol import Change, Delete, Put, Store, StoreError

_log = logging.getLogger("weft.builds")
BUCKET = "mutual-tls"
_HALFWAY = "halfway"
Documents = tuple[Document[object], ...]


class _Kept(msgspec.Struct, frozen=True):
    """One value in the bucket: a document as the store has it, and when it was made."""

    document: bytes
    created: float


class Modes:
    """One task uses it: the build loop. `halfway`: callers may know already what comes after the documents kept.
    `turning`: services among these have ports that turn."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._kept: dict[str, bytes] = {}
        self._documents: Documents = ()
        self.halfway = False
        self.turning = False

    async def load(self) -> None:
        """Read what an earlier control plane kept. StoreError if it cannot be."""
        _, entries = await self._store.list(BUCKET)
        found = []
        for entry in entries:
            self._kept[entry.key] = entry.value
            if entry.key == _HALFWAY:
                self.halfway = True
                continue
            try:
                kept = msgspec.json.decode(entry.value, type=_Kept)
            except msgspec.DecodeError:
                continue  # of another version of weft
            document, _ = document_from_entry(replace(entry, value=kept.document, created=kept.created))
            found += [document] if document is not None else []
        self._documents = tuple(found)
        self.turning = len(_sets_modes(found)) < len(found)

    def before(self, documents: Documents) -> Documents:
        """`documents` as they were when the last control plane put them in force, as far as that is known: those that
        set modes, and services that are still there."""
        given = {each.key for each in documents}
        kept = tuple(each for each in self._documents if each.key in given or _sets_modes((each,)))
        replaced = {each.key for each in kept}
        return (*(each for each in documents if each.key not in replaced and not _sets_modes((each,))), *kept)

    async def keep(self, documents: Documents, *, halfway: bool = False, turning: Documents = ()) -> None:
        """These are in force now; `halfway`: callers are about to be told of others. `turning` are those among them
        whose ports turn. Where the store cannot be written, a control plane that is killed now costs the requests that
        this is to save."""
        chosen = (*_sets_modes(documents), *turning)
        wanted = {stored_key(each.key): _encoded(each) for each in chosen} | ({_HALFWAY: b"1"} if halfway else {})
        changes: list[Change] = [
            Put(BUCKET, key, value) for key, value in wanted.items() if self._kept.get(key) != value
        ]
        changes += [Delete(BUCKET, key) for key in self._kept if key not in wanted]
        self.halfway, self.turning = halfway, bool(turning)
        if not changes:
            return
        try:
            await self._store.write(changes)
        except StoreError as error:
            _log.warning("what is in force while it changes cannot be written down: %s", error)
            return
        self._kept, self._documents = wanted, chosen


def _sets_modes(documents: Iterable[Document[object]]) -> Documents:
    given = tuple(documents)
    return (*peer_documents(given), *settings_documents(given))


def _encoded(document: Document[object]) -> bytes:
    return msgspec.json.encode(_Kept(put_document(document, document.generation).value, document.created))
