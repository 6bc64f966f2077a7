"""The OAuth2 filter: who has not logged in is sent to an OpenID provider, and comes back with a session in cookies.

https://www.envoyproxy.io/docs/envoy/latest/configuration/http/http_filters/oauth2_filter
"""

from __future__ import annotations

from collections.abc import Iterable

from envoy.config.core.v3.base_pb2 import DataSource
from envoy.config.core.v3.http_uri_pb2 import HttpUri
from envoy.config.route.v3.route_components_pb2 import HeaderMatcher
from envoy.extensions.filters.http.oauth2.v3.oauth_pb2 import (
    CookieConfig,
    CookieConfigs,
    OAuth2,
    OAuth2Config,
    OAuth2Credentials,
)
from envoy.extensions.transport_sockets.tls.v3.secret_pb2 import GenericSecret, SdsSecretConfig, Secret
from envoy.type.matcher.v3.path_pb2 import PathMatcher
from envoy.type.matcher.v3.string_pb2 import StringMatcher
from google.protobuf.wrappers_pb2 import BoolValue

from weft.mesh.access.guard import HeaderTest, Login
from weft.xds.limits import AUTHORIZATION_SECONDS
from weft.xds.messages import duration
from weft.xds.policies.tls import ads_source
from weft.xds.resource import encode_resource
from weft.xds.signals.collectors import collector_name
from weft.xds.snapshot import Resource

NAME = "envoy.filters.http.oauth2"
_HERE = "%REQ(x-forwarded-proto)%://%REQ(:authority)%"
_SAME_SITE = {"Strict": CookieConfig.STRICT, "Lax": CookieConfig.LAX, "None": CookieConfig.NONE}
_COOKIES = (
    "bearer_token_cookie_config",
    "oauth_hmac_cookie_config",
    "oauth_expires_cookie_config",
    "id_token_cookie_config",
    "refresh_token_cookie_config",
    "oauth_nonce_cookie_config",
    "code_verifier_cookie_config",
)


def oauth2(login: Login) -> OAuth2:
    """The filter of one policy. Its secrets come by themselves, under the names of `secret_names`."""
    token, cookies = secret_names(login)
    credentials = OAuth2Credentials(
        client_id=login.client_id,
        token_secret=SdsSecretConfig(name=token, sds_config=ads_source()),
        hmac_secret=SdsSecretConfig(name=cookies, sds_config=ads_source()),
        cookie_names=OAuth2Credentials.CookieNames(**dict(login.cookie_names)),
        cookie_domain=login.cookie_domain,
    )
    same_site = CookieConfig(same_site=_SAME_SITE[login.same_site])
    cluster, timeout = collector_name(login.server, grpc=False), duration(AUTHORIZATION_SECONDS)
    config = OAuth2Config(
        token_endpoint=HttpUri(uri=login.token_endpoint, cluster=cluster, timeout=timeout),
        authorization_endpoint=login.authorization_endpoint,
        end_session_endpoint=login.end_session_endpoint,
        credentials=credentials,
        redirect_uri=_HERE + login.redirect_path,
        redirect_path_matcher=_path(login.redirect_path),
        signout_path=_path(login.logout_path),
        auth_scopes=login.scopes,
        auth_type=OAuth2Config.BASIC_AUTH if login.basic else OAuth2Config.URL_ENCODED_BODY,
        forward_bearer_token=login.forward,
        use_refresh_token=BoolValue(value=login.refresh),
        pass_through_matcher=_tests(login.pass_through),
        deny_redirect_matcher=_tests(login.deny_redirect),
        cookie_configs=CookieConfigs(**dict.fromkeys(_COOKIES, same_site)),
    )
    return OAuth2(config=config)


def secret_names(login: Login) -> tuple[str, str]:
    """The names of the two secrets: that of the client, and the key of the cookies."""
    return f"login|{login.name}|client", f"login|{login.name}|cookies"


def encode_login_secrets(login: Login) -> tuple[Resource, ...]:
    """Both secrets, for the gateways where people log in and nobody else."""
    values = (login.secret, login.cookie_key)
    return tuple(_secret(name, value, login) for name, value in zip(secret_names(login), values, strict=True))


def _secret(name: str, value: bytes, login: Login) -> Resource:
    secret = Secret(name=name, generic_secret=GenericSecret(secret=DataSource(inline_bytes=value)))
    return encode_resource(secret, name, (login.origin,))


def _path(path: str) -> PathMatcher:
    return PathMatcher(path=StringMatcher(exact=path))


def _tests(tests: Iterable[HeaderTest]) -> list[HeaderMatcher]:
    return [_test(test) for test in tests]


def _test(test: HeaderTest) -> HeaderMatcher:
    if test.value:
        return HeaderMatcher(name=test.name, string_match=StringMatcher(exact=test.value))
    if test.prefix:
        return HeaderMatcher(name=test.name, string_match=StringMatcher(prefix=test.prefix))
    return HeaderMatcher(name=test.name, present_match=True)
