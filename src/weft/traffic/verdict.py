"""Verdicts: how a request ended, in numbers that pack well, and whether that is a failure.

A request has failed when it was answered with a 5xx or not at all, when a response flag says that it did not come
through (a fault injected as a 4xx has not failed, a retry limit has), or when its gRPC status is one of the server's
errors. A verdict about the caller (401, 403, 429) is an answer.
"""

from __future__ import annotations

CONNECTION = 1000
"""Instead of a status: not a request, but a connection."""
FLAGS = (
    "UH",
    "UF",
    "UT",
    "LR",
    "UR",
    "UC",
    "UO",
    "NR",
    "NC",
    "URX",
    "UPE",
    "DPE",
    "SI",
    "DT",
    "LH",
    "UMSDR",
    "OM",
    "DO",
    "UDO",
    "DF",
    "DC",
    "DR",
    "DI",
    "FI",
    "RL",
    "RLSE",
    "UAEX",
    "IH",
    "RFCF",
    "NFCF",
)
"""Envoy's response flags, those that say failure first.
https://www.envoyproxy.io/docs/envoy/latest/configuration/observability/access_log/usage#response-flags"""
_OTHER = len(FLAGS)
_FAILED = (1 << FLAGS.index("DC")) - 1
_BITS = {name: 1 << place for place, name in enumerate(FLAGS)}
_GRPC_FAILURES = frozenset({2, 4, 12, 13, 14, 15})
"""Unknown, deadline exceeded, unimplemented, internal, unavailable, data loss: errors of the server as OpenTelemetry
counts them. https://opentelemetry.io/docs/specs/semconv/rpc/grpc/"""
Verdict = tuple[int, int, int]
"""Status, or CONNECTION; flags as bits; gRPC status, or -1."""
SUCCESS: Verdict = (200, 0, -1)


def flag_bits(text: str) -> int:
    """Flags as Envoy writes them (``UF,URX``; ``-``: none) as bits; all that are unknown are one."""
    if text in ("", "-"):
        return 0
    bits = 0
    for name in text.split(","):
        bits |= _BITS.get(name, 1 << _OTHER)
    return bits


def flag_text(bits: int) -> str:
    """Bits as Envoy writes them."""
    names = [name for place, name in enumerate(FLAGS) if bits >> place & 1]
    return ",".join([*names, "other"] if bits >> _OTHER else names) or "-"


def has_failed(verdict: Verdict) -> bool:
    """Whether a request that ended so is none that a caller can be content with."""
    status, flags, grpc = verdict
    return status == 0 or 500 <= status < CONNECTION or bool(flags & _FAILED) or grpc in _GRPC_FAILURES


def rough(verdict: Verdict) -> Verdict:
    """One of a few verdicts that say only of what class this is, and whether it is a failure."""
    status = verdict[0]
    if status >= CONNECTION:
        return CONNECTION, 1 << _OTHER, -1
    return 500 if has_failed(verdict) else status // 100 * 100, 1 << _OTHER, -1
