"""EnvoyFilter: whose proxies a document changes, and whether it is in force.

Documents of the root namespace are for the whole mesh, others for their namespace; of one proxy's the root namespace's
are applied first, then by priority, then the oldest first. A document is in force once it was tried on a real Envoy;
until then, and if Envoy refuses it, the last text of it that Envoy took is.
https://istio.io/latest/docs/reference/config/networking/envoy-filter/
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import cast

from weft.mesh.memo import Memo
from weft.mesh.patches import NO_PATCHES, Patch, Patches
from weft.mesh.problems import problem_at
from weft.mesh.services.workloads import workload_source
from weft.model.document import Document, ObjectKey
from weft.model.labels import Labels, labels_from_mapping, selects
from weft.model.origin import Origin
from weft.model.problem import Problem, Severity
from weft.model.trials import Taken, Trial, kind_of, trial_digest
from weft.model.workload import Workload
from weft.schema.kinds.envoyfilter import EnvoyFilterSpec

EnvoyFilterDocument = Document[EnvoyFilterSpec]


@dataclass(frozen=True, slots=True, eq=False)
class Filtered:
    """The patches of a document, for the workloads of a namespace (empty: of all) with these labels."""

    namespace: str
    selector: Labels
    patches: tuple[Patch, ...]
    document: EnvoyFilterDocument

    def covers(self, namespace: str, labels: Labels) -> bool:
        """Whether a workload is meant."""
        return self.namespace in ("", namespace) and (not self.selector or selects(self.selector, labels))


@dataclass(frozen=True, slots=True, eq=False)
class InForce:
    """The patches of a text that Envoy took. `proven` are those that changed something where it was tried."""

    filtered: Filtered
    proven: Filtered
    taken: Taken

    @property
    def everywhere(self) -> bool:
        """Whether all kinds of proxies are given the same of it."""
        return self.proven is self.filtered and not self.taken.without

    def on(self, kind: str) -> Filtered | None:
        """What proxies of a kind are given: nothing where Envoy refused it, and a patch of which nothing is known only
        once it was tried there."""
        if any(kind == each for each, _ in self.taken.without):
            return None
        return self.proven if self.taken.awaits(kind) else self.filtered


@dataclass(frozen=True, slots=True, eq=False)
class EnvoyFilters:
    """All documents in the order in which they are applied: those in force, with the last text that Envoy took, and
    those whose text waits to be tried. Compared by identity."""

    in_force: tuple[InForce, ...] = ()
    waiting: tuple[Filtered, ...] = ()
    problems: tuple[Problem, ...] = ()

    def of(self, memo: Memo, workload: Workload) -> Patches:
        """The patches of a workload, in order."""
        namespace, labels = workload.namespace, workload.labels
        covering = [each for each in self.in_force if each.filtered.covers(namespace, labels)]
        if all(each.everywhere for each in covering):
            found = [each.filtered for each in covering]
        else:
            kind = kind_of(namespace, workload.gateway.gateway if workload.gateway else "", labels)
            found = [given for each in covering if (given := each.on(kind)) is not None]
        return memo.over(_joined, found) if found else NO_PATCHES

    def select(self, workload: Workload) -> bool:
        """Whether any document in force is about a workload."""
        return any(each.filtered.covers(workload.namespace, workload.labels) for each in self.in_force)

    def awaited(self, workloads: Iterable[Workload]) -> frozenset[ObjectKey]:
        """The documents that wait to be tried, and for which one of these proxies is there."""
        there = {(each.namespace, each.labels) for each in workloads} if self.waiting else set()
        return frozenset(each.document.key for each in self.waiting if any(each.covers(*one) for one in there))


NO_FILTERS = EnvoyFilters()


def with_unpatched(carried: tuple[Workload, ...], filters: EnvoyFilters) -> EnvoyFilters:
    """With a Problem for each workload that patches select and a node carries, which applies none (`mesh.node`)."""
    problems = tuple([_unpatched(each) for each in carried if filters.select(each)])
    return replace(filters, problems=(*filters.problems, *problems)) if problems else filters


def _unpatched(workload: Workload) -> Problem:
    message = (
        "EnvoyFilters that select it have no effect: one Envoy carries it with other workloads, whose keys a patch "
        "could use"
    )
    expected = "no EnvoyFilter for it, or a proxy of its own (proxy: sidecar)"
    return Problem(Severity.WARNING, "not-patched", message, Origin(workload_source(workload)), expected=expected)


def _joined(found: tuple[Filtered, ...]) -> Patches:
    return Patches(tuple(patch for each in found for patch in each.patches))


def build_envoy_filters(
    documents: tuple[EnvoyFilterDocument, ...], memo: Memo, trials: tuple[Trial, ...], root_namespace: str
) -> EnvoyFilters:
    """The documents of all namespaces, each with what a real Envoy said to it."""
    said = {each.key: each for each in trials}
    in_force: list[InForce] = []
    waiting: list[Filtered] = []
    problems: list[Problem] = []
    for document in sorted(documents, key=lambda each: _precedence(each, root_namespace)):
        found, digest = memo(compile_filter, document, root_namespace), trial_digest(document)
        trial = said.get(document.key)
        taken = trial.taken if trial is not None else None
        if taken is not None and taken.digest == digest:
            in_force.append(memo(_in_force, found, taken))
            problems += _told(document, taken)
            continue
        former = _former(document, taken, memo, root_namespace)
        if former is not None:
            in_force.append(former)
        if trial is None or trial.digest != digest:
            waiting.append(found)
            problems.append(_untried(document, former=former is not None))
        else:
            problems.append(_refused(document, trial.refusal, former=former is not None))
    in_force.sort(key=lambda each: _precedence(each.filtered.document, root_namespace))
    return EnvoyFilters(tuple(in_force), tuple(waiting), tuple(problems))


def _in_force(found: Filtered, taken: Taken) -> InForce:
    proven = tuple(patch for patch in found.patches if patch.number not in taken.idle)
    return InForce(found, replace(found, patches=proven) if len(proven) < len(found.patches) else found, taken)


def _former(document: EnvoyFilterDocument, taken: Taken | None, memo: Memo, root_namespace: str) -> InForce | None:
    """The last text that Envoy took, unless it is one of a document that was deleted since."""
    if taken is None or taken.document.created != document.created:
        return None
    return memo(_in_force, memo(compile_filter, cast("EnvoyFilterDocument", taken.document), root_namespace), taken)


def _told(document: EnvoyFilterDocument, taken: Taken) -> list[Problem]:
    count = len(document.spec.config_patches)
    found = [_idle(document, index) for index in taken.idle if index < count]
    return found + [_refused_there(document, refusal) for refusal in dict(taken.without).values()]


def _precedence(document: EnvoyFilterDocument, root_namespace: str) -> tuple[bool, int, float, str]:
    return (document.key.namespace != root_namespace, document.spec.priority, *document.precedence)


def compile_filter(document: EnvoyFilterDocument, root_namespace: str) -> Filtered:
    """A document's patches, and for whom they are."""
    selector = document.spec.workload_selector
    return Filtered(
        "" if document.key.namespace == root_namespace else document.key.namespace,
        labels_from_mapping(selector.labels) if selector else (),
        tuple(_patches(document)),
        document,
    )


def _patches(document: EnvoyFilterDocument) -> Iterable[Patch]:
    for index, each in enumerate(document.spec.config_patches):
        yield Patch(
            object=document.key,
            origin=document.at("spec", "configPatches", index),
            applies_to=each.apply_to,
            match=each.match,
            operation=each.patch.operation,
            value=each.patch.value or "",
            number=index,
        )


def _untried(document: EnvoyFilterDocument, *, former: bool) -> Problem:
    told = "the text before it stays in force" if former else "it is not in force"
    message = f"no proxy that it is for is there yet, or it is being tried on an Envoy; until then {told}"
    expected = f"a moment's patience: weft describe envoyfilter {document.key.name} tells what Envoy said"
    return problem_at(document, (), "patch-not-tried", message, expected, severity=Severity.NOTE)


def _refused(document: EnvoyFilterDocument, refusal: str, *, former: bool) -> Problem:
    told = "the last text that it took stays in force" if former else "nothing of it is in force"
    message = f"Envoy does not take what it comes to, so {told}: {refusal}"
    return problem_at(document, ("spec", "configPatches"), "patch-refused", message, "what Envoy's API has")


def _refused_there(document: EnvoyFilterDocument, refusal: str) -> Problem:
    message = f"Envoy takes it, but not on proxies as this one, so nothing of it is in force there: {refusal}"
    return problem_at(document, ("spec", "configPatches"), "patch-refused", message, "what Envoy's API has")


def _idle(document: EnvoyFilterDocument, index: int) -> Problem:
    each = document.spec.config_patches[index]
    message = f"no {each.apply_to} of the proxies that it was tried on matches, so this patch changes nothing"
    expected = "conditions that match; weft proxy config shows what there is"
    path = ("spec", "configPatches", index)
    return problem_at(document, path, "patch-matches-nothing", message, expected, severity=Severity.WARNING)
