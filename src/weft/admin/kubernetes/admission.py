"""Admission: whether an object may be written to a cluster, in the words of `weft validate`.

An object is refused for what is wrong with itself, and nothing else is told of it: what another document mends may
come in the next moment, and is said in the status, as is a reference to parameters that cannot be. Whatever is not
weft's, was wrong before, or cannot be judged in time may be: a mesh that is not well stops nobody's work.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from weft.admin.kubernetes.wording import words
from weft.admin.validation import problems_in
from weft.aio.threads import Threads
from weft.mesh.problems import MISSING_REFERENCES
from weft.model.document import ObjectKey
from weft.model.origin import FieldLines
from weft.model.problem import Problem, Severity, distinct
from weft.model.snapshot import ConfigSnapshot
from weft.provision.parameters import reference_problems
from weft.schema.decode import Decoded, canonical_json, decode_stored
from weft.schema.kinds.gateway import (
    BUILT_IN_CLASSES,
    CONTROLLER_NAME,
    GATEWAY_GROUP,
    GatewayClassSpec,
    GatewaySpec,
)
from weft.schema.registry import Kind, kind_of
from weft.sources.kubernetes.documents import is_about_process

Object = Mapping[str, Any]
_SECONDS = 4.0
_AT_ONCE = 2
_MOST = 10
_EVERYBODYS = frozenset(("ReferenceGrant", "BackendTLSPolicy", "XBackendTrafficPolicy", "XTelemetryPolicy"))
"""Kinds that other controllers read too, and that do not say for whom they are."""
_OF_OTHERS = MISSING_REFERENCES | frozenset(
    (
        "not-allowed", "no-matching-listener", "no-matching-host", "not-http", "not-tcp", "wrong-protocol",
        "bad-credential", "incomplete-credential", "bad-certificate", "no-certificate", "no-authority", "no-backend",
        "keys-unreachable", "provider-unread", "provider-unreachable", "patch-refused", "patch-not-tried",
        "no-fallback", "claims-unknown", "port-not-served", "target-port-not-served", "no-provider",
    )
)  # fmt: skip
"""Codes of what depends on other documents, besides those that say so in their name."""
_log = logging.getLogger("weft.kubernetes")


@dataclass(frozen=True, slots=True)
class Judgement:
    """Whether an object may be written, why not, and what its writer should know."""

    allowed: bool = True
    message: str = ""
    warnings: tuple[str, ...] = ()


ALLOWED = Judgement()


class Admission:
    """`snapshot` is what is in force. Nothing of it is told but which Gateways are weft's: whoever reaches the webhook
    may ask, about whatever namespace."""

    def __init__(self, snapshot: Callable[[], ConfigSnapshot]) -> None:
        self._snapshot = snapshot
        self._threads = Threads(_AT_ONCE)

    async def judge(self, operation: str, new: object, old: object = None) -> Judgement:
        """Of an object that is to be `new` and was `old` (JSON values). Never raises but when it is cancelled."""
        if operation not in ("CREATE", "UPDATE") or not isinstance(new, dict):
            return ALLOWED
        snapshot = self._snapshot()
        try:
            async with asyncio.timeout(_SECONDS):
                return await self._threads.run(lambda: _judged(snapshot, new, old))
        except TimeoutError:
            return ALLOWED
        except Exception:
            _log.exception("an object cannot be judged, and is allowed")
            return ALLOWED


def _judged(snapshot: ConfigSnapshot, new: Object, old: object) -> Judgement:
    kind = _kind_of(new)
    if kind is None or not kind.group or _says_the_same(new, old):
        return ALLOWED  # not read, the cluster's own, or nothing new
    key = key_of(kind, new)
    decoded = _decoded(key, new)
    mine = is_ours(kind, new, snapshot)
    errors: list[str] = []
    warnings: list[str] = []
    found = _problems(kind, decoded, snapshot)
    wrong = any(each.severity is Severity.ERROR for each in found)
    known = {_said(each) for each in _problems(kind, _decoded(key, old), snapshot)} if wrong and mine and old else set()
    for problem in found:
        stands = problem.severity is Severity.ERROR and mine and _said(problem) not in known
        (errors if stands else warnings).append(words(problem))
    if not mine and decoded.failed:
        warnings = []  # whoever it is for may understand it
    return Judgement(not errors, _joined(key, errors), tuple(warnings[:_MOST]))


def _decoded(key: ObjectKey, value: object) -> Decoded:
    return decode_stored(canonical_json(value), FieldLines(str(key)), default_namespace=key.namespace or "default")


def _problems(kind: Kind, decoded: Decoded, snapshot: ConfigSnapshot) -> list[Problem]:
    """What is wrong with a document by itself: as it is read, as a mesh takes it in which there is no other, and in its
    reference to parameters, which the Gateway API wants to be told in the status: it is a warning."""
    there = snapshot.documents
    references = (problem for each in decoded.documents for problem in reference_problems(each, there))
    meaning = tuple(replace(each, severity=Severity.WARNING) for each in references)
    if not decoded.failed and kind.group != GATEWAY_GROUP:
        alone = ConfigSnapshot(snapshot.revision, settings=snapshot.settings)
        found = problems_in(alone, decoded.documents, decoded.problems)
        meaning = tuple(each for each in found if each.severity is Severity.ERROR and not _is_of_others(each))
    told = [each for each in decoded.problems if not is_about_process(kind, each)]
    return [each for each in distinct((*told, *meaning)) if each.severity is not Severity.NOTE]


def key_of(kind: Kind, new: Object) -> ObjectKey:
    """What names the object."""
    about = new.get("metadata") or {}
    namespace = str(about.get("namespace") or "") if kind.namespaced else ""
    return ObjectKey(kind.group, kind.name, namespace, str(about.get("name") or about.get("generateName") or ""))


def is_ours(kind: Kind, new: Object, snapshot: ConfigSnapshot) -> bool:
    """Whether an object is meant for weft, and for nobody else, as far as its raw fields and the documents say."""
    spec = new.get("spec")
    if kind.name in _EVERYBODYS or not isinstance(spec, dict):
        return kind.name not in _EVERYBODYS
    if kind.group != GATEWAY_GROUP:
        return True
    if kind.name == "GatewayClass":
        return spec.get("controllerName") == CONTROLLER_NAME
    if kind.name == "Gateway":
        return spec.get("gatewayClassName") in _classes(snapshot)
    namespace = key_of(kind, new).namespace
    named = [spec.get("parentRef")] if kind.name == "ListenerSet" else spec.get("parentRefs")
    parents = [each for each in named if isinstance(each, dict)] if isinstance(named, list) else []
    return bool(parents) and all(_is_our_parent(each, namespace, snapshot) for each in parents)


def _is_our_parent(parent: Object, namespace: str, snapshot: ConfigSnapshot) -> bool:
    if parent.get("group", GATEWAY_GROUP) != GATEWAY_GROUP:
        return True
    if parent.get("kind", "Gateway") != "Gateway":
        return False
    key = ObjectKey(GATEWAY_GROUP, "Gateway", str(parent.get("namespace") or namespace), str(parent.get("name")))
    found = next((each.spec for each in snapshot.documents if each.key == key), None)
    return isinstance(found, GatewaySpec) and found.gateway_class_name in _classes(snapshot)


def _classes(snapshot: ConfigSnapshot) -> frozenset[str]:
    """The names of classes that are weft's: those that are declared so, or are so without a declaration."""
    declared = {each.key.name: each.spec for each in snapshot.documents if isinstance(each.spec, GatewayClassSpec)}
    ours = {name for name, spec in declared.items() if spec.controller_name == CONTROLLER_NAME}
    return frozenset(ours | {name for name in BUILT_IN_CLASSES if name not in declared})


def _kind_of(new: Object) -> Kind | None:
    group = str(new.get("apiVersion", "")).rpartition("/")[0]
    return kind_of(group, str(new.get("kind", "")))


def _says_the_same(new: Object, old: object) -> bool:
    """Whether only that changes which is nothing to weft; or it is about to go, and must not be held up."""
    if (new.get("metadata") or {}).get("deletionTimestamp"):
        return True
    return isinstance(old, dict) and _what_counts(new) == _what_counts(old)


def _what_counts(value: Object) -> dict[str, Any]:
    about = value.get("metadata") or {}
    kept = {name: part for name, part in value.items() if name not in ("metadata", "status")}
    return kept | {name: about.get(name) for name in ("labels", "annotations")}


def _is_of_others(problem: Problem) -> bool:
    code = problem.code
    return code in _OF_OTHERS or code.startswith("unknown-") or code.endswith("-conflict")


def _said(problem: Problem) -> tuple[object, ...]:
    return problem.code, problem.path, problem.message


def _joined(key: ObjectKey, errors: list[str]) -> str:
    if not errors:
        return ""
    more = [f"and {len(errors) - _MOST} more"] if len(errors) > _MOST else []
    return f"{key}: " + "\n".join([*errors[:_MOST], *more])
