"""Trials: what a real Envoy said to documents that reach into what proxies are given."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from weft.model.document import Document, ObjectKey
from weft.model.labels import Labels

MOST_KINDS = 16
"""Kinds of proxies on which a document is tried. Others are given what these took."""


@dataclass(frozen=True, slots=True)
class Taken:
    """A text that Envoy took: `document` with this `digest`. `kinds` are the kinds of proxies on which it was tried
    (`kind_of`), `idle` the numbers of its patches that changed nothing on any of them, and `without` the kinds on which
    Envoy refused it after others had taken it, each with what was said."""

    document: Document[object]
    digest: str
    idle: tuple[int, ...] = ()
    kinds: tuple[str, ...] = ()
    without: tuple[tuple[str, str], ...] = ()

    def awaits(self, kind: str) -> bool:
        """Whether it will be tried on proxies of a kind that it was never tried on."""
        return bool(self.kinds) and kind not in self.kinds and len(self.kinds) < MOST_KINDS


@dataclass(frozen=True, slots=True)
class Trial:
    """A document with this `digest` was tried; `refusal` is what Envoy said against it, empty if it took it. `taken` is
    the last text that it took: this one, or the one before it."""

    key: ObjectKey
    digest: str
    refusal: str = ""
    taken: Taken | None = None


def trial_digest(document: Document[object]) -> str:
    """What tells one text of a document from another: the same document, changed, is tried again."""
    return hashlib.sha256(document.text.encode()).hexdigest()[:16]


def trial_of(document: Document[object]) -> Trial:
    """The trial of a document that is taken as it is."""
    digest = trial_digest(document)
    return Trial(document.key, digest, taken=Taken(document, digest))


def kind_of(namespace: str, gateway: str, labels: Labels) -> str:
    """What tells one kind of proxies from another: gateways by what they serve, all by namespace and labels."""
    return hashlib.sha256(repr((namespace, gateway, labels)).encode()).hexdigest()[:16]
