"""Istio's settings: an IstioOperator, Helm values of its charts, and the MeshConfig in both."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from weft.migrate.istio_words import FLAT, OPERATOR, VALUES
from weft.migrate.words import Line, Verdict, spoken
from weft.model.origin import FieldLines, FieldPath, Origin
from weft.model.problem import Problem, Severity
from weft.schema.decode import canonical_json, decode_stored
from weft.schema.kinds.meshconfig import MESH_CONFIG_NAME, WEFT_GROUP
from weft.schema.wording import nearest_name
from weft.schema.yaml_nodes import Node, field_lines, plain_value

MESH_CONFIG = "MeshConfig"
_HELM = "Helm values"
_PILOT = "pilot"
_CHARTS = frozenset(str(path[0]) for path in VALUES) | {"meshConfig", *FLAT}


@dataclass(frozen=True, slots=True)
class Place:
    """Where a part of a text stands: its source, its path in the document, and what the document is called."""

    source: str
    base: FieldPath = ()
    subject: str = _HELM

    def below(self, *steps: str) -> Place:
        """A part of it."""
        return replace(self, base=(*self.base, *steps))


def no_values(root: Node) -> str:
    """Why a mapping without kind is no file of values of Istio's charts; empty if it is one."""
    entries = root.value
    if not isinstance(entries, dict) or not entries or _CHARTS & entries.keys():
        return ""
    if any(_of_pilot(key) for key in entries):
        return ""
    first = next(iter(entries))
    near = nearest_name(first, sorted(_CHARTS))
    return f"'{first}' is no value of Istio's charts" + (f"; did you mean '{near}'?" if near else "")


def of_operator(entries: Mapping[str, Node], place: Place) -> Iterator[Line]:
    """What becomes of an IstioOperator."""
    spec = entries.get("spec")
    if spec is None or not isinstance(spec.value, dict):
        return
    rest, inner = dict(spec.value), place.below("spec")
    if (settings := rest.pop("meshConfig", None)) is not None:
        yield from of_mesh_config(settings, inner.below("meshConfig"))
    for field in ("values", "unvalidatedValues"):
        if (values := rest.pop(field, None)) is not None:
            yield from of_values(values, inner.below(field))
    yield from spoken(OPERATOR, _tree(rest, spec), place.source, base=inner.base, subject=place.subject)


def of_values(root: Node, place: Place) -> Iterator[Line]:
    """What becomes of values of Istio's charts. What stands under a chart's own level counts as without it, and what is
    `pilot.…` in one chart stands without `pilot` in another."""
    tree = dict(root.value) if isinstance(root.value, dict) else {}
    for level in FLAT:
        if (inner := tree.pop(level, None)) is not None:
            yield from of_values(inner, place.below(level))
    if (settings := tree.pop("meshConfig", None)) is not None:
        yield from of_mesh_config(settings, place.below("meshConfig"))
    flat = {key: tree.pop(key) for key in list(tree) if key not in _CHARTS and _of_pilot(key)}
    yield from spoken(VALUES, _tree(tree, root), place.source, base=place.base, subject=place.subject)
    pilot = _tree({_PILOT: _tree(flat, root)}, root)
    for line in spoken(VALUES, pilot, place.source, subject=place.subject):
        yield replace(line, path=(*place.base, *line.path[1:]))


def of_mesh_config(node: Node, place: Place) -> Iterator[Line]:
    """What becomes of a meshConfig: it is read as weft's MeshConfig."""
    lines: dict[FieldPath, int] = {(): node.line}
    lines |= {("spec", *path): line for path, line in field_lines(node, place.source).lines.items()}
    document = {
        "apiVersion": f"{WEFT_GROUP}/v1alpha1",
        "kind": MESH_CONFIG,
        "metadata": {"name": MESH_CONFIG_NAME, "namespace": "istio-system"},
        "spec": plain_value(node),
    }
    decoded = decode_stored(canonical_json(document), FieldLines(place.source, lines))
    wrong = [one for one in decoded.problems if one.severity is not Severity.NOTE]
    for problem in wrong:
        yield judged(problem, f"{MESH_CONFIG} of {place.subject}", (*place.base, *problem.path[1:]))
    spoilt = {one.path[1] for one in wrong if len(one.path) > 1}
    fields = [key for key in (node.value if isinstance(node.value, dict) else ()) if key not in spoilt]
    if fields:
        told = f"{', '.join(fields)}: the same in the spec of a MeshConfig of {WEFT_GROUP}/v1alpha1"
        origin = Origin(place.source, node.line)
        yield Line(Verdict.SAME, f"{MESH_CONFIG} of {place.subject}", told, origin, place.base)


def judged(problem: Problem, subject: str, path: FieldPath) -> Line:
    """A problem of weft's decoder as a line of the report: with an error nothing of it is in force."""
    verdict = Verdict.MISSING if problem.severity is Severity.ERROR else Verdict.DIFFERS
    text = problem.message + (f"; expected {problem.expected}" if problem.expected else "")
    text += f"; did you mean '{problem.nearest}'?" if problem.nearest else ""
    return Line(verdict, subject, text, problem.origin, path, problem.object)


def _of_pilot(key: str) -> bool:
    return any(path[:2] == (_PILOT, key) for path in VALUES)


def _tree(entries: dict[str, Node], at: Node) -> Node:
    return Node(entries, at.line, at.column)
