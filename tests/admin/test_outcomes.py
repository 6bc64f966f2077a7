"""What came of a revision: who confirmed when, and what changed of resources, named with bounds."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest
from envoy.config.cluster.v3.cluster_pb2 import Cluster

from weft.admin.history import resources
from weft.admin.history.outcomes import follow_outcome
from weft.admin.history.record import Outcome
from weft.admin.history.resources import Watch, resource_changes
from weft.discovery.status import Nack, WaitResult
from weft.xds.resource import encode_resource
from weft.xds.snapshot import CLUSTER, Resource, ResourceSet, XdsSnapshot


def cluster(name: str, seconds: int = 1) -> Resource:
    message = Cluster(name=name)
    message.connect_timeout.seconds = seconds
    return encode_resource(message, name)


def layer(*found: Resource) -> ResourceSet:
    return ResourceSet({CLUSTER: {one.name: one for one in found}})


@dataclass
class Waits:
    """Gives its results one after the other."""

    results: list[WaitResult]
    asked: list[float] = field(default_factory=list)
    written: list[Outcome] = field(default_factory=list)

    async def wait(self, revision: int, seconds: float) -> WaitResult:
        assert revision == 7
        self.asked.append(seconds)
        return self.results.pop(0)

    async def write(self, outcome: Outcome) -> None:
        self.written.append(outcome)


async def test_each_proxy_keeps_the_time_at_which_it_first_confirmed() -> None:
    waits = Waits(
        [
            WaitResult(("a",), (), ("b", "c"), when={"a": 100.010}),
            WaitResult(("a", "b"), (Nack("c", "Cluster", "x", "no", ()),), (), when={"a": 101.0, "b": 100.5}),
        ]
    )
    await follow_outcome(7, 100.0, waits.wait(7, 1.0), waits.wait, waits.write)
    assert waits.asked == [1.0, 4.0]
    first, last = waits.written
    assert (first.final, first.changed, first.pending) == (False, 3, ("b", "c"))
    assert (last.final, last.confirmed_count, last.refused) == (True, 2, ("c",))
    assert last.confirmed == (("a", 10.0), ("b", 500.0))
    assert (last.median_ms, last.last_ms) == (255.0, 500.0)


async def test_nobody_is_waited_for_for_ever() -> None:
    pending = WaitResult((), (), ("a",), published=False)
    waits = Waits([pending] * 3)
    await follow_outcome(7, 0.0, waits.wait(7, 0.1), waits.wait, waits.write, (0.1, 0.2, 0.3))
    assert [one.final for one in waits.written] == [False, False, True]
    assert waits.written[-1].pending == ("a",)


def watched(*proxies: tuple[str, tuple[ResourceSet, ...], tuple[ResourceSet, ...]]) -> Watch:
    watch = Watch()
    watch.on = True
    for name, before, after in proxies:
        watch.offered(name, XdsSnapshot(1, before), XdsSnapshot(2, after))
    return watch


def test_proxies_for_which_the_same_changed_stand_together() -> None:
    same = cluster("same")
    shared = layer(cluster("x"), cluster("gone"), same)
    changed = layer(cluster("x", 2), cluster("new"), same)
    own = layer(cluster("own"))
    watch = watched(("a", (shared, own), (changed, own)), ("b", (shared,), (changed,)), ("c", (own,), (own,)))
    (group,) = resource_changes(watch.taken()).groups
    assert group.proxies == ("a", "b")
    assert group.counts == {"clusters": {"removed": 1, "added": 1, "changed": 1}}
    assert [(one.name, one.change) for one in group.changes] == [
        ("gone", "removed"),
        ("new", "added"),
        ("x", "changed"),
    ]
    diff = group.changes[2].diff
    assert '- "connect_timeout": "1s"' in diff
    assert '+ "connect_timeout": "2s"' in diff


def test_what_moves_between_layers_is_no_change() -> None:
    moved = cluster("x")
    watch = watched(("a", (layer(moved), layer()), (layer(), layer(moved))))
    assert resource_changes(watch.taken()).groups == ()


def test_of_several_steps_the_first_before_and_the_last_after_count() -> None:
    one, two, three = (layer(cluster("x", seconds)) for seconds in (1, 2, 3))
    watch = watched(("a", (one,), (two,)))
    watch.offered("a", XdsSnapshot(2, (two,)), XdsSnapshot(3, (three,)))
    (group,) = resource_changes(watch.taken()).groups
    assert '+ "connect_timeout": "3s"' in group.changes[0].diff
    assert not watch.taken(), "it begins anew"
    watch.offered("a", XdsSnapshot(2, (two,)), XdsSnapshot(3, (three,)))
    assert not watch.taken(), "and it is off"


def test_a_large_change_is_counted_and_the_first_are_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resources, "_NAMES", 3)
    monkeypatch.setattr(resources, "_DIFFERENCES", 1)
    monkeypatch.setattr(resources, "_GROUPS", 1)
    before = layer(*(cluster(f"c{index}") for index in range(9)))
    after = layer(*(cluster(f"c{index}", 2) for index in range(9)))
    proxies = [(f"p{index}", (before,), (after,)) for index in range(5)]
    own = [("q", (layer(cluster("q")),), (layer(cluster("q", 2)),))]
    found = resource_changes(watched(*proxies, *own).taken())
    (group,) = found.groups
    assert (found.more_groups, group.proxy_count, group.proxies) == (1, 5, ("p0", "p1", "p2"))
    assert group.counts == {"clusters": {"changed": 9}}
    assert [bool(one.diff) for one in group.changes] == [True, False, False]


def test_what_is_very_large_is_not_taken_apart() -> None:
    big = encode_resource(Cluster(name="x", alt_stat_name="y" * 200_000), "x")
    (group,) = resource_changes(watched(("a", (layer(cluster("x")),), (layer(big),))).taken()).groups
    assert group.changes[0].diff.startswith("(too large to be shown:")
