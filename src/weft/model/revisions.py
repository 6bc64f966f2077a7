"""Revisions: by which name of a control plane a namespace, a pod or a Gateway asks for it. Istio's labels and weft's.

https://istio.io/latest/docs/setup/upgrade/canary/
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

DEFAULT = "default"
"""The control plane that serves whoever names none."""
INJECTION, ISTIO_INJECTION = "weft.dev/injection", "istio-injection"
REVISION, ISTIO_REVISION = "weft.dev/rev", "istio.io/rev"
"""Labels; weft's goes before Istio's."""
_WORDS = {"enabled": True, "disabled": False}
_NAME = re.compile(r"[a-z0-9](?:[-a-z0-9]{0,38}[a-z0-9])?")


@dataclass(frozen=True, slots=True)
class Revision:
    """What labels call a control plane: its `name`, by which its own objects are called too, and `tags`."""

    name: str = DEFAULT
    tags: tuple[str, ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        """All of them, each once."""
        return tuple(dict.fromkeys((self.name, *self.tags)))

    @property
    def suffix(self) -> str:
        """What the names of its objects end with: nothing for the default."""
        return "" if self.name == DEFAULT else f"-{self.name}"


USUAL = Revision()
"""Where there is but one."""


def is_revision(name: str) -> bool:
    """Whether a control plane can be called so: a DNS label of at most 40 characters."""
    return _NAME.fullmatch(name) is not None


def revision_of(labels: Mapping[str, str]) -> str:
    """The revision that labels name; empty: none."""
    return labels.get(REVISION) or labels.get(ISTIO_REVISION) or ""


def word_of_namespace(labels: Mapping[str, str]) -> bool | None:
    """Whether the labels of a namespace say that its pods get sidecars; None: they do not say, or nothing known."""
    for key in (INJECTION, ISTIO_INJECTION):
        if key in labels:
            return _WORDS.get(labels[key])
    return None


def revision_of_namespace(labels: Mapping[str, str]) -> str:
    """The revision that a namespace is for; empty: it does not say. A word about injection goes before a revision, and
    means the default."""
    return DEFAULT if word_of_namespace(labels) else revision_of(labels)
