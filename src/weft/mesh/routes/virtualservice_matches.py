"""VirtualService: what a match asks of the request, and on which ports, sides and for which callers it is in force."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from weft.mesh.problems import one_of, problem_at
from weft.mesh.routes.kind import MESH
from weft.mesh.routes.rules import ClaimMatch, NamedMatch, RequestMatch, SourceMatch, TextMatch
from weft.model.document import Document
from weft.model.labels import labels_from_mapping
from weft.model.origin import FieldPath
from weft.model.problem import Problem, Severity
from weft.schema.claims import claim_path
from weft.schema.kinds import virtualservice as api

AnyMatch = api.HttpMatchRequest | api.TlsMatchAttributes | api.L4MatchAttributes
EVERY_REQUEST = (api.HttpMatchRequest(),)


def matches_of(http: api.HttpRoute) -> tuple[api.HttpMatchRequest, ...]:
    """The matches of a rule; without any it takes every request."""
    return http.match or EVERY_REQUEST


def claimed_sides(spec: api.VirtualServiceSpec, namespace: str) -> tuple[str, ...]:
    """The sides a document of `namespace` is for: ``mesh`` or gateways as ``namespace/name``."""
    return tuple(dict.fromkeys(gateway_key(name, namespace) for name in spec.gateways or (MESH,)))


def gateway_key(name: str, namespace: str) -> str:
    """A gateway's name in a document of `namespace` as ``namespace/name``; ``mesh`` stays."""
    return name if name == MESH or "/" in name else f"{namespace}/{name}"


def in_force(match: AnyMatch, namespace: str, port: int, side: str) -> bool:
    """Whether a match of a document of `namespace` holds on a port (0: on any) of a side."""
    gateways = [gateway_key(name, namespace) for name in match.gateways]
    return (match.port is None or port in (0, match.port)) and (not gateways or side in gateways)


def build_source(match: AnyMatch) -> SourceMatch:
    """Which callers a match is for."""
    return SourceMatch(match.source_namespace, labels_from_mapping(match.source_labels))


def text_match(match: api.StringMatch | api.PartMatch | api.PresenceMatch, *, ignore_case: bool = False) -> TextMatch:
    """A StringMatch in mesh words; an empty one asks for presence."""
    if match.exact is not None:
        return TextMatch("exact", match.exact, ignore_case)
    if match.prefix is not None:
        return TextMatch("prefix", match.prefix, ignore_case)
    if match.regex is not None:
        return TextMatch("regex", match.regex)
    return TextMatch("present")


def build_match(match: api.HttpMatchRequest) -> RequestMatch:
    """What a match asks of the request, in mesh words."""
    headers: list[NamedMatch] = []
    claims: list[ClaimMatch] = []
    for named, invert in ((match.headers, False), (match.without_headers, True)):
        for name, value in sorted(named.items()):
            if (path := claim_path(name)) is not None:
                claims.append(ClaimMatch(path, text_match(value), invert))
            else:
                headers.append(NamedMatch(name.lower(), text_match(value), invert))
    query = tuple(NamedMatch(name, text_match(value)) for name, value in sorted(match.query_params.items()))
    return RequestMatch(
        path=text_match(match.uri, ignore_case=match.ignore_uri_case) if match.uri else None,
        method=text_match(match.method) if match.method else None,
        scheme=text_match(match.scheme) if match.scheme else None,
        authority=text_match(match.authority) if match.authority else None,
        headers=tuple(headers),
        query=query,
        claims=tuple(claims),
    )


def http_matches(spec: api.VirtualServiceSpec) -> Iterator[tuple[FieldPath, AnyMatch]]:
    """Every match of its http rules, with its field."""
    for index, http in enumerate(spec.http):
        for place, match in enumerate(http.match):
            yield ("spec", "http", index, "match", place), match


def idle_matches(
    document: Document[api.VirtualServiceSpec],
    matches: Iterable[tuple[FieldPath, AnyMatch]],
    places: Mapping[str, frozenset[int]],
    *,
    for_all: bool,
) -> tuple[Problem, ...]:
    """A warning for each of the `matches` that holds nowhere. `places` are the sides on which the document is in force,
    each with its ports; `for_all`: inside the mesh it is for callers of every namespace, not only of its own."""
    if not places:
        return ()
    return tuple(
        problem for path, match in matches for problem in _idle(document, path, match, places, for_all=for_all)
    )


def _idle(
    document: Document[api.VirtualServiceSpec],
    path: FieldPath,
    match: AnyMatch,
    places: Mapping[str, frozenset[int]],
    *,
    for_all: bool,
) -> Iterator[Problem]:
    """What keeps a match from ever holding: its gateways, else its port, else the namespace of callers."""
    own, spec = document.key.namespace, document.spec
    sides = claimed_sides(spec, own)
    asked = [gateway_key(name, own) for name in match.gateways]
    there = {side: ports for side, ports in places.items() if not asked or side in asked}
    if asked and not set(asked) & set(sides):
        expected = one_of(dict.fromkeys(sides), "")
        yield _never(document, (*path, "gateways"), "none of these is among 'gateways' of the document", expected)
    elif match.port is not None and there and not any(match.port in ports for ports in there.values()):
        ports = sorted({port for found in there.values() for port in found})
        message = f"nothing that this document routes has a port {match.port}"
        yield _never(document, (*path, "port"), message, one_of(map(str, ports), ""))
    elif match.source_namespace and there:
        spaces = {own if side == MESH else side.partition("/")[0] for side in there}
        if match.source_namespace not in spaces and not (for_all and MESH in there):
            message = f"requests of callers in namespace '{match.source_namespace}' never come to this document"
            yield _never(document, (*path, "sourceNamespace"), message, one_of(sorted(spaces), ""))


def _never(document: Document[api.VirtualServiceSpec], path: FieldPath, message: str, expected: str) -> Problem:
    text = f"{message}, so this match never holds"
    return problem_at(document, path, "unreachable", text, expected, severity=Severity.WARNING)
