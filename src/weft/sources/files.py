"""A files source: follows directories and single files by polling, and survives the ways editors save."""

from __future__ import annotations

import asyncio
import logging
import os
import stat
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from weft.aio.cell import Cell
from weft.model.document import Document
from weft.model.problem import Problem, Severity
from weft.schema.decode import Decoded, decode_documents
from weft.schema.recognition import KIND_CODES
from weft.sources.contents import Contents, kept, merged_documents, source_problem

_log = logging.getLogger("weft.files")

POLL_SECONDS = 0.2
REMOVAL_SECONDS = 1.0
"""How long something must stay away before it counts as removed: editors delete and rename when they save."""
MAX_FILE_BYTES = 8 * 1024 * 1024
MAX_FILES = 10_000
SUFFIXES = (".yaml", ".yml", ".json")
MESH_FILES = ("weft.yaml", "weft.yml")
"""They say what `weft up` starts, and may lie beside the documents."""

Signature = tuple[int, int, int, int]
"""Modification time (ns), size, inode and device."""
Decode = Callable[[str, str], Decoded]


@dataclass(frozen=True, slots=True)
class _File:
    """What is known of one file. `seen` is its signature at the last poll, `read` the one that was last decoded,
    `since` when `seen` came up (loop time), `missing` whether it was gone at the last poll, `notes` what was logged."""

    seen: Signature
    since: float
    read: Signature | None = None
    documents: tuple[Document[object], ...] = ()
    problems: tuple[Problem, ...] = ()
    notes: tuple[str, ...] = ()
    missing: bool = False


class FilesSource:
    """Follows `roots` (directories, recursively, or files). Documents without a namespace get `namespace`.

    A change, or a file that is new after the start, counts once it has been the same for one poll; a removal, of a
    file or of documents in it, once it has lasted `removal` seconds. A file or document that cannot be decoded leaves
    its last good version in force. A root that is missing altogether leaves everything from it in force. What a file
    holds beside documents for weft is logged once, and no Problem: nothing is wrong.
    """

    def __init__(
        self,
        roots: Sequence[Path],
        namespace: str = "default",
        *,
        poll: float = POLL_SECONDS,
        removal: float = REMOVAL_SECONDS,
        decode: Decode | None = None,
    ) -> None:
        self._roots = tuple(roots)
        self._poll = poll
        self._removal = removal
        self._decode = decode or (lambda text, source: decode_documents(text, source, default_namespace=namespace))
        self._contents: Cell[Contents | None] = Cell(None)

    @property
    def contents(self) -> Cell[Contents | None]:
        """The last value."""
        return self._contents

    async def run(self) -> None:
        """Poll for ever."""
        loop = asyncio.get_running_loop()
        files: dict[Path, _File] = {}
        lost: tuple[Problem, ...] = ()
        while True:
            before = files
            files, problems = await asyncio.to_thread(self._scan, before, loop.time())
            if not _same(files, before) or problems != lost or self._contents.value is None:
                self._publish(_contents(files, problems))
            lost = problems
            await asyncio.sleep(self._poll)

    def _publish(self, contents: Contents) -> None:
        """Publish what is new; documents of which none changed stay the same object."""
        before = self._contents.value
        if contents == before:
            return
        if before is not None and contents.documents == before.documents:
            contents = replace(contents, documents=before.documents)
        self._contents.set(contents)

    # What follows runs in a thread, one scan at a time.

    def _scan(self, known: Mapping[Path, _File], now: float) -> tuple[dict[Path, _File], tuple[Problem, ...]]:
        problems: list[Problem] = []
        found: dict[Path, Signature] = {}
        lost_roots = []
        for root in self._roots:
            try:
                for path, signature in _walk(root):
                    if len(found) >= MAX_FILES:
                        text = f"more than {MAX_FILES} files below {root}; the rest is not read"
                        problems.append(source_problem("too-many-files", text, str(root)))
                        break
                    found[path] = signature
            except OSError as error:
                lost_roots.append(root)
                text = f"cannot be read ({error.strerror}); what was read from it before stays in force"
                problems.append(source_problem("root-unreadable", text, str(root)))
        files = {path: self._look(path, signature, known.get(path), now) for path, signature in found.items()}
        for path, file in known.items():
            if path in files:
                continue
            if any(path.is_relative_to(root) for root in lost_roots):
                files[path] = file
            elif not file.missing:
                files[path] = replace(file, missing=True, since=now)
            elif now - file.since < self._removal:
                files[path] = file
        return files, tuple(problems)

    def _look(self, path: Path, signature: Signature, file: _File | None, now: float) -> _File:
        if file is None:
            new = _File(signature, now)
            return self._read(path, new, now) if self._contents.value is None else new
        if file.missing or file.seen != signature:
            changed = replace(file, seen=signature, since=now, missing=False)
            return changed if file.seen != signature else replace(changed, since=file.since)
        if file.read == signature:
            return file
        return self._read(path, file, now)

    def _read(self, path: Path, file: _File, now: float) -> _File:
        """`file` with what stands in `path` now, or as it was if that may be half of a save."""
        size = file.seen[1]
        if size > MAX_FILE_BYTES:
            text = f"has {size} bytes, more than the {MAX_FILE_BYTES} allowed; split it"
            return replace(file, read=file.seen, problems=(source_problem("file-too-large", text, str(path)),))
        try:
            data = path.read_bytes()
            if _signature(path.stat()) != file.seen:
                return file
        except FileNotFoundError:
            return file
        except OSError as error:
            problem = source_problem("file-unreadable", f"cannot be read: {error.strerror}", str(path))
            return replace(file, problems=(problem,))
        documents, problems = self._decoded(path, data, file)
        lost = {document.key for document in file.documents} - {document.key for document in documents}
        if lost and now - file.since < self._removal:
            return file
        wrong = tuple(problem for problem in problems if problem.severity is not Severity.NOTE)
        notes = tuple(problem for problem in problems if problem.severity is Severity.NOTE)
        told = tuple(problem.message for problem in notes)
        for note in notes if told != file.notes else ():
            _log.info("%s", note)
        return replace(file, read=file.seen, documents=documents, problems=wrong, notes=told)

    def _decoded(
        self, path: Path, data: bytes, file: _File
    ) -> tuple[tuple[Document[object], ...], tuple[Problem, ...]]:
        source = str(path)
        try:
            decoded = self._decode(data.decode("utf-8-sig"), source)
        except UnicodeDecodeError as error:
            problem = source_problem("not-utf8", f"is not UTF-8 text: {error.reason}", source, "UTF-8")
            return file.documents, (problem,)
        except Exception as error:  # one file must not stop the others, whatever the decoder trips over
            text = f"weft cannot decode this ({type(error).__name__}); please report it"
            problem = source_problem("internal-error", text, source)
            return file.documents, (problem,)
        before = {document.key: document for document in file.documents}
        documents = [kept(document, before.get(document.key)) for document in decoded.documents]
        present = {document.key for document in documents}
        errors = [problem for problem in decoded.problems if problem.severity is Severity.ERROR]
        unnamed = any(problem.object is None or problem.code in KIND_CODES for problem in errors)
        broken = {problem.object for problem in errors}
        documents += [document for key, document in before.items() if key not in present and (unnamed or key in broken)]
        return tuple(documents), decoded.problems


def _contents(files: Mapping[Path, _File], problems: tuple[Problem, ...]) -> Contents:
    """Files in order of their paths; those that are missing last, so that a renamed file's new name wins silently."""
    ordered = [file for _, file in sorted(files.items())]
    winners, duplicates = merged_documents(file.documents for file in ordered if not file.missing)
    leaving = [document for file in ordered if file.missing for document in file.documents]
    everything = {document.key: document for document in leaving} | dict(winners)
    documents = tuple(document for _, document in sorted(everything.items()))
    own = tuple(problem for file in ordered if not file.missing for problem in file.problems)
    return Contents(documents, problems=problems + own + duplicates)


def _same(files: Mapping[Path, _File], before: Mapping[Path, _File]) -> bool:
    return len(files) == len(before) and all(file is before.get(path) for path, file in files.items())


def _signature(status: os.stat_result) -> Signature:
    return status.st_mtime_ns, status.st_size, status.st_ino, status.st_dev


def _unless_gone(error: OSError) -> None:
    if not isinstance(error, FileNotFoundError):
        raise error


def _walk(root: Path) -> Iterator[tuple[Path, Signature]]:
    """The readable documents' files below `root`, links followed; OSError if `root` itself cannot be read."""
    if not stat.S_ISDIR(root.stat().st_mode):
        yield root, _signature(root.stat())
        return
    entered = set()
    for directory, names, files in os.walk(root, onerror=_unless_gone, followlinks=True):
        real = os.path.realpath(directory)
        if real in entered:
            names.clear()
            continue
        entered.add(real)
        names[:] = sorted(name for name in names if not name.startswith("."))
        for name in sorted(files):
            path = Path(directory, name)
            if name.startswith(".") or name in MESH_FILES or path.suffix not in SUFFIXES:
                continue
            try:
                status = path.stat()
            except OSError:
                continue  # gone since, or a link that leads nowhere
            if stat.S_ISREG(status.st_mode):
                yield path, _signature(status)
