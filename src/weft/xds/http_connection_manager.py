"""The HTTP connection manager in its three places: at the edge, before the application, on the application's way out.

Everything a client could use to be mistaken for something else is normalised or refused (docs/security.md): paths,
hosts, header names, internal headers, forwarded client certificates.
"""

from __future__ import annotations

import functools

from envoy.config.accesslog.v3.accesslog_pb2 import AccessLogFilter, ResponseFlagFilter
from envoy.config.common.mutation_rules.v3.mutation_rules_pb2 import HeaderMutation
from envoy.config.core.v3.base_pb2 import DataSource, HeaderValue, HeaderValueOption
from envoy.config.core.v3.extension_pb2 import TypedExtensionConfig
from envoy.config.core.v3.substitution_format_string_pb2 import SubstitutionFormatString
from envoy.config.listener.v3.listener_components_pb2 import Filter
from envoy.extensions.filters.network.http_connection_manager.v3.http_connection_manager_pb2 import (
    HttpConnectionManager,
    HttpFilter,
    Rds,
    ResponseMapper,
)
from envoy.extensions.http.early_header_mutation.header_mutation.v3 import header_mutation_pb2
from envoy.type.matcher.v3.string_pb2 import StringMatcher
from google.protobuf.message import Message
from google.protobuf.wrappers_pb2 import BoolValue, UInt32Value

from weft.mesh.services.resilience import Overload
from weft.mesh.signals import Signals
from weft.xds.filters import cdn_loop, forward_proxy, proxy_auth
from weft.xds.filters import on_demand as on_demand_filter
from weft.xds.filters.chain import http_filters
from weft.xds.filters.overload import overload_configs
from weft.xds.filters.place import Place
from weft.xds.limits import EDGE, MAX_HEADERS_KIB, MESH, DownstreamLimits
from weft.xds.messages import duration, packed
from weft.xds.policies.tls import ads_source
from weft.xds.routes.headers import NOT_DELIVERED
from weft.xds.services.protocol_options import server_common, server_http1, server_http2
from weft.xds.signals.loggers import http_loggers
from weft.xds.signals.tracing import set_tracing, strangers_decisions

_NAME = "envoy.filters.network.http_connection_manager"
_MUTATION = "envoy.http.early_header_mutation.header_mutation"
_WEBSOCKET = "websocket"
"""The only upgrade. Envoy refuses others with 403 and passes on a request to change to h2c without its `Upgrade`."""
_INTERNAL_HEADERS = "x-envoy-"
"""Request headers with which a client could steer Envoy: timeouts, retries, alternative statistics."""

_STRANGERS_HEADERS = (
    "forwarded", "proxy", "x-real-ip", "x-client-ip", "x-cluster-client-ip", "x-remote-ip", "x-remote-addr",
    "x-remote-user", "remote-user", "x-host", "x-scheme", "x-url-scheme", "x-script-name", "front-end-https",
    *[f"x-forwarded-{what}" for what in (
        "access-token", "by", "email", "groups", "host", "path", "port", "preferred-username", "prefix", "protocol",
        "scheme", "server", "ssl", "uri", "user",
    )],
)  # fmt: skip
_STRANGERS_PREFIXES = ("x-original-", "x-rewrite-")
"""Request headers with which a client at the edge could make an application believe in another client, user, host, path
or proxy: what proxies in front of applications say. X-Forwarded-For and X-Forwarded-Proto are Envoy's to write."""

_NO_SUCH_HOST = (
    "weft: this proxy knows no service for '%REQ(:AUTHORITY)%', and DNS has no such name: is the name or the port "
    "misspelt, is the Service of another namespace, or not among what the workload `uses`?\n"
)
_NOT_TOLD = "weft: the control plane has not told this proxy where the service is; it is away, or the service is gone\n"


def inbound_manager(
    route_name: str,
    signals: Signals,
    *,
    http2: bool,
    peers: bool,
    overload: Overload | None = None,
    wanted: tuple[str, ...] = (),
    http10: bool = False,
) -> Filter:
    """Before the application, which may upgrade to WebSocket or, where it speaks HTTP/2, send trailers (gRPC does). The
    caller's identity is passed on in x-forwarded-client-cert, whatever it sent there. `peers`: callers over HTTP/2
    may be proxies of the mesh. `overload` is what is refused on the application's behalf, `wanted` are the names of
    optional filters. `http10`: see `_manager`, here and below."""
    filters = http_filters(Place.INBOUND, *wanted, given=overload_configs(overload), routes=route_name)
    manager = _manager(Place.INBOUND, MESH, route_name, signals, filters, upgrades=not http2, http10=http10)
    if peers and not http2:
        manager.http2_protocol_options.CopyFrom(server_http2(MESH, upgrades=True, any_resets=True))
    if not http2:
        manager.upgrade_configs.add(upgrade_type=_WEBSOCKET)
    manager.forward_client_cert_details = HttpConnectionManager.SANITIZE_SET
    manager.set_current_client_cert_details.uri = True
    manager.local_reply_config.mappers.append(_marked_as_not_delivered())
    return _filter(manager)


def outbound_manager(
    route_name: str,
    signals: Signals,
    *,
    proxy: str = "",
    any_host: bool = False,
    on_demand: bool = False,
    secret: bool = False,
    http10: bool = False,
) -> Filter:
    """On the application's way out: routes by host. `proxy` (its name) ends requests that come round to it in a circle.
    `any_host`: routes may have hosts resolved that no document names; `on_demand` lets clusters be asked for that were
    not sent.

    `secret`: only who knows the workload's secret is served.

    CONNECT is let through to the routes here, since one that refuses it with a status must see it too. A request
    without an id gets one, by which what both sides note of it is joined.
    """
    optional = {forward_proxy.NAME: any_host, on_demand_filter.NAME: on_demand}
    given: dict[str, Message] = {cdn_loop.NAME: cdn_loop.listener_config(proxy)} if proxy else {}
    if secret:
        given |= {proxy_auth.NAME: proxy_auth.listener_config()}
    filters = http_filters(Place.OUTBOUND, *[name for name, wanted in optional.items() if wanted], given=given)
    manager = _manager(Place.OUTBOUND, MESH, route_name, signals, filters, upgrades=True, http10=http10)
    manager.generate_request_id.value = signals.metrics is not None or signals.identified
    if proxy:
        manager.local_reply_config.mappers.append(cdn_loop.loop_detected())
    if secret:
        manager.local_reply_config.mappers.append(proxy_auth.proxy_authentication_required())
    manager.upgrade_configs.add(upgrade_type=_WEBSOCKET)
    manager.upgrade_configs.add(upgrade_type="CONNECT")
    if any_host:
        manager.local_reply_config.mappers.append(_named_as_unknown())
    if on_demand:
        manager.local_reply_config.mappers.append(_named_as_not_told())
    return _filter(manager)


def gateway_manager(
    route_name: str,
    signals: Signals,
    gateway: str,
    longest: float,
    wanted: tuple[str, ...] = (),
    http10: bool = False,
) -> Filter:
    """At the edge: clients are strangers, their addresses are believed only as far as the connection shows. Ended are
    requests that come round in a circle to the `gateway` of this name, whichever proxy of it that is, and those that
    last more than `longest` seconds (0: for ever), unless their route says otherwise. Clients upgrade to WebSocket over
    HTTP/1; extended CONNECT over HTTP/2 is not offered, so browsers do not use it. `wanted` are the names of optional
    filters."""
    given = {cdn_loop.NAME: cdn_loop.listener_config(gateway)}
    filters = http_filters(Place.GATEWAY, *wanted, given=given, routes=route_name)
    manager = _manager(Place.GATEWAY, EDGE, route_name, signals, filters, upgrades=False, http10=http10)
    manager.local_reply_config.mappers.append(cdn_loop.loop_detected())
    if longest:
        manager.common_http_protocol_options.max_stream_duration.CopyFrom(duration(longest))
    manager.upgrade_configs.add(upgrade_type=_WEBSOCKET)
    manager.use_remote_address.value = True
    manager.skip_xff_append = False
    manager.generate_request_id.value = True
    names = (*_STRANGERS_HEADERS, *strangers_decisions(signals))
    manager.early_header_mutation_extensions.append(_without("strangers", names=names, prefixes=_STRANGERS_PREFIXES))
    return _filter(manager)


def _manager(
    place: Place,
    limits: DownstreamLimits,
    route_name: str,
    signals: Signals,
    filters: list[HttpFilter],
    *,
    upgrades: bool,
    http10: bool,
) -> HttpConnectionManager:
    """Routes come over the stream: a change of rules never changes a listener. `upgrades` allows upgrades over HTTP/2;
    which there are is for the caller to add. `http10`: HTTP/1.0 is taken too. There is no default host: a request
    that names none gets 400 before any filter sees it, since every policy about hosts would have to guess."""
    manager = HttpConnectionManager()
    manager.CopyFrom(_common(place, limits, upgrades))
    manager.http_protocol_options.accept_http_10 = http10
    manager.rds.route_config_name = route_name
    manager.http_filters.extend(filters)
    manager.access_log.extend(http_loggers(signals, place))
    manager.generate_request_id.value = signals.identified
    set_tracing(manager, signals, place)
    return manager


@functools.cache
def _common(place: Place, limits: DownstreamLimits, upgrades: bool) -> HttpConnectionManager:
    """What is the same in all managers of a place: made once, of which every listener has a copy."""
    return HttpConnectionManager(
        rds=Rds(config_source=ads_source()),
        stat_prefix=place.name.lower(),
        codec_type=HttpConnectionManager.AUTO,
        common_http_protocol_options=server_common(limits),
        http_protocol_options=server_http1(),
        http2_protocol_options=server_http2(limits, upgrades=upgrades),
        max_request_headers_kb=UInt32Value(value=MAX_HEADERS_KIB),
        stream_idle_timeout=duration(limits.stream_idle),
        request_headers_timeout=duration(limits.headers),
        normalize_path=BoolValue(value=True),
        merge_slashes=True,
        path_with_escaped_slashes_action=HttpConnectionManager.REJECT_REQUEST,
        strip_trailing_host_dot=True,
        stream_error_on_invalid_http_message=BoolValue(value=True),
        server_header_transformation=HttpConnectionManager.PASS_THROUGH,
        use_remote_address=BoolValue(value=False),
        skip_xff_append=True,
        forward_client_cert_details=HttpConnectionManager.SANITIZE,
        early_header_mutation_extensions=[_without(_MUTATION, prefixes=(_INTERNAL_HEADERS,))],
    )


@functools.cache
def _marked_as_not_delivered() -> ResponseMapper:
    """UF: there was no connection, so the application cannot have seen the request."""
    mark = HeaderValueOption(header=HeaderValue(key=NOT_DELIVERED, value="1"))
    flags = AccessLogFilter(response_flag_filter=ResponseFlagFilter(flags=["UF"]))
    return ResponseMapper(filter=flags, headers_to_add=[mark])


def _named_as_not_told() -> ResponseMapper:
    """NC: the control plane does not have the cluster, or did not answer in time. Without this the 503 is empty."""
    flags = AccessLogFilter(response_flag_filter=ResponseFlagFilter(flags=["NC"]))
    return ResponseMapper(filter=flags, body=DataSource(inline_string=_NOT_TOLD))


def _named_as_unknown() -> ResponseMapper:
    """DF: DNS does not have the name of a host outside the mesh, which is mostly one inside it that was misspelt."""
    flags = AccessLogFilter(response_flag_filter=ResponseFlagFilter(flags=["DF"]))
    text = SubstitutionFormatString(text_format_source=DataSource(inline_string=_NO_SUCH_HOST))
    return ResponseMapper(filter=flags, body_format_override=text)


def _without(name: str, *, names: tuple[str, ...] = (), prefixes: tuple[str, ...] = ()) -> TypedExtensionConfig:
    """Removes request headers before anything looks at them."""
    matchers = [StringMatcher(prefix=prefix) for prefix in prefixes]
    mutations = [HeaderMutation(remove=header) for header in names]
    mutations += [
        HeaderMutation(remove_on_match=HeaderMutation.RemoveOnMatch(key_matcher=matcher)) for matcher in matchers
    ]
    return TypedExtensionConfig(name=name, typed_config=packed(header_mutation_pb2.HeaderMutation(mutations=mutations)))


def _filter(manager: HttpConnectionManager) -> Filter:
    return Filter(name=_NAME, typed_config=packed(manager))
