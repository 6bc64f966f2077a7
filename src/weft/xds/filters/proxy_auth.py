"""Who may use the outbound proxy of a workload: where its host has other users, whoever knows the workload's secret.

The agent makes the secret and writes its hash into a file of the workload's directory, where Envoy reads it: the
control plane never sees it. It comes in ``Proxy-Authorization`` (RFC 9110, section 11.7.2), which goes no further.
"""

from __future__ import annotations

from envoy.config.accesslog.v3.accesslog_pb2 import AccessLogFilter, ExtensionFilter
from envoy.config.core.v3.base_pb2 import DataSource, HeaderValue, HeaderValueOption
from envoy.extensions.access_loggers.filters.cel.v3.cel_pb2 import ExpressionFilter
from envoy.extensions.filters.http.basic_auth.v3.basic_auth_pb2 import BasicAuth
from envoy.extensions.filters.network.http_connection_manager.v3.http_connection_manager_pb2 import ResponseMapper
from google.protobuf.wrappers_pb2 import UInt32Value

from weft.model.workload import PROXY_USERS_FILE
from weft.xds.messages import packed

NAME = "weft.proxy_auth"
HEADER = "proxy-authorization"
_REFUSED = ("no_credential", "invalid_credential", "invalid_scheme", "invalid_format")
_PROXY_AUTHENTICATION_REQUIRED = 407
_MESSAGE = (
    "weft: this proxy is for one workload only, and the request does not have its credential: use HTTP_PROXY as the "
    "application is given it, with a client that sends what stands before the @ (docs/clients.md)\n"
)


def listener_config() -> BasicAuth:
    """Whoever stands in the file."""
    return BasicAuth(users=DataSource(filename=PROXY_USERS_FILE), authentication_header=HEADER)


def proxy_authentication_required() -> ResponseMapper:
    """What the filter's answer becomes: it is a proxy that asks, not a server."""
    expression = " || ".join(f"response.code_details == '{why}_for_basic_auth'" for why in _REFUSED)
    extension = ExtensionFilter(
        name="envoy.access_loggers.extension_filters.cel", typed_config=packed(ExpressionFilter(expression=expression))
    )
    challenge = HeaderValueOption(header=HeaderValue(key="proxy-authenticate", value='Basic realm="weft"'))
    return ResponseMapper(
        filter=AccessLogFilter(extension_filter=extension),
        status_code=UInt32Value(value=_PROXY_AUTHENTICATION_REQUIRED),
        body=DataSource(inline_string=_MESSAGE),
        headers_to_add=[challenge],
    )
