"""Scripts of requests and responses against the state-of-the-world state machine."""

from __future__ import annotations

from envoy.service.discovery.v3.discovery_pb2 import DiscoveryResponse

from support.discovery import resource, snapshot
from weft.discovery.limits import Limits
from weft.discovery.shared import Shared
from weft.discovery.sotw import SotwRequest, SotwSession
from weft.xds.snapshot import CLUSTER, ENDPOINTS, LISTENER, ROUTES, XdsSnapshot

A1, A2 = resource(CLUSTER, "a", "1"), resource(CLUSTER, "a", "2")
B1 = resource(CLUSTER, "b", "1")
EA1, EA2 = resource(ENDPOINTS, "a", "1"), resource(ENDPOINTS, "a", "2")
EB1 = resource(ENDPOINTS, "b", "1")
L1 = resource(LISTENER, "l", "1", requires=((ROUTES, "r"),))
R1 = resource(ROUTES, "r", "1", requires=((CLUSTER, "a"),))
R2 = resource(ROUTES, "r", "2", requires=((CLUSTER, "b"),))


class Client:
    """A client that remembers its names, versions and nonces as the protocol asks."""

    def __init__(self, first: XdsSnapshot) -> None:
        self.machine = SotwSession(first, Shared(), Limits())
        self.names: dict[str, tuple[str, ...]] = {}
        self.versions: dict[str, str] = {}
        self.nonces: dict[str, str] = {}

    def ask(self, type_url: str, *names: str, version: str = "") -> None:
        self.names[type_url] = names
        version = version or self.versions.get(type_url, "")
        self.machine.receive(SotwRequest(type_url, names, version, self.nonces.get(type_url, "")))

    def take(self) -> DiscoveryResponse | None:
        out = self.machine.next()
        if out is None:
            return None
        response = DiscoveryResponse.FromString(out.body)
        self.nonces[response.type_url] = response.nonce
        return response

    def answer(self, response: DiscoveryResponse | None, error: str | None = None) -> None:
        assert response is not None
        kind = response.type_url
        if error is None:
            self.versions[kind] = response.version_info
        version = self.versions.get(kind, "")
        self.machine.receive(SotwRequest(kind, self.names[kind], version, response.nonce, error))

    def settle(self) -> None:
        while (response := self.take()) is not None:
            self.answer(response)


def held(response: DiscoveryResponse | None) -> tuple[str, list[str]]:
    assert response is not None, "nothing was sent"
    return response.type_url.rpartition(".")[2], [one.value.decode() for one in response.resources]


def loaded(first: XdsSnapshot) -> Client:
    client = Client(first)
    client.ask(CLUSTER)
    client.ask(LISTENER)
    client.ask(ENDPOINTS, *(one.name for one in first.of_type(ENDPOINTS)))
    client.ask(ROUTES, *(one.name for one in first.of_type(ROUTES)))
    client.settle()
    assert client.machine.acked_revision == first.revision
    return client


def test_clusters_come_whole_endpoints_by_name() -> None:
    client = loaded(snapshot(1, A1, B1, EA1, EB1))
    client.machine.offer(snapshot(2, A2, B1, EA2, EB1))
    clusters, endpoints = client.take(), client.take()
    assert held(clusters) == ("Cluster", ["a=2", "b=1"])
    assert held(endpoints) == ("ClusterLoadAssignment", ["a=2"])


def test_removed_cluster_stays_until_routes_are_confirmed() -> None:
    client = loaded(snapshot(1, A1, L1, R1))
    client.machine.offer(snapshot(2, B1, L1, R2))
    clusters = client.take()
    assert held(clusters) == ("Cluster", ["a=1", "b=1"])
    assert client.take() is None
    client.answer(clusters)
    routes = client.take()
    assert held(routes) == ("RouteConfiguration", ["r=2"])
    assert client.take() is None
    client.answer(routes)
    last = client.take()
    assert held(last) == ("Cluster", ["b=1"])
    client.answer(last)
    assert client.take() is None
    assert client.machine.acked_revision == 2


def test_refused_resource_stays_as_it_was() -> None:
    client = loaded(snapshot(1, A1, B1))
    client.machine.offer(snapshot(2, A2, B1))
    client.answer(client.take(), "Error adding/updating cluster(s) a: no")
    assert client.take() is None
    client.machine.offer(snapshot(3, A2, B1, resource(CLUSTER, "c", "1")))
    response = client.take()
    assert held(response) == ("Cluster", ["a=1", "b=1", "c=1"])
    client.answer(response)
    assert [one.name for one in client.machine.rejections()] == ["a"]


def test_reconnect_is_sent_everything_since_a_version_does_not_prove_what_the_client_holds() -> None:
    client = loaded(snapshot(1, A1))
    client.machine.offer(snapshot(2, A1, B1, resource(CLUSTER, "c", "1")))
    client.answer(client.take(), "Error adding/updating cluster(s) c: no")
    again = Client(snapshot(3, A1))
    again.ask(CLUSTER, version=client.versions[CLUSTER])
    assert held(again.take()) == ("Cluster", ["a=1"])


def test_named_clusters_as_grpc_asks_for_them() -> None:
    client = Client(snapshot(1, A1, B1))
    client.ask(CLUSTER, "a")
    response = client.take()
    assert held(response) == ("Cluster", ["a=1"])
    client.answer(response)
    client.ask(CLUSTER, "a", "b", "nobody")
    response = client.take()
    assert held(response) == ("Cluster", ["a=1", "b=1"])
    client.answer(response)
    client.ask(CLUSTER, "b")
    client.machine.offer(snapshot(2, A2, B1))
    assert client.take() is None
    assert list(client.machine.unmet()) == []


def test_request_with_an_old_nonce_is_ignored() -> None:
    client = loaded(snapshot(1, EA1, EB1))
    client.machine.offer(snapshot(2, EA2, EB1))
    old = client.nonces[ENDPOINTS]
    response = client.take()
    client.machine.receive(SotwRequest(ENDPOINTS, (), "", old))
    assert client.machine.subscriptions[ENDPOINTS].names == {"a", "b"}
    assert client.machine.acked_revision == 1
    client.answer(response)
    assert client.machine.acked_revision == 2


def test_missing_endpoints_are_remembered_not_answered() -> None:
    client = Client(snapshot(1, EA1))
    client.ask(ENDPOINTS, "a", "nobody")
    response = client.take()
    assert held(response) == ("ClusterLoadAssignment", ["a=1"])
    client.answer(response)
    assert client.take() is None
    assert client.machine.acked_revision == 1
    assert list(client.machine.unmet()) == [(ENDPOINTS, "nobody")]


def test_equal_streams_share_the_bytes() -> None:
    shared = Shared()
    common = snapshot(1, A1, B1)
    assert shared.whole_type(common, CLUSTER) is shared.whole_type(XdsSnapshot(2, common.layers), CLUSTER)
