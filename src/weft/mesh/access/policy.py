"""Access policies: conditions on a call, joined to rules, joined to policies that allow, deny, ask or note it.

The words are those of Istio's AuthorizationPolicy, into which other kinds are translated too:
https://istio.io/latest/docs/reference/config/security/authorization-policy/

No name becomes a regular expression: it is compared as it is, at the beginning, or at the end.
Names of the mesh's own identities (namespaces, service accounts) mean its own trust domain only.
"""

from __future__ import annotations

import enum
import re
from dataclasses import dataclass

from weft.model.document import ObjectKey
from weft.model.origin import Origin


class Action(enum.Enum):
    """What a policy does with a call that one of its rules matches, in the order in which they are asked."""

    CUSTOM = "CUSTOM"
    DENY = "DENY"
    ALLOW = "ALLOW"
    AUDIT = "AUDIT"


class Attribute(enum.Enum):
    """What of a call a condition looks at."""

    PRINCIPAL = "the caller's identity, TRUST-DOMAIN/ns/NAMESPACE/sa/ACCOUNT"
    NAMESPACE = "the caller's namespace, if it is of the mesh's own trust domain"
    SERVICE_ACCOUNT = "the caller's service account, NAMESPACE/ACCOUNT, if it is of the mesh's own trust domain"
    TRUST_DOMAIN = "the trust domain of the caller's identity"
    SOURCE_IP = "the address at the other end of the connection"
    REMOTE_IP = "the client's address, as trusted proxies in front say it"
    REQUEST_PRINCIPAL = "issuer and subject of the request's token, ISSUER/SUBJECT"
    AUDIENCE = "the audiences of the request's token"
    PRESENTER = "to whom the request's token was issued (azp)"
    CLAIM = "a claim of the request's token"
    HEADER = "a header of the request"
    HOST = "the host of the request"
    METHOD = "the method of the request"
    PATH = "the path of the request, without query"
    PORT = "the port of the application (at a gateway: of the listener)"
    DESTINATION_IP = "the address that the connection was made to"
    SNI = "the server name of the TLS handshake"


HTTP_ONLY = frozenset(
    {
        Attribute.REQUEST_PRINCIPAL,
        Attribute.AUDIENCE,
        Attribute.PRESENTER,
        Attribute.CLAIM,
        Attribute.HEADER,
        Attribute.HOST,
        Attribute.METHOD,
        Attribute.PATH,
    }
)
"""What only requests have. On a TCP port a condition on one of these, negated or not, counts as met in a policy that
denies or notes, and as not met in one that allows: what cannot be looked at never lets anybody in."""


class PatternKind(enum.Enum):
    """How a pattern is compared."""

    EXACT = "exact"
    PREFIX = "prefix"
    SUFFIX = "suffix"
    PRESENT = "present"
    TEMPLATE = "template"
    NETWORK = "network"
    REGEX = "regex"


@dataclass(frozen=True, slots=True)
class Pattern:
    """`value` compared by `kind`: as it is, as beginning or end, not at all (anything that is not empty), as a path
    template with ``{*}`` (one segment, not empty) and ``{**}`` (anything, also nothing), as an address or network
    (CIDR), or as a regular expression that a user wrote, which the whole has to match (RE2).

    Case matters but for hosts. A host (exact, or a suffix) without a port means any port; see `is_well_formed_host`.
    A request's principal is compared in two parts: `principal_parts`. Values of tokens are texts or lists of texts, of
    which one has to fit. Of a header that is sent more than once all values have to fit one pattern where that lets a
    caller in, and one is enough where it does not; an expression cannot be turned around, so there one is enough.
    """

    kind: PatternKind
    value: str = ""


@dataclass(frozen=True, slots=True)
class Condition:
    """One of `patterns` fits the attribute; `negated`: none does, which also holds where there is nothing to compare.
    `key` is the name of a header (lower case), or the path of a claim."""

    attribute: Attribute
    patterns: tuple[Pattern, ...]
    negated: bool = False
    key: tuple[str, ...] = ()

    def meets_port(self, port: int) -> bool:
        """Whether a condition on the port is met at this one."""
        return any(pattern.value == str(port) for pattern in self.patterns) is not self.negated


Conditions = tuple[Condition, ...]
"""All of them hold. None at all: that is always so."""


@dataclass(frozen=True, slots=True)
class AccessRule:
    """One of `sources`, one of `operations` and all of `when` hold; an empty tuple of alternatives asks for nothing.
    `number` is its place in the document, from 0. Sources are about the caller, its token and headers, operations about
    what is called and headers, `when` about anything."""

    number: int
    origin: Origin
    sources: tuple[Conditions, ...] = ()
    operations: tuple[Conditions, ...] = ()
    when: Conditions = ()


@dataclass(frozen=True, slots=True)
class AccessPolicy:
    """A document (or a part of one) in force. Without rules it matches no call: as ALLOW it allows none. `dry_run`:
    what it would have done is counted and logged, and nothing is done. `provider` names who is asked (CUSTOM only)."""

    object: ObjectKey
    origin: Origin
    action: Action
    rules: tuple[AccessRule, ...]
    dry_run: bool = False
    provider: str = ""

    @property
    def decides(self) -> bool:
        """Whether a call may be refused because of it."""
        return self.action is not Action.AUDIT and not self.dry_run

    def rule_id(self, rule: AccessRule) -> str:
        """The name of a rule in proxies: ``KIND/NAMESPACE/NAME/NUMBER``. It stands in the details of an answer
        (``rbac_access_denied_matched_policy[…]``), in dynamic metadata and in counters."""
        key = self.object
        return f"{key.kind}/{key.namespace}/{key.name}/{rule.number}"


@dataclass(frozen=True, slots=True)
class Closed:
    """Why nobody may call at all: a document that cannot be understood, or (without `object`) a setting."""

    origin: Origin
    reason: str
    object: ObjectKey | None = None

    @property
    def rule_id(self) -> str:
        """What stands in proxies for it: ``closed/KIND/NAMESPACE/NAME``."""
        key = self.object
        return f"closed/{key.kind}/{key.namespace}/{key.name}" if key is not None else "closed"


_SUBJECT = "/spiffe://"
"""Before the subject of a JWT-SVID."""


def principal_parts(pattern: Pattern) -> tuple[Pattern, Pattern]:
    """What issuer and subject of a token have to be: the text is divided at its last slash, so a subject with a slash
    is never meant, but for one that is a SPIFFE ID (``spiffe://DOMAIN/spiffe://DOMAIN/ns/…``). Without a slash a
    beginning is the issuer's and an end the subject's, as in Istio, and anything else is nobody's."""
    anything = Pattern(PatternKind.PRESENT)
    issuer, slash, subject = pattern.value.rpartition("/")
    if (named := pattern.value.partition(_SUBJECT))[1] and pattern.kind is not PatternKind.SUFFIX:
        issuer, subject = named[0], _SUBJECT[1:] + named[2]
    if pattern.kind is PatternKind.PRESENT:
        return anything, anything
    if not slash and pattern.kind is not PatternKind.EXACT:
        return (pattern, anything) if pattern.kind is PatternKind.PREFIX else (anything, pattern)
    if pattern.kind is PatternKind.PREFIX:
        return Pattern(PatternKind.EXACT, issuer), Pattern(PatternKind.PREFIX, subject) if subject else anything
    if pattern.kind is PatternKind.SUFFIX:
        return Pattern(PatternKind.SUFFIX, issuer) if issuer else anything, Pattern(PatternKind.EXACT, subject)
    if not slash:
        return pattern, Pattern(PatternKind.EXACT)
    return Pattern(PatternKind.EXACT, issuer), Pattern(PatternKind.EXACT, subject)


_LABEL = r"[^\x00-,./:-@\[-^`{-\x7f]+"
"""A part of a name between dots: letters, digits, - _ ~, and what is no ASCII."""
WELL_FORMED_HOST = rf"(\[[0-9A-Fa-f:.]+\]|({_LABEL}(\.{_LABEL})*)?)(:[0-9]*)?"
"""A name without an empty part, or an IP address, with at most a port (RE2 and Python). Of a dot at the end the proxy
has taken off one."""


BAD_PATH_SEGMENT = r"/\.\.?(;|%3[bB])"
"""How a dot segment begins that is none to Envoy and is one to servers that take parameters off (RE2 and Python)."""


def is_well_formed_path(path: str) -> bool:
    """Whether no segment of a normalised path is a dot segment with parameters: Envoy resolves ``..;x``, and makes
    ``..;x`` of ``%2e%2e;x``. Where any condition looks at the path, other calls are refused."""
    return re.search(BAD_PATH_SEGMENT, path) is None


def is_well_formed_host(host: str) -> bool:
    """Whether the host is a name or an address, followed by nothing but a port. Where any condition looks at the host,
    other calls are refused: what they mean is not the same to everybody."""
    return re.fullmatch(WELL_FORMED_HOST, host, re.DOTALL) is not None
