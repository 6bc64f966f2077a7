"""Documents through the admin API: list, apply, dry run with a diff, delete."""

from __future__ import annotations

import difflib
import hashlib
from collections.abc import Collection, Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from aiohttp import web

from weft.admin.acceptance import Acceptance
from weft.admin.confirmation import LONGEST_WAIT, seen
from weft.admin.context import INTERNAL, ApiContext
from weft.admin.history.notes import Step, noting
from weft.admin.owners import owner_of
from weft.admin.people.calling import who_calls
from weft.admin.people.editing import check_changed_here, check_editable
from weft.admin.replies import Refused, flag, reply, seconds
from weft.admin.routing import WAIT, Parameter, Route
from weft.admin.texts import BODY, PARAMETERS, decoded_of
from weft.admin.validation import problems_with
from weft.admin.waited import confirmation
from weft.aio.turns import Turns
from weft.model.document import Document, ObjectKey, key_mapping
from weft.model.problem import Problem, Severity, distinct, problem_mapping
from weft.model.unreadable import Unreadable
from weft.provision.parameters import parameters_problems
from weft.schema.output import document_as_mapping, document_yaml
from weft.schema.registry import Kind, UnknownKindError, find_kind
from weft.schema.wording import nearest_name
from weft.sources.stored import BUCKET, document_from_entry, put_document, stored_key
from weft.store.protocol import Change, ConflictError, Delete, Entry, Put

MAX_DOCUMENTS = 20_000
_ATTEMPTS = 5
_HIDDEN = "Secret"


@dataclass(frozen=True, slots=True)
class _Step:
    """What applying one document would do. `old` is what is stored now."""

    document: Document[object]
    change: str
    entry: Entry | None
    old: Document[object] | None

    @property
    def generation(self) -> int:
        """The new generation: one more when the content changed."""
        before = self.old.generation if self.old else 0
        return before + 1 if self.change != "unchanged" else before


class Documents:
    """Handlers of ``/v1/documents``."""

    def __init__(self, context: ApiContext) -> None:
        self._context = context

    def routes(self) -> tuple[Route, ...]:
        """The rows of the route table."""
        chosen = (
            Parameter("kind", "only this kind (name, plural or short name)"),
            Parameter("namespace", "only this namespace"),
            Parameter("name", "only this name"),
        )
        dry_run = Parameter("dry_run", "1: say what would change, with a diff, and change nothing")
        every = (*PARAMETERS, dry_run, WAIT)
        one = "/v1/documents/{kind}/{namespace}/{name}"
        return (
            Route(
                "GET", "/v1/documents", self.index, "Documents in force, secrets redacted", chosen, answer="Documents"
            ),
            Route("POST", "/v1/documents", self.apply, "Create or change documents", every, BODY),
            Route("GET", one, self.get, "One document; namespace - for cluster-scoped kinds", answer="Document"),
            Route("DELETE", one, self.delete, "Delete one document; namespace - for cluster-scoped kinds", (WAIT,)),
        )

    async def index(self, request: web.Request) -> web.Response:
        """``GET /v1/documents``."""
        wanted = {name: request.query[name] for name in ("namespace", "name") if name in request.query}
        if "kind" in request.query:
            kind = _kind(request.query["kind"])
            wanted |= {"kind": kind.name, "group": kind.group}
        accepted, owned = Acceptance(self._context.compiled.value.mesh), self._in_files()
        found, turns = [], Turns()
        for document in self._context.collector.snapshot.documents:
            await turns.give()
            if all(getattr(document.key, name) == value for name, value in wanted.items()):
                found.append(_shown(document, accepted, owned))
        return reply({"documents": found})

    async def get(self, request: web.Request) -> web.Response:
        """``GET /v1/documents/{kind}/{namespace}/{name}``."""
        key = _path_key(request)
        for document in self._context.collector.snapshot.documents:
            if document.key == key:
                return reply(_shown(document, Acceptance(self._context.compiled.value.mesh), self._in_files()))
        raise self._absent(key)

    async def apply(self, request: web.Request) -> web.Response:
        """``POST /v1/documents``."""
        wait = seconds(request, "wait", LONGEST_WAIT)
        dry_run = flag(request, "dry_run")
        check_changed_here(self._context)
        documents, warnings = await self._decoded(request)
        check_editable(self._context, request, (document.key for document in documents))
        who = who_calls(request)
        for _ in range(_ATTEMPTS):
            steps = await self._plan(documents)
            if dry_run:
                return await self._answer(
                    steps, warnings, self._context.collector.snapshot.revision, None, dry_run=True
                )
            try:
                revision = await self._write(who, steps)
            except ConflictError:
                continue
            return await self._answer(steps, warnings, revision, wait, dry_run=False)
        raise Refused(409, "conflict", "these documents keep being changed by others at the same time: try again")

    async def delete(self, request: web.Request) -> web.Response:
        """``DELETE /v1/documents/{kind}/{namespace}/{name}``."""
        wait = seconds(request, "wait", LONGEST_WAIT)
        key, who = _path_key(request), who_calls(request)
        check_editable(self._context, request, (key,))
        entry = await self._context.store.get(BUCKET, stored_key(key))
        if entry is None:
            if owner := self._in_files().get(key):
                raise Refused(409, "owned-by-file", f"{key} comes from {owner.origin}: remove it there")
            raise self._absent(key)
        old, _ = document_from_entry(entry)
        record = self._context.audit.done(who, "delete", object=str(key), before=document_hash(old))
        with noting(self._context.history.notes, who, "delete", [Step(key, old, None)]) as note:
            note.revision = await self._context.store.write(
                [Delete(BUCKET, entry.key), record], {(BUCKET, entry.key): entry.revision}
            )
        revision = note.revision
        await seen(self._context, revision)
        answer = {
            "revision": revision,
            "documents": [{"key": key_mapping(key), "change": "deleted"}],
            "problems": [],
            "wait": None,
        }
        if wait is not None:
            answer["wait"] = await confirmation(self._context, revision, wait)
        return reply(answer)

    async def _decoded(self, request: web.Request) -> tuple[tuple[Document[object], ...], tuple[Problem, ...]]:
        """The documents of the body and warnings; Refused (422) with every Problem unless all are good."""
        decoded = await decoded_of(request)
        problems = [*decoded.problems, *self._owned_by_files(decoded.documents)]
        if any(problem.severity is Severity.ERROR for problem in problems):
            found = [problem_mapping(problem) for problem in problems]
            raise Refused(422, "bad-documents", "nothing was changed: see the problems", problems=found)
        if not decoded.documents and not problems:
            raise Refused(422, "no-documents", "there are no documents in this")
        return decoded.documents, tuple(problems)

    def _owned_by_files(self, documents: Iterable[Document[object]]) -> list[Problem]:
        owned = self._in_files()
        return [
            Problem(
                Severity.ERROR,
                "owned-by-file",
                f"{document.key} comes from {owned[document.key].origin}, a followed file",
                document.origin,
                object=document.key,
                expected="a change to that file",
            )
            for document in documents
            if document.key in owned
        ]

    def _in_files(self) -> Mapping[ObjectKey, Document[object]]:
        contents = self._context.files.value if self._context.files else None
        return {document.key: document for document in contents.documents} if contents else {}

    async def _plan(self, documents: Sequence[Document[object]]) -> list[_Step]:
        keys = {stored_key(document.key) for document in documents}
        _, entries = await self._context.store.read(BUCKET, keys)
        stored = {entry.key: entry for entry in entries}
        await self._check_room(keys - stored.keys())
        steps, turns = [], Turns()
        for document in documents:
            await turns.give()
            entry = stored.get(stored_key(document.key))
            old = document_from_entry(entry)[0] if entry else None
            same = old is not None and (old.text, old.api_version) == (document.text, document.api_version)
            change = "unchanged" if same else "configured" if entry else "created"
            steps.append(_Step(document, change, entry, old))
        return steps

    async def _check_room(self, new: Collection[str]) -> None:
        """Refuse documents that are too many; they are counted one by one only when there may be."""
        if len(self._context.collector.snapshot.documents) + len(new) <= MAX_DOCUMENTS // 2:
            return
        _, entries = await self._context.store.list(BUCKET)
        if len(entries) + len(new) > MAX_DOCUMENTS:
            raise Refused(413, "too-many-documents", f"the store holds at most {MAX_DOCUMENTS} documents")

    async def _write(self, who: str, steps: Sequence[_Step]) -> int:
        changes: list[Change] = []
        written: list[tuple[Put, Document[object]]] = []
        expect, turns = {}, Turns()
        for step in steps:
            await turns.give()
            put = put_document(step.document, step.generation)
            expect[put.bucket, put.key] = step.entry.revision if step.entry else 0
            changes.append(put)
            written.append((put, replace(step.document, generation=step.generation)))
            if step.change != "unchanged":
                about = str(step.document.key)
                before, after = document_hash(step.old), document_hash(step.document)
                word = "create" if step.entry is None else "change"
                changes.append(self._context.audit.done(who, word, object=about, before=before, after=after))
        self._context.applied.expect(written)
        noted = [Step(step.document.key, step.old, step.document) for step in steps if step.change != "unchanged"]
        with noting(self._context.history.notes, who, "apply", noted) as note:
            note.revision = await self._context.store.write(changes, expect)
        return note.revision

    async def _answer(
        self, steps: Sequence[_Step], warnings: Iterable[Problem], revision: int, wait: float | None, *, dry_run: bool
    ) -> web.Response:
        keys = {step.document.key for step in steps}
        documents: list[dict[str, object]] = []
        if not dry_run:
            await seen(self._context, revision)
        turns = Turns()
        for step in steps:
            await turns.give()
            row: dict[str, object] = {"key": key_mapping(step.document.key), "change": step.change}
            if dry_run:
                row["diff"] = _diff(step)
            documents.append(row)
        confirmed = None if wait is None else await confirmation(self._context, revision, wait, keys)
        compiled = self._context.compiled.value
        meaning = (*compiled.problems, *parameters_problems(compiled.documents))
        if dry_run:
            meaning = await problems_with(self._context, (step.document for step in steps))
        found = [*warnings, *(one for one in meaning if one.object in keys or one.code == INTERNAL)]
        problems = [problem_mapping(problem) for problem in distinct(found)]
        return reply({"revision": revision, "documents": documents, "problems": problems, "wait": confirmed})

    def _absent(self, key: ObjectKey) -> Refused:
        names = [one.key.name for one in self._context.collector.snapshot.documents if one.key.kind == key.kind]
        near = nearest_name(key.name, names)
        hint = f"; did you mean '{near}'?" if near else ""
        where = f" in namespace {key.namespace}" if key.namespace else ""
        return Refused(404, "not-found", f"there is no {key.kind} '{key.name}'{where}{hint}")


def _shown(document: Document[object], accepted: Acceptance, owned: Container[ObjectKey]) -> dict[str, object]:
    """A document as the API shows it; those in `owned` come from followed files."""
    return {
        "key": key_mapping(document.key),
        "source": document.origin.source,
        "line": document.origin.line,
        "owner": owner_of(document, owned),
        "created": document.created,
        "generation": document.generation,
        "unreadable": isinstance(document.spec, Unreadable),
        "document": document_as_mapping(document, redact=True),
        **accepted.of(document),
    }


def _kind(word: str) -> Kind:
    try:
        return find_kind(word[:80])
    except UnknownKindError as error:
        raise Refused(404, "unknown-kind", str(error)) from error


def _path_key(request: web.Request) -> ObjectKey:
    """The object that the path names; namespace ``-`` is none."""
    kind, namespace = _kind(request.match_info["kind"]), request.match_info["namespace"]
    return ObjectKey(kind.group, kind.name, "" if namespace == "-" else namespace, request.match_info["name"])


def document_hash(document: Document[object] | None) -> str:
    """What the audit keeps of a document; nothing of secrets, whose values could be guessed from it."""
    if document is None or document.key.kind == _HIDDEN:
        return ""
    return "sha256:" + hashlib.sha256(document.text.encode()).hexdigest()


def _diff(step: _Step) -> str:
    """A unified diff of the redacted YAML; empty if nothing that may be shown differs."""
    if step.change == "unchanged":
        return ""
    old = document_yaml(step.old).splitlines(keepends=True) if step.old else []
    new = document_yaml(step.document).splitlines(keepends=True)
    text = "".join(difflib.unified_diff(old, new, "in force", step.document.origin.source))
    return text or "(only secret values differ)\n"
