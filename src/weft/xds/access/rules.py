"""Access policies as Envoy's RBAC rules, for requests and for connections.

https://www.envoyproxy.io/docs/envoy/latest/api-v3/config/rbac/v3/rbac.proto

What a rule says of the port is decided here: a proxy listens elsewhere. A rule that can then never match is left out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from envoy.config.rbac.v3.rbac_pb2 import RBAC, Permission, Principal, SourcedMetadata
from envoy.config.rbac.v3.rbac_pb2 import Policy as RbacPolicy
from envoy.config.route.v3.route_components_pb2 import HeaderMatcher
from envoy.type.matcher.v3.metadata_pb2 import MetadataMatcher
from envoy.type.matcher.v3.path_pb2 import PathMatcher
from envoy.type.matcher.v3.string_pb2 import StringMatcher

from weft.mesh.access.access import Access
from weft.mesh.access.matching import every_value_counts
from weft.mesh.access.policy import (
    BAD_PATH_SEGMENT,
    HTTP_ONLY,
    WELL_FORMED_HOST,
    AccessPolicy,
    AccessRule,
    Action,
    Attribute,
    Condition,
    Conditions,
    Pattern,
    PatternKind,
    principal_parts,
)
from weft.xds.access import matchers
from weft.xds.messages import regex

BAD_HOST = "host-not-well-formed"
"""The name of the rule that refuses calls whose host is not well formed."""
BAD_PATH = "path-not-well-formed"
"""And of the one for paths."""
_ACTIONS = {Action.ALLOW: RBAC.ALLOW, Action.DENY: RBAC.DENY, Action.AUDIT: RBAC.LOG, Action.CUSTOM: RBAC.DENY}
_OF_DESTINATION = frozenset((Attribute.HOST, Attribute.METHOD, Attribute.PATH, Attribute.DESTINATION_IP, Attribute.SNI))
"""What is said in permissions. All else is said in principals."""
_CLAIMS = {Attribute.AUDIENCE: ("aud",), Attribute.PRESENTER: ("azp",)}


def encode_rules(access: Access, policies: Iterable[AccessPolicy], action: Action, *, http: bool = True) -> RBAC:
    """The rules of `policies` under their names (`AccessPolicy.rule_id`). With CUSTOM, calls that match are those to
    ask about. Without `http` it is for connections."""
    rules = RBAC(action=_ACTIONS[action])
    for policy in policies:
        for rule in policy.rules:
            found = _Encoder(access, http, widened=action is not Action.ALLOW).policy(rule)
            if found is not None:
                rules.policies[policy.rule_id(rule)].CopyFrom(found)
    return rules


def refuse_all(rules: RBAC, names: Iterable[str]) -> None:
    """Adds a rule for each name that everybody matches."""
    for name in names:
        rules.policies[name].CopyFrom(RbacPolicy(permissions=[Permission(any=True)], principals=[Principal(any=True)]))


def refuse_bad_hosts(rules: RBAC) -> None:
    """Adds the rule that is matched by calls whose host is not well formed."""
    formed = HeaderMatcher(name=":authority", string_match=StringMatcher(safe_regex=regex(f"(?s){WELL_FORMED_HOST}")))
    bad = Permission(not_rule=Permission(header=formed))
    rules.policies[BAD_HOST].CopyFrom(RbacPolicy(permissions=[bad], principals=[Principal(any=True)]))


def refuse_bad_paths(rules: RBAC) -> None:
    """Adds the rule that is matched by calls whose path is not well formed."""
    bad = PathMatcher(path=StringMatcher(safe_regex=regex(f"(?s).*{BAD_PATH_SEGMENT}.*")))
    permission = Permission(url_path=bad)
    rules.policies[BAD_PATH].CopyFrom(RbacPolicy(permissions=[permission], principals=[Principal(any=True)]))


def looks_at(attribute: Attribute, policies: Iterable[AccessPolicy]) -> bool:
    """Whether any rule has a condition on it."""
    return any(
        condition.attribute is attribute
        for policy in policies
        for rule in policy.rules
        for conditions in (*rule.sources, *rule.operations, rule.when)
        for condition in conditions
    )


def callers_of(access: Access, rule: AccessRule) -> list[StringMatcher] | None:
    """The identities of the mesh by which callers are named that can meet a rule for connections: none if nobody can,
    None where a way to meet it names no caller of the mesh by a whole identity or its beginning."""
    encoder = _Encoder(access, http=False, widened=False)
    when, sources = encoder.known(rule.when), encoder.alternatives(rule.sources)
    if when is None or not sources or not encoder.alternatives(rule.operations):
        return []
    own = f"{matchers.SPIFFE}{access.trust_domain}/"
    found: list[StringMatcher] = []
    for conditions in sources:
        named = [each for each in (*conditions, *when) if each.attribute in _CALLERS and not each.negated]
        every = [_named(each, own) for each in named]
        one = next((each for each in every if each is not None), None)
        if one is None:
            return None
        found += one
    return found


def _named(condition: Condition, own: str) -> list[StringMatcher] | None:
    """The patterns of a condition on callers, if each begins in the mesh's own trust domain."""
    found = [_CALLERS[condition.attribute](pattern, f"{own}ns/") for pattern in condition.patterns]
    simple = [each.authenticated.principal_name for each in found if each.HasField("authenticated")]
    whole = len(simple) == len(found) and all((each.exact or each.prefix).startswith(own) for each in simple)
    return simple if whole else None


@dataclass(frozen=True, slots=True)
class _Encoder:
    """Encodes the rules of one place. `widened`: conditions that a connection does not have count as met."""

    access: Access
    http: bool
    widened: bool

    def policy(self, rule: AccessRule) -> RbacPolicy | None:
        """The rule, or None if it never matches here."""
        when = self.known(rule.when)
        sources = self.alternatives(rule.sources)
        operations = self.alternatives(rule.operations)
        if when is None or not sources or not operations:
            return None
        of_destination = [each for each in when if each.attribute in _OF_DESTINATION]
        of_caller = [each for each in when if each.attribute not in _OF_DESTINATION]
        return RbacPolicy(
            permissions=[_every_permission(self._permissions((*each, *of_destination))) for each in operations],
            principals=[_every_principal(self._principals((*each, *of_caller))) for each in sources],
        )

    def alternatives(self, alternatives: tuple[Conditions, ...]) -> list[Conditions]:
        """Those that can be met; one without conditions where nothing is asked for."""
        if not alternatives:
            return [()]
        return [found for each in alternatives if (found := self.known(each)) is not None]

    def known(self, conditions: Conditions) -> Conditions | None:
        """What is left to decide of them for each call, None if they are never met."""
        left = []
        for condition in conditions:
            if condition.attribute is Attribute.PORT:
                if not condition.meets_port(self.access.port):
                    return None
            elif self.http or condition.attribute not in HTTP_ONLY:
                left.append(condition)
            elif not self.widened:
                return None
        return tuple(left)

    def _permissions(self, conditions: Conditions) -> Iterator[Permission]:
        for condition in conditions:
            every = self._every_value(condition)
            found = [each for pattern in condition.patterns for each in _permission(condition, pattern, every)]
            one = found[0] if len(found) == 1 else Permission(or_rules=Permission.Set(rules=found))
            yield Permission(not_rule=one) if condition.negated else one

    def _every_value(self, condition: Condition) -> bool:
        return every_value_counts(condition, Action.DENY if self.widened else Action.ALLOW)

    def _principals(self, conditions: Conditions) -> Iterator[Principal]:
        for condition in conditions:
            found = self._principal(condition)
            one = found[0] if len(found) == 1 else Principal(or_ids=Principal.Set(ids=found))
            yield Principal(not_id=one) if condition.negated else one

    def _principal(self, condition: Condition) -> list[Principal]:
        """One of these is met where the condition is, but for its negation."""
        attribute, patterns = condition.attribute, condition.patterns
        if attribute in _CLAIMS or attribute is Attribute.CLAIM:
            texts = [matchers.text(pattern) for pattern in patterns]
            return [_said(matchers.claim(_CLAIMS.get(attribute, condition.key), texts))]
        if attribute is Attribute.HEADER and self._every_value(condition):
            return [_every_value(condition.key[0], pattern) for pattern in patterns]
        return [self._one_principal(condition, pattern) for pattern in patterns]

    def _one_principal(self, condition: Condition, pattern: Pattern) -> Principal:
        attribute = condition.attribute
        if attribute in _CALLERS:
            return _CALLERS[attribute](pattern, f"{matchers.SPIFFE}{self.access.trust_domain}/ns/")
        if attribute is Attribute.SOURCE_IP:
            return Principal(direct_remote_ip=matchers.network(pattern))
        if attribute is Attribute.REMOTE_IP:
            return Principal(remote_ip=matchers.network(pattern))
        if attribute is Attribute.HEADER:
            return _value(condition.key[0], matchers.text(pattern))
        if attribute is Attribute.REQUEST_PRINCIPAL:
            issuer, subject = (matchers.text(part) for part in principal_parts(pattern))
            both = [matchers.claim(("iss",), [issuer]), matchers.claim(("sub",), [subject])]
            return Principal(and_ids=Principal.Set(ids=[_said(each) for each in both]))
        raise ValueError(f"{attribute} is nothing of a caller")


def _value(header: str, matcher: StringMatcher) -> Principal:
    """One value of a header fits."""
    return Principal(header=HeaderMatcher(name=header, string_match=matcher))


def _every_value(header: str, pattern: Pattern) -> Principal:
    """There are values of a header, and all of them fit. Of an expression one is enough."""
    others = [Principal(not_id=_value(header, each)) for each in matchers.other_than(pattern)]
    return _every_principal((_value(header, matchers.text(pattern)), *others))


def _caller(matcher: StringMatcher) -> Principal:
    return Principal(authenticated=Principal.Authenticated(principal_name=matcher))


def _said(claim: MetadataMatcher) -> Principal:
    """Who a request's token names."""
    return Principal(sourced_metadata=SourcedMetadata(metadata_matcher=claim))


def _both(first: Principal, second: Principal) -> Principal:
    return Principal(and_ids=Principal.Set(ids=[first, second]))


def _identity(pattern: Pattern, _: str) -> Principal:
    """The whole SPIFFE URI. An end never reaches into its scheme."""
    found = _caller(matchers.text(pattern, matchers.SPIFFE))
    if pattern.kind is not PatternKind.SUFFIX or not pattern.value.startswith("/"):
        return found
    scheme = _caller(StringMatcher(exact=f"{matchers.SPIFFE[:-1]}{pattern.value}"))
    return _both(found, Principal(not_id=scheme))


def _namespace(pattern: Pattern, base: str) -> Principal:
    """A namespace ends where ``/sa/`` begins, and has no slash, so its end is what stands before that."""
    if pattern.kind is PatternKind.EXACT:
        return _caller(StringMatcher(prefix=f"{base}{pattern.value}/"))
    if pattern.kind is not PatternKind.SUFFIX:
        return _caller(matchers.text(pattern, base))
    found = _both(_caller(StringMatcher(prefix=base)), _caller(StringMatcher(contains=f"{pattern.value}/sa/")))
    if not base.removesuffix("/").endswith(pattern.value) or "sa".endswith(pattern.value):
        return found
    # The namespace `sa`: what stands before the first "/sa/" is the base itself.
    return _both(found, Principal(not_id=_caller(StringMatcher(prefix=f"{base}sa/"))))


def _service_account(pattern: Pattern, base: str) -> Principal:
    namespace, _, account = pattern.value.partition("/")
    return _caller(StringMatcher(exact=f"{base}{namespace}/sa/{account}"))


def _trust_domain(pattern: Pattern, _: str) -> Principal:
    if pattern.kind is PatternKind.EXACT:
        return _caller(StringMatcher(prefix=f"{matchers.SPIFFE}{pattern.value}/"))
    return _caller(matchers.text(pattern, matchers.SPIFFE))


_CALLERS: dict[Attribute, Callable[[Pattern, str], Principal]] = {
    Attribute.PRINCIPAL: _identity,
    Attribute.NAMESPACE: _namespace,
    Attribute.SERVICE_ACCOUNT: _service_account,
    Attribute.TRUST_DOMAIN: _trust_domain,
}


def _permission(condition: Condition, pattern: Pattern, every: bool) -> Iterator[Permission]:
    """What of a destination fits a pattern: one of these. `every`: of a header all values have to fit."""
    attribute = condition.attribute
    if attribute is Attribute.PATH:
        yield Permission(url_path=matchers.path(pattern))
    elif attribute is Attribute.HEADER:
        values = [matchers.text(pattern), *(matchers.other_than(pattern) if every else ())]
        found = [Permission(header=HeaderMatcher(name=condition.key[0], string_match=each)) for each in values]
        yield _every_permission((found[0], *(Permission(not_rule=each) for each in found[1:])))
    elif attribute is Attribute.METHOD:
        yield Permission(header=HeaderMatcher(name=":method", string_match=matchers.text(pattern)))
    elif attribute is Attribute.DESTINATION_IP:
        yield Permission(destination_ip=matchers.network(pattern))
    elif attribute is Attribute.SNI:
        yield Permission(requested_server_name=matchers.text(pattern))
    elif attribute is Attribute.HOST:
        for matcher in _host(pattern):
            yield Permission(header=HeaderMatcher(name=":authority", string_match=matcher))
    else:
        raise ValueError(f"{attribute} is nothing of a destination")


def _host(pattern: Pattern) -> Iterator[StringMatcher]:
    """A host without a port means any port: a well-formed host goes on with a colon then, or ends."""
    yield matchers.text(pattern, ignore_case=True)
    value = pattern.value
    if pattern.kind is PatternKind.EXACT and not has_port(value):
        yield StringMatcher(prefix=f"{value}:", ignore_case=True)
    elif pattern.kind is PatternKind.SUFFIX and not has_port(value):
        yield StringMatcher(contains=f"{value}:", ignore_case=True)


def has_port(host: str) -> bool:
    """Whether a host has a port (or the colon before one) behind it. An IPv6 address stands in brackets."""
    return ":" in host.rpartition("]")[2]


def _every_permission(found: Iterable[Permission]) -> Permission:
    rules = list(found) or [Permission(any=True)]
    return rules[0] if len(rules) == 1 else Permission(and_rules=Permission.Set(rules=rules))


def _every_principal(found: Iterable[Principal]) -> Principal:
    ids = list(found) or [Principal(any=True)]
    return ids[0] if len(ids) == 1 else Principal(and_ids=Principal.Set(ids=ids))
