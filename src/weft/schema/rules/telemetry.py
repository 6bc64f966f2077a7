"""Rules of Telemetry and of the providers it names."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping

from weft.model.problem import Severity
from weft.schema.findings import Finding, Rule, conflicting, duplicate, missing
from weft.schema.kinds.gateway import GATEWAY_GROUP
from weft.schema.kinds.providers import EnvoyHttpAls, FileLogFormat, OtelLogFormat
from weft.schema.kinds.telemetry import (
    MetricSelector,
    TagOverride,
    TargetReference,
    TelemetrySpec,
    Tracing,
)
from weft.schema.log_format import SECRET_HEADERS, secret_headers

TAG_ATTRIBUTES = ("destination.port", "response.code", "request.protocol", "response.grpc_status", "xds.cluster_name")
"""What a label may be made of besides constants: what callers cannot choose freely, or only among few values."""
_TEXT = re.compile(r"""(?:'([^'\\]*)'|"([^"\\]*)")""")
_NUMBER = re.compile(r"-?\d{1,18}(?:\.\d{1,18})?|true|false")
_ATTRIBUTE = re.compile(r"(?:string\(\s*([\w.]+)\s*\)|([\w.]+))")
_NOT_COUNTED = ("GRPC_REQUEST_MESSAGES", "GRPC_RESPONSE_MESSAGES")
_ROUTES = ("HTTPRoute", "GRPCRoute", "VirtualService")
_TARGETS = {("Gateway", GATEWAY_GROUP), ("GatewayClass", GATEWAY_GROUP), ("Service", ""), ("Service", "core")}


def telemetry(spec: TelemetrySpec) -> Iterator[Finding]:
    """It is for one thing: selected workloads, or targets, each named once."""
    if spec.target_ref is not None and spec.target_refs:
        yield conflicting(("targetRef",), "targetRef and targetRefs exclude each other", "targetRefs")
    if spec.selector is not None and (spec.target_ref is not None or spec.target_refs):
        yield conflicting(("selector",), "selector and targetRefs exclude each other", "one of them")
    seen: set[TargetReference] = set()
    for index, target in enumerate(spec.target_refs):
        if target in seen:
            yield duplicate(("targetRefs", index), f"{target.kind} '{target.name}' is named twice")
        seen.add(target)


def target_reference(target: TargetReference) -> Iterator[Finding]:
    """Kinds that have proxies of their own, in the document's namespace."""
    if target.kind in _ROUTES:
        message = f"a {target.kind} says it itself, in its metadata"
        yield Finding(("kind",), message, "the annotation weft.dev/access-log or weft.dev/trace-sampling there")
    elif (target.kind, target.group) not in _TARGETS:
        yield Finding(
            ("kind",), f"{target.kind} of '{target.group}' has no proxies", "Gateway, GatewayClass or Service"
        )
    if target.namespace is not None:
        yield Finding(("namespace",), "targets are of the document's own namespace", "no namespace here")


def tracing(spec: Tracing) -> Iterator[Finding]:
    """Spans go to one place."""
    if len(spec.providers) > 1:
        yield Finding(("providers", 1), f"found {len(spec.providers)} providers; spans go to one", "one provider")


def metric_selector(spec: MetricSelector) -> Iterator[Finding]:
    """There are Istio's standard metrics."""
    if spec.custom_metric is not None:
        message = "'customMetric' is not supported by weft: there are Istio's standard metrics, and no others"
        yield Finding(("customMetric",), message, "metric", code="unsupported-field")
    if spec.metric in _NOT_COUNTED:
        message = f"weft counts no messages of gRPC streams, so there is nothing to change about {spec.metric}"
        yield Finding(("metric",), message, "another metric", code="no-effect", severity=Severity.WARNING)


def tag_override(spec: TagOverride) -> Iterator[Finding]:
    """A value where one is needed, made of what no client can choose."""
    if spec.operation == "REMOVE":
        if spec.value:
            yield conflicting(("value",), "a label that is removed has no value", "no value")
    elif not spec.value:
        yield missing((), "the field 'value' is missing", "a value, or operation: REMOVE")
    elif tag_value(spec.value) is None:
        message = (
            f"found '{spec.value[:80]}': what clients choose, and what has no bound, makes metrics grow without one; "
            "access logs and spans may hold it"
        )
        expected = f"a text in quotes, or one of {', '.join(TAG_ATTRIBUTES)}"
        yield Finding(("value",), message, expected, code="unsupported-value")


def tag_value(text: str) -> tuple[str, str] | None:
    """The constant and the attribute, one of them empty, that a label's value stands for; None for anything else."""
    text = text.strip()
    quoted = _TEXT.fullmatch(text)
    if quoted is not None:
        constant = quoted.group(1) or quoted.group(2) or ""
        return (constant, "") if constant.isprintable() else None
    if _NUMBER.fullmatch(text):
        return text, ""
    named = _ATTRIBUTE.fullmatch(text)
    attribute = (named.group(1) or named.group(2)) if named is not None else ""
    return ("", attribute) if attribute in TAG_ATTRIBUTES else None


def file_log_format(spec: FileLogFormat) -> Iterator[Finding]:
    """Formats that write secrets are told of."""
    if spec.text is not None:
        yield from secrets_in(("text",), spec.text)
    for name, text in (spec.labels or {}).items():
        yield from secrets_in(("labels", name), text)


def otel_log_format(spec: OtelLogFormat) -> Iterator[Finding]:
    """Formats that send secrets are told of."""
    if spec.text is not None:
        yield from secrets_in(("text",), spec.text)
    for name, text in spec.labels.items():
        yield from secrets_in(("labels", name), text)


def http_als(spec: EnvoyHttpAls) -> Iterator[Finding]:
    """Headers that hold secrets are told of."""
    for field, names in (
        ("additionalRequestHeadersToLog", spec.additional_request_headers_to_log),
        ("additionalResponseHeadersToLog", spec.additional_response_headers_to_log),
    ):
        for index, name in enumerate(names):
            if name.lower() in SECRET_HEADERS:
                yield _secret((field, index), name)


def secrets_in(path: tuple[str, ...], text: str) -> Iterable[Finding]:
    """A warning for each header in a format whose value lets its reader in."""
    return [_secret(path, name) for name in dict.fromkeys(secret_headers(text))]


def _secret(path: tuple[str | int, ...], name: str) -> Finding:
    message = f"the header '{name}' lets in whoever reads it in a log"
    return Finding(path, message, "a format without it", code="secret-in-log", severity=Severity.WARNING)


RULES: Mapping[type, tuple[Rule, ...]] = {
    TelemetrySpec: (telemetry,),
    TargetReference: (target_reference,),
    Tracing: (tracing,),
    MetricSelector: (metric_selector,),
    TagOverride: (tag_override,),
    FileLogFormat: (file_log_format,),
    OtelLogFormat: (otel_log_format,),
    EnvoyHttpAls: (http_als,),
}
