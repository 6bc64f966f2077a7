"""Endless changes of endpoints, faster than a client answers, hold up nothing else: in either variant."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from envoy.service.discovery.v3.discovery_pb2 import DeltaDiscoveryResponse, DiscoveryResponse

from support.discovery import layer, resource
from weft.discovery.delta import DeltaRequest, DeltaSession
from weft.discovery.limits import Limits
from weft.discovery.shared import Shared
from weft.discovery.sotw import SotwRequest, SotwSession
from weft.xds.snapshot import CLUSTER, ENDPOINTS, LISTENER, ROUTES, Resource, ResourceSet, XdsSnapshot

SETS = tuple(f"c{number}" for number in range(6))
FRESH = "fresh"
BOUND = 12
"""Responses after which a change has arrived: a round of endpoints for each step of make-before-break, and some."""
NAMES = {CLUSTER: (), LISTENER: (), ENDPOINTS: (*SETS, FRESH), ROUTES: ("r",)}


def listener(name: str) -> Resource:
    return resource(LISTENER, name, "1", requires=((ROUTES, "r"),))


def route(version: str, *clusters: str) -> Resource:
    return resource(ROUTES, "r", version, requires=tuple((CLUSTER, name) for name in clusters))


def clusters(*names: str) -> ResourceSet:
    return layer(*(resource(CLUSTER, name, "1", requires=((ENDPOINTS, name),)) for name in names))


class Storm:
    """A client that answers one response at a time, while every set of endpoints changes before each answer."""

    def __init__(self, delta: bool, own: ResourceSet, targets: ResourceSet) -> None:
        self.delta = delta
        self.revision = 1
        self.names = [name for name in NAMES[ENDPOINTS] if name in targets.of_type(CLUSTER)]
        # one set of endpoints fits into a delta response, so the sets compete for their turns
        limits = Limits(response_bytes=120)
        first = self.snapshot(own, targets)
        self.session = DeltaSession(first, Shared(), limits) if delta else SotwSession(first, Shared(), limits)
        self.waiting: list[DeltaDiscoveryResponse | DiscoveryResponse] = []
        self.responses: list[DeltaDiscoveryResponse | DiscoveryResponse] = []
        for kind, names in NAMES.items():
            self.ask(kind, names)

    def ask(self, kind: str, names: tuple[str, ...]) -> None:
        if isinstance(self.session, DeltaSession):
            self.session.receive(DeltaRequest(kind, names))
        else:
            self.session.receive(SotwRequest(kind, names))

    def snapshot(self, own: ResourceSet, targets: ResourceSet) -> XdsSnapshot:
        self.own, self.targets = own, targets
        self.revision += 1
        moved = layer(
            *(
                resource(ENDPOINTS, name, str(self.revision), body=f"{name}={self.revision}".encode().ljust(80))
                for name in self.names
            )
        )
        return XdsSnapshot(self.revision, (own, targets, moved))

    def blow(self, until: Callable[[DeltaDiscoveryResponse | DiscoveryResponse], bool], bound: int = BOUND) -> int:
        """Go on until a response is as asked for; how many responses of all types that took."""
        for count in range(1, bound + 1):
            while (out := self.session.next()) is not None:
                kind = DeltaDiscoveryResponse if self.delta else DiscoveryResponse
                self.waiting.append(kind.FromString(out.body))
            self.session.offer(self.snapshot(self.own, self.targets))
            response = self.waiting.pop(0)
            self.responses.append(response)
            self.answer(response)
            if until(response):
                return count
        raise AssertionError(
            f"not within {bound} responses: {[one.type_url.rpartition('.')[2] for one in self.responses[-bound:]]}"
        )

    def answer(self, response: DeltaDiscoveryResponse | DiscoveryResponse) -> None:
        if isinstance(self.session, DeltaSession):
            self.session.receive(DeltaRequest(response.type_url, nonce=response.nonce))
        else:
            self.session.receive(SotwRequest(response.type_url, NAMES[response.type_url], "v", response.nonce))


def brings(kind: str, text: str) -> Callable[[DeltaDiscoveryResponse | DiscoveryResponse], bool]:
    return lambda response: response.type_url == kind and text.encode() in response.SerializeToString()


def lacks(kind: str, name: str) -> Callable[[DeltaDiscoveryResponse | DiscoveryResponse], bool]:
    def check(response: DeltaDiscoveryResponse | DiscoveryResponse) -> bool:
        if isinstance(response, DeltaDiscoveryResponse):
            return response.type_url == kind and name in response.removed_resources
        return response.type_url == kind and f"{name}=1".encode() not in response.SerializeToString()

    return check


@pytest.fixture(params=["delta", "sotw"])
def storm(request: pytest.FixtureRequest) -> Storm:
    one = Storm(request.param == "delta", layer(listener("l"), listener("m"), route("1", *SETS)), clusters(*SETS))
    one.blow(brings(ROUTES, "r=1"), 40)
    one.blow(lambda response: len(one.responses) > 100, 100)  # for as long as you like
    return one


def test_a_route_change_arrives(storm: Storm) -> None:
    storm.own = layer(listener("l"), listener("m"), route("2", *SETS))
    storm.blow(brings(ROUTES, "r=2"))


def test_the_removal_of_a_listener_arrives(storm: Storm) -> None:
    storm.own = layer(listener("l"), route("1", *SETS))
    storm.blow(lacks(LISTENER, "m"))


def test_a_route_to_a_new_cluster_and_the_end_of_the_old_one_arrive_in_order(storm: Storm) -> None:
    storm.own = layer(listener("l"), listener("m"), route("2", FRESH, *SETS[1:]))
    storm.targets = clusters(FRESH, *SETS[1:])
    storm.names = [FRESH, *SETS[1:]]
    before = len(storm.responses)
    storm.blow(brings(ROUTES, "r=2"))
    earlier = storm.responses[before:-1]
    assert any(brings(CLUSTER, f"{FRESH}=1")(one) for one in earlier), "the new cluster comes first"
    assert not any(lacks(CLUSTER, SETS[0])(one) for one in earlier), "the old one is still in use"
    storm.blow(lacks(CLUSTER, SETS[0]))


def test_every_set_of_endpoints_has_its_turn(storm: Storm) -> None:
    storm.blow(lambda response: len(storm.responses) > 300, 300)
    recent = [one for one in storm.responses[-60:] if one.type_url == ENDPOINTS]
    for name in SETS:
        assert any(name in str(one) for one in recent), f"{name} starves"


def test_the_confirmed_revision_keeps_up(storm: Storm) -> None:
    for _ in range(5):
        reached = storm.session.acked_revision
        storm.blow(lambda _: storm.session.acked_revision > reached, 40)  # noqa: B023
    assert storm.session.acked_revision > storm.revision - 40


def test_a_route_to_a_cluster_that_never_rests_arrives() -> None:
    """Each of its versions waits for endpoints again, but those that the client took count."""

    def snapshot(revision: int, *names: str) -> XdsSnapshot:
        moved = [resource(CLUSTER, name, str(revision) if name == FRESH else "1") for name in names]
        sets = [resource(ENDPOINTS, name, "1") for name in names]
        return XdsSnapshot(revision, (layer(listener("l"), route(f"{len(names)}", names[-1]), *moved, *sets),))

    machine = DeltaSession(snapshot(1, "c0"), Shared(), Limits())
    for kind, names in NAMES.items():
        machine.receive(DeltaRequest(kind, names))
    while (out := machine.next()) is not None:
        machine.receive(DeltaRequest(out.type_url, nonce=out.nonce))
    waiting = []
    for revision in range(2, 2 + BOUND):
        machine.offer(snapshot(revision, "c0", FRESH))
        while (out := machine.next()) is not None:
            waiting.append(out)
        oldest = waiting.pop(0)
        machine.receive(DeltaRequest(oldest.type_url, nonce=oldest.nonce))
        if any(one.type_url == ROUTES for one in waiting):
            return
    raise AssertionError("it did not arrive")
