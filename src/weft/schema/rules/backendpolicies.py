"""Rules of BackendTLSPolicy and XBackendTrafficPolicy (the CEL rules of their definitions)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from weft.schema.findings import Finding, Rule, conflicting, duplicate, missing
from weft.schema.kinds.backendtlspolicy import BackendTlsPolicySpec, BackendTlsValidation, SubjectAltName
from weft.schema.kinds.xbackendtrafficpolicy import RequestRate, XBackendTrafficPolicySpec


def tls_targets(spec: BackendTlsPolicySpec) -> Iterator[Finding]:
    """Each target once; several ports of a Service each by name."""
    seen: list[tuple[str, str]] = []
    for index, target in enumerate(spec.target_refs):
        section = target.section_name or ""
        names = [other for name, other in seen if name == target.name]
        if section in names:
            yield duplicate(("targetRefs", index), f"Service '{target.name}' is named twice")
        elif names and "" in (section, *names):
            message = f"Service '{target.name}' is named with and without sectionName"
            yield conflicting(("targetRefs", index), message, "a sectionName each, or one targetRef")
        seen.append((target.name, section))


def validation(spec: BackendTlsValidation) -> Iterator[Finding]:
    """Somebody vouches, and in one way."""
    if spec.ca_certificate_refs and spec.well_known_ca_certificates:
        yield conflicting(("wellKnownCACertificates",), "it excludes caCertificateRefs", "one of them")
    if not spec.ca_certificate_refs and not spec.well_known_ca_certificates:
        yield missing((), "nobody vouches for the server", "caCertificateRefs or wellKnownCACertificates")


def subject_alt_name(spec: SubjectAltName) -> Iterator[Finding]:
    """The field is the one that the type says."""
    field = "uri" if spec.type == "URI" else "hostname"
    if (spec.uri if spec.type == "URI" else spec.hostname) is None:
        yield missing((), f"type {spec.type} needs '{field}'", field)
    if spec.type == "URI" and spec.uri is not None and ":" not in spec.uri:
        yield Finding(("uri",), "it has no scheme", "a URI such as spiffe://example.com/api")


def traffic_targets(spec: XBackendTrafficPolicySpec) -> Iterator[Finding]:
    """Each Service once."""
    names = [target.name for target in spec.target_refs]
    for index, name in enumerate(names):
        if name in names[:index]:
            yield duplicate(("targetRefs", index), f"Service '{name}' is named twice")


def sessions(spec: XBackendTrafficPolicySpec) -> Iterator[Finding]:
    """A header would tell the instance and not the Service, where a rule divides requests over several."""
    if spec.session_persistence is not None and spec.session_persistence.type == "Header":
        message = "'Header' is not supported by weft for a Service: a rule may divide requests over several"
        path = ("sessionPersistence", "type")
        yield Finding(path, message, "Cookie, or Header in the rules of a route", code="unsupported-value")


def rate(spec: RequestRate) -> Iterator[Finding]:
    """An interval that is one."""
    if not 1 <= spec.interval <= 3600:
        yield Finding(("interval",), f"found {spec.interval:g}s", "1s to 1h", code="out-of-range")


RULES: Mapping[type, tuple[Rule, ...]] = {
    BackendTlsPolicySpec: (tls_targets,),
    BackendTlsValidation: (validation,),
    SubjectAltName: (subject_alt_name,),
    XBackendTrafficPolicySpec: (traffic_targets, sessions),
    RequestRate: (rate,),
}
