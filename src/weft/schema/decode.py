"""Text to documents: the strict decoder of YAML and JSON for all kinds weft knows."""

from __future__ import annotations

import base64
import dataclasses
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from weft.model.document import Document, ObjectKey
from weft.model.origin import FieldLines, FieldPath, Origin
from weft.model.problem import Problem, Severity
from weft.schema.embedded import with_settings
from weft.schema.json_nodes import node_from_json
from weft.schema.kinds.core import SecretSpec
from weft.schema.kinds.meshconfig import ConfigMapSpec
from weft.schema.metadata import Metadata, decode_metadata, peek
from weft.schema.recognition import LeftOut, recognise
from weft.schema.registry import KINDS, Kind
from weft.schema.unreadable import unreadable_spec
from weft.schema.walk import INVALID, Walk, decode_fields
from weft.schema.wording import nearest_name, shown
from weft.schema.yaml_nodes import Node, YamlDocument, field_lines, parse_documents, plain_value

MAX_PROBLEMS = 1000
"""Problems told about one text; decoding ends there."""
_ENVELOPE = ("apiVersion", "kind", "metadata")


@dataclass(frozen=True, slots=True)
class Decoded:
    """What a text holds: the documents that can be accepted, those about security that cannot be understood (their spec
    is `Unreadable`), and every problem found, warnings too."""

    documents: tuple[Document[object], ...] = ()
    problems: tuple[Problem, ...] = ()

    @property
    def failed(self) -> bool:
        """Whether any problem is an error."""
        return any(problem.severity is Severity.ERROR for problem in self.problems)


def decode_documents(text: str, source: str, *, default_namespace: str = "default", created: float = 0.0) -> Decoded:
    """Every document of a YAML or JSON text from `source` (a file's name, or ``api``).

    Several documents may be divided by ``---`` or stand in a ``List``. Documents without a namespace get
    `default_namespace`. `created` (seconds since the epoch) is what the store knows; with 0, the document's own
    creationTimestamp counts. A document with an error is left out, or, if it is about security, there with an
    `Unreadable` spec; the others are not affected.
    """
    return decode_texts([(source, text)], default_namespace=default_namespace, created=created)


def decode_texts(
    texts: Iterable[tuple[str, str]], *, default_namespace: str = "default", created: float = 0.0
) -> Decoded:
    """Every document of several texts, each with its source, that are given together: none may stand in two of them,
    and what is left out is counted over all. The rest as in `decode_documents`."""
    documents: list[Document[object]] = []
    problems: list[Problem] = []
    left_out = LeftOut()
    origins: dict[ObjectKey, Origin] = {}
    for source, text in texts:
        found: list[Problem] = []
        for root, acceptable in _objects(text, source, found):
            walk = Walk(field_lines(root, source))
            document = _Decoder(walk, default_namespace, created, acceptable=acceptable).decode(root, left_out)
            if document is not None and document.key in origins:
                first = origins[document.key]
                walk.error((), "duplicate-object", f"{document.key} is given twice (first at {first})", "one of them")
                document = None
            found.extend(sorted(walk.problems, key=lambda problem: problem.origin.line))
            if document is not None:
                documents.append(document)
                origins[document.key] = document.origin
        problems += found
    return Decoded(tuple(documents), (*problems, *left_out.problems()))


def decode_stored(text: str, lines: FieldLines, *, default_namespace: str = "default", created: float = 0.0) -> Decoded:
    """One document from its canonical JSON, as `Document.text` has it, with the lines it had when it was first decoded.

    ValueError if `text` is not JSON. Much faster than `decode_documents`, with the same result.
    """
    walk = Walk(lines)
    decoder = _Decoder(walk, default_namespace, created, acceptable=True)
    document = decoder.decode(node_from_json(text), LeftOut())
    return Decoded((document,) if document is not None else (), tuple(walk.problems))


def canonical_json(value: object) -> str:
    """`value` as JSON in one spelling: sorted keys, no spaces, ASCII."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)


def _objects(text: str, source: str, problems: list[Problem]) -> Iterator[tuple[Node, bool]]:
    """Every object of the text and whether it was read without error; what could not be read goes to `problems`."""
    for parsed in parse_documents(text, source):
        problems.extend(parsed.problems)
        for root in _roots(parsed):
            yield root, not parsed.problems
            if len(problems) > MAX_PROBLEMS:
                break
        if len(problems) > MAX_PROBLEMS:
            message = f"there are more than {MAX_PROBLEMS} problems; the rest of the text was not read"
            problems.append(Problem(Severity.ERROR, "too-many-problems", message, problems[-1].origin))
            return


def _roots(parsed: YamlDocument) -> list[Node]:
    """The objects of a YAML document: itself, or the items of a list."""
    root = parsed.root
    if root is None or not isinstance(root.value, dict):
        return [root] if root is not None else []
    kind, items = root.value.get("kind"), root.value.get("items")
    if kind is None or items is None or not isinstance(kind.value, str) or not isinstance(items.value, list):
        return [root]
    listed = kind.value.removesuffix("List")
    if kind.value != "List" and not any(known.name == listed for known in KINDS):
        return [root]
    return items.value


@dataclass(frozen=True, slots=True)
class _Decoder:
    """Decodes one object. `acceptable` False: its YAML had errors, so what was read of it is not all."""

    walk: Walk
    default_namespace: str
    created: float
    acceptable: bool

    def decode(self, root: Node, left_out: LeftOut) -> Document[object] | None:
        """The document, or None after saying why there is none."""
        walk, entries = self.walk, root.value
        if not isinstance(entries, dict):
            walk.error((), "wrong-type", f"found {shown(entries)}", "a document with apiVersion, kind and metadata")
            return None
        api_version, kind = recognise(walk, entries, self.default_namespace, left_out)
        if kind is None:
            return None
        namespace = (peek(entries, "namespace") or self.default_namespace) if kind.namespaced else ""
        key = walk.object = ObjectKey(kind.group, kind.name, namespace, peek(entries, "name"))
        walk.masked = kind.spec is SecretSpec
        metadata = decode_metadata(walk, entries, kind.name_form)
        if metadata is not None and metadata.namespace and not kind.namespaced:
            walk.error(("metadata", "namespace"), "bad-value", f"a {kind.name} is in no namespace", "no namespace")
        if kind.is_flat(api_version) and "spec" not in entries:
            entries = _with_spec(walk, entries)
        known = api_version in kind.api_versions or api_version in kind.old_api_versions
        spec = _decode_spec(walk, kind, entries) if known else INVALID
        if metadata is None or spec is INVALID or walk.failed or not self.acceptable:
            if not kind.security or not key.name:
                return None
            metadata = metadata or Metadata(key.name)
            spec = unreadable_spec(kind.name, entries)
        return Document(
            key=key,
            api_version=api_version,
            spec=spec,
            text=_text(kind, api_version, key=key, metadata=metadata, entries=entries, spec=spec),
            lines=walk.lines,
            labels=metadata.labels,
            annotations=metadata.annotations,
            created=self.created or metadata.created,
            generation=metadata.generation,
        )


def _with_spec(walk: Walk, entries: dict[str, Node]) -> dict[str, Node]:
    """A document of a version that has no ``spec`` as later versions write it, its lines with it."""
    outside = (*_ENVELOPE, "status")
    inner = {key: child for key, child in entries.items() if key not in outside}
    moved = {(("spec", *path) if path and path[0] in inner else path): line for path, line in walk.lines.lines.items()}
    walk.lines = FieldLines(walk.lines.source, moved)
    first = next(iter(inner.values()), None)
    spec = Node(inner, first.line if first else 0, 0) if first else None
    return {key: child for key, child in entries.items() if key in outside} | ({"spec": spec} if spec else {})


def _decode_spec(walk: Walk, kind: Kind, entries: dict[str, Node]) -> object:
    """The kind's value from ``spec``, or from the fields beside metadata; ``status`` is the server's and dropped."""
    rest = {key: child for key, child in entries.items() if key not in _ENVELOPE and key != "status"}
    if kind.spec is SecretSpec:
        return _decode_secret(walk, rest)
    if kind.spec is ConfigMapSpec:
        rest = with_settings(walk, rest)
    if kind.flat:
        return decode_fields(kind.spec, walk, rest, ())
    for key in rest:
        if key != "spec":
            near = nearest_name(key, ("spec", *_ENVELOPE))
            walk.error((key,), "unknown-field", f"unknown field {shown(key)}", "apiVersion, kind, metadata, spec", near)
    node = rest.get("spec")
    if node is None or node.value is None:
        required = [plan for plan in dataclasses.fields(kind.spec) if plan.default is dataclasses.MISSING]
        if any(plan.default_factory is dataclasses.MISSING for plan in required):
            return walk.error((), "missing-field", "the field 'spec' is missing", "spec")
        return decode_fields(kind.spec, walk, {}, ("spec",))
    if not isinstance(node.value, dict):
        return walk.wrong_type(node, ("spec",), "a mapping")
    fields = node.value
    if kind.name == "Namespace":
        fields = {key: child for key, child in fields.items() if key != "finalizers"}
    return decode_fields(kind.spec, walk, fields, ("spec",))


def _decode_secret(walk: Walk, entries: dict[str, Node]) -> object:
    """`stringData` is merged over `data`, as the Kubernetes API server does."""
    texts = _string_data(walk, entries.pop("stringData", None))
    data = entries.get("data")
    if texts and (data is None or isinstance(data.value, dict | None)):
        given = data.value if data is not None and isinstance(data.value, dict) else {}
        line, column = (data.line, data.column) if data is not None else (0, 0)
        entries["data"] = Node({**given, **texts}, line, column)
        written: dict[FieldPath, int] = {("data", key): walk.lines.origin("stringData", key).line for key in texts}
        walk.lines = FieldLines(walk.lines.source, {**walk.lines.lines, **written})
    return decode_fields(SecretSpec, walk, entries, ())


def _string_data(walk: Walk, node: Node | None) -> dict[str, Node]:
    if node is None or node.value is None:
        return {}
    if not isinstance(node.value, dict):
        walk.wrong_type(node, ("stringData",), "a mapping")
        return {}
    texts = {}
    for key, child in node.value.items():
        if isinstance(child.value, str):
            encoded = base64.b64encode(child.value.encode()).decode()
            texts[key] = Node(encoded, child.line, child.column, encoded)
        else:
            walk.wrong_type(child, ("stringData", key), "text")
    return texts


def _text(
    kind: Kind, api_version: str, *, key: ObjectKey, metadata: Metadata, entries: dict[str, Node], spec: object
) -> str:
    """The whole resource as it is stored and shown, without what the server fills in."""
    about: dict[str, Any] = {"name": key.name}
    if key.namespace:
        about["namespace"] = key.namespace
    if metadata.labels:
        about["labels"] = dict(metadata.labels)
    if metadata.annotations:
        about["annotations"] = dict(metadata.annotations)
    result: dict[str, Any] = {"apiVersion": api_version, "kind": kind.name, "metadata": about}
    if isinstance(spec, SecretSpec):
        result["type"] = spec.type
        result["data"] = {name: base64.b64encode(value).decode() for name, value in spec.data.items()}
    elif isinstance(spec, ConfigMapSpec):
        result["data"] = plain_value(entries["data"])
    elif not kind.flat and "spec" in entries and entries["spec"].value is not None:
        result["spec"] = plain_value(entries["spec"])
        if kind.name == "Namespace" and isinstance(result["spec"], dict):  # unreadable ones have anything
            result["spec"].pop("finalizers", None)
    try:
        return canonical_json(result)
    except ValueError:  # a number that JSON does not have, which no kind accepts either
        return canonical_json(result | {"spec": str(result["spec"])})
