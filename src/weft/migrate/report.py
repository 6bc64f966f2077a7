"""What becomes of a whole installation: every document, value and annotation, each with a verdict."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from weft.migrate import consul_words, linkerd_words
from weft.migrate.settings import MESH_CONFIG, Place, judged, no_values, of_operator, of_values
from weft.migrate.words import Line, Verdict, Words, spoken
from weft.migrate.workloads import Said, holds_pods, keys_of, said_by, said_by_istio
from weft.model.document import Document
from weft.model.origin import Origin
from weft.model.problem import Problem, Severity
from weft.schema.decode import decode_texts
from weft.schema.istio_differences import DIFFERENCES
from weft.schema.metadata import peek
from weft.schema.yaml_nodes import Node, parse_documents

ISTIO, LINKERD, CONSUL = "istio", "linkerd", "consul"
MESHES = (ISTIO, LINKERD, CONSUL)
_OPERATOR = ("install.istio.io", "IstioOperator")
_CONSUL_GROUP = "consul.hashicorp.com"
_DOMAINS: Mapping[str, str] = {LINKERD: "linkerd.io", CONSUL: _CONSUL_GROUP}
_SAID: Mapping[str, Said] = {
    ISTIO: said_by_istio,
    LINKERD: said_by(linkerd_words.ANNOTATIONS),
    CONSUL: said_by(consul_words.ANNOTATIONS),
}
_ANNOTATION = "unsupported-annotation"
_STRICT = (
    "without a mesh-wide PeerAuthentication mutual TLS is demanded here (Istio: plaintext is taken, too); while "
    "namespaces move, apply one with mode PERMISSIVE"
)
_WORST_FIRST = (Verdict.MISSING, Verdict.DIFFERS, Verdict.SAME, Verdict.NEEDLESS)


@dataclass(frozen=True, slots=True)
class Report:
    """`documents` is how many objects and files of values were read; `lines` are the worst first, then by place;
    `unreadable` is what kept a part of a text from being judged."""

    documents: int
    lines: tuple[Line, ...]
    unreadable: tuple[Problem, ...]

    def of(self, verdict: Verdict) -> tuple[Line, ...]:
        """The lines with that verdict."""
        return tuple(line for line in self.lines if line.verdict is verdict)


def examine(texts: Sequence[tuple[str, str]], mesh: str) -> Report:
    """What becomes of the installation of `mesh`, one of `MESHES`, that `texts` hold, each with its source: documents,
    and for Istio values of its charts."""
    read = _Reading(mesh)
    for source, text in texts:
        for parsed in parse_documents(text, source):
            read.unreadable += parsed.problems
            for root in _objects(parsed.root):
                read.take(root, source)
    lines = [*read.lines, *_of_decoded(read, texts, mesh)]
    lines.sort(key=lambda one: (_WORST_FIRST.index(one.verdict), one.origin.source, one.origin.line))
    return Report(read.documents, tuple(dict.fromkeys(lines)), tuple(dict.fromkeys(read.unreadable)))


def _objects(root: Node | None) -> Iterator[Node]:
    """The object of a YAML document, or those of a list."""
    if root is None:
        return
    items = root.value.get("items") if isinstance(root.value, dict) and "kind" in root.value else None
    if items is not None and isinstance(items.value, list):
        yield from items.value
    else:
        yield root


class _Reading:
    """Takes in objects and judges by words what weft's decoder does not read."""

    def __init__(self, mesh: str) -> None:
        self.documents = 0
        self.lines: list[Line] = []
        self.unreadable: list[Problem] = []
        self._mesh = mesh

    def take(self, root: Node, source: str) -> None:
        """One object, or a file of values."""
        self.documents += 1
        entries = root.value
        if not isinstance(entries, dict):
            self._refuse("wrong-type", Origin(source, root.line), "found no mapping")
        elif "kind" not in entries and "apiVersion" not in entries:
            self._take_values(root, source)
        else:
            self._take_object(entries, root, source)

    def by_words(self, group: str, kind: str) -> bool:
        """Whether objects of a kind are judged here, not by the decoder."""
        domain = _DOMAINS.get(self._mesh)
        if domain is None:
            return (group, kind) == _OPERATOR
        return f".{group}".endswith(f".{domain}")

    def _take_values(self, root: Node, source: str) -> None:
        why = no_values(root) if self._mesh == ISTIO else "apiVersion and kind are missing"
        if why:
            self._refuse("missing-field", Origin(source, root.line), why)
        else:
            self.lines += of_values(root, Place(source))

    def _take_object(self, entries: Mapping[str, Node], root: Node, source: str) -> None:
        group, kind = _text(entries, "apiVersion").rpartition("/")[0], _text(entries, "kind")
        namespace, name = peek(entries, "namespace"), peek(entries, "name")
        subject = f"{kind} {namespace}/{name}" if namespace else f"{kind} {name}"
        if holds_pods(kind):
            self.lines += keys_of(kind, entries, _SAID[self._mesh], source, subject)
        if not self.by_words(group, kind):
            return
        if self._mesh == ISTIO:
            self.lines += of_operator(entries, Place(source, (), subject))
            return
        table, spec = _table(group, kind), entries.get("spec")
        if table is None:
            text = f"weft has no words for {kind} of {group}"
            self.lines.append(Line(Verdict.MISSING, subject, text, Origin(source, root.line)))
        elif spec is not None:
            self.lines += spoken(table, spec, source, base=("spec",), subject=subject)

    def _refuse(self, code: str, origin: Origin, message: str) -> None:
        expected = "documents with apiVersion and kind"
        if self._mesh == ISTIO:
            expected += ", or values of Istio's charts"
        self.unreadable.append(Problem(Severity.ERROR, code, message, origin, expected=expected))


def _of_decoded(read: _Reading, texts: Sequence[tuple[str, str]], mesh: str) -> Iterator[Line]:
    """What weft's decoder says of every document that it knows."""
    decoded = decode_texts(texts)
    spoilt = set()
    for problem in decoded.problems:
        key = problem.object
        if key is not None and not read.by_words(key.group, key.kind) and problem.severity is not Severity.NOTE:
            spoilt.add(key)
            if problem.code != _ANNOTATION:  # the words say more of it
                yield judged(problem, str(key), problem.path)
        elif key is None and problem.code == "left-out" and problem.severity is Severity.WARNING:
            yield judged(problem, "left out", ())
    for document in decoded.documents:
        if document.key not in spoilt:
            yield Line(Verdict.SAME, str(document.key), "as it is", document.origin, (), document.key)
    if mesh == ISTIO:
        yield from _differences(read, decoded.documents)


def _differences(read: _Reading, documents: Sequence[Document[object]]) -> Iterator[Line]:
    """What kinds that are there mean otherwise, once for each kind, at its first document."""
    first: dict[str, Origin] = {}
    for document in documents:
        first.setdefault(document.key.kind, document.origin)
    settings = next((line.origin for line in read.lines if line.subject.startswith(MESH_CONFIG)), None)
    if settings is not None:
        first.setdefault(MESH_CONFIG, settings)
    for kind, origin in first.items():
        for text in DIFFERENCES.get(kind, ()):
            yield Line(Verdict.DIFFERS, f"every {kind}", text, origin)
    whole = [one for one in documents if one.key.kind == "PeerAuthentication" and one.key.namespace == "istio-system"]
    if first and not whole:
        yield Line(Verdict.DIFFERS, "the whole mesh", _STRICT, next(iter(first.values())))


def _table(group: str, kind: str) -> Words | None:
    if group == _CONSUL_GROUP:
        return consul_words.KINDS.get(kind)
    return linkerd_words.KINDS.get((group, kind)) or linkerd_words.KINDS.get((group, "*"))


def _text(entries: Mapping[str, Node], field: str) -> str:
    node = entries.get(field)
    return node.value if node is not None and isinstance(node.value, str) else ""
