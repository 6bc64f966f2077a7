"""Documents from objects of an API server, and where they come from: ``kubernetes:KIND/NAMESPACE/NAME/UID@VERSION``."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import msgspec

from weft.model.document import Document, ObjectKey
from weft.model.origin import FieldLines, Origin
from weft.model.problem import Problem, Severity
from weft.model.unreadable import Unreadable
from weft.schema.decode import decode_stored
from weft.schema.registry import Kind
from weft.sources.kubernetes.reflection import Told
from weft.sources.kubernetes.statuses import digest_of, shape_of

PREFIX = "kubernetes:"
_OF_THE_MESH = frozenset(("protocol",))
"""What has no effect in the mesh. Other fields of core kinds that have none there have theirs in the cluster."""
_OF_PROCESSES = (("Gateway", "spec", "infrastructure"), ("GatewayClass", "spec", "parametersRef"))
"""What the processes of Gateways are made with there."""


@dataclass(frozen=True, slots=True)
class Reading:
    """An object as it was read: its document (None: it cannot be understood, and never could), and what is to say.
    `status` is the digest of what its status says that is weft's (nothing, where that is of no interest), `generation`
    that of the object, which may not be understood."""

    key: ObjectKey
    document: Document[object] | None = None
    problems: tuple[Problem, ...] = ()
    status: bytes = b""
    generation: int = 0


class _Metadata(msgspec.Struct):
    generation: int = 0


class _Stated(msgspec.Struct):
    metadata: _Metadata
    status: dict[str, Any] | None = None


def origin_of(kind: Kind, told: Told) -> str:
    """The source that an object's fields are said to come from."""
    where = "/".join(part for part in (kind.name, told.namespace, told.name, told.uid) if part)
    return f"{PREFIX}{where}@{told.version}"


def reading_of(kind: Kind) -> Callable[[Told, Reading | None], Reading]:
    """How objects of a kind are read: see `weft.sources.kubernetes.reflection.Decode`."""

    def read(told: Told, before: Reading | None) -> Reading:
        return _read(kind, told, before)

    return read


def _read(kind: Kind, told: Told, before: Reading | None) -> Reading:
    key = ObjectKey(kind.group, kind.name, told.namespace, told.name)
    lines = FieldLines(origin_of(kind, told))
    try:
        decoded = decode_stored(told.text, lines, default_namespace=told.namespace or "default")
    except Exception as error:  # one object must not stop the others, whatever the decoder trips over
        text = f"weft cannot decode {key} ({type(error).__name__}); please report it"
        problem = Problem(Severity.ERROR, "internal-error", text, Origin(lines.source), object=key)
        return Reading(key, before.document if before is not None else None, (problem,), *_stated(kind, told))
    old = before.document if before is not None else None
    new = decoded.documents[0] if decoded.documents else None
    problems = tuple(problem for problem in decoded.problems if _is_told(kind, problem))
    document = old if new is None else _kept(new, old)
    stated = _stated(kind, told)
    if before is not None and document is old and _texts(problems) == _texts(before.problems):
        same = (before.status, before.generation) == stated
        return before if same else Reading(key, document, before.problems, *stated)
    return Reading(key, document, problems, *stated)


def _stated(kind: Kind, told: Told) -> tuple[bytes, int]:
    """The digest of a status, and the generation of the object."""
    shape = shape_of(kind)
    try:
        found = msgspec.json.decode(told.text, type=_Stated)
    except msgspec.MsgspecError:
        return b"", 0
    return digest_of(shape, found.status or {}) if shape is not None else b"", found.metadata.generation


def _kept(new: Document[object], old: Document[object] | None) -> Document[object]:
    """`old` if `new` says the same, whatever version the object has now (a status was written), or if `new` cannot be
    understood and `old` could: the last good one stays in force."""
    if old is None:
        return new
    if isinstance(new.spec, Unreadable) != isinstance(old.spec, Unreadable):
        return old if isinstance(new.spec, Unreadable) else new
    same = (new.text, new.created, new.generation, new.api_version)
    return old if same == (old.text, old.created, old.generation, old.api_version) else new


def is_about_process(kind: Kind, problem: Problem) -> bool:
    """Whether it says only that processes are not made for Gateways, which is not so in a cluster."""
    return problem.code == "no-effect" and (kind.name, *problem.path[:2]) in _OF_PROCESSES


def _is_told(kind: Kind, problem: Problem) -> bool:
    if problem.severity is Severity.NOTE:
        return False
    of_the_cluster = is_about_process(kind, problem) or (problem.code == "no-effect" and not kind.group)
    return not of_the_cluster or bool(_OF_THE_MESH.intersection(map(str, problem.path)))


def _texts(problems: tuple[Problem, ...]) -> list[tuple[object, ...]]:
    return [(one.code, one.path, one.message) for one in problems]
