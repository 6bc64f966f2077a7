"""Properties: whatever happens on the way, clients of both variants end with what the last snapshot says, and hold
nothing at any moment that refers to what they lack."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from envoy.service.discovery.v3.discovery_pb2 import DeltaDiscoveryResponse, DiscoveryResponse
from envoy.service.discovery.v3.discovery_pb2 import Resource as WireResource
from hypothesis import example, given, settings
from hypothesis import strategies as st

from support.discovery import layer, resource
from support.examples import examples
from weft.discovery.delta import DeltaRequest, DeltaSession
from weft.discovery.limits import Limits
from weft.discovery.shared import Shared
from weft.discovery.sotw import SotwRequest, SotwSession
from weft.xds.snapshot import CLUSTER, ENDPOINTS, LISTENER, ROUTES, ResourceSet, XdsSnapshot

TYPES = (CLUSTER, ENDPOINTS, LISTENER, ROUTES)
WHOLE = (CLUSTER, LISTENER)
NAMES = ("a", "b", "c")
BAD = "9"
"""The version that every client refuses."""
LEADS_TO = {"1": "a", "2": "b", "3": "c", BAD: "a"}
"""To which cluster each version of a listener or of routes leads."""
Held = dict[str, dict[str, str]]
Event = tuple[str, Any, Any]
"""What happens, and for an offer the content of the snapshot and how it is divided, for a toggle the name."""


@dataclass
class DeltaClient:
    """A model of Envoy's delta client: of a response that it refuses it applies nothing, unless it names what it
    refuses; then it applies the others."""

    shared: Shared
    held: Held = field(default_factory=lambda: {kind: {} for kind in TYPES})
    names_refused: bool = True
    by_name: bool = False
    """Whether clusters are on demand, and this client asks for them all, one by one."""

    def connect(self, snapshot: XdsSnapshot) -> None:
        self.session = DeltaSession(snapshot, self.shared, Limits(response_bytes=60, batch=2))
        for kind in TYPES:
            names: tuple[str, ...] = () if kind in WHOLE else NAMES
            if self.by_name and kind == CLUSTER:
                names = ("*", NAMES[0])
            self.session.receive(DeltaRequest(kind, names, initial_versions=self.held[kind]))
        if self.by_name:
            self.session.receive(DeltaRequest(CLUSTER, NAMES[1:]))

        self.dropped: set[str] = set()

    def toggle(self, name: str) -> None:
        """Drop a name, or ask for it again: of endpoints, or also of clusters if it asks for those by name."""
        for kind in (CLUSTER, ENDPOINTS) if self.by_name else (ENDPOINTS,):
            if name in self.dropped:
                self.session.receive(DeltaRequest(kind, (name,)))
            else:
                self.session.receive(DeltaRequest(kind, unsubscribe=(name,)))
                if kind == ENDPOINTS:
                    self.held[kind].pop(name, None)
        self.dropped ^= {name}

    def step(self) -> bool:
        out = self.session.next()
        if out is None:
            return False
        response = DeltaDiscoveryResponse.FromString(out.body)
        error = self.refusal(list(response.resources))
        if error is None or self.names_refused:
            mine = self.held[response.type_url]
            for one in response.resources:
                dropped = response.type_url == ENDPOINTS and one.name in self.dropped
                if one.version != BAD and not dropped:
                    mine[one.name] = one.version
            for name in response.removed_resources:
                mine.pop(name, None)
        self.waiting = DeltaRequest(response.type_url, nonce=response.nonce, error=error)
        return True

    def refusal(self, resources: list[WireResource]) -> str | None:
        bad = [one.name for one in resources if one.version == BAD]
        if not bad:
            return None
        if not self.names_refused:
            return "something is wrong"
        return "Error adding/updating cluster(s) " + ", ".join(f"{name}: no" for name in bad)

    def answer(self) -> None:
        self.session.receive(self.waiting)


@dataclass
class SotwClient:
    """A model of gRPC's client: keeps the last good version of what it refuses, applies the rest."""

    shared: Shared
    held: Held = field(default_factory=lambda: {kind: {} for kind in TYPES})
    versions: dict[str, str] = field(default_factory=dict)

    def connect(self, snapshot: XdsSnapshot) -> None:
        self.session = SotwSession(snapshot, self.shared, Limits(batch=2))
        for kind in TYPES:
            names = () if kind in WHOLE else NAMES
            self.session.receive(SotwRequest(kind, names, self.versions.get(kind, "")))

    def step(self) -> bool:
        out = self.session.next()
        if out is None:
            return False
        response = DiscoveryResponse.FromString(out.body)
        kind = response.type_url
        offered = dict(one.value.decode().split("=") for one in response.resources)
        good = {name: version for name, version in offered.items() if version != BAD}
        mine = self.held[kind]
        if kind in WHOLE:
            for name in [name for name in mine if name not in offered]:
                del mine[name]
        mine.update(good)
        bad = sorted(offered.keys() - good.keys())
        error = None if not bad else "errors: " + "".join(f"[resource: {name}: no]" for name in bad)
        if error is None:
            self.versions[kind] = response.version_info
        names = () if kind in WHOLE else NAMES
        self.waiting = SotwRequest(kind, names, self.versions.get(kind, ""), response.nonce, error)
        return True

    def answer(self) -> None:
        self.session.receive(self.waiting)


contents = st.dictionaries(
    st.tuples(st.sampled_from(TYPES), st.sampled_from(NAMES)), st.sampled_from(("1", "2", "3", BAD)), max_size=8
)


def without_dangling(content: dict[tuple[str, str], str]) -> dict[tuple[str, str], str]:
    """The content, and the clusters that it leads to."""
    led_to = {LEADS_TO[version] for (kind, _), version in content.items() if kind in (LISTENER, ROUTES)}
    return {**{(CLUSTER, name): "1" for name in led_to}, **content}


events = st.lists(
    st.one_of(
        st.tuples(st.just("offer"), contents, st.booleans()),
        st.tuples(st.just("step"), st.none(), st.none()),
        st.tuples(st.just("reconnect"), st.none(), st.none()),
        st.tuples(st.just("toggle"), st.sampled_from(NAMES), st.none()),
    ),
    max_size=25,
)


def built(
    revision: int, content: dict[tuple[str, str], str], split: bool, refers: bool, on_demand: bool
) -> XdsSnapshot:
    resources = [
        resource(kind, name, version, ((CLUSTER, LEADS_TO[version]),) if refers and kind in (LISTENER, ROUTES) else ())
        for (kind, name), version in sorted(content.items())
    ]
    if on_demand:
        lazy = layer(*(one for one in resources if one.type_url == CLUSTER and (split or one.name != NAMES[2])))
        own = layer(*(one for one in resources if one.type_url != CLUSTER or one.name == NAMES[2]))
        return XdsSnapshot(revision, (own, ResourceSet(lazy.by_type, on_demand=True)))
    if not split:
        return XdsSnapshot(revision, (layer(*resources),))
    return XdsSnapshot(revision, (layer(*resources[::2]), layer(*resources[1::2])))


@settings(max_examples=examples(300), deadline=None)
@given(events=events, final=contents, named=st.booleans())
def test_both_variants_end_with_the_last_snapshot(
    events: list[Event], final: dict[tuple[str, str], str], named: bool
) -> None:
    clients: list[DeltaClient | SotwClient] = [
        DeltaClient(Shared(), names_refused=named),
        DeltaClient(Shared(), names_refused=named, by_name=True),
        SotwClient(Shared()),
    ]
    for client in clients:
        revision = play(client, [*events, ("offer", final, False)])
        assert client.session.acked_revision == revision
        refused = {(one.type_url, one.name) for one in client.session.rejections()}
        assert refused == {key for key, version in final.items() if version == BAD}
        expect_end(client.held, final, keep_removed=isinstance(client, SotwClient), refused=refused)


STEP: Event = ("step", None, None)
OFFER: Event = ("offer", {(LISTENER, "a"): "2"}, False)


@settings(max_examples=examples(300), deadline=None)
@example(events=[*[STEP] * 4, OFFER, *[STEP] * 3, ("reconnect", None, None)], final={}, named=False)
@example(events=[*[STEP] * 4, OFFER, *[STEP] * 4, ("toggle", "b", None)], final={}, named=False)
@given(events=events, final=contents, named=st.booleans())
def test_what_a_client_holds_leads_to_clusters_that_it_holds(
    events: list[Event], final: dict[tuple[str, str], str], named: bool
) -> None:
    whole = [(kind, without_dangling(one) if kind == "offer" else one, split) for kind, one, split in events]
    for client in (
        DeltaClient(Shared(), names_refused=named),
        DeltaClient(Shared(), names_refused=named, by_name=True),
        SotwClient(Shared()),
    ):

        def check(client: DeltaClient | SotwClient = client) -> None:
            if not isinstance(client, SotwClient):  # routes cannot be taken away from one, so it may keep old ones
                for version in client.held[ROUTES].values():
                    assert LEADS_TO[version] in client.held[CLUSTER], client.held
            for version in client.held[LISTENER].values():
                assert LEADS_TO[version] in client.held[CLUSTER], client.held

        mine = whole
        if isinstance(client, SotwClient):  # nobody knows what one holds that comes back
            mine = [each for each in whole if each[0] != "reconnect"]
        revision = play(client, [*mine, ("offer", without_dangling(final), False)], check)
        assert client.session.acked_revision == revision


def play(
    client: DeltaClient | SotwClient,
    events: list[Event],
    check: Callable[[], None] | None = None,
) -> int:
    """Let it all happen to one client, then let it come to rest; returns the last revision. With a `check` to be made
    after each step, listeners and routes refer to clusters."""
    on_demand = isinstance(client, DeltaClient) and client.by_name
    snapshot = XdsSnapshot(0, ())
    client.connect(snapshot)
    unanswered = False
    for event, content, split in events:
        if event == "offer":
            snapshot = built(snapshot.revision + 1, content, split, refers=check is not None, on_demand=on_demand)
            client.session.offer(snapshot)
        elif event == "toggle":
            if isinstance(client, DeltaClient):
                client.toggle(content)
        elif event == "reconnect":
            client.connect(snapshot)
            unanswered = False
        elif unanswered:
            client.answer()
            unanswered = False
        else:
            unanswered = client.step()
            if check is not None:
                check()
    if unanswered:
        client.answer()
    if isinstance(client, DeltaClient):
        for name in sorted(client.dropped):
            client.toggle(name)
    come_to_rest(client, check)
    return snapshot.revision


def come_to_rest(client: DeltaClient | SotwClient, check: Callable[[], None] | None) -> None:
    for _ in range(200):
        if not client.step():
            return
        if check is not None:
            check()
        client.answer()
    raise AssertionError("it never comes to rest")


def expect_end(
    held: Held, final: dict[tuple[str, str], str], *, keep_removed: bool, refused: set[tuple[str, str]]
) -> None:
    """A client that refuses listeners or routes may keep old clusters; SotW cannot take endpoints or routes away."""
    holds = any(kind in (LISTENER, ROUTES) for kind, _ in refused)
    for kind in TYPES:
        for name in NAMES:
            wanted, has = final.get((kind, name)), held[kind].get(name)
            if wanted == BAD:
                assert has != BAD
            elif wanted is not None:
                assert has == wanted, (kind, name)
            elif has is not None:
                assert (keep_removed and kind not in WHOLE) or (holds and kind in (CLUSTER, ENDPOINTS)), (kind, name)
