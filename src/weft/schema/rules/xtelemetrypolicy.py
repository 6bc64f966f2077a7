"""Rules of XTelemetryPolicy (the CEL rules of its definition)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from weft.schema.findings import Finding, Rule, conflicting, duplicate, missing
from weft.schema.kinds.xtelemetrypolicy import Attribute, TracingConfig, TracingProvider, XTelemetryPolicySpec
from weft.schema.wording import nearest_name

ATTRIBUTES: Mapping[str, str] = {
    "client.address": "%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%",
    "client.port": "%DOWNSTREAM_REMOTE_PORT%",
    "http.request.method": "%REQ(:METHOD)%",
    "http.request.body.size": "%BYTES_RECEIVED%",
    "http.response.body.size": "%BYTES_SENT%",
    "http.response.status_code": "%RESPONSE_CODE%",
    "network.protocol.version": "%PROTOCOL%",
    "rpc.grpc.status_code": "%GRPC_STATUS_NUMBER%",
    "server.address": "%REQ(:AUTHORITY):1024%",
    "url.path": "%PATH(NQ):1024%",
    "url.scheme": "%REQ(:SCHEME)%",
    "user_agent.original": "%REQ(USER-AGENT):1024%",
}
"""Names of OpenTelemetry's conventions that a gateway knows, and what it prints for them."""


def policy(spec: XTelemetryPolicySpec) -> Iterator[Finding]:
    """Each Gateway is named once."""
    names = [target.name for target in spec.target_refs]
    for index, name in enumerate(names):
        if name in names[:index]:
            yield duplicate(("targetRefs", index), f"Gateway '{name}' is named twice")


def tracing(spec: TracingConfig) -> Iterator[Finding]:
    """What is set says how, so it is set where there are traces."""
    if spec.mode == "Enabled":
        if spec.provider is None:
            yield missing((), "the field 'provider' is missing", "a provider, since mode is Enabled")
    else:
        given = (
            ("provider", spec.provider),
            ("samplingRate", spec.sampling_rate),
            ("parentBasedSampling", spec.parent_based_sampling),
            ("serviceName", spec.service_name),
            ("attributes", spec.attributes),
        )
        for name, value in given:
            if value:
                yield conflicting((name,), f"'{name}' says how, and mode is {spec.mode}", "mode: Enabled")
    names = [each.name for each in spec.attributes]
    for index, name in enumerate(names):
        if name in names[:index]:
            yield duplicate(("attributes", index, "name"), f"the attribute '{name[:80]}' is given twice")


def provider(spec: TracingProvider) -> Iterator[Finding]:
    """Spans go to a port of a Service."""
    reference = spec.backend_ref
    if (reference.group, reference.kind) not in (("", "Service"), ("core", "Service")):
        yield Finding(("backendRef", "kind"), f"found {reference.kind} of '{reference.group}'", "a Service")
    if reference.port is None:
        yield missing(("backendRef",), "the field 'port' is missing", "the port of the Service")


def attribute(spec: Attribute) -> Iterator[Finding]:
    """The value comes from where its type says."""
    fields = (
        ("Header", "headerName", spec.header_name),
        ("Literal", "literalValue", spec.literal_value),
        ("Attribute", "attributeKey", spec.attribute_key),
    )
    for kind, field, value in fields:
        if kind == spec.source_type and not value:
            yield missing((), f"the field '{field}' is missing", f"{field}, since sourceType is {kind}")
        elif kind != spec.source_type and value:
            yield conflicting((field,), f"'{field}' is for sourceType {kind}", f"sourceType: {kind}")
    key = spec.attribute_key
    if spec.source_type == "Attribute" and key and key not in ATTRIBUTES:
        expected = f"one of {', '.join(ATTRIBUTES)}"
        near = nearest_name(key, ATTRIBUTES)
        yield Finding(("attributeKey",), f"a gateway does not know '{key[:80]}'", expected, near, "unsupported-value")


RULES: Mapping[type, tuple[Rule, ...]] = {
    XTelemetryPolicySpec: (policy,),
    TracingConfig: (tracing,),
    TracingProvider: (provider,),
    Attribute: (attribute,),
}
