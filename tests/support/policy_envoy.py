"""The Envoy of the policy oracle: weft's own inbound listener, and a route from a file for each set of policies."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from collections.abc import Mapping
from pathlib import Path

from envoy.config.accesslog.v3.accesslog_pb2 import AccessLogFilter, ComparisonFilter, StatusCodeFilter
from envoy.config.bootstrap.v3.bootstrap_pb2 import Bootstrap
from envoy.config.core.v3.base_pb2 import DataSource, HeaderValue, HeaderValueOption, RuntimeUInt32, WatchedDirectory
from envoy.config.core.v3.config_source_pb2 import ConfigSource, PathConfigSource
from envoy.config.route.v3.route_components_pb2 import (
    DirectResponseAction,
    HeaderMatcher,
    Route,
    RouteMatch,
    VirtualHost,
)
from envoy.config.route.v3.route_pb2 import RouteConfiguration
from envoy.extensions.filters.http.jwt_authn.v3.config_pb2 import (
    JwtAuthentication,
    JwtHeader,
    JwtProvider,
    JwtRequirement,
    JwtRequirementOrList,
    RequirementRule,
)
from envoy.extensions.filters.network.http_connection_manager.v3.http_connection_manager_pb2 import (
    HttpConnectionManager,
    HttpFilter,
    ResponseMapper,
)
from envoy.service.discovery.v3.discovery_pb2 import DiscoveryResponse
from envoy.type.matcher.v3.string_pb2 import StringMatcher
from google.protobuf.json_format import MessageToJson, Parse

from support.envoy import free_port
from support.policy_documents import PORT, TOKENS
from support.views import inbound, sidecar
from weft.mesh.access.access import Access
from weft.mesh.memo import Memo
from weft.mesh.services.service import MutualTlsMode
from weft.xds.build import build_xds
from weft.xds.filters.chain import access_filters
from weft.xds.filters.place import Place
from weft.xds.messages import packed
from weft.xds.services.names import inbound_cluster_name
from weft.xds.static import static_bootstrap

CASE = "x-weft-case"
"""The header that chooses the set of policies."""
DETAILS = "x-details"
"""The header of an answer by the proxy that says why."""
SAID = "%RESPONSE_CODE_DETAILS%"
"""What it says."""
_KEY = b"the key with which tokens of the oracle are signed"
_ROUTES = inbound_cluster_name(PORT)


def token(number: int) -> str:
    """A signed token with the claims of TOKENS."""
    parts = [{"alg": "HS256", "typ": "JWT", "kid": "k"}, TOKENS[number]]
    text = ".".join(_base64(json.dumps(part).encode()) for part in parts)
    return f"{text}.{_base64(hmac.new(_KEY, text.encode(), hashlib.sha256).digest())}"


def _base64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _token_filter() -> HttpFilter:
    """Tokens of every issuer, optional; what they say is where RBAC looks for it."""
    keys = json.dumps({"keys": [{"kty": "oct", "k": _base64(_KEY), "kid": "k", "alg": "HS256"}]})
    issuers = dict.fromkeys(claims["iss"] for claims in TOKENS if claims)
    config = JwtAuthentication()
    for number, issuer in enumerate(issuers):
        provider = JwtProvider(
            issuer=issuer,
            local_jwks=DataSource(inline_string=keys),
            payload_in_metadata="payload",
            from_headers=[JwtHeader(name="x-token")],
        )
        config.providers[f"p{number}"].CopyFrom(provider)
    each = [JwtRequirement(provider_name=name) for name in sorted(config.providers)]
    requirement = JwtRequirement(requires_any=JwtRequirementOrList(requirements=[*each, _missing()]))
    config.rules.append(RequirementRule(match=RouteMatch(prefix="/"), requires=requirement))
    return HttpFilter(name="envoy.filters.http.jwt_authn", typed_config=packed(config))


def _missing() -> JwtRequirement:
    requirement = JwtRequirement()
    requirement.allow_missing.SetInParent()
    return requirement


def write_routes(directory: Path, cases: Mapping[str, Access], generation: int) -> None:
    """A route for each case by name, and one for the generation, put in place at once."""
    routes = [_route(f"generation-{generation}", Access()), *(_route(name, access) for name, access in cases.items())]
    message = RouteConfiguration(name=_ROUTES, virtual_hosts=[VirtualHost(name="all", domains=["*"], routes=routes)])
    response = DiscoveryResponse(version_info=str(generation))
    response.resources.add().Pack(message)
    temporary = directory / "rds" / "next"
    temporary.write_bytes(response.SerializeToString())
    temporary.replace(directory / "rds" / "routes.pb")


def _route(name: str, access: Access) -> Route:
    header = HeaderMatcher(name=CASE, string_match=StringMatcher(exact=name))
    answer = DirectResponseAction(status=200)
    route = Route(name=name, match=RouteMatch(prefix="/", headers=[header]), direct_response=answer)
    for filter_name, config in access_filters(Place.INBOUND, access, _ROUTES).items():
        route.typed_per_filter_config[filter_name].CopyFrom(config)
    return route


def oracle_bootstrap(listen: int, asking: Access) -> str:
    """weft's inbound listener, for callers with and without certificates, with routes from a file. `asking` names who
    can be asked about calls."""
    port = inbound(listen, free_port(), port=PORT, mode=MutualTlsMode.PERMISSIVE, access=asking)
    view = sidecar(inbound=(port,), proxy_listen=None)
    bootstrap = Parse(static_bootstrap(build_xds(view, 1, Memo())), Bootstrap())
    source = ConfigSource(
        path_config_source=PathConfigSource(path="rds/routes.pb", watched_directory=WatchedDirectory(path="rds"))
    )
    for listener in bootstrap.static_resources.listeners:
        for chain in listener.filter_chains:
            manager = HttpConnectionManager()
            if not chain.filters[-1].typed_config.Unpack(manager):
                continue
            manager.rds.route_config_name = _ROUTES
            manager.rds.config_source.CopyFrom(source)
            manager.http_filters.insert(0, _token_filter())
            details = HeaderValueOption(header=HeaderValue(key=DETAILS, value=SAID))
            manager.local_reply_config.mappers.append(ResponseMapper(filter=_any_status(), headers_to_add=[details]))
            for each in manager.http_filters:  # slots are empty here
                if each.HasField("config_discovery"):
                    each.typed_config.CopyFrom(each.config_discovery.default_config)
            chain.filters[-1].typed_config.Pack(manager)
    return MessageToJson(bootstrap, preserving_proto_field_name=True)


def _any_status() -> AccessLogFilter:
    least = ComparisonFilter(op=ComparisonFilter.GE, value=RuntimeUInt32(default_value=100, runtime_key="none"))
    return AccessLogFilter(status_code_filter=StatusCodeFilter(comparison=least))
