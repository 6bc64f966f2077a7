"""Facts of Envoy: its JWT filter takes weft's tokens by the keys that the bundle endpoint publishes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from support.envoy import free_port, running_envoy
from support.loopback import Connection
from weft.ca.authority import open_authority
from weft.ca.token_keys import TokenKeys
from weft.model.bundles import bundle_to_json, key_set
from weft.model.identity import SpiffeId

HTTP = "type.googleapis.com/envoy.extensions.filters.http"
NETWORK = "type.googleapis.com/envoy.extensions.filters.network"


def bootstrap(port: int, keys: str) -> str:
    """An Envoy that answers requests with a token for `here`."""
    provider = {"issuer": "spiffe://a.test", "audiences": ["here"], "local_jwks": {"inline_string": keys}}
    authn = {
        "@type": f"{HTTP}.jwt_authn.v3.JwtAuthentication",
        "providers": {"weft": provider},
        "rules": [{"match": {"prefix": "/"}, "requires": {"provider_name": "weft"}}],
    }
    routes = [{"match": {"prefix": "/"}, "direct_response": {"status": 200}}]
    manager = {
        "@type": f"{NETWORK}.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "test",
        "route_config": {"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": routes}]},
        "http_filters": [
            {"name": "authn", "typed_config": authn},
            {"name": "router", "typed_config": {"@type": f"{HTTP}.router.v3.Router"}},
        ],
    }
    listener = {
        "name": "test",
        "address": {"socket_address": {"address": "127.0.0.1", "port_value": port}},
        "filter_chains": [{"filters": [{"name": "http", "typed_config": manager}]}],
    }
    admin = {"address": {"pipe": {"path": "admin.sock"}}}
    return json.dumps({"admin": admin, "static_resources": {"listeners": [listener]}})


@pytest.mark.parametrize("form", ["keys", "bundle"])
async def test_tokens_are_taken_by_the_published_keys(form: str, tmp_path: Path) -> None:
    keys, others = (TokenKeys(place(tmp_path, name), "a.test") for name in ("ca", "other"))
    bundle = keys.bundle(open_authority(tmp_path / "ca", "a.test").bundle)
    port = free_port()
    text = key_set(bundle.token_keys) if form == "keys" else bundle_to_json(bundle)
    identity = SpiffeId("a.test", "default", "reviews")
    async with running_envoy(bootstrap(port, text), tmp_path):
        for token, status in (
            (keys.sign(identity, ("here", "there")).token, 200),
            (keys.sign(identity, ("there",)).token, 403),
            (others.sign(identity, ("here",)).token, 401),
        ):
            async with Connection(port) as client:
                assert (await client.request("/", "x", f"authorization: Bearer {token}")).status == status


def place(directory: Path, name: str) -> Path:
    (directory / name).mkdir(mode=0o700, exist_ok=True)
    return directory / name
