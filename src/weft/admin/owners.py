"""Owners of documents: who alone changes one. A followed file, the users of the admin API, or Kubernetes."""

from __future__ import annotations

from collections.abc import Container

from weft.model.document import Document, ObjectKey
from weft.sources.kubernetes.documents import PREFIX

FILE, API, KUBERNETES = "file", "api", "kubernetes"


def owner_of(document: Document[object], in_files: Container[ObjectKey]) -> str:
    """Whose a document in force is, if followed files have `in_files`."""
    if document.key in in_files:
        return FILE
    return KUBERNETES if document.origin.source.startswith(PREFIX) else API
