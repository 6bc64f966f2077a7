"""The external authorization filter: asks a server whether a request may pass, over gRPC or HTTP.

https://www.envoyproxy.io/docs/envoy/latest/configuration/http/http_filters/ext_authz_filter
"""

from __future__ import annotations

from collections.abc import Iterable

from envoy.config.core.v3.base_pb2 import HeaderValue
from envoy.config.core.v3.config_source_pb2 import V3
from envoy.config.core.v3.http_uri_pb2 import HttpUri
from envoy.extensions.filters.http.ext_authz.v3.ext_authz_pb2 import (
    AuthorizationRequest,
    AuthorizationResponse,
    BufferSettings,
    ExtAuthz,
    HttpService,
)
from envoy.type.matcher.v3.metadata_pb2 import MetadataMatcher
from envoy.type.matcher.v3.string_pb2 import ListStringMatcher, StringMatcher
from envoy.type.matcher.v3.value_pb2 import ValueMatcher
from envoy.type.v3.http_status_pb2 import HttpStatus

from weft.mesh.access.guard import Authorizer
from weft.mesh.access.policy import Pattern, PatternKind
from weft.xds.limits import AUTHORIZATION_SECONDS, MAX_REFUSAL_BODY
from weft.xds.messages import duration
from weft.xds.signals.collectors import authority_of, collector_name, grpc_service

NAME = "envoy.filters.http.ext_authz"
CALLER = "x-weft-caller"
"""The header that tells an HTTP server the identity of who calls. gRPC has a field for it (`source.principal`), and
X-Forwarded-Client-Cert is written anew by the server's own proxy."""
_FORBIDDEN = 403
_TOKENS = ("envoy.filters.http.jwt_authn",)
"""What other filters found out about the request, which a gRPC server is told: the claims of its token."""


def ext_authz(authorizer: Authorizer, unless: tuple[str, str, str] | None = None) -> ExtAuthz:
    """The filter that asks `authorizer`; not about requests with dynamic metadata `unless` (namespace, key, value)."""
    config = ExtAuthz(
        transport_api_version=V3,
        failure_mode_allow=authorizer.fail_open,
        clear_route_cache=authorizer.new_route,
        status_on_error=HttpStatus(code=authorizer.error_status or _FORBIDDEN),  # type: ignore[arg-type]
        validate_mutations=True,
        max_denied_response_body_bytes=MAX_REFUSAL_BODY,
        metadata_context_namespaces=_TOKENS,
    )
    timeout = authorizer.timeout or AUTHORIZATION_SECONDS
    if authorizer.grpc:
        config.grpc_service.CopyFrom(grpc_service(authorizer.server, timeout=timeout))
    else:
        config.http_service.CopyFrom(_http_service(authorizer, timeout))
    if authorizer.request_headers:
        config.allowed_headers.CopyFrom(_headers(authorizer.request_headers))
    if authorizer.body is not None:
        config.with_request_body.CopyFrom(
            BufferSettings(
                max_request_bytes=authorizer.body.limit,
                allow_partial_message=authorizer.body.partial,
                pack_as_bytes=authorizer.body.as_bytes,
            )
        )
    if unless is not None:
        namespace, key, value = unless
        config.filter_enabled_metadata.CopyFrom(
            MetadataMatcher(
                filter=namespace,
                path=[MetadataMatcher.PathSegment(key=key)],
                value=ValueMatcher(string_match=StringMatcher(exact=value)),
                invert=True,
            )
        )
    return config


def _http_service(authorizer: Authorizer, timeout: float) -> HttpService:
    uri = f"http://{authority_of(authorizer.server)}"
    service = HttpService(
        server_uri=HttpUri(uri=uri, cluster=collector_name(authorizer.server, grpc=False), timeout=duration(timeout)),
        path_prefix=authorizer.path_prefix,
    )
    more = [HeaderValue(key=name, value=value.replace("%", "%%")) for name, value in authorizer.more_headers]
    more.append(HeaderValue(key=CALLER, value="%DOWNSTREAM_PEER_URI_SAN%"))
    service.authorization_request.CopyFrom(AuthorizationRequest(headers_to_add=more))
    response = AuthorizationResponse()
    if authorizer.upstream_headers:
        response.allowed_upstream_headers.CopyFrom(_headers(authorizer.upstream_headers))
    if authorizer.refusal_headers:
        response.allowed_client_headers.CopyFrom(_headers(authorizer.refusal_headers))
    if authorizer.allowed_headers:
        response.allowed_client_headers_on_success.CopyFrom(_headers(authorizer.allowed_headers))
    service.authorization_response.CopyFrom(response)
    return service


def _headers(patterns: Iterable[Pattern]) -> ListStringMatcher:
    return ListStringMatcher(patterns=[_matcher(pattern) for pattern in patterns])


def _matcher(pattern: Pattern) -> StringMatcher:
    if pattern.kind is PatternKind.PREFIX:
        return StringMatcher(prefix=pattern.value, ignore_case=True)
    if pattern.kind is PatternKind.SUFFIX:
        return StringMatcher(suffix=pattern.value, ignore_case=True)
    return StringMatcher(exact=pattern.value, ignore_case=True)
