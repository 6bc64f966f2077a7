"""Distrust: callers whose trust has ended, refused by their certificate: on new connections, and on every request.

It looks at what the hand-shake has proven (URI name, subject), never at headers.
"""

from __future__ import annotations

from envoy.config.listener.v3.listener_components_pb2 import Filter
from envoy.config.rbac.v3 import rbac_pb2
from envoy.extensions.filters.http.rbac.v3.rbac_pb2 import RBAC, RBACPerRoute
from envoy.extensions.filters.network.rbac.v3 import rbac_pb2 as network_rbac_pb2
from envoy.extensions.matching.common_inputs.ssl.v3.ssl_inputs_pb2 import SubjectInput, UriSanInput
from google.protobuf.message import Message
from xds.core.v3.extension_pb2 import TypedExtensionConfig
from xds.type.matcher.v3.matcher_pb2 import Matcher
from xds.type.matcher.v3.regex_pb2 import RegexMatcher
from xds.type.matcher.v3.string_pb2 import StringMatcher

from weft.mesh.policies.distrust import Refused, RefusedCaller
from weft.mesh.views import InboundPort
from weft.xds.messages import packed

NAME = "weft.distrust"
_NAMES = ("CN", "dnQualifier")
"""Where the proxy's name stands: in its own certificates, and in those of the application behind it."""
_Predicate = Matcher.MatcherList.Predicate


def listener_config() -> RBAC:
    """Nobody."""
    return RBAC()


def port_config(port: InboundPort) -> RBACPerRoute | None:
    """Everybody refused, for requests."""
    return RBACPerRoute(rbac=RBAC(matcher=_matcher(port.refused))) if port.refused is not None else None


def network_filter(refused: Refused) -> Filter:
    """Everybody refused, for connections."""
    config = network_rbac_pb2.RBAC(stat_prefix="distrust.", matcher=_matcher(refused))
    return Filter(name=NAME, typed_config=packed(config))


def _matcher(refused: Refused) -> Matcher:
    rules = [
        Matcher.MatcherList.FieldMatcher(predicate=_predicate(one), on_match=_act(one.what, rbac_pb2.RBAC.DENY))
        for one in refused.callers
    ]
    matchers = Matcher.MatcherList(matchers=rules)
    return Matcher(matcher_list=matchers, on_no_match=_act("trusted", rbac_pb2.RBAC.ALLOW))


def _predicate(caller: RefusedCaller) -> _Predicate:
    if caller.proxy:
        whose = _any(*(one for kind in _NAMES for one in _named(f"{kind}={caller.proxy}")))
        number = rf"serialNumber={caller.number}\.[0-9]+,.*"
    else:
        whose = _input("uri", UriSanInput(), StringMatcher(exact=caller.identity))
        number = rf"serialNumber=[0-9]+\.{caller.number},.*"
    if not caller.number:
        return whose
    since = _subject(StringMatcher(safe_regex=RegexMatcher(google_re2=RegexMatcher.GoogleRE2(), regex=number)))
    since_not = _Predicate(not_matcher=since)
    return _Predicate(and_matcher=_Predicate.PredicateList(predicate=[whose, since_not]))


def _named(part: str) -> tuple[_Predicate, _Predicate]:
    return _subject(StringMatcher(exact=part)), _subject(StringMatcher(suffix=f",{part}"))


def _any(*predicates: _Predicate) -> _Predicate:
    return _Predicate(or_matcher=_Predicate.PredicateList(predicate=predicates))


def _subject(matcher: StringMatcher) -> _Predicate:
    """Of the subject as RFC 2253 writes it, the last part first; names in it need no escapes (weft.ca.authority)."""
    return _input("subject", SubjectInput(), matcher)


def _input(name: str, source: Message, matcher: StringMatcher) -> _Predicate:
    given = TypedExtensionConfig(name=name, typed_config=packed(source))
    return _Predicate(single_predicate=_Predicate.SinglePredicate(input=given, value_match=matcher))


def _act(name: str, action: rbac_pb2.RBAC.Action.ValueType) -> Matcher.OnMatch:
    config = packed(rbac_pb2.Action(name=name, action=action))
    return Matcher.OnMatch(action=TypedExtensionConfig(name="action", typed_config=config))
