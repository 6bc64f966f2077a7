"""Text to documents: the strict decoder of YAML and JSON for all kinds weft knows."""

from __future__ import annotations

import base64
import dataclasses
import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from weft.model.document import Document, ObjectKey
from weft.model.origin import FieldLines, Origin
from weft.model.problem import Problem, Severity
from weft.schema.json_nodes import node_from_json
from weft.schema.kinds.core import SecretSpec
from weft.schema.metadata import Metadata, decode_metadata, peek
from weft.schema.registry import KINDS, Kind, kind_of
from weft.schema.upstream import UNSUPPORTED_KINDS
from weft.schema.walk import INVALID, Walk, decode_fields, nearest_name, shown
from weft.schema.yaml_nodes import Node, YamlDocument, field_lines, parse_documents, plain_value

MAX_PROBLEMS = 1000
"""Problems told about one text; decoding ends there."""
_ENVELOPE = ("apiVersion", "kind", "metadata")


@dataclass(frozen=True, slots=True)
class Decoded:
    """What a text holds: the documents that can be accepted, and every problem found, warnings too."""

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
    creationTimestamp counts. A document with an error is left out; the others are not affected.
    """
    documents: list[Document[object]] = []
    problems: list[Problem] = []
    origins: dict[ObjectKey, Origin] = {}
    for root, acceptable in _objects(text, source, problems):
        walk = Walk(field_lines(root, source))
        document = _decode_document(walk, root, default_namespace, created)
        if document is not None and document.key in origins:
            first = origins[document.key]
            walk.error((), "duplicate-object", f"{document.key} is given twice (first at {first})", "one of them")
            document = None
        problems.extend(sorted(walk.problems, key=lambda problem: problem.origin.line))
        if document is not None and acceptable:
            documents.append(document)
            origins[document.key] = document.origin
    return Decoded(tuple(documents), tuple(problems))


def decode_stored(text: str, lines: FieldLines, *, default_namespace: str = "default", created: float = 0.0) -> Decoded:
    """One document from its canonical JSON, as `Document.text` has it, with the lines it had when it was first decoded.

    ValueError if `text` is not JSON. Much faster than `decode_documents`, with the same result.
    """
    walk = Walk(lines)
    document = _decode_document(walk, node_from_json(text), default_namespace, created)
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


def _decode_document(walk: Walk, root: Node, default_namespace: str, created: float) -> Document[object] | None:
    if not isinstance(root.value, dict):
        walk.error((), "wrong-type", f"found {shown(root.value)}", "a document with apiVersion, kind and metadata")
        return None
    entries = root.value
    api_version, kind = _kind(walk, entries)
    if kind is None:
        return None
    namespace = (peek(entries, "namespace") or default_namespace) if kind.namespaced else ""
    walk.object = ObjectKey(kind.group, kind.name, namespace, peek(entries, "name"))
    walk.masked = kind.spec is SecretSpec
    metadata = decode_metadata(walk, entries, kind.name_form)
    if metadata is not None and metadata.namespace and not kind.namespaced:
        walk.error(("metadata", "namespace"), "bad-value", f"a {kind.name} is in no namespace", "no namespace")
    spec = _decode_spec(walk, kind, entries)
    if metadata is None or spec is INVALID or walk.failed:
        return None
    key = ObjectKey(kind.group, kind.name, namespace, metadata.name)
    return Document(
        key=key,
        api_version=api_version,
        spec=spec,
        text=canonical_json(
            _canonical(kind, api_version, key=key, metadata=metadata, entries=entries, spec=spec),
        ),
        lines=walk.lines,
        labels=metadata.labels,
        annotations=metadata.annotations,
        created=created or metadata.created,
        generation=metadata.generation,
    )


def _kind(walk: Walk, entries: dict[str, Node]) -> tuple[str, Kind | None]:
    """The document's apiVersion and kind, or None after saying why it is none of ours."""
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
    if kind is None:
        _refuse_kind(walk, group, name)
    elif api_version not in kind.api_versions:
        message = f"the version {shown(api_version)} of {name} is not supported by weft"
        walk.error(("apiVersion",), "unsupported-version", message, " or ".join(kind.api_versions))
        kind = None
    return api_version, kind


def _refuse_kind(walk: Walk, group: str, name: str) -> None:
    names = [kind.name for kind in KINDS]
    supported = "one of " + ", ".join(names)
    same_name = next((kind for kind in KINDS if kind.name == name), None)
    where = f" of {shown(group)}" if group else ""
    if (group, name) in UNSUPPORTED_KINDS:
        walk.error(("kind",), "unsupported-kind", f"{name}{where} is not supported yet by weft", supported)
    elif same_name is not None:
        message = f"there is no {name}{where or ' of the core group'}"
        groups = [kind.group for kind in KINDS]
        near = nearest_name(group, groups)
        expected = " or ".join(same_name.api_versions)
        walk.error(("apiVersion",), "unknown-kind", message, expected, near if near != group else "")
    else:
        message = f"unknown kind {shown(name)}{where}"
        walk.error(("kind",), "unknown-kind", message, supported, nearest_name(name, names))


def _decode_spec(walk: Walk, kind: Kind, entries: dict[str, Node]) -> object:
    """The kind's value from ``spec``, or from the fields beside metadata; ``status`` is the server's and dropped."""
    rest = {key: child for key, child in entries.items() if key not in _ENVELOPE and key != "status"}
    if kind.spec is SecretSpec:
        return _decode_secret(walk, rest)
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


def _canonical(
    kind: Kind, api_version: str, *, key: ObjectKey, metadata: Metadata, entries: dict[str, Node], spec: object
) -> dict[str, Any]:
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
    elif not kind.flat and "spec" in entries and entries["spec"].value is not None:
        result["spec"] = plain_value(entries["spec"])
        if kind.name == "Namespace":
            result["spec"].pop("finalizers", None)
    return result
