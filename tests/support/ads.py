"""A hand-made control plane for facts about Envoy: delta ADS in plaintext that does what a test says, and notes it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import grpc
from envoy.config.bootstrap.v3.bootstrap_pb2 import Admin, Bootstrap
from envoy.config.cluster.v3.cluster_pb2 import Cluster
from envoy.config.core.v3.address_pb2 import Address, Pipe
from envoy.config.core.v3.config_source_pb2 import V3, ApiConfigSource
from envoy.config.core.v3.extension_pb2 import TypedExtensionConfig
from envoy.config.core.v3.grpc_service_pb2 import GrpcService
from envoy.config.endpoint.v3.endpoint_components_pb2 import Endpoint as EnvoyEndpoint
from envoy.config.endpoint.v3.endpoint_components_pb2 import LbEndpoint, LocalityLbEndpoints
from envoy.config.endpoint.v3.endpoint_pb2 import ClusterLoadAssignment
from envoy.extensions.bootstrap.internal_listener.v3.internal_listener_pb2 import InternalListener
from envoy.service.discovery.v3.discovery_pb2 import DeltaDiscoveryRequest, DeltaDiscoveryResponse
from envoy.service.discovery.v3.discovery_pb2 import Resource as DeltaResource
from google.protobuf.json_format import MessageToJson

from weft.model.workload import SocketAddress
from weft.xds.messages import duration, packed, tcp_address
from weft.xds.policies.tls import ads_source
from weft.xds.services.protocol_options import CLUSTER_EXTENSION, client_options
from weft.xds.snapshot import CLUSTER, LISTENER, TYPES, Resource, XdsSnapshot

_WILDCARD_TYPES = (CLUSTER, LISTENER)
Name = tuple[str, str]


@dataclass
class _Subscription:
    wildcard: bool
    names: set[str] = field(default_factory=set)
    sent: dict[str, str] = field(default_factory=dict)
    answered: bool = False


@dataclass
class HandMadeAds:
    """What it has, by type and name. Resources in `untold` are sent to who asks for them by name only; what is in
    `withheld` is not answered at all. `asked` are the names that clients subscribed to, in order."""

    resources: dict[Name, Resource] = field(default_factory=dict)
    untold: set[Name] = field(default_factory=set)
    withheld: set[Name] = field(default_factory=set)
    asked: list[Name] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)
    port: int = 0
    _changed: set[asyncio.Event] = field(default_factory=set)

    def tell(self, snapshot: XdsSnapshot) -> None:
        """Have what is in a snapshot."""
        for type_url in TYPES:
            for resource in snapshot.of_type(type_url):
                self.resources[type_url, resource.name] = resource
        self.push()

    def push(self) -> None:
        """Send what has changed to whom it concerns."""
        for event in self._changed:
            event.set()

    async def stream(self, requests: AsyncIterator[DeltaDiscoveryRequest], _: Any) -> AsyncIterator[Any]:
        """One client's stream."""
        subscriptions: dict[str, _Subscription] = {}
        changed = asyncio.Event()
        self._changed.add(changed)
        reader = asyncio.create_task(self._read(requests, subscriptions, changed))
        try:
            nonce = 0
            while not reader.done():
                await changed.wait()
                changed.clear()
                for type_url in TYPES:
                    response = self._response(type_url, subscriptions.get(type_url))
                    if response is not None:
                        nonce += 1
                        response.nonce = str(nonce)
                        yield response
        finally:
            self._changed.discard(changed)
            reader.cancel()

    async def _read(
        self,
        requests: AsyncIterator[DeltaDiscoveryRequest],
        subscriptions: dict[str, _Subscription],
        changed: asyncio.Event,
    ) -> None:
        async for request in requests:
            if request.HasField("error_detail"):
                self.refused.append(request.error_detail.message)
            names = set(request.resource_names_subscribe)
            found = subscriptions.get(request.type_url)
            if found is None:
                wildcard = request.type_url in _WILDCARD_TYPES and (not names or "*" in names)
                found = subscriptions[request.type_url] = _Subscription(wildcard)
                found.sent.update(request.initial_resource_versions)
            found.names |= names - {"*"}
            found.names -= set(request.resource_names_unsubscribe)
            self.asked += [(request.type_url, name) for name in sorted(names - {"*"})]
            changed.set()
        changed.set()

    def _response(self, type_url: str, wanted: _Subscription | None) -> DeltaDiscoveryResponse | None:
        if wanted is None:
            return None
        names = set(wanted.names)
        if wanted.wildcard:
            names |= {name for kind, name in self.resources.keys() - self.untold if kind == type_url}
        names -= {name for kind, name in self.withheld if kind == type_url}
        changed = [
            found
            for name in sorted(names)
            if (found := self.resources.get((type_url, name))) and wanted.sent.get(name) != found.version
        ]
        missing = [name for name in sorted(names) if (type_url, name) not in self.resources and name in wanted.names]
        gone = [name for name in missing if wanted.sent.get(name) != ""]
        gone += [name for name in wanted.sent if wanted.sent[name] and (type_url, name) not in self.resources]
        if not changed and not gone and (wanted.answered or not wanted.wildcard):
            return None
        wanted.answered = True
        wanted.sent |= {one.name: one.version for one in changed} | dict.fromkeys(gone, "")
        return DeltaDiscoveryResponse(
            type_url=type_url,
            resources=[DeltaResource.FromString(one.delta_bytes) for one in changed],
            removed_resources=sorted(set(gone)),
        )


@contextlib.asynccontextmanager
async def serving_ads(ads: HandMadeAds) -> AsyncIterator[HandMadeAds]:
    """Serve it, on the port it had before if it had one."""
    server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
    handler = grpc.stream_stream_rpc_method_handler(
        ads.stream, DeltaDiscoveryRequest.FromString, DeltaDiscoveryResponse.SerializeToString
    )
    service = "envoy.service.discovery.v3.AggregatedDiscoveryService"
    server.add_generic_rpc_handlers(
        (grpc.method_handlers_generic_handler(service, {"DeltaAggregatedResources": handler}),)
    )
    ads.port = server.add_insecure_port(f"127.0.0.1:{ads.port}")
    await server.start()
    try:
        yield ads
    finally:
        await server.stop(None)


def ads_bootstrap(ads: HandMadeAds) -> str:
    """The bootstrap of an Envoy that takes everything from `ads`."""
    endpoint = EnvoyEndpoint(address=tcp_address(SocketAddress("127.0.0.1", ads.port)))
    xds = Cluster(
        name="ads",
        type=Cluster.STATIC,
        connect_timeout=duration(1),
        load_assignment=ClusterLoadAssignment(
            cluster_name="ads", endpoints=[LocalityLbEndpoints(lb_endpoints=[LbEndpoint(endpoint=endpoint)])]
        ),
    )
    xds.typed_extension_protocol_options[CLUSTER_EXTENSION].CopyFrom(
        client_options(http2=True, upgrades=False, keepalive=False, idle=None)
    )
    grpc_service = GrpcService(envoy_grpc=GrpcService.EnvoyGrpc(cluster_name="ads"))
    grpc_service.envoy_grpc.retry_policy.retry_back_off.base_interval.CopyFrom(duration(0.1))
    grpc_service.envoy_grpc.retry_policy.retry_back_off.max_interval.CopyFrom(duration(0.3))
    source = ApiConfigSource(
        api_type=ApiConfigSource.DELTA_GRPC, transport_api_version=V3, grpc_services=[grpc_service]
    )
    bootstrap = Bootstrap(
        admin=Admin(address=Address(pipe=Pipe(path="admin.sock", mode=0o600))),
        static_resources=Bootstrap.StaticResources(clusters=[xds]),
        dynamic_resources=Bootstrap.DynamicResources(
            ads_config=source, cds_config=ads_source(), lds_config=ads_source()
        ),
        bootstrap_extensions=[
            TypedExtensionConfig(name="envoy.bootstrap.internal_listener", typed_config=packed(InternalListener()))
        ],
    )
    bootstrap.node.id = bootstrap.node.cluster = "test"
    return MessageToJson(bootstrap, preserving_proto_field_name=True)
