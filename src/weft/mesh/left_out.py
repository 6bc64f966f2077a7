"""References into namespaces that are not in the mesh's view: why what they name is not there."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec

from weft.mesh.memo import Memo
from weft.mesh.problems import problem_at
from weft.model.document import Document
from weft.model.origin import FieldPath
from weft.model.problem import Problem, Severity
from weft.schema.hosts import service_of_host

CODE = "namespace-left-out"
_HOSTS, _NAMED, _ROOT = frozenset(("host", "hosts")), "gateways", "rootNamespace"
_Reference = tuple[FieldPath, str]


def left_out_problems(memo: Memo, documents: tuple[Document[object], ...], left_out: frozenset[str]) -> list[Problem]:
    """What `documents` name in namespaces that are left out, at the field that names it."""
    if not left_out:
        return []
    asking = tuple(each for each in documents if each.key.group)
    found = []
    for document, references in zip(asking, memo.rows(_references, (asking,)), strict=True):
        found += [_problem(document, path, namespace) for path, namespace in references if namespace in left_out]
    return found


def _problem(document: Document[object], path: FieldPath, namespace: str) -> Problem:
    message = f"the namespace '{namespace}' is not in view, so nothing of it is known here"
    severity = Severity.WARNING
    if path[-1] == _ROOT:
        message += ": no policy in it is in force"
        severity = Severity.ERROR
    expected = "labels of the namespace that a discovery selector matches"
    return problem_at(document, path, CODE, message, expected, severity=severity)


def _references(_memo: Memo, document: Document[object]) -> tuple[_Reference, ...]:
    """The namespaces that a document names, besides its own, and where."""
    spec = msgspec.json.decode(document.text, type=dict[str, Any]).get("spec")
    own = document.key.namespace
    return tuple([each for each in _within(spec, ("spec",), own) if each[1] not in ("", own)])


def _within(value: object, path: FieldPath, own: str) -> Iterator[_Reference]:
    if isinstance(value, list):
        for index, each in enumerate(value):
            yield from _within(each, (*path, index), own)
    if not isinstance(value, dict):
        return
    namespace = value.get("namespace")
    if isinstance(namespace, str) and isinstance(value.get("name"), str):
        yield (*path, "namespace"), namespace
    for key, each in value.items():
        where = (*path, key)
        if key == _ROOT and isinstance(each, str):
            yield where, each
        elif key in _HOSTS or key == _NAMED:
            yield from _listed(each, where, own, hosts=key in _HOSTS)
        yield from _within(each, where, own)


def _listed(value: object, path: FieldPath, own: str, *, hosts: bool) -> Iterator[_Reference]:
    """Hosts, and names with their namespace before them: ``shop/edge``, ``shop/*``."""
    several = value if isinstance(value, list) else [value]
    for index, text in enumerate(several):
        where = (*path, index) if isinstance(value, list) else path
        if isinstance(text, str) and "/" in text:
            yield where, text.partition("/")[0]
        elif isinstance(text, str) and hosts:
            service = service_of_host(text, own)
            if service is not None:
                yield where, service.namespace
