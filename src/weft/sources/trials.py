"""Trials: documents that reach into what proxies are given are tried on a real Envoy before any proxy is given them.

It reads documents and workloads of the last snapshot and gives what Envoy said to the next one. Nothing of the mesh or
of what proxies hold goes that way.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol, cast

from weft.aio.cell import Cell
from weft.mesh.build import build_mesh
from weft.mesh.memo import Memo
from weft.mesh.patches import Patch
from weft.mesh.policies.envoyfilter import compile_filter
from weft.mesh.view import build_view
from weft.model.document import Document, ObjectKey
from weft.model.labels import Labels
from weft.model.snapshot import ConfigSnapshot
from weft.model.trials import MOST_KINDS, Taken, Trial, kind_of, trial_digest, trial_of
from weft.model.workload import Workload
from weft.schema.kinds.envoyfilter import EnvoyFilterSpec
from weft.sources.collector import Collected
from weft.sources.contents import Contents
from weft.sources.trial_records import BUCKET, put_trial, trial_from_entry, trial_name
from weft.store.protocol import Delete, Store, StoreError
from weft.xds.patches.trial import Question, question_about

_log = logging.getLogger("weft.trials")


class Judge(Protocol):
    """A real Envoy, and a certificate with a key of nobody's that stands in for those of proxies."""

    @property
    def version(self) -> str:
        """Envoy's version: another one judges anew."""

    @property
    def stand_in(self) -> tuple[str, str]:
        """The chain and the key, PEM."""

    async def refusal(self, bootstrap: str) -> str:
        """What it says against a bootstrap; empty if it takes it."""


@dataclass(frozen=True, slots=True)
class _Answers:
    """Which kinds Envoy `refused`, with its words, and the numbers of patches that `changed` something that it took."""

    refused: Mapping[str, str]
    changed: frozenset[int]


class TrialSource:
    """A source without documents: `contents` are the trials. They are kept in the store, so that what is in force stays
    so over a restart."""

    def __init__(self, store: Store, collected: Callable[[], Cell[Collected]], judge: Judge) -> None:
        self._store = store
        self._collected = collected
        self._judge = judge
        self._known: dict[ObjectKey, Trial] = {}
        self._contents: Cell[Contents | None] = Cell(None)

    @property
    def contents(self) -> Cell[Contents | None]:
        """The last value."""
        return self._contents

    async def run(self) -> None:
        """Try what is new, for ever."""
        await self._load()
        self._publish()
        version = 0
        while True:
            version = await self._collected().changed(version)
            snapshot = self._collected().value.snapshot
            documents = _filters(snapshot)
            await self._forget(each.key for each in documents)
            kinds = _kinds(snapshot.workloads) if documents else {}
            for document in documents:
                await self._try(document, snapshot, kinds)
            self._publish()

    async def _try(
        self, document: Document[EnvoyFilterSpec], snapshot: ConfigSnapshot, kinds: Mapping[str, Workload]
    ) -> None:
        """A text that was never tried, or kinds of proxies on which one that was taken never was."""
        known, digest = self._known.get(document.key) or Trial(document.key, ""), trial_digest(document)
        taken = known.taken if known.taken is not None and known.taken.digest == digest else None
        if taken is None and known.digest == digest:
            return
        before = taken.kinds if taken is not None else ()
        new = _new(document, snapshot, kinds, before)
        if not new and (taken is None or not taken.kinds or _stands(known, document)):
            return
        try:
            trial = await self._judged(document, snapshot, new, known)
        except OSError as error:  # no room, no process: that says nothing of the document, so it waits
            _log.warning("%s cannot be tried now: %s", document.key, error)
            return
        self._known[document.key] = trial
        with contextlib.suppress(StoreError):  # tried again after a restart, then
            await self._store.write([put_trial(trial, self._judge.version)])
        self._publish()

    async def _judged(
        self,
        document: Document[EnvoyFilterSpec],
        snapshot: ConfigSnapshot,
        new: Mapping[str, Workload],
        known: Trial,
    ) -> Trial:
        """What is known now, with what Envoy says for `new` kinds of proxies. A text that it took already is refused
        where it is, and any other altogether: the last one that it took stays."""
        digest, taken = trial_digest(document), known.taken
        if taken is not None and taken.digest == digest:
            more, refusal = await self._more(taken, document, snapshot, new)
            return Trial(document.key, digest, refusal, more)
        answers = await self._answers(document, snapshot, new, to_the_end=False)
        if answers.refused:
            if taken is not None and not taken.kinds:  # another Envoy took it
                former = cast("Document[EnvoyFilterSpec]", taken.document)
                taken, _ = await self._more(taken, former, snapshot, new)
            return Trial(document.key, digest, next(iter(answers.refused.values())), taken)
        idle = _idle(document, answers.changed)
        return Trial(document.key, digest, taken=Taken(document, digest, idle, tuple(new)))

    async def _more(
        self, taken: Taken, document: Document[EnvoyFilterSpec], snapshot: ConfigSnapshot, new: Mapping[str, Workload]
    ) -> tuple[Taken | None, str]:
        """A text that was taken, with what is said of it on new kinds. If another Envoy took it, and this one takes it
        on none: nothing, and the refusal."""
        answers = await self._answers(document, snapshot, new, to_the_end=True)
        idle = _idle(document, answers.changed)
        if not taken.kinds:
            if new and len(answers.refused) == len(new):
                return None, next(iter(answers.refused.values()))
            return replace(taken, document=document, idle=idle, kinds=tuple(new), without=_pairs(answers.refused)), ""
        idle = tuple(number for number in idle if number in taken.idle)
        without = (*taken.without, *_pairs(answers.refused))
        return replace(taken, document=document, idle=idle, kinds=(*taken.kinds, *new), without=without), ""

    async def _answers(
        self,
        document: Document[EnvoyFilterSpec],
        snapshot: ConfigSnapshot,
        new: Mapping[str, Workload],
        *,
        to_the_end: bool,
    ) -> _Answers:
        """What Envoy says to a document together with those that are in force, on each kind; unless
        `to_the_end`, up to the first refusal."""
        others = tuple(each for key, each in self._known.items() if key != document.key)
        documents = tuple(document if each.key == document.key else each for each in snapshot.documents)
        tried = replace(snapshot, documents=documents, trials=(*others, trial_of(document)))
        changed: set[int] = set()
        refused: dict[str, str] = {}
        memo = Memo()
        memo.begin()
        for kind, workload in new.items():
            question = await asyncio.to_thread(_question_or_fault, memo, tried, workload, self._judge.stand_in)
            numbers = _numbers(document, question.by)
            refusal = question.wrong or (await self._judge.refusal(question.bootstrap) if numbers else "")
            if refusal:
                refused[kind] = f"{workload.proxy}: {refusal}" if to_the_end else refusal
                if not to_the_end:
                    break
            else:
                changed |= numbers
        return _Answers(refused, frozenset(changed))

    async def _load(self) -> None:
        with contextlib.suppress(StoreError):
            _, entries = await self._store.list(BUCKET)
            for entry in entries:
                if (trial := trial_from_entry(entry, self._judge.version)) is not None:
                    self._known[trial.key] = trial

    async def _forget(self, keys: Iterable[ObjectKey]) -> None:
        gone = self._known.keys() - set(keys)
        for key in gone:
            del self._known[key]
        with contextlib.suppress(StoreError):
            if gone:
                await self._store.write([Delete(BUCKET, trial_name(key)) for key in gone])

    def _publish(self) -> None:
        contents = Contents(trials=tuple(trial for _, trial in sorted(self._known.items())))
        if contents != self._contents.value:
            self._contents.set(contents)


def _filters(snapshot: ConfigSnapshot) -> list[Document[EnvoyFilterSpec]]:
    found = [each for each in snapshot.documents if isinstance(each.spec, EnvoyFilterSpec)]
    return cast("list[Document[EnvoyFilterSpec]]", found)


def _kinds(workloads: Iterable[Workload]) -> dict[str, Workload]:
    """A proxy of each kind."""
    found: dict[tuple[str, str, Labels], Workload] = {}
    for each in workloads:
        found.setdefault((each.namespace, each.gateway.gateway if each.gateway else "", each.labels), each)
    return {kind_of(*said): workload for said, workload in found.items()}


def _new(
    document: Document[EnvoyFilterSpec], snapshot: ConfigSnapshot, kinds: Mapping[str, Workload], before: Sequence[str]
) -> dict[str, Workload]:
    """The kinds that a document is for and on which it was not tried `before`, as many as it is still tried on."""
    room = MOST_KINDS - len(before)
    if room <= 0:
        return {}
    filtered = compile_filter(document, snapshot.settings.root_namespace)
    found = (
        (kind, workload)
        for kind, workload in kinds.items()
        if kind not in before and filtered.covers(workload.namespace, workload.labels)
    )
    return dict(itertools.islice(found, room))


def _stands(known: Trial, document: Document[EnvoyFilterSpec]) -> bool:
    """Whether the text that Envoy took is this document's, and known as that."""
    taken = known.taken
    return taken is not None and known.digest == taken.digest and taken.document.created == document.created


def _pairs(said: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    return tuple(said.items())


def _question(memo: Memo, snapshot: ConfigSnapshot, workload: Workload, stand_in: tuple[str, str]) -> Question:
    view = build_view(build_mesh(snapshot, memo), workload, memo)
    return question_about(view, memo, chain=stand_in[0], key=stand_in[1])


def _question_or_fault(memo: Memo, snapshot: ConfigSnapshot, workload: Workload, stand_in: tuple[str, str]) -> Question:
    try:
        return _question(memo, snapshot, workload, stand_in)
    except Exception as error:  # whatever a document makes weft trip over: it must not end the control plane
        _log.exception("a document that is tried cannot be compiled for %s", workload.proxy)
        return Question("", (), f"weft cannot make a configuration of it: {type(error).__name__}")


def _numbers(document: Document[EnvoyFilterSpec], patches: Iterable[Patch]) -> set[int]:
    """Which of a document's patches are among these."""
    return {patch.number for patch in patches if patch.object == document.key}


def _idle(document: Document[EnvoyFilterSpec], changed: frozenset[int]) -> tuple[int, ...]:
    return tuple(number for number in range(len(document.spec.config_patches)) if number not in changed)
