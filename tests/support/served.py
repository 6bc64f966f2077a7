"""A real Envoy at the real xDS server: hand-made resources with one listener, an application behind it, a bootstrap."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import aiohttp
from envoy.config.cluster.v3 import cluster_pb2
from envoy.config.endpoint.v3 import endpoint_pb2
from envoy.config.listener.v3 import listener_pb2
from envoy.config.route.v3 import route_pb2
from envoy.extensions.filters.http.on_demand.v3 import on_demand_pb2  # noqa: F401  (registers the type for ParseDict)
from envoy.extensions.filters.http.router.v3 import router_pb2  # noqa: F401
from envoy.extensions.filters.network.http_connection_manager.v3 import (  # noqa: F401
    http_connection_manager_pb2,
)
from google.protobuf.json_format import ParseDict

from support.discovery import KeyPair, ProxyAuthority
from weft.discovery.hub import Hub
from weft.discovery.server import serve_xds
from weft.model.workload import Workload
from weft.xds.resource import encode_resource
from weft.xds.snapshot import CLUSTER, ROUTES, Resource, ResourceSet

PROXY = "web.shop"
WORKLOAD = Workload("web", "shop", "web")
URI = "spiffe://cluster.local/ns/shop/sa/web"
SERVER_URI = "spiffe://cluster.local/ns/weft-system/sa/weft-control-plane"
ADS: dict[str, Any] = {"ads": {}, "resource_api_version": "V3"}
Table = Mapping[str, tuple[ResourceSet, ...]]


def cluster(name: str, timeout: str = "1s") -> Resource:
    text = {
        "name": name,
        "type": "EDS",
        "connect_timeout": timeout,
        "eds_cluster_config": {"eds_config": ADS},
    }
    return encode_resource(ParseDict(text, cluster_pb2.Cluster()), name)


def endpoints(name: str, port: int) -> Resource:
    address = {"socket_address": {"address": "127.0.0.1", "port_value": port}}
    text = {"cluster_name": name, "endpoints": [{"lb_endpoints": [{"endpoint": {"address": address}}]}]}
    return encode_resource(ParseDict(text, endpoint_pb2.ClusterLoadAssignment()), name)


def routes(cluster_name: str) -> Resource:
    host = {"name": "all", "domains": ["*"], "routes": [{"match": {"prefix": "/"}, "route": {"cluster": cluster_name}}]}
    message = ParseDict({"name": "r", "virtual_hosts": [host]}, route_pb2.RouteConfiguration())
    return encode_resource(message, "r", requires=((CLUSTER, cluster_name),))


def listener(name: str, port: int, filters: tuple[dict[str, Any], ...] = ()) -> Resource:
    package = "type.googleapis.com/envoy.extensions.filters"
    manager = {
        "@type": f"{package}.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "in",
        "rds": {"route_config_name": "r", "config_source": ADS},
        "http_filters": [
            *filters,
            {"name": "router", "typed_config": {"@type": f"{package}.http.router.v3.Router"}},
        ],
    }
    text = {
        "name": name,
        "address": {"socket_address": {"address": "127.0.0.1", "port_value": port}},
        "filter_chains": [{"filters": [{"name": "hcm", "typed_config": manager}]}],
    }
    return encode_resource(ParseDict(text, listener_pb2.Listener()), name, requires=((ROUTES, "r"),))


def bootstrap(directory: Path, port: int, pair: KeyPair, variant: str = "DELTA_GRPC") -> str:
    (directory / "key.pem").write_text(pair.key)
    (directory / "chain.pem").write_text(pair.chain)
    (directory / "bundle.pem").write_text(pair.bundle)
    tls = {
        "@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext",
        "common_tls_context": {
            "alpn_protocols": ["h2"],
            "tls_params": {"tls_minimum_protocol_version": "TLSv1_3", "tls_maximum_protocol_version": "TLSv1_3"},
            "tls_certificates": [
                {"certificate_chain": {"filename": "chain.pem"}, "private_key": {"filename": "key.pem"}}
            ],
            "validation_context": {
                "trusted_ca": {"filename": "bundle.pem"},
                "match_typed_subject_alt_names": [{"san_type": "URI", "matcher": {"exact": SERVER_URI}}],
            },
        },
    }
    http2 = {
        "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
        "explicit_http_config": {"http2_protocol_options": {}},
    }
    address = {"socket_address": {"address": "127.0.0.1", "port_value": port}}
    xds = {
        "name": "xds",
        "type": "STATIC",
        "connect_timeout": "1s",
        "load_assignment": {
            "cluster_name": "xds",
            "endpoints": [{"lb_endpoints": [{"endpoint": {"address": address}}]}],
        },
        "transport_socket": {"name": "envoy.transport_sockets.tls", "typed_config": tls},
        "typed_extension_protocol_options": {"envoy.extensions.upstreams.http.v3.HttpProtocolOptions": http2},
    }
    ads = {
        "api_type": variant,
        "transport_api_version": "V3",
        "grpc_services": [{"envoy_grpc": {"cluster_name": "xds"}}],
    }
    return json.dumps(
        {
            "node": {"id": PROXY, "cluster": "shop"},
            "admin": {"address": {"pipe": {"path": "admin.sock"}}},
            "static_resources": {"clusters": [xds]},
            "dynamic_resources": {"ads_config": ads, "cds_config": ADS, "lds_config": ADS},
        }
    )


@contextlib.asynccontextmanager
async def application(word: str) -> AsyncIterator[int]:
    async def answer(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await _.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\nconnection: close\r\n\r\n" % len(word) + word.encode())
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]


async def fetch(port: int) -> str:
    async with aiohttp.ClientSession() as session, session.get(f"http://127.0.0.1:{port}/") as response:
        return await response.text()


@contextlib.asynccontextmanager
async def served(hub: Hub[Table], authority: ProxyAuthority, port: int = 0) -> AsyncIterator[int]:
    material = authority.issue("weft-control-plane", SERVER_URI)
    lookup = {PROXY: WORKLOAD}.get
    async with serve_xds("127.0.0.1", port, material=lambda: material, hub=hub, lookup=lookup) as bound:
        yield bound
