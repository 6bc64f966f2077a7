"""A simulated proxy: delta ADS as Envoy speaks it. It accepts everything and reconnects with what it holds. No I/O."""

from __future__ import annotations

from collections.abc import Iterable

from envoy.config.cluster.v3 import cluster_pb2
from envoy.config.core.v3 import base_pb2
from envoy.config.listener.v3 import listener_pb2
from envoy.extensions.filters.network.http_connection_manager.v3 import http_connection_manager_pb2
from envoy.service.discovery.v3 import discovery_pb2

CLUSTER = "type.googleapis.com/envoy.config.cluster.v3.Cluster"
ENDPOINTS = "type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment"
LISTENER = "type.googleapis.com/envoy.config.listener.v3.Listener"
ROUTES = "type.googleapis.com/envoy.config.route.v3.RouteConfiguration"
METHOD = "/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources"
_FOLLOWING = {CLUSTER: ENDPOINTS, LISTENER: ROUTES}
Request = discovery_pb2.DeltaDiscoveryRequest
Held = dict[str, str]


class Parsed:
    """What a proxy needs to know of a response. `wanted` are names that each resource makes it ask for."""

    __slots__ = ("kind", "nonce", "removed", "versions", "wanted")

    def __init__(self, raw: bytes) -> None:
        message = discovery_pb2.DeltaDiscoveryResponse.FromString(raw)
        self.kind, self.nonce = message.type_url, message.nonce
        self.versions = {one.name: one.version for one in message.resources}
        self.removed = tuple(message.removed_resources)
        self.wanted: dict[str, tuple[str, ...]] = {}
        if self.kind in _FOLLOWING:
            wanted_by = _endpoints if self.kind == CLUSTER else _routes
            self.wanted = {one.name: wanted_by(one.resource.value) for one in message.resources}


class Responses:
    """Responses by their bytes: proxies alike are sent the same, and reading them once keeps the generator small."""

    def __init__(self, size: int = 200) -> None:
        self._size = size
        self._known: dict[bytes, Parsed] = {}

    def parsed(self, raw: bytes) -> Parsed:
        """One response."""
        known = self._known.get(raw)
        if known is None:
            if len(self._known) >= self._size:
                self._known.clear()
            known = self._known[raw] = Parsed(raw)
        return known


class SimulatedProxy:
    """See the module. `opening` begins a stream, `answer` gives the requests that follow a response. `asks` are
    clusters that it asks for by name when it has its routes."""

    def __init__(self, name: str, responses: Responses, asks: tuple[str, ...] = ()) -> None:
        self._asks = asks
        self._asked = False
        self._name = name
        self._responses = responses
        self._held: dict[str, Held] = {}
        self._wanted: dict[tuple[str, str], tuple[str, ...]] = {}

    def opening(self) -> list[bytes]:
        """The first requests of a stream: all clusters and listeners, and what is held already."""
        if not self._held:
            return [self._request(kind) for kind in _FOLLOWING]
        return [self._request(kind, subscribe=self._named(kind), initial=held) for kind, held in self._held.items()]

    def _named(self, kind: str) -> Iterable[str]:
        if kind == CLUSTER and self._asked:
            return ("*", *self._asks)
        return () if kind in _FOLLOWING else self._held[kind]

    def answer(self, raw: bytes) -> list[bytes]:
        """The ACK, and requests for what the new resources need."""
        response = self._responses.parsed(raw)
        requests = [self._request(response.kind, nonce=response.nonce)]
        held = self._held.setdefault(response.kind, {})
        following = _FOLLOWING.get(response.kind)
        if following is not None:
            requests += self._follow(following, response)
        for name in response.removed:
            held.pop(name, None)
        held.update(response.versions)
        if response.kind == ROUTES and self._asks and not self._asked:
            self._asked = True
            requests.append(self._request(CLUSTER, subscribe=self._asks))
        return requests

    def _follow(self, following: str, response: Parsed) -> list[bytes]:
        fresh: list[str] = []
        gone: list[str] = []
        for name in response.removed:
            gone += self._wanted.pop((following, name), ())
        for name, wanted in response.wanted.items():
            before = self._wanted.get((following, name), ())
            if wanted != before:
                fresh += [one for one in wanted if one not in before]
                gone += [one for one in before if one not in wanted]
                self._wanted[following, name] = wanted
        held = self._held.get(following, {})
        for name in gone:
            held.pop(name, None)
        return [self._request(following, subscribe=fresh, unsubscribe=gone)] if fresh or gone else []

    def _request(
        self,
        kind: str,
        *,
        nonce: str = "",
        subscribe: Iterable[str] = (),
        unsubscribe: Iterable[str] = (),
        initial: Held | None = None,
    ) -> bytes:
        request = Request(type_url=kind, response_nonce=nonce, node=base_pb2.Node(id=self._name))
        request.resource_names_subscribe.extend(subscribe)
        request.resource_names_unsubscribe.extend(unsubscribe)
        for name, version in (initial or {}).items():
            request.initial_resource_versions[name] = version
        return request.SerializeToString()


def _endpoints(cluster: bytes) -> tuple[str, ...]:
    message = cluster_pb2.Cluster.FromString(cluster)
    if message.type != cluster_pb2.Cluster.EDS:
        return ()
    return (message.eds_cluster_config.service_name or message.name,)


def _routes(listener: bytes) -> tuple[str, ...]:
    message = listener_pb2.Listener.FromString(listener)
    names: list[str] = []
    for chain in (*message.filter_chains, message.default_filter_chain):
        for one in chain.filters:
            manager = http_connection_manager_pb2.HttpConnectionManager()
            if one.typed_config.Unpack(manager) and manager.HasField("rds"):
                names.append(manager.rds.route_config_name)
    return tuple(dict.fromkeys(names))
