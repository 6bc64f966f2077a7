"""The ``metadata`` of documents: strict, without what the Kubernetes API server fills in."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Annotated

from weft.model.labels import Labels, labels_from_mapping
from weft.model.origin import FieldPath
from weft.model.problem import Severity
from weft.schema.annotations import OWN, OWN_DOMAIN, READ, foreign_annotation
from weft.schema.findings import Finding, printable
from weft.schema.scalars import LabelKey, LabelValue, Name, Scalar, Timestamp
from weft.schema.walk import Walk, decode_fields, decode_value
from weft.schema.yaml_nodes import Node

SERVER_FIELDS = frozenset(
    (
        "uid", "resourceVersion", "generation", "creationTimestamp", "managedFields", "ownerReferences", "selfLink",
        "finalizers", "deletionTimestamp", "deletionGracePeriodSeconds",
    )
)  # fmt: skip
"""Filled in by the Kubernetes API server: accepted, and dropped from the document."""
BOOKKEEPING_ANNOTATIONS = frozenset(("kubectl.kubernetes.io/last-applied-configuration",))
"""Copies of the document inside the document: dropped."""
_AMBIENT = ("istio.io/dataplane-mode", "istio.io/use-waypoint", "istio.io/use-waypoint-namespace")
_MAX_ANNOTATIONS = 256 * 1024
_PATH: FieldPath = ("metadata",)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Fields:
    name: str
    namespace: Name = ""
    labels: Mapping[LabelKey, LabelValue] = field(default_factory=dict)
    annotations: Mapping[LabelKey, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Metadata:
    """What weft keeps of a document's metadata."""

    name: str
    namespace: str = ""
    labels: Labels = ()
    annotations: Labels = ()
    created: float = 0.0
    generation: int = 0


def peek(root: Mapping[str, Node], name: str) -> str:
    """A text of the metadata before it is checked, for naming the object in problems."""
    metadata = root.get("metadata")
    entry = metadata.value.get(name) if metadata is not None and isinstance(metadata.value, dict) else None
    return printable(entry.value[:253]) if entry is not None and isinstance(entry.value, str) else ""


def decode_metadata(walk: Walk, root: Mapping[str, Node], name_form: str) -> Metadata | None:
    """The metadata of a document, or None when it cannot be used; problems go to `walk`."""
    node = root.get("metadata")
    if node is None or node.value is None:
        walk.error((), "missing-field", "the field 'metadata' is missing", "metadata with a name")
        return None
    if not isinstance(node.value, dict):
        walk.wrong_type(node, _PATH, "a mapping")
        return None
    if "generateName" in node.value:
        walk.error((*_PATH, "generateName"), "unsupported-field", "'generateName' is not supported by weft", "name")
    entries = {key: child for key, child in node.value.items() if key not in SERVER_FIELDS and key != "generateName"}
    fields = decode_fields(_Fields, walk, entries, _PATH)
    name = entries.get("name")
    if name is not None and isinstance(name.value, str):
        decode_value(walk, Annotated[str, Scalar(name_form)], name, (*_PATH, "name"))
    if not isinstance(fields, _Fields):
        return None
    _check_labels(walk, fields)
    annotations = {key: text for key, text in fields.annotations.items() if key not in BOOKKEEPING_ANNOTATIONS}
    _check_annotations(walk, annotations)
    return Metadata(
        fields.name,
        fields.namespace,
        labels_from_mapping(fields.labels),
        labels_from_mapping(annotations),
        _created(walk, node.value.get("creationTimestamp")),
        _generation(node.value.get("generation")),
    )


def _check_labels(walk: Walk, fields: _Fields) -> None:
    for key in _AMBIENT:
        if key in fields.labels and fields.labels[key] != "none":
            message = f"the label '{key}' is not supported by weft: it has no ambient mode"
            walk.error((*_PATH, "labels", key), "unsupported-field", message)


def _check_annotations(walk: Walk, annotations: Mapping[str, str]) -> None:
    if sum(len(key) + len(text) for key, text in annotations.items()) > _MAX_ANNOTATIONS:
        walk.error((*_PATH, "annotations"), "too-large", f"the annotations are longer than {_MAX_ANNOTATIONS} bytes")
    for key, text in annotations.items():
        if key.startswith(OWN_DOMAIN):
            _check_own(walk, key, text)
        elif key in READ:
            _check_text(walk, key, text, READ[key])
        message = foreign_annotation(key)
        if message:
            finding = Finding(
                (*_PATH, "annotations", key), message, code="unsupported-annotation", severity=Severity.WARNING
            )
            walk.report((), finding)


def _check_own(walk: Walk, key: str, text: str) -> None:
    """An annotation of weft's own says what it may say, and there is such a one."""
    path = (*_PATH, "annotations", key)
    if key not in OWN:
        walk.error(path, "unknown-field", f"there is no annotation '{key}'", f"one of {', '.join(OWN)}")
        return
    _check_text(walk, key, text, OWN[key])


def _check_text(walk: Walk, key: str, text: str, form: tuple[Callable[[str], bool], str]) -> None:
    right, expected = form
    if not right(text):
        walk.error((*_PATH, "annotations", key), "bad-value", f"found '{text[:80]}'", expected)


def _created(walk: Walk, node: Node | None) -> float:
    if node is None or node.value is None:
        return 0.0
    created = decode_value(walk, Timestamp, node, (*_PATH, "creationTimestamp"))
    return created if isinstance(created, float) else 0.0


def _generation(node: Node | None) -> int:
    value = node.value if node is not None else 0
    return value if isinstance(value, int) and not isinstance(value, bool) else 0
