"""What a ConfigMap holds for the mesh: settings as YAML inside a text, with the lines of the file around them,
certificates of authorities, and parameters of Gateways."""

from __future__ import annotations

import re
from collections.abc import Mapping

from weft.model.origin import FieldLines, FieldPath
from weft.schema.kinds.meshconfig import CONFIG_MAP_NAME, PARAMETERS
from weft.schema.metadata import peek
from weft.schema.walk import Walk
from weft.schema.yaml_nodes import Node, field_lines, parse_documents, plain_value

SETTINGS_KEYS = ("mesh", "meshConfig")
"""What has settings of the mesh."""
_AUTHORITIES = "ca.crt"
_FIELDS = re.compile(r":(\s|$)|^[^\S\n]*(\{|(null|~)[^\S\n]*$)", re.MULTILINE)
"""What YAML with fields has, and the word of an application that is called `service` has not. No part of it goes beyond
a line: each would be read again from every line above it."""
_NO_NETWORKS: tuple[object, ...] = ({}, {"networks": {}}, {"networks": None}, None)


def holds_settings(entries: Mapping[str, Node]) -> bool:
    """Whether a ConfigMap holds mesh-wide settings: ``mesh`` in the one called ``istio``, or ``meshConfig``."""
    data = _data(entries)
    return "meshConfig" in data or ("mesh" in data and peek(entries, "name") == CONFIG_MAP_NAME)


def is_for_the_mesh(entries: Mapping[str, Node]) -> bool:
    """Whether a ConfigMap holds mesh-wide settings, the certificates of authorities, or parameters of Gateways."""
    return holds_settings(entries) or _AUTHORITIES in _data(entries) or _holds_parameters(entries)


def _holds_parameters(entries: Mapping[str, Node]) -> bool:
    found = (node for key, node in _data(entries).items() if key in PARAMETERS)
    return any(isinstance(node.value, str) and _FIELDS.search(node.value) for node in found)


def with_settings(walk: Walk, entries: Mapping[str, Node]) -> dict[str, Node]:
    """The fields of a ConfigMap with its settings read; `walk` learns their lines, and what is wrong with the YAML.

    ``meshNetworks`` that names no network says nothing and goes, and so does what stands beside certificates and
    parameters in a ConfigMap without settings: it is an application's, or told where a Gateway refers to it.
    """
    data = dict(_data(entries))
    if not any(key in data for key in SETTINGS_KEYS):
        data = {key: node for key, node in data.items() if key == _AUTHORITIES or key in PARAMETERS}
    for key in SETTINGS_KEYS:
        node = data.get(key)
        if node is not None and isinstance(node.value, str):
            data[key] = _read(walk, node, ("data", key))
    networks = data.get("meshNetworks")
    if networks is not None and isinstance(networks.value, str) and _plain(networks.value) in _NO_NETWORKS:
        del data["meshNetworks"]
    found = dict(entries)
    if "data" in found:
        found["data"] = Node(data, found["data"].line, found["data"].column)
    return found


def _data(entries: Mapping[str, Node]) -> Mapping[str, Node]:
    node = entries.get("data")
    return node.value if node is not None and isinstance(node.value, dict) else {}


def _plain(text: str) -> object:
    documents = list(parse_documents(text, ""))
    if not documents:
        return None
    root = documents[0].root
    return "" if root is None or len(documents) > 1 else plain_value(root)


def _read(walk: Walk, node: Node, path: FieldPath) -> Node:
    """The tree that a text stands for. The text is taken to begin in the line below its key, as block text does; what
    stands in the key's own line has no line breaks that matter."""
    text = str(node.value)
    documents = list(parse_documents(text, walk.lines.source))
    problems = [problem for document in documents for problem in document.problems]
    for problem in problems:
        walk.error(path, problem.code, f"{problem.message} (line {problem.origin.line} of the text)")
    if len(documents) > 1:
        walk.error(path, "bad-value", f"found {len(documents)} YAML documents", "one")
    root = documents[0].root if documents else None
    if root is None:
        return Node({}, node.line, node.column)
    inner = field_lines(root, "").lines
    moved = {(*path, *part): node.line + (line if "\n" in text else 0) for part, line in inner.items() if part}
    walk.lines = FieldLines(walk.lines.source, {**moved, **walk.lines.lines})
    return Node(root.value, node.line, node.column, root.text)
