"""What a registry's tags and metadata become: labels of an instance, and what callers name."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from weft.model.labels import Labels
from weft.model.locality import locality_from_text
from weft.sources.imports.catalogue import MOST_LABELS
from weft.sources.imports.settings import PROTOCOLS, Called

TAG_LABELS = "tag.weft.dev/"
"""A tag without a value is a label of this prefix with the value ``true``."""
_KEY = re.compile(r"([a-z0-9]([-a-z0-9.]{0,200}[a-z0-9])?/)?[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?")
_VALUE = re.compile(r"([A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?")
_OWN = ("weft-port", "weft-protocol", "weft-locality", "weft-service-account")
_RESERVED = re.compile(r"(security\.istio\.io|weft\.dev|topology\..*)/.*|istio-locality|app")


def labels_of(tags: Iterable[Any], meta: Mapping[str, Any]) -> Labels:
    """The labels of an instance: metadata, and tags ``NAME=VALUE`` or ``NAME``. What is no label is left out, and what
    means something to the mesh, which a registry does not decide."""
    found: dict[str, str] = {}
    for tag in tags:
        if not isinstance(tag, str):
            continue
        name, equals, value = tag.partition("=")
        _put(found, *((name, value) if equals else (f"{TAG_LABELS}{name}", "true")))
    for name, value in meta.items():
        if name not in _OWN and isinstance(value, str):
            _put(found, name, value)
    return tuple(sorted(found.items()))


def _put(found: dict[str, str], name: str, value: str) -> None:
    allowed = name.startswith(TAG_LABELS) or not _RESERVED.fullmatch(name)
    if allowed and len(found) < MOST_LABELS and len(name) < 250 and _KEY.fullmatch(name) and _VALUE.fullmatch(value):
        found[name] = value


def called_by(metas: Iterable[Mapping[str, Any]]) -> Called:
    """What the instances' metadata says that callers name, if all that say something say the same."""
    ports = {text for meta in metas if isinstance(text := meta.get("weft-port"), str) and text}
    protocols = {text for meta in metas if isinstance(text := meta.get("weft-protocol"), str) and text}
    port, protocol = _only(ports), _only(protocols)
    number = int(port) if port.isascii() and port.isdecimal() and len(port) < 6 and 0 < int(port) < 65536 else 0
    return Called(number, protocol if protocol in PROTOCOLS else "")


def locality_said(meta: Mapping[str, Any]) -> str:
    """The locality that metadata says; empty for none, or one that cannot be read."""
    text = meta.get("weft-locality", "")
    try:
        return text if isinstance(text, str) and locality_from_text(text) else ""
    except ValueError:
        return ""


def account_said(meta: Mapping[str, Any]) -> str:
    """The service account of the mesh's proxy before an instance, if metadata says that there is one."""
    text = meta.get("weft-service-account", "")
    return text if isinstance(text, str) and re.fullmatch(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?", text) else ""


def _only(values: set[str]) -> str:
    return next(iter(values)) if len(values) == 1 else ""
