"""Canonical JSON to a tree of values, for documents that were decoded before."""

from __future__ import annotations

import json

from weft.schema.yaml_nodes import Node


def node_from_json(text: str) -> Node:
    """The tree of a JSON text that weft itself wrote; it has no lines. ValueError if it is not JSON."""
    return _node(json.loads(text))


def _node(value: object) -> Node:
    if isinstance(value, dict):
        return Node({key: _node(child) for key, child in value.items()}, 0, 0)
    if isinstance(value, list):
        return Node([_node(child) for child in value], 0, 0)
    if value is None or isinstance(value, str | int | float):
        return Node(value, 0, 0, value if isinstance(value, str) else json.dumps(value))
    raise ValueError(f"{type(value).__name__} is not JSON")
