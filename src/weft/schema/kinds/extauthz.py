"""Servers that are asked whether a request may pass: Istio's envoyExtAuthzHttp and envoyExtAuthzGrpc."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated

from weft.schema.scalars import (
    HeaderName,
    HeaderPattern,
    HeaderValue,
    Length,
    PositiveDuration,
    ProviderService,
    Range,
    RefusalStatus,
    WrittenPort,
)

HeaderPatterns = Annotated[tuple[HeaderPattern, ...], Length(0, 64)]


@dataclass(frozen=True, slots=True, kw_only=True)
class ExtAuthzBody:
    """How much of a body is sent. One that is larger is refused with 413, unless a part may be sent."""

    max_request_bytes: Annotated[int, Range(1, 1_048_576)]
    allow_partial_message: bool = False
    pack_as_bytes: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ExtAuthzHttp:
    """An HTTP server: 200 lets the request pass, another answer is the client's. `service` is a Service
    (``NAMESPACE/HOST`` or its full name) or a host outside the mesh. `failOpen`: requests pass while it does not
    answer (nor with a status of 5xx); else they get `statusOnError`, without it 403."""

    service: ProviderService
    port: WrittenPort
    timeout: PositiveDuration | None = None
    path_prefix: Annotated[str, Length(0, 1024)] = ""
    fail_open: bool = False
    clear_route_cache: bool = False
    status_on_error: RefusalStatus | None = None
    include_headers_in_check: HeaderPatterns = ()
    include_request_headers_in_check: HeaderPatterns = ()
    include_additional_headers_in_check: Mapping[HeaderName, HeaderValue] = field(default_factory=dict, repr=False)
    include_request_body_in_check: ExtAuthzBody | None = None
    headers_to_upstream_on_allow: HeaderPatterns = ()
    headers_to_downstream_on_deny: HeaderPatterns = ()
    headers_to_downstream_on_allow: HeaderPatterns = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ExtAuthzGrpc:
    """A server of Envoy's gRPC protocol (``envoy.service.auth.v3.Authorization``), for instance Open Policy Agent."""

    service: ProviderService
    port: WrittenPort
    timeout: PositiveDuration | None = None
    fail_open: bool = False
    clear_route_cache: bool = False
    status_on_error: RefusalStatus | None = None
    include_request_body_in_check: ExtAuthzBody | None = None
