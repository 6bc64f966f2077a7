"""Lines about requests, as `weft.xds.signals.journal` has Envoy write them, read and made fit to leave the host."""

from __future__ import annotations

import re
from typing import Any

import msgspec

from weft.model.masking import masked_headers, masked_path
from weft.model.printable import bounded
from weft.model.requests import RequestSeen

_COMMON_NAME = re.compile(r"(?:^|,)\s*(?:CN|pseudonym)=([^,]+)")
_LONGEST_LINE = 128 * 1024
_LONGEST_TEXT = 256


class _Line(msgspec.Struct):
    """What Envoy writes; what is empty is not there."""

    time: str
    side: str
    id: str = ""
    trace: str = ""
    method: str = ""
    path: str = ""
    host: str = ""
    status: int = 0
    flags: str = "-"
    details: str = ""
    closed: str = ""
    failure: str = ""
    ms: float = 0.0
    first: float | None = None
    upstream: str = ""
    cluster: str = ""
    peer: str = ""
    tries: int = 0
    grpc: Any = ""
    object: str = ""
    source: str = ""
    headers: dict[str, Any] | None = None


_DECODER = msgspec.json.Decoder(_Line, strict=False)


def request_from_line(line: bytes) -> RequestSeen | None:
    """A request, with secrets masked and every text cut and printable; None for what is no such line."""
    if len(line) > _LONGEST_LINE:
        return None
    try:
        found = _DECODER.decode(line)
        began = float(found.time)
    except (msgspec.DecodeError, ValueError):
        return None
    peer = _COMMON_NAME.search(found.peer)
    return RequestSeen(
        time=began,
        side=_cut(found.side, 16),
        id=_cut(found.id, 64),
        trace=_trace_id(found.trace),
        method=_cut(found.method, 16),
        path=masked_path(found.path),
        host=_cut(found.host),
        status=found.status,
        flags=_cut(found.flags, 64),
        details=_cut(found.details),
        failure=_cut(found.failure or found.closed, 512),
        duration_ms=found.ms,
        first_byte_ms=found.first,
        upstream=_cut(_address(found.upstream), 64),
        cluster=_cut(found.cluster),
        peer=_cut(peer.group(1), 128) if peer else "",
        attempts=found.tries,
        grpc_status=_cut(str(found.grpc), 8),
        object=_cut(found.object),
        source=_cut(found.source, 512),
        headers=masked_headers({name: str(value) for name, value in found.headers.items()}) if found.headers else (),
        tapped=found.headers is not None,
    )


def _address(upstream: str) -> str:
    """The address of an instance; a neighbour in the same Envoy, called without it, is known by it all the same."""
    return upstream.rstrip("/").rpartition("/")[2] if upstream.startswith("envoy://") else upstream


def _trace_id(text: str) -> str:
    """The trace id of a W3C traceparent."""
    parts = text.split("-")
    return parts[1] if len(parts) >= 4 and len(parts[1]) == 32 and parts[1].isalnum() else ""


def _cut(text: str, longest: int = _LONGEST_TEXT) -> str:
    return bounded(text, longest)
