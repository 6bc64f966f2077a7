"""An agent as a process of its own, with an Envoy that has its whole configuration in the bootstrap.

Run as ``python agent_process.py JSON``: keys are the fields of RunParameters that a test wants.
"""

import json
import sys
from pathlib import Path
from typing import Any

from weft.agent.bootstrap import BootstrapInputs
from weft.agent.gateway import run_gateway
from weft.agent.parameters import (
    ControlPlane,
    GatewayParameters,
    HealthParameters,
    PortParameter,
    RunParameters,
    Timing,
    UpstreamParameter,
)
from weft.agent.run import run_workload
from weft.model.workload import SocketAddress
from weft.settings.home import Home
from weft.telemetry.log import set_up_logging

_TYPE = "type.googleapis.com/envoy.extensions"


def address(where: SocketAddress) -> dict[str, Any]:
    return {"socket_address": {"address": where.host, "port_value": where.port}}


def listener(name: str, where: SocketAddress, cluster: str, *, tls: bool) -> dict[str, Any]:
    manager = {
        "@type": f"{_TYPE}.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "inbound" if tls else "outbound",
        "http_filters": [
            {"name": "router", "typed_config": {"@type": f"{_TYPE}.filters.http.router.v3.Router"}},
        ],
        "route_config": {
            "virtual_hosts": [
                {
                    "name": "all",
                    "domains": ["*"],
                    "routes": [{"match": {"prefix": "/"}, "route": {"cluster": cluster, "timeout": "0s"}}],
                }
            ]
        },
    }
    chain: dict[str, Any] = {"filters": [{"name": "http", "typed_config": manager}]}
    if tls:
        sds = {"path_config_source": {"path": "sds/identity.json"}, "resource_api_version": "V3"}
        bundle = {"path_config_source": {"path": "sds/bundle.json"}, "resource_api_version": "V3"}
        chain["transport_socket"] = {
            "name": "tls",
            "typed_config": {
                "@type": f"{_TYPE}.transport_sockets.tls.v3.DownstreamTlsContext",
                "require_client_certificate": True,
                "common_tls_context": {
                    "tls_certificate_sds_secret_configs": [{"name": "identity", "sds_config": sds}],
                    "validation_context_sds_secret_config": {"name": "bundle", "sds_config": bundle},
                },
            },
        }
    return {"name": name, "address": address(where), "filter_chains": [chain]}


def cluster(name: str, where: SocketAddress) -> dict[str, Any]:
    endpoint = {"endpoint": {"address": address(where)}}
    return {
        "name": name,
        "type": "STATIC",
        "load_assignment": {"cluster_name": name, "endpoints": [{"lb_endpoints": [endpoint]}]},
    }


def static_bootstrap(inputs: BootstrapInputs) -> str:
    """Inbound TLS to the application, an outbound port that leads to it as well; no control plane."""
    workload = inputs.workload
    listeners, clusters = [], []
    for port in workload.ports:
        name = f"inbound|{port.port}"
        listeners.append(listener(name, port.inbound, name, tls=True))
        clusters.append(cluster(name, port.application))
    for upstream in workload.upstreams:
        listeners.append(listener(f"upstream|{upstream.service}", upstream.listen, "nowhere", tls=False))
    if workload.outbound is not None:
        listeners.append(listener("outbound", workload.outbound, "nowhere", tls=False))
    if workload.gateway is not None:
        listeners.append(listener("gateway", workload.gateway.bind(80), "nowhere", tls=False))
    clusters.append(cluster("nowhere", SocketAddress("127.0.0.1", 9)))
    return json.dumps(
        {
            "node": {"id": workload.proxy, "cluster": "test"},
            "admin": {"address": {"pipe": {"path": str(inputs.admin_socket), "mode": 0o600}}},
            "static_resources": {"listeners": listeners, "clusters": clusters},
        }
    )


def cut_off_bootstrap(inputs: BootstrapInputs) -> str:
    """The static one, of an Envoy that asks a control plane, too, which is not there."""
    bootstrap = json.loads(static_bootstrap(inputs))
    away = cluster("away", SocketAddress("127.0.0.1", 9))
    name = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
    http2 = {"@type": f"type.googleapis.com/{name}", "explicit_http_config": {"http2_protocol_options": {}}}
    away["typed_extension_protocol_options"] = {name: http2}
    bootstrap["static_resources"]["clusters"].append(away)
    api = {
        "api_type": "GRPC",
        "transport_api_version": "V3",
        "grpc_services": [{"envoy_grpc": {"cluster_name": "away"}}],
    }
    return json.dumps({**bootstrap, "dynamic_resources": {"ads_config": api}})


def broken_bootstrap(inputs: BootstrapInputs) -> str:
    """One that Envoy refuses."""
    return json.dumps({"no_such_field": inputs.workload.name})


_BUILDERS = {"static": static_bootstrap, "cut off": cut_off_bootstrap, "broken": broken_bootstrap}


def main() -> int:
    """Run what the first argument asks for."""
    asked = json.loads(sys.argv[1])
    set_up_logging("weft")
    builder = _BUILDERS[asked.pop("bootstrap", "static")]
    common: dict[str, Any] = {
        "home": Home(Path(asked.pop("home"))),
        "control_plane": ControlPlane(**asked.pop("control_plane", {})),
        "timing": Timing(**{"drain": 5.0, "grace": 3.0, "ready": 15.0, **asked.pop("timing", {})}),
    }
    if "gateway" in asked:
        listen = tuple((port, bound) for port, bound in asked.pop("listen", []))
        return run_gateway(GatewayParameters(**common, listen=listen, **asked), builder)
    ports = tuple(PortParameter(*port) for port in asked.pop("ports", []))
    upstreams = tuple(UpstreamParameter(*one) for one in asked.pop("upstreams", []))
    health = HealthParameters(**asked.pop("health", {}))
    command = tuple(asked.pop("command", ()))
    asked = {"proxy_auth": "off", **asked}
    return run_workload(
        RunParameters(**common, ports=ports, upstreams=upstreams, health=health, command=command, **asked), builder
    )


if __name__ == "__main__":
    sys.exit(main())
