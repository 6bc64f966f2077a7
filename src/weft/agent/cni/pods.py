"""Capture in a pod's network namespace, from outside of the pod: by what its annotation says, put there by who injected
it. A pod without such words is none of the mesh, or has an init container that does it."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import msgspec

from weft.agent.errors import AgentError
from weft.agent.pod.rules import PodCapture, install_pod_rules, pod_rules, pod_rules_in_force, uninstall_pod_rules
from weft.model.proof import proof_address
from weft.processes.namespaces import NamespaceError, inside

ResultT = TypeVar("ResultT")
STATUS = "weft.dev/status"
"""The annotation."""
Words = tuple[str, ...]
ReadCapture = Callable[[Words], PodCapture]
"""What options of ``weft pod init`` ask for; AgentError if they cannot be."""


class _Status(msgspec.Struct):
    capture: Words | None = None


def words_of(annotations: Mapping[str, str]) -> Words | None:
    """The options of ``weft pod init`` that a pod wants to be captured by; None: it is not to be. AgentError."""
    text = annotations.get(STATUS)
    if text is None:
        return None
    try:
        return msgspec.json.decode(text, type=_Status).capture
    except msgspec.MsgspecError as error:
        raise AgentError(f"its annotation {STATUS} cannot be read, which only weft writes: {error}") from error


def capture(namespace: str, words: Words, read: ReadCapture) -> str:
    """Put the rules in force in the network namespace at a path, in place of those there are; by which firewall.
    AgentError. Blocks."""
    rules = replace(pod_rules(read(words)), proof=proof_address(words))
    return _inside(namespace, lambda: install_pod_rules(rules))


def is_captured(namespace: str, words: Words) -> bool:
    """Whether the rules of these words, and no others, are in force there. AgentError. Blocks."""
    return has_proof(_inside(namespace, pod_rules_in_force), words)


def has_proof(rules: str, words: Words) -> bool:
    """Whether rules, as a firewall prints them, are those of these words. Pure."""
    return re.search(rf"(?<![\d.]){re.escape(proof_address(words))}(?![\d.])", rules) is not None


def release(namespace: str) -> None:
    """Leave nothing of the rules, where the namespace is still there. AgentError. Blocks."""
    if namespace and Path(namespace).exists():
        _inside(namespace, uninstall_pod_rules)


def _inside(namespace: str, work: Callable[[], ResultT]) -> ResultT:
    try:
        return inside(str(Path(namespace).resolve()), work)
    except NamespaceError as error:
        raise AgentError(f"the network namespace {namespace} {error}") from error
