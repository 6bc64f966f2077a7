"""Formats of access logs: text with Envoy's command operators, each checked before Envoy refuses a whole listener.

https://www.envoyproxy.io/docs/envoy/latest/configuration/observability/access_log/usage#command-operators
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from weft.schema.cel import CelError, check_expression
from weft.schema.wording import nearest_name

MAX_FORMAT = 16384
MAX_CUT = 65536
_OPERATOR = re.compile(r"%([A-Z0-9_]+)(?:\(([^)]*)\))?(?::(\d{1,9}))?%|%%|%")
_ADDRESSES = (
    "REMOTE_ADDRESS REMOTE_ADDRESS_WITHOUT_PORT REMOTE_PORT LOCAL_ADDRESS LOCAL_ADDRESS_WITHOUT_PORT LOCAL_PORT"
)
_PEERS = (
    "PEER_SUBJECT PEER_ISSUER PEER_CERT PEER_URI_SAN PEER_DNS_SAN PEER_IP_SAN LOCAL_URI_SAN LOCAL_DNS_SAN LOCAL_IP_SAN"
)
_BYTES = (
    "WIRE_BYTES_SENT WIRE_BYTES_RECEIVED HEADER_BYTES_SENT HEADER_BYTES_RECEIVED DECOMPRESSED_HEADER_BYTES_SENT "
    "DECOMPRESSED_HEADER_BYTES_RECEIVED"
)


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


def _of(prefix: str, names: str) -> list[str]:
    return [f"{prefix}_{name}" for name in names.split()]


_ALONE = frozenset(
    (
        *_words(
            "REQUEST_HEADERS_BYTES BYTES_RECEIVED BYTES_RETRANSMITTED PACKETS_RETRANSMITTED PROTOCOL "
            "UPSTREAM_PROTOCOL RESPONSE_CODE RESPONSE_CODE_DETAILS CONNECTION_TERMINATION_DETAILS "
            "RESPONSE_HEADERS_BYTES RESPONSE_TRAILERS_BYTES BYTES_SENT UPSTREAM_REQUEST_ATTEMPT_COUNT DURATION "
            "REQUEST_DURATION REQUEST_TX_DURATION RESPONSE_DURATION RESPONSE_TX_DURATION "
            "DOWNSTREAM_HANDSHAKE_DURATION ROUNDTRIP_DURATION UPSTREAM_CONNECTION_POOL_READY_DURATION "
            "RESPONSE_FLAGS RESPONSE_FLAGS_LONG UPSTREAM_HOST UPSTREAM_HOST_NAME UPSTREAM_HOST_NAME_WITHOUT_PORT "
            "UPSTREAM_HOSTS_ATTEMPTED UPSTREAM_HOST_NAMES_ATTEMPTED UPSTREAM_CLUSTER UPSTREAM_CLUSTER_RAW "
            "UPSTREAM_TRANSPORT_FAILURE_REASON UPSTREAM_DETECTED_CLOSE_TYPE UPSTREAM_LOCAL_CLOSE_REASON "
            "DOWNSTREAM_DETECTED_CLOSE_TYPE DOWNSTREAM_LOCAL_CLOSE_REASON CONNECTION_ID UPSTREAM_CONNECTION_ID "
            "GRPC_STATUS_NUMBER DOWNSTREAM_LOCAL_SUBJECT DOWNSTREAM_TLS_SESSION_ID DOWNSTREAM_TLS_CIPHER "
            "DOWNSTREAM_TLS_VERSION DOWNSTREAM_PEER_FINGERPRINT_256 DOWNSTREAM_PEER_FINGERPRINT_1 "
            "DOWNSTREAM_PEER_SERIAL DOWNSTREAM_PEER_EMAIL_SAN DOWNSTREAM_LOCAL_EMAIL_SAN "
            "DOWNSTREAM_TRANSPORT_FAILURE_REASON UPSTREAM_TLS_SESSION_ID UPSTREAM_TLS_CIPHER UPSTREAM_TLS_VERSION "
            "UPSTREAM_SERVER_NAME HOSTNAME LOCAL_REPLY_BODY FILTER_CHAIN_NAME LISTENER_NAME VIRTUAL_CLUSTER_NAME "
            "ACCESS_LOG_TYPE UNIQUE_ID TLS_JA3_FINGERPRINT TLS_JA4_FINGERPRINT ROUTE_NAME STREAM_ID CUSTOM_FLAGS "
            "TRACE_ID SPAN_ID UPSTREAM_HOST_NAMES_ATTEMPTED_WITHOUT_PORT UPSTREAM_HOSTS_ATTEMPTED_WITHOUT_PORT "
            "UPSTREAM_CONNECTION_IDS_ATTEMPTED UPSTREAM_REMOTE_ADDRESS_ENDPOINT_ID "
            "DOWNSTREAM_LOCAL_ADDRESS_ENDPOINT_ID DOWNSTREAM_PEER_OTHERNAME_SAN DOWNSTREAM_LOCAL_OTHERNAME_SAN "
            "DOWNSTREAM_PEER_CHAIN_FINGERPRINTS_256 DOWNSTREAM_PEER_CHAIN_FINGERPRINTS_1 DOWNSTREAM_PEER_CHAIN_SERIALS"
        ),
        *_of("DOWNSTREAM", _ADDRESSES),
        *_of("UPSTREAM", _ADDRESSES),
        *_of("DOWNSTREAM_DIRECT", _ADDRESSES),
        *_of("DOWNSTREAM", _PEERS),
        *_of("UPSTREAM", _PEERS),
        *_of("DOWNSTREAM", _BYTES),
        *_of("UPSTREAM", _BYTES),
    )
)
_TIMES = _words(
    "START_TIME START_TIME_LOCAL EMIT_TIME EMIT_TIME_LOCAL DOWNSTREAM_PEER_CERT_V_START DOWNSTREAM_PEER_CERT_V_END "
    "UPSTREAM_PEER_CERT_V_START UPSTREAM_PEER_CERT_V_END"
)
_HEADERS = _words("REQ RESP TRAILER REQ_WITHOUT_QUERY")
_STATE = _words("FILTER_STATE UPSTREAM_FILTER_STATE")
_METADATA = _words("DYNAMIC_METADATA CLUSTER_METADATA UPSTREAM_METADATA")
_METADATA_KINDS = ("DYNAMIC", "CLUSTER", "ROUTE", "UPSTREAM_HOST", "LISTENER", "VIRTUAL_HOST", "LISTENER_FILTER_CHAIN")
_WORDS = {
    "REQUESTED_SERVER_NAME": r"|(?:SNI_ONLY|SNI_FIRST|HOST_FIRST)(?::ORIG)?",
    "GRPC_STATUS": r"|NUMBER|CAMEL_STRING|SNAKE_STRING",
    "PATH": r"|(?:WQ|NQ)(?::(?:ORIG|PATH|ORIG_OR_PATH))?",
    "COMMON_DURATION": r"[A-Za-z0-9_]+:[A-Za-z0-9_]+:(?:ms|us|ns)",
    "QUERY_PARAM": r".+",
    "ENVIRONMENT": r"[A-Za-z_][A-Za-z0-9_]*",
}
_CUT = _HEADERS | _METADATA | _STATE | {"METADATA", "CEL", "QUERY_PARAM", "PATH", "ENVIRONMENT", "GRPC_STATUS"}
OPERATORS = frozenset((*_ALONE, *_TIMES, *_HEADERS, *_STATE, *_METADATA, "METADATA", "CEL", *_WORDS))
"""All that a format may use."""
_HEADER_NAME = re.compile(r":?[!#$&'*+\-.^_`|~0-9A-Za-z]{1,256}")
SECRET_HEADERS = frozenset(
    ("authorization", "proxy-authorization", "cookie", "set-cookie", "x-api-key", "x-auth-token", "x-csrf-token")
)
"""Headers whose values let their reader in."""


class LogFormatError(ValueError):
    """Envoy would refuse the format."""


def check_format(text: str) -> None:
    """Raises LogFormatError for the first operator that Envoy would refuse."""
    if len(text) > MAX_FORMAT:
        raise LogFormatError(f"longer than {MAX_FORMAT} characters")
    for match in _OPERATOR.finditer(text):
        if match.group() == "%%":
            continue
        if match.group() == "%":
            shown = text[match.start() : match.start() + 24]
            raise LogFormatError(f"'{shown}' is no operator: %NAME%, %NAME(PARAMETER)% or %NAME(PARAMETER):LENGTH%")
        _check_operator(*match.groups())


def secret_headers(text: str) -> Iterator[str]:
    """The headers of `text` that hold secrets."""
    for match in _OPERATOR.finditer(text):
        if match.group(1) in _HEADERS and match.group(2):
            yield from (name for name in match.group(2).split("?") if name.lower() in SECRET_HEADERS)


def needs_request_without_query(text: str) -> bool:
    """Whether the format uses REQ_WITHOUT_QUERY, which is an extension of Envoy."""
    return "%REQ_WITHOUT_QUERY" in text


def _check_operator(name: str, parameter: str | None, cut: str | None) -> None:
    if name not in OPERATORS:
        near = nearest_name(name, OPERATORS)
        raise LogFormatError(f"there is no operator {name}" + (f", did you mean {near}?" if near else ""))
    if cut is not None and (name not in _CUT or int(cut) > MAX_CUT):
        raise LogFormatError(f"{name} takes no length" if name not in _CUT else f"a length is at most {MAX_CUT}")
    if name in _ALONE and parameter is not None:
        raise LogFormatError(f"{name} takes no parameter")
    if name in _HEADERS | _METADATA | _STATE | {"METADATA", "CEL"} and not parameter:
        raise LogFormatError(f"{name} needs a parameter")
    reason = _parameter_problem(name, parameter or "")
    if reason:
        raise LogFormatError(f"{name}({parameter or ''}): {reason}")


def _parameter_problem(name: str, parameter: str) -> str:
    if name in _HEADERS:
        names = parameter.split("?")
        good = len(names) <= 2 and all(_HEADER_NAME.fullmatch(each) for each in names)
        return "" if good else "expected a header's name, or two with a question mark between"
    if name == "METADATA" and parameter.partition(":")[0] not in _METADATA_KINDS:
        return f"expected one of {', '.join(_METADATA_KINDS)} first"
    if name in _STATE and not re.fullmatch(r"[^:]+(?::(?:PLAIN|TYPED|FIELD:.+))?", parameter):
        return "expected KEY, KEY:PLAIN, KEY:TYPED or KEY:FIELD:NAME"
    if name in _WORDS and not re.fullmatch(_WORDS[name], parameter):
        return "not a parameter that it takes"
    if name == "CEL":
        try:
            check_expression(parameter)
        except CelError as error:
            return str(error)
    return ""
