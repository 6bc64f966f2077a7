"""Slots in a session: the configuration of filters comes before the routes that enable them, and goes after them."""

from __future__ import annotations

import pytest
from envoy.service.discovery.v3.discovery_pb2 import DeltaDiscoveryResponse, DiscoveryResponse

from support.discovery import resource, snapshot
from weft.discovery.delta import DeltaRequest, DeltaSession
from weft.discovery.limits import Limits
from weft.discovery.shared import Shared
from weft.discovery.sotw import SotwRequest, SotwSession
from weft.xds.snapshot import CLUSTER, ENDPOINTS, EXTENSION, LISTENER, ROUTES, SECRET, Resource, XdsSnapshot

SLOT = "f|r"
FRONT = resource(LISTENER, "l", "1", requires=((ROUTES, "r"), (EXTENSION, SLOT)))
FRONT_2 = resource(LISTENER, "l", "2", requires=((ROUTES, "r"), (EXTENSION, SLOT)))
OPEN = resource(ROUTES, "r", "open")
GUARDED = resource(ROUTES, "r", "guarded", requires=((EXTENSION, SLOT),))
FILTER = resource(EXTENSION, SLOT, "1")
FILTER_2 = resource(EXTENSION, SLOT, "2", requires=((CLUSTER, "keys"), (SECRET, "s")))
KEYS = resource(CLUSTER, "keys", "1")
KEYS_AT = resource(ENDPOINTS, "keys", "1")
CREDENTIAL = resource(SECRET, "s", "1")
BOTH = pytest.mark.parametrize("variant", ["delta", "sotw"])


class Client:
    """A client of one of the variants, which answers what it is sent."""

    def __init__(self, variant: str, first: XdsSnapshot) -> None:
        kind = DeltaSession if variant == "delta" else SotwSession
        self.machine: DeltaSession | SotwSession = kind(first, Shared(), Limits())
        self.names: dict[str, tuple[str, ...]] = {}
        self.versions: dict[str, str] = {}

    def ask(self, type_url: str, *names: str) -> None:
        self.names[type_url] = names
        if isinstance(self.machine, DeltaSession):
            self.machine.receive(DeltaRequest(type_url, names))
        else:
            self.machine.receive(SotwRequest(type_url, names))

    def step(self, error: str | None = None) -> str | None:
        """Take a response and answer it; returns its type and resources, removed ones with a minus."""
        out = self.machine.next()
        if out is None:
            return None
        kind = out.type_url.rpartition(".")[2]
        if isinstance(self.machine, DeltaSession):
            delta = DeltaDiscoveryResponse.FromString(out.body)
            self.machine.receive(DeltaRequest(out.type_url, nonce=out.nonce, error=error))
            words = [f"{one.name}={one.version}" for one in delta.resources]
            return " ".join((kind, *words, *(f"-{name}" for name in delta.removed_resources)))
        whole = DiscoveryResponse.FromString(out.body)
        if error is None:
            self.versions[out.type_url] = whole.version_info
        version = self.versions.get(out.type_url, "")
        self.machine.receive(SotwRequest(out.type_url, self.names[out.type_url], version, out.nonce, error))
        return " ".join((kind, *(one.value.decode() for one in whole.resources)))

    def rest(self) -> list[str]:
        """All that is still to come."""
        found = []
        while (response := self.step()) is not None:
            found.append(response)
        return found


def loaded(variant: str, *resources: Resource) -> Client:
    """A client that has asked for all there is here, and has it."""
    client = Client(variant, snapshot(1, *resources))
    for kind, names in ((CLUSTER, ()), (LISTENER, ()), (ENDPOINTS, ("keys",)), (ROUTES, ("r",))):
        client.ask(kind, *names)
    client.ask(SECRET, "s")
    client.ask(EXTENSION, SLOT)
    client.rest()
    assert client.machine.acked_revision == 1
    return client


@BOTH
def test_an_empty_slot_is_nothing_to_wait_for_and_no_name_in_vain(variant: str) -> None:
    client = Client(variant, snapshot(1, FRONT, OPEN))
    client.ask(CLUSTER)
    client.ask(LISTENER)
    assert client.rest()[-1].startswith("Listener l=1")
    client.ask(ROUTES, "r")
    client.ask(EXTENSION, SLOT)
    assert "RouteConfiguration r=open" in client.rest()
    assert client.machine.acked_revision == 1
    assert list(client.machine.unmet()) == []
    client.ask(EXTENSION, SLOT, "of another")
    client.rest()
    assert variant == "sotw" or list(client.machine.unmet()) == [(EXTENSION, "of another")]


@BOTH
def test_routes_wait_for_the_filter_that_they_enable(variant: str) -> None:
    client = loaded(variant, FRONT, OPEN)
    client.machine.offer(snapshot(2, FRONT, GUARDED, FILTER))
    assert client.rest() == ["TypedExtensionConfig f|r=1", "RouteConfiguration r=guarded"]
    assert client.machine.acked_revision == 2


@BOTH
def test_routes_of_a_new_listener_wait_until_its_slots_are_asked_for(variant: str) -> None:
    client = Client(variant, snapshot(1, FRONT, GUARDED, FILTER))
    client.ask(CLUSTER)
    client.ask(LISTENER)
    client.ask(ROUTES, "r")
    assert client.rest()[-1] == "Listener l=1"
    assert client.machine.acked_revision == 0
    client.ask(EXTENSION, SLOT)
    assert client.rest() == ["TypedExtensionConfig f|r=1", "RouteConfiguration r=guarded"]


@BOTH
def test_a_change_of_the_filter_touches_nothing_else(variant: str) -> None:
    client = loaded(variant, FRONT, GUARDED, FILTER, KEYS, KEYS_AT, CREDENTIAL)
    client.machine.offer(snapshot(2, FRONT, GUARDED, FILTER_2, KEYS, KEYS_AT, CREDENTIAL))
    assert client.rest() == ["TypedExtensionConfig f|r=2"]


@BOTH
def test_the_filter_waits_for_what_it_needs_and_that_stays_as_long_as_the_filter(variant: str) -> None:
    client = loaded(variant, FRONT, OPEN)
    client.machine.offer(snapshot(2, FRONT, GUARDED, FILTER_2, KEYS, KEYS_AT, CREDENTIAL))
    assert client.rest() == [
        "Cluster keys=1",
        "ClusterLoadAssignment keys=1",
        "Secret s=1",
        "TypedExtensionConfig f|r=2",
        "RouteConfiguration r=guarded",
    ]
    client.machine.offer(snapshot(3, FRONT, OPEN))
    assert client.machine.acked_revision == 2
    removed = client.rest()
    assert removed[0] == "RouteConfiguration r=open"
    if variant == "delta":
        assert removed.index("TypedExtensionConfig -f|r") < removed.index("Cluster -keys")
        assert removed.index("TypedExtensionConfig -f|r") < removed.index("Secret -s")
    else:  # nothing can say that a filter is gone: that no route enables it is enough
        assert removed == ["RouteConfiguration r=open", "Cluster"]
    assert client.machine.acked_revision == 3


@BOTH
def test_a_filter_that_is_refused_is_enabled_all_the_same(variant: str) -> None:
    """Its slot holds the default then, which refuses everybody; the old routes would let everybody in."""
    client = loaded(variant, FRONT, OPEN)
    client.machine.offer(snapshot(2, FRONT, GUARDED, FILTER))
    assert client.step("f|r: [resource: f|r: no]") == "TypedExtensionConfig f|r=1"
    assert client.rest() == ["RouteConfiguration r=guarded"]
    assert client.machine.acked_revision == 2
    assert [one.name for one in client.machine.rejections()] == [SLOT]


@BOTH
def test_a_filter_whose_cluster_is_refused_does_not_hold_up_its_routes(variant: str) -> None:
    client = loaded(variant, FRONT, OPEN)
    client.machine.offer(snapshot(2, FRONT, GUARDED, FILTER_2, KEYS, KEYS_AT, CREDENTIAL))
    refusal = "errors: [resource: keys: no]" if variant == "sotw" else "Error adding/updating cluster(s) keys: no"
    assert client.step(refusal) == "Cluster keys=1"
    assert "RouteConfiguration r=guarded" in client.rest()


@BOTH
def test_a_slot_is_emptied_after_its_routes_have_let_go_of_it(variant: str) -> None:
    client = loaded(variant, FRONT, GUARDED, FILTER)
    client.machine.offer(snapshot(2, FRONT, OPEN))
    assert client.step("no") == "RouteConfiguration r=open"
    assert client.rest() == [], "the routes that are in force enable it"
    client.machine.offer(snapshot(3, FRONT, resource(ROUTES, "r", "open again")))
    expected = ["RouteConfiguration r=open again", "TypedExtensionConfig -f|r"]
    assert client.rest() == expected[: 2 if variant == "delta" else 1]


def test_a_client_that_comes_back_keeps_slots_until_it_has_said_what_its_routes_are() -> None:
    machine = DeltaSession(snapshot(2, FRONT, OPEN), Shared(), Limits())
    machine.receive(DeltaRequest(CLUSTER))
    machine.receive(DeltaRequest(LISTENER, initial_versions={"l": "1"}))
    machine.receive(DeltaRequest(EXTENSION, (SLOT,), initial_versions={SLOT: "1"}))
    client = Client("delta", snapshot(2))
    client.machine = machine
    assert client.rest() == ["Cluster"]
    machine.receive(DeltaRequest(ROUTES, ("r",), initial_versions={"r": "guarded"}))
    assert client.rest() == ["RouteConfiguration r=open", "TypedExtensionConfig -f|r"]


def test_a_client_that_comes_back_is_sent_no_routes_before_its_slots() -> None:
    machine = DeltaSession(snapshot(2, FRONT, GUARDED, FILTER), Shared(), Limits())
    client = Client("delta", snapshot(2))
    client.machine = machine
    machine.receive(DeltaRequest(CLUSTER))
    machine.receive(DeltaRequest(LISTENER, initial_versions={"l": "1"}))
    machine.receive(DeltaRequest(ROUTES, ("r",), initial_versions={"r": "open"}))
    assert client.rest() == ["Cluster"]
    machine.receive(DeltaRequest(EXTENSION, (SLOT,)))
    assert client.rest() == ["TypedExtensionConfig f|r=1", "RouteConfiguration r=guarded"]


def test_routes_do_not_wait_for_a_slot_of_a_listener_that_is_refused() -> None:
    """What it holds is an older listener, without the slot: it would never ask."""
    machine = DeltaSession(snapshot(1, FRONT_2, GUARDED, FILTER), Shared(), Limits())
    client = Client("delta", snapshot(1))
    client.machine = machine
    machine.receive(DeltaRequest(CLUSTER))
    machine.receive(DeltaRequest(ROUTES, ("r",)))
    machine.receive(DeltaRequest(LISTENER, initial_versions={"l": "old"}))
    assert client.step() == "Cluster"
    assert client.step("no") == "Listener l=2"
    assert client.rest() == ["RouteConfiguration r=guarded"]
