"""The CDN-Loop filter (RFC 8586): a request that comes through the same proxy again and again is ended with 508.

Every pass leaves the proxy's pseudonym in the header, which proxies and applications hand on. Strangers who write it
themselves end their own requests.
"""

from __future__ import annotations

import hashlib

from envoy.config.accesslog.v3.accesslog_pb2 import AccessLogFilter, ExtensionFilter
from envoy.config.core.v3.base_pb2 import DataSource
from envoy.extensions.access_loggers.filters.cel.v3.cel_pb2 import ExpressionFilter
from envoy.extensions.filters.http.cdn_loop.v3.cdn_loop_pb2 import CdnLoopConfig
from envoy.extensions.filters.network.http_connection_manager.v3.http_connection_manager_pb2 import ResponseMapper
from google.protobuf.wrappers_pb2 import UInt32Value

from weft.xds.messages import packed

NAME = "envoy.filters.http.cdn_loop"
_PASSES_BEFORE = 2
"""How often a request may have been here before. Honest ones come twice where an application that copies all headers
calls back. Each pass may be tried again on 5xx, so in a loop the tries multiply with every pass that is allowed."""
_LOOP_DETECTED = 508
"""RFC 5842, 7.2. Envoy's filter says 502, as if the service had failed."""
_MESSAGE = "weft: this request has come through the same proxy before: it is sent round in a circle\n"


def listener_config(proxy: str) -> CdnLoopConfig:
    """The filter of the proxy (or of all proxies of the gateway) with this name. Its pseudonym is all that others see:
    requests also leave the mesh."""
    pseudonym = f"weft-{hashlib.sha256(proxy.encode()).hexdigest()[:16]}"
    return CdnLoopConfig(cdn_id=pseudonym, max_allowed_occurrences=_PASSES_BEFORE)


def loop_detected() -> ResponseMapper:
    """What the filter's answer becomes."""
    found = ExpressionFilter(expression="response.code_details == 'cdn_loop_detected'")
    extension = ExtensionFilter(name="envoy.access_loggers.extension_filters.cel", typed_config=packed(found))
    return ResponseMapper(
        filter=AccessLogFilter(extension_filter=extension),
        status_code=UInt32Value(value=_LOOP_DETECTED),
        body=DataSource(inline_string=_MESSAGE),
    )
