"""Documents as output: mappings, YAML, with secrets hidden."""

from __future__ import annotations

import json
from typing import Any

import yaml

from weft.model.document import Document

REDACTED = "(hidden)"


def document_as_mapping(document: Document[object], redact: bool = True) -> dict[str, Any]:
    """The whole resource as plain values. With `redact` the values of a Secret are hidden, its keys are not, and so are
    those of its annotations: kubectl keeps there what was applied last."""
    mapping: dict[str, Any] = json.loads(document.text)
    if redact and document.key.kind == "Secret" and not document.key.group:
        mapping["data"] = dict.fromkeys(mapping.get("data") or {}, REDACTED)
        about = mapping.get("metadata") or {}
        if about.get("annotations"):
            mapping["metadata"] = {**about, "annotations": dict.fromkeys(about["annotations"], REDACTED)}
    return mapping


def document_yaml(document: Document[object], redact: bool = True) -> str:
    """The whole resource as YAML: the same text for the same resource, whatever order it was written in."""
    mapping = document_as_mapping(document, redact)
    return yaml.dump(mapping, Dumper=_Dumper, sort_keys=True, default_flow_style=False, allow_unicode=True, width=120)


class _Dumper(yaml.SafeDumper):
    """Writes no aliases."""

    def ignore_aliases(self, data: object) -> bool:  # noqa: ARG002
        return True
