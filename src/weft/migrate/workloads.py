"""Labels and annotations of pods, Services and Namespaces: what each mesh's words become."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from weft.inject.vocabulary import Meaning, word_of
from weft.migrate.words import Line, Verdict, Word, same
from weft.model.origin import FieldPath, Origin
from weft.schema.yaml_nodes import Node

Said = Callable[[str, str], Word | None]
"""What is to be said of a key and its value; None where it is not that mesh's."""

_TEMPLATES: Mapping[str, FieldPath] = {
    "Pod": (),
    "CronJob": ("spec", "jobTemplate", "spec", "template"),
    **dict.fromkeys(
        ("Deployment", "StatefulSet", "DaemonSet", "ReplicaSet", "Job", "ReplicationController", "Rollout"),
        ("spec", "template"),
    ),
}
"""Kinds that hold a pod, and where."""
_LABELLED = frozenset(("Namespace", "Service"))
_FIELDS = ("labels", "annotations")
_VERDICTS = {Meaning.DONE: Verdict.SAME, Meaning.WARNED: Verdict.DIFFERS, Meaning.REFUSED: Verdict.MISSING}
_AMBIENT = "istio.io/dataplane-mode"


def said_by_istio(key: str, value: str) -> Word | None:
    """Istio's keys, as the injector has them."""
    word = word_of(key)
    if word is None or key.startswith("weft.dev/"):
        return None
    if value in word.fitting:
        return same("what weft does anyway")
    if key == _AMBIENT:
        return Word(Verdict.MISSING, word.text)
    return Word(_VERDICTS[word.meaning], word.text)


def said_by(table: Mapping[str, Word]) -> Said:
    """The keys of `table`, or what begins with them: the longest counts."""

    def said(key: str, value: str) -> Word | None:
        fitting = [one for one in table if key == one or (one.endswith(("/", "-")) and key.startswith(one))]
        word = table[max(fitting, key=len)] if fitting else None
        return same("what weft does anyway") if word is not None and value in word.fitting else word

    return said


def holds_pods(kind: str) -> bool:
    """Whether objects of a kind hold a pod, or carry labels that say something of pods."""
    return kind in _TEMPLATES or kind in _LABELLED


def keys_of(kind: str, entries: Mapping[str, Node], said: Said, source: str, subject: str) -> Iterator[Line]:
    """What is to be said of the labels and annotations of an object of `kind`: of its pods, too, if it makes any."""
    places: list[FieldPath] = [("metadata",)]
    template = _TEMPLATES.get(kind)
    if template:
        places.append((*template, "metadata"))
    for place in places:
        for field in _FIELDS:
            node = _at(entries, (*place, field))
            if node is None or not isinstance(node.value, dict):
                continue
            for key, child in node.value.items():
                word = said(key, child.text)
                if word is not None:
                    text = f"{key}: {word.text}"
                    yield Line(word.verdict, subject, text, Origin(source, child.line), (*place, field, key))


def _at(entries: Mapping[str, Node], path: FieldPath) -> Node | None:
    node = entries.get(str(path[0]))
    for step in path[1:]:
        if node is None or not isinstance(node.value, dict):
            return None
        node = node.value.get(str(step))
    return node
