"""Rules of AuthorizationPolicy: what each field and key compares with, and what may stand there."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Iterator, Mapping

from weft.model.identity import is_dns_label, is_trust_domain
from weft.model.origin import PathPart
from weft.model.problem import Severity
from weft.schema.findings import Finding, Rule, conflicting, duplicate, missing, printable
from weft.schema.kinds.authorizationpolicy import (
    AuthorizationPolicySpec,
    Operation,
    PolicyTargetReference,
    Source,
    Texts,
    When,
)
from weft.schema.kinds.gateway import GATEWAY_GROUP
from weft.schema.wording import nearest_name

MAX_TEXT = 4096
MAX_SERVICE_ACCOUNT = 320
HEADER_KEY = re.compile(r"request\.headers\[([^\[\]]*)\]")
CLAIM_KEY = re.compile(r"request\.auth\.claims((?:\[[^\[\]]+\])+)")
_ENVOY_KEY = "experimental.envoy.filters."
_TOKEN = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]{1,256}")
_METHOD = re.compile(r"[!#$%&'+\-.^_`|~0-9A-Za-z]{1,64}")
_LABEL_PART = re.compile(r"[-a-z0-9]{1,63}")
_PRINCIPAL = re.compile(r"[A-Za-z0-9._/-]{1,2048}")
_TRUST_PART = re.compile(r"[a-z0-9._-]{1,255}")
_HOST = re.compile(r"[A-Za-z0-9._:\[\]-]{1,260}")
_PATH = re.compile(r"[!$-+\--;=@-Z_a-z~\[\]|^`\\]{1,4096}")
_PORT = re.compile(r"[1-9][0-9]{0,4}")
_TARGETS = {("Gateway", GATEWAY_GROUP), ("GatewayClass", GATEWAY_GROUP), ("Service", "")}

Check = Callable[[str], str]
"""Why a text is wrong, as what would be right; empty if it is right."""


def _core(text: str) -> tuple[str, bool]:
    """A text without the asterisk at one of its ends, and whether there was one."""
    if text.endswith("*"):
        return text[:-1], True
    return (text[1:], True) if text.startswith("*") else (text, False)


def _name(part: re.Pattern[str], whole: Callable[[str], bool], expected: str) -> Check:
    """A name, or a part of one with an asterisk."""

    def check(text: str) -> str:
        if text == "*":
            return ""
        core, pattern = _core(text)
        right = part.fullmatch(core) is not None and (pattern or whole(core))
        return "" if right else expected

    return check


def _text(text: str) -> str:
    core, _ = _core(text)
    if text == "*" or (core and core.isprintable() and len(core) <= MAX_TEXT and (core == text or "*" not in core)):
        return ""
    return "text, with '*' at its beginning or its end for what may differ"


def _request_principal(text: str) -> str:
    core, pattern = _core(text)
    right = not _text(text) and (pattern or "/" in core)
    return "" if right else "ISSUER/SUBJECT, with '*' at its beginning or its end for what may differ"


def _principal(text: str) -> str:
    expected = "TRUST-DOMAIN/ns/NAMESPACE/sa/ACCOUNT, such as cluster.local/ns/default/sa/reviews"
    core, pattern = _core(text)
    if text == "*":
        return ""
    if "://" in text:
        return f"{expected}, without 'spiffe://'"
    if _PRINCIPAL.fullmatch(core) is None or "//" in core:
        return expected
    domain, slash, rest = core.partition("/")
    if pattern and text.startswith("*"):
        return ""
    return "" if is_trust_domain(domain) and (pattern or (slash and rest and not rest.endswith("/"))) else expected


def _service_account(text: str) -> str:
    parts = text.split("/")
    right = len(text) <= MAX_SERVICE_ACCOUNT and len(parts) <= 2 and all(map(is_dns_label, parts))
    return "" if right else "NAMESPACE/NAME, or the NAME of one in this namespace, without '*'"


def _trust_domain(text: str) -> str:
    core, pattern = _core(text)
    if text == "*" or (pattern and text.endswith("*") and _TRUST_PART.fullmatch(core)) or is_trust_domain(text):
        return ""
    return "a trust domain such as cluster.local, or its beginning and '*'"


def _network(text: str) -> str:
    try:
        ipaddress.ip_network(text, strict=False)
    except ValueError:
        return "an IP address or a network such as 10.0.0.0/8"
    return ""


def _host(text: str) -> str:
    core, _ = _core(text)
    return "" if text == "*" or _HOST.fullmatch(core) else "a host such as shop.example.com or *.example.com"


def _port(text: str) -> str:
    return "" if _PORT.fullmatch(text) and int(text) <= 65535 else "a port number from 1 to 65535, in quotes"


def _method(text: str) -> str:
    core, _ = _core(text)
    return "" if text == "*" or _METHOD.fullmatch(core) else "a method such as GET"


def _path(text: str) -> str:
    expected = "a path such as /api, /api/*, *.html, /api/{*}/items or /api/{**}"
    if text == "*":
        return ""
    if "{" in text or "}" in text:
        return _template(text)
    core, pattern = _core(text)
    if _PATH.fullmatch(core) is None or "*" in core:
        return f"{expected}; '*' stands at one end only, and there is no query"
    return "" if core.startswith("/") or (pattern and text.startswith("*")) else f"{expected}, which begin with '/'"


def _template(text: str) -> str:
    expected = "a path template such as /api/{*}/items or /api/{**}"
    literals = re.sub(r"\{\*\*?\}", "", text)
    if "*" in literals or "{" in literals or "}" in literals:
        return f"{expected}: only {{*}} and {{**}}, and no other '*'"
    if not text.startswith("/") or (literals and _PATH.fullmatch(literals) is None):
        return expected
    operators = [part for part in text.split("/") if "{" in part]
    if any(part not in ("{*}", "{**}") for part in operators):
        return f"{expected}, where each operator is a segment of its own"
    return f"{expected}, where {{**}} comes last" if "{**}" in operators[:-1] else ""


_NAMESPACE = _name(_LABEL_PART, is_dns_label, "a namespace")
FIELDS: Mapping[str, Check] = {
    "principals": _principal,
    "requestPrincipals": _request_principal,
    "namespaces": _NAMESPACE,
    "serviceAccounts": _service_account,
    "trustDomains": _trust_domain,
    "ipBlocks": _network,
    "remoteIpBlocks": _network,
    "hosts": _host,
    "ports": _port,
    "methods": _method,
    "paths": _path,
}
KEYS: Mapping[str, Check] = {
    "source.ip": _network,
    "remote.ip": _network,
    "source.namespace": _NAMESPACE,
    "source.principal": _principal,
    "source.serviceAccount": _service_account,
    "request.auth.principal": _request_principal,
    "request.auth.audiences": _text,
    "request.auth.presenter": _text,
    "destination.ip": _network,
    "destination.port": _port,
    "connection.sni": _text,
}
"""The keys of `when` that have no name in brackets, and what their values may be."""
_BRACKETS = ("request.headers[NAME]", "request.auth.claims[NAME]")
_PSEUDO: Mapping[str, str] = {
    "host": "hosts of an operation",
    ":authority": "hosts of an operation",
    ":method": "methods of an operation",
    ":path": "paths of an operation",
}


def authorization_policy(spec: AuthorizationPolicySpec) -> Iterator[Finding]:
    """It is for one thing, and says whom it asks if it asks anybody."""
    if spec.target_ref is not None and spec.target_refs:
        yield conflicting(("targetRef",), "targetRef and targetRefs exclude each other", "targetRefs")
    if spec.selector is not None and (spec.target_ref is not None or spec.target_refs):
        yield conflicting(("selector",), "selector and targetRefs exclude each other", "one of them")
    seen: set[PolicyTargetReference] = set()
    for index, target in enumerate(spec.target_refs):
        if target in seen:
            yield duplicate(("targetRefs", index), f"{target.kind} '{target.name}' is named twice")
        seen.add(target)
    if spec.action == "CUSTOM" and spec.provider is None:
        yield missing((), "the action CUSTOM needs 'provider'", "provider with the name of an extensionProvider")
    if spec.action != "CUSTOM" and spec.provider is not None:
        yield conflicting(("provider",), f"the action {spec.action} asks nobody", "no provider, or action: CUSTOM")
    if not spec.rules and spec.action != "ALLOW":
        message = f"a {spec.action} without rules matches no call, so it does nothing"
        yield Finding(("rules",), message, "rules; [{}] for every call", code="no-rules", severity=Severity.WARNING)


def target_reference(target: PolicyTargetReference) -> Iterator[Finding]:
    """Kinds that have proxies, in the document's namespace."""
    if (target.kind, target.group) not in _TARGETS:
        what = f"{target.kind} of '{target.group}'" if target.group else target.kind
        yield Finding(("kind",), f"a policy cannot be for a {what}", "Gateway, GatewayClass or Service, with its group")
    if target.namespace is not None:
        yield Finding(("namespace",), "targets are of the document's own namespace", "no namespace here")


def source(spec: Source) -> Iterator[Finding]:
    """Every value has the form of its field."""
    yield from _values(spec, _SOURCE)
    names = spec.service_accounts or spec.not_service_accounts
    others = (spec.principals, spec.not_principals, spec.namespaces, spec.not_namespaces)
    if names and any(others):
        yield conflicting(
            ("serviceAccounts" if spec.service_accounts else "notServiceAccounts",),
            "service accounts exclude principals and namespaces, which say the same",
            "one of them",
        )


def operation(spec: Operation) -> Iterator[Finding]:
    """Every value has the form of its field."""
    yield from _values(spec, _OPERATION)


def when(spec: When) -> Iterator[Finding]:
    """A key there is, with values of its form."""
    check = KEYS.get(spec.key)
    header, claim = HEADER_KEY.fullmatch(spec.key), CLAIM_KEY.fullmatch(spec.key)
    if header is not None:
        check = _text
        yield from _header(header[1])
    elif claim is not None:
        check = _text
    elif spec.key.startswith(_ENVOY_KEY):
        message = "metadata of Envoy's filters is not supported by weft: its names are Envoy's, and change with it"
        yield Finding(("key",), message, "a documented key", code="unsupported-value")
    elif check is None:
        known = (*KEYS, *_BRACKETS)
        message = f"there is no key '{printable(spec.key[:100])}'"
        yield Finding(("key",), message, f"one of {', '.join(known)}", nearest_name(spec.key, known))
    if check is not None:
        yield from _wrong(("values",), spec.values, check)
        yield from _wrong(("notValues",), spec.not_values, check)
    if not spec.values and not spec.not_values:
        yield missing((), "a condition needs values", "values or notValues")


def _header(name: str) -> Iterator[Finding]:
    instead = _PSEUDO.get(name.lower())
    if instead is not None:
        yield Finding(("key",), f"'{name}' is no header here", instead)
    elif _TOKEN.fullmatch(name) is None:
        yield Finding(("key",), f"found the header '{printable(name[:100])}'", "the name of an HTTP header")


_SOURCE = (
    "principals",
    "requestPrincipals",
    "namespaces",
    "serviceAccounts",
    "trustDomains",
    "ipBlocks",
    "remoteIpBlocks",
)
_OPERATION = ("hosts", "ports", "methods", "paths")


def _values(spec: Source | Operation, names: tuple[str, ...]) -> Iterator[Finding]:
    empty = True
    for name in names:
        attribute = re.sub(r"([A-Z])", lambda found: f"_{found[1].lower()}", name)
        values: Texts = getattr(spec, attribute)
        unwanted: Texts = getattr(spec, f"not_{attribute}")
        empty = empty and not values and not unwanted
        yield from _wrong((name,), values, FIELDS[name])
        yield from _wrong((f"not{name[0].upper()}{name[1:]}",), unwanted, FIELDS[name])
    if empty:
        yield missing((), "it is empty, and would ask for nothing", f"one of {', '.join(names)}, or no such entry")


def _wrong(path: tuple[PathPart, ...], values: Texts, check: Check) -> Iterator[Finding]:
    for index, text in enumerate(values):
        expected = check(text)
        if expected:
            yield Finding((*path, index), f"found '{printable(text[:100])}'", expected)


RULES: Mapping[type, tuple[Rule, ...]] = {
    AuthorizationPolicySpec: (authorization_policy,),
    PolicyTargetReference: (target_reference,),
    Source: (source,),
    Operation: (operation,),
    When: (when,),
}
