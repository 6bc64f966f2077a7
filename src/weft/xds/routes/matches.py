"""A rule's match as an Envoy RouteMatch."""

from __future__ import annotations

from envoy.config.route.v3.route_components_pb2 import HeaderMatcher, QueryParameterMatcher, RouteMatch
from envoy.type.matcher.v3.metadata_pb2 import MetadataMatcher
from envoy.type.matcher.v3.value_pb2 import ValueMatcher
from google.protobuf.wrappers_pb2 import BoolValue

from weft.mesh.routes.rules import ClaimMatch, NamedMatch, RequestMatch, TextMatch
from weft.xds.access.matchers import PAYLOAD, TOKENS, claim
from weft.xds.messages import regex, string_matcher


def route_match(match: RequestMatch) -> RouteMatch | None:
    """`match` for Envoy. None if no request can meet it, or if it asks for a query parameter that must differ, for
    which Envoy has no word."""
    if any(condition.invert for condition in match.query) or _is_impossible(match.path):
        return None
    message = RouteMatch()
    _set_path(message, match.path)
    for name, condition in ((":method", match.method), (":scheme", match.scheme), (":authority", match.authority)):
        if condition is not None:
            message.headers.append(_header(NamedMatch(name, condition)))
    message.headers.extend(map(_header, match.headers))
    message.query_parameters.extend(map(_query, match.query))
    message.dynamic_metadata.extend(map(_claim, match.claims))
    return message


def _claim(condition: ClaimMatch) -> MetadataMatcher:
    """What a token says is in the request's metadata, once it is checked; routes are chosen again then."""
    if condition.match.kind == "present":
        steps = [MetadataMatcher.PathSegment(key=part) for part in (PAYLOAD, *condition.path)]
        message = MetadataMatcher(filter=TOKENS, path=steps, value=ValueMatcher(present_match=True))
    else:
        message = claim(condition.path, [string_matcher(condition.match)])
    message.invert = condition.invert
    return message


def is_root(path: TextMatch | None) -> bool:
    """Whether every path matches."""
    if path is None or path.kind == "present":
        return True
    return path.kind in ("prefix", "segment-prefix") and path.value in ("", "/")


def _is_impossible(path: TextMatch | None) -> bool:
    """A path is never empty and holds neither query nor fragment."""
    if path is None or is_root(path):
        return False
    if path.kind == "segment-prefix":
        return bool({"?", "#"} & set(path.value))
    return path.kind in ("regex", "exact") and not path.value


def _set_path(message: RouteMatch, path: TextMatch | None) -> None:
    if path is None or is_root(path):
        message.prefix = "/"
        return
    if path.kind == "regex":
        message.safe_regex.CopyFrom(regex(path.value, ignore_case=path.ignore_case))
        return
    if path.kind == "exact":
        message.path = path.value
    elif path.kind == "prefix":
        message.prefix = path.value
    else:
        message.path_separated_prefix = path.value.rstrip("/")
    if path.ignore_case:
        message.case_sensitive.CopyFrom(BoolValue(value=False))


def _header(condition: NamedMatch) -> HeaderMatcher:
    message = HeaderMatcher(name=condition.name, invert_match=condition.invert)
    if condition.match.kind == "present":
        message.present_match = True
    else:
        message.string_match.CopyFrom(string_matcher(condition.match))
        message.treat_missing_header_as_empty = condition.invert
    return message


def _query(condition: NamedMatch) -> QueryParameterMatcher:
    if condition.match.kind == "present":
        return QueryParameterMatcher(name=condition.name, present_match=True)
    return QueryParameterMatcher(name=condition.name, string_match=string_matcher(condition.match))
