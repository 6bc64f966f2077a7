"""Codes of signals: access logs, traces, metrics, and where they go."""

from __future__ import annotations

from weft.findings.catalogue.entry import error, warning

SIGNALS = (
    error(
        1101,
        "unknown-provider",
        "A document names a provider that is not there, or is for something else. A Telemetry or MeshConfig does "
        "nothing by it then; an AuthorizationPolicy that would ask it closes what it is for.",
        "the provider 'otle' is not among the extensionProviders of the MeshConfig, so it does nothing",
        "Correct the name, or add the provider to the MeshConfig.",
        istio="0101 0157",
    ),
    error(
        1102,
        "misplaced-policy",
        "A policy targets what belongs to the whole mesh from a namespace that does not, so it is not in force.",
        "targetRefs[0]: a GatewayClass is the whole mesh's, so this is not in force",
        "Put it into the root namespace.",
    ),
    warning(
        1103,
        "collector-protocol",
        "Logs or spans go over gRPC to a port that does not say that it speaks HTTP/2.",
        "port 4317 of Service default/collector does not say that it speaks HTTP/2, which gRPC needs",
        "Call the port grpc-otlp, or set appProtocol: grpc.",
    ),
    warning(
        1104,
        "secret-in-log",
        "The format of an access log prints a header that lets in whoever reads it: a token, a session cookie, a key.",
        "the header 'authorization' lets in whoever reads it in a log",
        "Take it out of the format. The default formats have none of these.",
    ),
    error(
        1105,
        "bad-annotation",
        "An annotation of weft's says something that it cannot say. It has no effect.",
        "metadata.annotations[\"weft.dev/trace-sampling\"]: found 'many'; expected a percentage from 0 to 100",
        "Write what the message expects.",
        istio="0125",
    ),
    warning(
        1106,
        "no-provider",
        "A Telemetry says something of access logs or traces, and neither it nor any other document says where "
        "they go, so there are none.",
        "spec.tracing: no document names a provider, and there is no default one, so this does nothing",
        "Name a provider (`envoy` writes access logs to standard output), or give the MeshConfig `defaultProviders`.",
    ),
)
