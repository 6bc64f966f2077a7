"""VirtualService: rules that hand on to another document, its delegate, joined with the rules of that.

Istio's terms: a delegate has no hosts of its own; each of its matches has to lie within one of the root's; what it does
not say the root says. One whose matches do not is left out, and so is a rule whose delegate is not there.
https://istio.io/latest/docs/reference/config/networking/virtual-service/#Delegate
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace

from weft.mesh.memo import Memo
from weft.mesh.problems import problem_at
from weft.mesh.services.exports import exports_of, is_exported
from weft.mesh.services.hosts import SERVICE_SUFFIX
from weft.model.document import Document, ObjectKey
from weft.model.origin import FieldPath
from weft.model.problem import Problem, Severity
from weft.schema.kinds import virtualservice as api
from weft.schema.wording import nearest_name

VirtualServiceDocument = Document[api.VirtualServiceSpec]
_SENDING = ("rewrite", "timeout", "retries", "mirror", "mirror_percentage", "mirrors")
_FROM_ROOT = (*_SENDING, "fault", "cors_policy", "headers")
"""What the root says where the delegate does not."""
_TEXTS = ("uri", "scheme", "method", "authority")
_NAMED = ("headers", "without_headers", "query_params")
AnyText = api.PartMatch | api.PresenceMatch | None


@dataclass(frozen=True, slots=True)
class Source:
    """Where a rule is written: at `path` of `document`; `root` is its field in the document that has the hosts."""

    document: VirtualServiceDocument
    path: FieldPath
    root: FieldPath


@dataclass(frozen=True, slots=True, kw_only=True)
class JoinedSpec(api.VirtualServiceSpec):
    """A root with the rules of its delegates in their places, where each rule is written, and what is wrong."""

    sources: tuple[Source, ...]
    problems: tuple[Problem, ...]


def source_of(document: VirtualServiceDocument, index: int) -> Source:
    """Where http rule `index` of a document is written."""
    if isinstance(document.spec, JoinedSpec):
        return document.spec.sources[index]
    path: FieldPath = ("spec", "http", index)
    return Source(document, path, path)


def own_rules(document: VirtualServiceDocument) -> tuple[tuple[FieldPath, api.HttpRoute], ...]:
    """The http rules that stand in the document itself, each with its field."""
    sources = [source_of(document, index) for index in range(len(document.spec.http))]
    return tuple(
        (source.path, http)
        for source, http in zip(sources, document.spec.http, strict=True)
        if source.document.key == document.key
    )


def joining_problems(document: VirtualServiceDocument) -> tuple[Problem, ...]:
    """What is wrong with a root's delegates, or with a delegate that has no root."""
    if isinstance(document.spec, JoinedSpec):
        return document.spec.problems
    if document.spec.hosts:
        return ()
    message = "it has no hosts, and no document delegates to it, so it has no effect"
    expected = "hosts, or a rule of another document with this one as its delegate"
    return (problem_at(document, ("spec",), "no-delegate-root", message, expected, severity=Severity.WARNING),)


def nothing_left(document: VirtualServiceDocument) -> bool:
    """Whether a root has no rules of its own, and none of its delegates': it routes nothing then, as in Istio."""
    spec = document.spec
    return isinstance(spec, JoinedSpec) and not (spec.http or spec.tls or spec.tcp)


def join_delegates(
    documents: tuple[VirtualServiceDocument, ...], memo: Memo, exports: tuple[str, ...] = ()
) -> tuple[VirtualServiceDocument, ...]:
    """The documents, each root joined with its delegates, without these. `exports` are the mesh's for a document that
    says nothing of whom it is for."""
    delegates = {document.key: document for document in documents if not document.spec.hosts}
    wanted: set[ObjectKey] = set()
    joined: list[VirtualServiceDocument] = []
    for document in documents:
        keys = delegate_keys(document)
        wanted.update(key for key in keys if key in delegates)
        found = [_exported(delegates.get(key), document, exports) for key in keys]
        near = [_near(key, delegates) if each is None else "" for key, each in zip(keys, found, strict=True)]
        joined.append(memo.over(join, found, document, tuple(near)) if keys else document)
    return tuple(document for document in joined if document.key not in wanted)


def delegate_keys(document: VirtualServiceDocument) -> tuple[ObjectKey, ...]:
    """The delegates of a root, one for each rule that has one."""
    key = document.key
    return tuple(
        replace(key, namespace=http.delegate.namespace or key.namespace, name=http.delegate.name)
        for http in document.spec.http
        if http.delegate is not None
    )


def join(
    delegates: tuple[VirtualServiceDocument | None, ...], root: VirtualServiceDocument, near: tuple[str, ...]
) -> VirtualServiceDocument:
    """A root with the rules of its `delegates`, which are those of `delegate_keys`; `near` are names like theirs."""
    rules: list[api.HttpRoute] = []
    sources: list[Source] = []
    problems: list[Problem] = []
    given = iter(zip(delegate_keys(root), delegates, near, strict=True))
    for index, http in enumerate(root.spec.http):
        path: FieldPath = ("spec", "http", index)
        if http.delegate is None:
            rules.append(http)
            sources.append(Source(root, path, path))
            continue
        key, delegate, like = next(given)
        if delegate is None:
            message = f"there is no {key} without hosts that is for this namespace, so this rule is left out"
            expected = "a VirtualService without hosts whose exportTo has this namespace"
            where = (*path, "delegate", "name")
            problems.append(problem_at(root, where, "unknown-delegate", message, expected, nearest=like))
            continue
        for place, handed in enumerate(delegate.spec.http):
            source = Source(delegate, ("spec", "http", place), path)
            merged = _merge_rule(http, handed)
            if merged is None:
                problems.append(_conflict(root, source))
            else:
                rules.append(_with_full_names(merged, delegate, root))
                sources.append(source)
    given_by_root = {each.name: getattr(root.spec, each.name) for each in fields(api.VirtualServiceSpec)}
    spec = JoinedSpec(**(given_by_root | {"http": tuple(rules)}), sources=tuple(sources), problems=tuple(problems))
    return replace(root, spec=spec)


def _exported(
    delegate: VirtualServiceDocument | None, root: VirtualServiceDocument, exports: tuple[str, ...]
) -> VirtualServiceDocument | None:
    """The delegate, if it is for documents of the root's namespace."""
    if delegate is None:
        return None
    namespace = delegate.key.namespace
    whom = exports_of(delegate.spec.export_to, namespace, exports)
    return delegate if is_exported(whom, root.key.namespace) else None


def _near(key: ObjectKey, delegates: Mapping[ObjectKey, VirtualServiceDocument]) -> str:
    return nearest_name(key.name, [other.name for other in delegates if other.namespace == key.namespace])


def _conflict(root: VirtualServiceDocument, source: Source) -> Problem:
    where = root.at(*source.root)
    message = f"its matches do not lie within those of {root.key} ({where}), which delegates to it, so it is left out"
    expected = "matches that are narrower than one of the root's, and no regular expression where the root asks, too"
    return problem_at(source.document, source.path, "delegate-conflict", message, expected)


def _merge_rule(root: api.HttpRoute, delegate: api.HttpRoute) -> api.HttpRoute | None:
    """A delegate's rule within that of its root; None if no match of it lies within one of the root's."""
    matches = _merge_matches(root.match, delegate.match)
    if matches is None:
        return None
    nothing = api.HttpRoute()
    said = {name: getattr(root, name) for name in _FROM_ROOT if getattr(delegate, name) == getattr(nothing, name)}
    if delegate.mirror is not None or delegate.mirrors:
        said = {name: value for name, value in said.items() if not name.startswith("mirror")}
    if not delegate.route:
        said = {name: value for name, value in said.items() if name not in _SENDING}
    name = "-".join(part for part in (root.name, delegate.name) if part)
    return replace(delegate, name=name, match=matches, **said)


def _merge_matches(
    root: tuple[api.HttpMatchRequest, ...], delegate: tuple[api.HttpMatchRequest, ...]
) -> tuple[api.HttpMatchRequest, ...] | None:
    if not root or not delegate:
        return root or delegate
    merged: list[api.HttpMatchRequest] = []
    for leaf in delegate:
        found = [_merge_match(each, leaf) for each in root if not _crosses(each, leaf)]
        if not found:
            return None
        merged += found
    return tuple(merged)


def _merge_match(root: api.HttpMatchRequest, leaf: api.HttpMatchRequest) -> api.HttpMatchRequest:
    joined: dict[str, object] = {name: getattr(leaf, name) or getattr(root, name) for name in _TEXTS}
    joined |= {name: {**getattr(root, name), **getattr(leaf, name)} for name in (*_NAMED, "source_labels")}
    return replace(
        leaf,
        name="-".join(part for part in (root.name, leaf.name) if part),
        port=leaf.port or root.port,
        ignore_uri_case=leaf.ignore_uri_case if leaf.uri is not None else root.ignore_uri_case,
        stat_prefix=leaf.stat_prefix or root.stat_prefix,
        gateways=leaf.gateways or root.gateways,
        source_namespace=leaf.source_namespace or root.source_namespace,
        **joined,  # type: ignore[arg-type]  # each of its field's type
    )


def _crosses(root: api.HttpMatchRequest, leaf: api.HttpMatchRequest) -> bool:
    """Whether `leaf` may take requests that `root` does not."""
    if any(_text_crosses(getattr(root, name), getattr(leaf, name)) for name in _TEXTS):
        return True
    for name in _NAMED:
        wide = getattr(root, "query_params" if name == "query_params" else "headers")
        if any(_text_crosses(wide.get(key), value) for key, value in getattr(leaf, name).items()):
            return True
    # What leaves out something else than the root does takes what the root leaves out.
    if any(leaf.without_headers.get(key, value) != value for key, value in root.without_headers.items()):
        return True
    labels = root.source_labels
    return (
        (root.uri is not None and leaf.uri is not None and root.ignore_uri_case != leaf.ignore_uri_case)
        or bool(root.port and leaf.port and root.port != leaf.port)
        or bool(root.source_namespace and leaf.source_namespace and root.source_namespace != leaf.source_namespace)
        or any(labels.get(key, value) != value for key, value in leaf.source_labels.items())
        or bool(root.gateways and not set(leaf.gateways) <= set(root.gateways))
    )


def _text_crosses(root: AnyText, leaf: AnyText) -> bool:
    """As Istio compares: a regular expression goes with nothing, presence only with itself."""
    if root is None or leaf is None or root == leaf == type(root)():
        return False
    if root.regex is not None or leaf.regex is not None:
        return True
    if root.exact is not None:
        return leaf.exact != root.exact
    if root.prefix is not None:
        return not (leaf.prefix or leaf.exact or "").startswith(root.prefix)
    return True


def _with_full_names(
    http: api.HttpRoute, delegate: VirtualServiceDocument, root: VirtualServiceDocument
) -> api.HttpRoute:
    """Short names of services mean those of the delegate's namespace."""
    if delegate.key.namespace == root.key.namespace:
        return http

    def full(destination: api.Destination) -> api.Destination:
        host = f"{destination.host}.{delegate.key.namespace}{SERVICE_SUFFIX}"
        return destination if "." in destination.host else replace(destination, host=host)

    return replace(
        http,
        route=tuple(replace(each, destination=full(each.destination)) for each in http.route),
        mirrors=tuple(replace(each, destination=full(each.destination)) for each in http.mirrors),
        mirror=full(http.mirror) if http.mirror is not None else None,
    )
