"""Whether a pod gets a sidecar: what its namespace, its labels and annotations, and its own nature say.

https://istio.io/latest/docs/setup/additional-setup/sidecar-injection/#controlling-the-injection-policy
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from weft.inject.findings import Findings
from weft.inject.names import ISTIO_INJECT, OTHER_SIDECARS, PROXY, Json, all_containers, member, texts_of
from weft.inject.settings import SYSTEM_NAMESPACES, InjectionSettings
from weft.inject.wishes import true_or_false
from weft.model.revisions import DEFAULT, INJECTION, revision_of, word_of_namespace

_WORDS = {"enabled": True, "disabled": False}


@dataclass(frozen=True, slots=True)
class Decision:
    """Whether the pod gets a sidecar; `reason` says why not, or why. `by_namespace`: its namespace was asked, and other
    labels of it could decide otherwise."""

    inject: bool
    reason: str
    by_namespace: bool = False


@dataclass(frozen=True, slots=True)
class Namespace:
    """The namespace of a pod. `labels` are None where it is not asked: who injects by hand has chosen the pods."""

    name: str
    labels: Mapping[str, str] | None = None


def decide(pod: Json, namespace: Namespace, settings: InjectionSettings, findings: Findings) -> Decision:
    """Whether `pod` gets a sidecar. What cannot be understood goes to `findings`."""
    if member(pod, "spec", "hostNetwork") is True:
        return Decision(False, "it uses the network of its node, where rules of capture would be everybody's")
    if namespace.name in SYSTEM_NAMESPACES or namespace.name == settings.namespace:
        return Decision(False, f"pods of the namespace {namespace.name} get no sidecar")
    names = [each.get("name") for each in all_containers(pod)]
    if PROXY in names:
        return Decision(False, f"it has a container {PROXY} already")
    word, said_by = _word_of_pod(pod, findings)
    if word is False:
        return Decision(False, f"{said_by} of the pod says so")
    decision = _of_namespace(pod, namespace, word, settings, findings)
    other = next((each for each in OTHER_SIDECARS if each in names), "")
    if decision.inject and other:
        findings.warn(f"it has the sidecar {other} of another mesh, and gets none of weft", "spec")
        return Decision(False, f"it has the sidecar {other} of another mesh")
    return decision


def _of_namespace(
    pod: Json, namespace: Namespace, word: bool | None, settings: InjectionSettings, findings: Findings
) -> Decision:
    """What the namespace says goes before what its pods say of revisions, as with Istio's selectors."""
    labels = namespace.labels
    own = revision_of(texts_of(member(pod, "metadata", "labels")))
    if labels is None:
        wanted, reason = own or settings.revision, "it is injected by hand"
    else:
        said = word_of_namespace(labels)
        if said is False:
            return Decision(False, f"the namespace {namespace.name} says so", True)
        revision = revision_of(labels)
        if said:
            wanted, reason = DEFAULT, f"the namespace {namespace.name} says so"
        elif revision:
            wanted, reason = revision, f"the namespace {namespace.name} has the revision {revision}"
        elif own or word:
            wanted, reason = own or DEFAULT, "its own labels say so"
        else:
            return Decision(False, f"neither the namespace {namespace.name} nor the pod asks for a sidecar", True)
    if own and own != wanted:
        text = f"the revision {own} has no effect: the namespace {namespace.name} says {wanted}"
        findings.warn(text, "metadata", "labels", expected="no revision, or that of the namespace")
    if wanted not in settings.names:
        text = f"it is for the revision {wanted}, and this is {' or '.join(settings.names)}"
        return Decision(False, text, labels is not None)
    return Decision(True, reason, labels is not None)


def _word_of_pod(pod: Json, findings: Findings) -> tuple[bool | None, str]:
    """What the pod says, and by which key: labels go before annotations, and of two keys the one that says no."""
    for kind in ("labels", "annotations"):
        given = texts_of(member(pod, "metadata", kind))
        words = {key: _word(kind, key, given[key], findings) for key in (INJECTION, ISTIO_INJECT) if key in given}
        for wanted in (False, True):
            for key, word in words.items():
                if word is wanted:
                    return word, f"the {kind.removesuffix('s')} {key}"
    return None, ""


def _word(kind: str, key: str, text: str, findings: Findings) -> bool | None:
    word = _WORDS.get(text) if key == INJECTION else true_or_false(text)
    if word is None:
        expected = " or ".join(_WORDS) if key == INJECTION else "true or false"
        message = f"'{key}: {text[:100]}' does not say whether the pod gets a sidecar"
        findings.refuse(message, "metadata", kind, key, expected=expected)
    return word
