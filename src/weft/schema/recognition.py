"""Which kind a document is of, and what is said of one that weft does not read."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass, field

from weft.model.document import ObjectKey
from weft.model.origin import Origin
from weft.model.problem import Problem
from weft.schema.embedded import is_for_the_mesh
from weft.schema.findings import deprecated, printable
from weft.schema.kinds.meshconfig import ConfigMapSpec
from weft.schema.metadata import peek
from weft.schema.others import LeftOutKind, left_out_kind, project_of
from weft.schema.registry import KINDS, Kind, kind_of
from weft.schema.upstream import UNSUPPORTED_KINDS
from weft.schema.walk import Walk
from weft.schema.wording import nearest_name, shown
from weft.schema.yaml_nodes import Node

KIND_CODES = frozenset(("unknown-kind", "foreign-kind", "unsupported-kind", "unsupported-version"))
"""Codes of problems that doubt the kind: the object they name may be another's."""
_MOST_NAMES = 3
_MOST_KINDS = 12


@dataclass(slots=True)
class LeftOut:
    """The documents of one text that weft does not read and that do not spoil the others, told once for each reason."""

    found: dict[LeftOutKind, dict[str, list[tuple[str, Origin]]]] = field(default_factory=dict)

    def add(self, because: LeftOutKind, kind: str, name: str, origin: Origin) -> None:
        """Take in one object, called `name`."""
        self.found.setdefault(because, {}).setdefault(kind, []).append((name, origin))

    def problems(self) -> list[Problem]:
        """A note, or a warning, for each reason, at its first object."""
        return [_left_out(because, kinds) for because, kinds in self.found.items()]


def recognise(
    walk: Walk, entries: Mapping[str, Node], default_namespace: str, left_out: LeftOut
) -> tuple[str, Kind | None]:
    """The document's apiVersion and kind; no kind after saying why it is none of ours. A kind of security comes back
    although its version is not supported."""
    texts = {}
    for name in ("apiVersion", "kind"):
        node = entries.get(name)
        if node is None or node.value is None:
            walk.error((), "missing-field", f"the field '{name}' is missing", f"a document with {name}")
        elif isinstance(node.value, str):
            texts[name] = node.value
        else:
            walk.wrong_type(node, (name,), "text")
    if len(texts) < 2:
        return "", None
    api_version, name = texts["apiVersion"], texts["kind"]
    group = api_version.rpartition("/")[0]
    kind = kind_of(group, name)
    namespace = peek(entries, "namespace") or default_namespace
    because = left_out_kind(group, name)
    if because is not None and not (kind is not None and _is_ours(kind, entries)):
        where = "/".join(text for text in (peek(entries, "namespace"), peek(entries, "name")) if text)
        left_out.add(because, printable(name[:80]), where, walk.lines.origin("kind"))
        return api_version, None
    if name:
        walk.object = ObjectKey(printable(group[:253]), printable(name[:80]), namespace, peek(entries, "name"))
    if kind is None:
        _refuse_kind(walk, group, name)
    elif api_version in kind.old_api_versions:
        message = f"{api_version} is an old version, read like {kind.api_versions[0]}"
        walk.report((), deprecated(("apiVersion",), message, kind.api_versions[0]))
    elif api_version not in kind.api_versions:
        message = f"the version {shown(api_version)} of {name} is not supported by weft"
        walk.error(("apiVersion",), "unsupported-version", message, " or ".join(kind.api_versions))
        return api_version, kind if kind.security else None
    return api_version, kind


def _is_ours(kind: Kind, entries: Mapping[str, Node]) -> bool:
    """Whether a document of a kind that applications share is for the mesh."""
    return kind.spec is not ConfigMapSpec or is_for_the_mesh(entries)


def _refuse_kind(walk: Walk, group: str, name: str) -> None:
    same_name = next((kind for kind in KINDS if kind.name == name), None)
    where = f" of {shown(group)}" if group else ""
    project = project_of(group)
    if project:
        message = f"{name} is a kind of {project}'s own; weft does not read it"
        walk.error(("kind",), "foreign-kind", message, "kinds of Kubernetes, the Gateway API, Istio or weft")
    elif (group, name) in UNSUPPORTED_KINDS:
        reason = UNSUPPORTED_KINDS[group, name]
        walk.error(("kind",), "unsupported-kind", f"{name}{where} is not supported yet by weft{reason}")
    elif same_name is not None:
        message = f"there is no {name}{where or ' of the core group'}"
        near = nearest_name(group, [kind.group for kind in KINDS])
        expected = " or ".join(same_name.api_versions)
        walk.error(("apiVersion",), "unknown-kind", message, expected, near if near != group else "")
    else:
        message = f"unknown kind {shown(name)}{where}"
        near = nearest_name(name, [kind.name for kind in KINDS])
        walk.error(("kind",), "unknown-kind", message, _supported(), near)


def _supported() -> str:
    return "one of " + ", ".join(dict.fromkeys(kind.name for kind in KINDS))


def _left_out(because: LeftOutKind, kinds: Mapping[str, list[tuple[str, Origin]]]) -> Problem:
    """One line for all that is left out for one reason, at the first of them."""
    counted = [
        _counted(name, [where for where, _ in objects])
        for name, objects in itertools.islice(kinds.items(), _MOST_KINDS)
    ]
    if len(kinds) > _MOST_KINDS:
        rest = sum(len(objects) for objects in itertools.islice(kinds.values(), _MOST_KINDS, None))
        counted.append(f"{rest} more")
    told = f"{', '.join(counted[:-1])} and {counted[-1]}" if len(counted) > 1 else counted[0]
    objects = [each for found in kinds.values() for each in found]
    verb = "is" if len(objects) == 1 else "are"
    return Problem(because.severity, "left-out", f"{told} {verb} left out: {because.reason}", objects[0][1])


def _counted(kind: str, names: list[str]) -> str:
    if len(names) == 1:
        return f"{kind} {names[0]}".rstrip()
    told = ", ".join(names) if len(names) <= _MOST_NAMES else f"{names[0]}, …"
    return f"{len(names)} {_plural(kind)} ({told})"


def _plural(name: str) -> str:
    if name.endswith("s"):
        return f"{name}es"
    return f"{name[:-1]}ies" if name.endswith(("cy", "xy", "ry", "ty")) else f"{name}s"
