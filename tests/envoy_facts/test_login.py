"""Facts of Envoy's OAuth2 filter, on which logins stand."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from support.certificates import TestAuthority, write_workload_directory
from support.envoy import free_port, running_envoy
from support.loopback import Connection
from support.views import ORIGIN, gateway, gateway_port, identity, rule, virtual_host
from weft.mesh.access.guard import Demand, Guard, Login
from weft.mesh.memo import Memo
from weft.mesh.routes.rules import Respond
from weft.mesh.signals import Collector
from weft.model.document import ObjectKey
from weft.xds.build import build_xds
from weft.xds.static import static_bootstrap

KEY = ObjectKey("weft.dev", "OIDCPolicy", "default", "shop")
LOGIN = Login(
    name="default/shop",
    object=KEY,
    origin=ORIGIN,
    server=Collector(host="127.0.0.1", port=9),
    authorization_endpoint="https://id.example.com/auth",
    token_endpoint="http://127.0.0.1:9/token",
    end_session_endpoint="",
    client_id="shop",
    basic=True,
    secret=b"shared",
    cookie_key=b"k" * 32,
    scopes=("openid",),
    redirect_path="/back",
    logout_path="/out",
    cookie_domain="",
    cookie_names=(),
    same_site="Lax",
    forward=False,
    refresh=True,
    pass_through=(),
    deny_redirect=(),
)
NEVER = "nobody-answers"
DEAD = {
    "name": NEVER,
    "type": "STATIC",
    "load_assignment": {
        "cluster_name": NEVER,
        "endpoints": [
            {"lb_endpoints": [{"endpoint": {"address": {"socket_address": {"address": "127.0.0.1", "port_value": 9}}}}]}
        ],
    },
    "typed_extension_protocol_options": {
        "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
            "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
            "explicit_http_config": {"http2_protocol_options": {}},
        }
    },
}
FROM_NOBODY = {
    "initial_fetch_timeout": "0.5s",
    "resource_api_version": "V3",
    "api_config_source": {
        "api_type": "GRPC",
        "transport_api_version": "V3",
        "grpc_services": [{"envoy_grpc": {"cluster_name": NEVER}}],
    },
}


def bootstrap(port: int) -> dict[str, Any]:
    """A gateway where one has to log in before everything."""
    guarded = rule(Respond(200, b"in"), guard=Guard((Demand(LOGIN, KEY, ORIGIN),)))
    view = gateway(gateway_port(port, virtual_hosts=(virtual_host((guarded,), domains=("*",), port=80),)))
    found: dict[str, Any] = json.loads(static_bootstrap(build_xds(view, 1, Memo()), edge=True))
    return found


def without_secrets(value: Any) -> None:
    """The secrets are asked for from somebody who never answers."""
    if isinstance(value, dict):
        for name, each in value.items():
            if name in ("token_secret", "hmac_secret"):
                each["sds_config"] = FROM_NOBODY
            without_secrets(each)
    elif isinstance(value, list):
        for each in value:
            without_secrets(each)


def prepare(directory: Path) -> None:
    """The identity that every proxy has."""
    authority = TestAuthority()
    write_workload_directory(directory, authority.issue(uri=str(identity("edge"))), authority.bundle)


async def test_without_its_secrets_nobody_is_let_in(tmp_path: Path) -> None:
    """A key that is not there yet is no empty key, by which sessions could be made up."""
    prepare(tmp_path)
    port = free_port()
    config = bootstrap(port)
    del config["static_resources"]["secrets"]
    config["static_resources"]["clusters"].append(DEAD)
    without_secrets(config["static_resources"]["listeners"])
    async with running_envoy(json.dumps(config), tmp_path), Connection(port) as client:
        answer = await client.request("/", "shop.example.com")
        assert answer.status == 503


async def test_with_them_one_is_sent_to_the_provider_and_paths_are_its_own(tmp_path: Path) -> None:
    prepare(tmp_path)
    port = free_port()
    async with running_envoy(json.dumps(bootstrap(port)), tmp_path), Connection(port) as client:
        away = await client.request("/", "shop.example.com")
        assert away.status == 302
        assert away.headers["location"].startswith("https://id.example.com/auth?client_id=shop&code_challenge=")
        assert (await client.request("/back?code=a&state=b", "shop.example.com")).status == 401
