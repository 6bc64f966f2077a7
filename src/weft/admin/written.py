"""What was written to the API server, by names that mean the same at every control plane: uid and generation."""

from __future__ import annotations

import msgspec

from weft.model.document import Document, ObjectKey


class Written(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An object as the API server has it: `generation` 0 where its kind has none, `version` its resourceVersion; or one
    that is `gone`."""

    group: str
    kind: str
    namespace: str
    name: str
    uid: str = ""
    generation: int = 0
    version: str = ""
    gone: bool = False

    @property
    def key(self) -> ObjectKey:
        """What names it."""
        return ObjectKey(self.group, self.kind, self.namespace, self.name)

    @property
    def is_certain(self) -> bool:
        """Whether it can be seen in a document that it is this one or a later one. Where a kind has no generation it
        may say the same as before for the mesh, and is not read anew then."""
        return self.gone or self.generation > 0

    def is_in(self, document: Document[object] | None) -> bool:
        """Whether the document of this name is as it was written, or later."""
        if self.gone:
            return document is None or self.uid not in ("", _uid(document))
        if document is None or self.uid not in ("", _uid(document)):
            return False
        if self.generation:
            return document.generation >= self.generation
        version = document.origin.source.rpartition("@")[2]
        return version.isdecimal() and self.version.isdecimal() and int(version) >= int(self.version)


def _uid(document: Document[object]) -> str:
    return document.origin.source.rpartition("@")[0].rpartition("/")[2]
