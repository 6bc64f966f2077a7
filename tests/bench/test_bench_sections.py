"""Each section that compares checkouts runs end to end at a tiny size, and what its figures rest on."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from envoy.config.cluster.v3 import cluster_pb2
from envoy.service.discovery.v3 import discovery_pb2
from google.protobuf.message import Message

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from bench.__main__ import COMPARED, SECTIONS, parse_arguments  # noqa: E402
from bench.arms import THIS, Arm, Samples, checkout, committed, compare  # noqa: E402
from bench.commands import serving  # noqa: E402
from bench.figures import Series  # noqa: E402
from bench.machine import Cores  # noqa: E402
from bench.processes import BenchError  # noqa: E402
from bench.registrations import Size, measure_sizes  # noqa: E402
from bench.report import METHOD, TITLES, render_section, to_plain  # noqa: E402
from bench.simulated import CLUSTER, ENDPOINTS, LISTENER, Request, Responses, SimulatedProxy  # noqa: E402
from bench.size import measure_shape  # noqa: E402
from bench.streams import Effort, Setting, measure_shapes, prepare  # noqa: E402
from bench.streams import Round as StreamsRound  # noqa: E402
from bench.synthetic import Shape, World, used_services  # noqa: E402

UNPINNED = Cores(-1, -1)
TINY = Effort(alone=1, changes=2, rest=0.1)


def table(section: dict[str, object], arm: str) -> dict[str, Any]:
    """The figures of one column, as they are written to the report."""
    figures: dict[str, Any] = to_plain(section)["arms"][arm]
    return figures


def test_streams_that_ask_for_what_they_need(tmp_path: Path) -> None:
    section = measure_shapes(tmp_path, UNPINNED, [Shape(8, 2, 3, asks=3)], TINY, (THIS,))
    label = "3 on demand, 3 streams"
    figures = table(section, THIS.name)
    assert figures[f"{label}: endpoint change: proxies that confirmed"]["lowest"] == 3
    assert figures[f"{label}: route change: proxies that confirmed"]["lowest"] == 3
    assert figures[f"{label}: restart: bytes per stream"]["highest"] == 0, "nothing that is held is sent again"


def test_streams_of_two_checkouts_side_by_side(tmp_path: Path) -> None:
    other = Arm("other", ROOT / "src")
    section = measure_shapes(tmp_path, UNPINNED, [Shape(8, 2, 3, 3)], TINY, (THIS, other))
    label = "scoped to 3, 3 streams"
    for arm in (THIS.name, "other"):
        figures = table(section, arm)
        assert figures[f"{label}: endpoint change: proxies that confirmed"]["lowest"] == 3
        assert figures[f"{label}: route change: proxies that confirmed"]["lowest"] == 3
        assert figures[f"{label}: service added: proxies that confirmed"]["highest"] == 0
        assert figures[f"{label}: endpoint change that few use: proxies that confirmed"]["lowest"] >= 1
        assert figures[f"{label}: restart: bytes per stream"]["highest"] == 0, "nothing that is held is sent again"
        assert figures[f"{label}: first load: bytes per stream"]["lowest"] > 1000
    same = table(section, "this tree ÷ other")[f"{label}: first load: bytes per stream"]
    assert same["median"] == pytest.approx(1.0, abs=0.01)
    plain = to_plain(section)
    assert plain["yardstick"][label]["route change: CPU per push ÷ gRPC alone"] > 0
    assert "this tree ÷ other" in "\n".join(render_section("streams", plain))


def test_streams_tell_where_the_time_goes(tmp_path: Path) -> None:
    setting = Setting(tmp_path, UNPINNED, Shape(4, 1, 2), TINY)
    prepare(setting)
    profiles: list[str] = []
    samples = StreamsRound(setting, THIS, profiles).run()
    for change in ("endpoint change", "route change", "service added"):
        assert min(samples[f"{change}: proxies that confirmed"]) == 2
    assert [text.partition("streams: ")[2].partition(" ===")[0] for text in profiles] == [
        "endpoint, one stream",
        "route, one stream",
        "add, one stream",
        "first load",
        "endpoint",
        "route",
        "add",
        "rest",
        "restart",
    ]
    assert "publish" in profiles[0]


def test_size() -> None:
    figures = table(measure_shape(UNPINNED, Shape(12, 2, 6, 3, 2), 1, (THIS,)), THIS.name)
    assert figures["endpoint change: pushes"]["median"] == 6
    assert figures["route change: pushes"]["median"] == 6
    assert figures["service added: pushes"]["median"] == 0
    assert figures["memory: after changes, MB"]["median"] > 0


def test_registrations() -> None:
    size = Size(20, streams=2, lease=1.0, repeat=2, rest=0.2)
    figures = table(measure_sizes(UNPINNED, (size,), (THIS,)), THIS.name)
    assert figures["20 registrations: memory, MB"]["median"] > 0
    wanted = ("rest: % of a core", "renewal: CPU µs", "rest with 2 streams: % of a core")
    assert {f"20 registrations: {figure}" for figure in wanted} <= figures.keys()


def test_a_server_with_the_wrong_code_gives_no_figures(tmp_path: Path) -> None:
    stranger = Arm("stranger", tmp_path)
    with (
        pytest.raises(BenchError, match="was imported"),
        serving(stranger, "bench.size_server", (2, 1, 1, 0, 1), -1),
    ):
        pass


def test_every_section_is_titled_and_explained() -> None:
    assert set(SECTIONS) == set(METHOD) == set(TITLES)
    assert set(COMPARED) <= set(SECTIONS)


def test_arms_take_turns_and_ratios_are_of_neighbours() -> None:
    turns: list[str] = []

    def measure(arm: Arm) -> Samples:
        turns.append(arm.name)
        value = float(len(turns))
        return {"cpu": [value, value, 100.0], "none": [0.0]} | ({"only here": [1.0]} if arm.name == "a" else {})

    found = compare((Arm("a", ROOT), Arm("b", ROOT)), measure)
    assert turns == ["a", "b", "b", "a"]
    assert found["a ÷ b"]["cpu"] == Series((0.5 + 4 / 3) / 2, 0.5, 4 / 3)
    assert found["a ÷ b"]["none"] == "-"
    assert found["b"]["only here"] == found["a ÷ b"]["only here"] == "-"


def test_the_code_of_a_commit_is_there_for_as_long_as_it_is_measured(tmp_path: Path) -> None:
    package = tmp_path / "src" / "weft"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("old = True\n")
    git = ["git", "-C", str(tmp_path), "-c", "user.name=a", "-c", "user.email=a@b"]
    for words in (["init", "-q"], ["add", "."], ["commit", "-q", "-m", "first"]):
        subprocess.run([*git, *words], check=True)
    (package / "__init__.py").write_text("new = True\n")
    with committed("HEAD", tmp_path) as arm:
        assert (arm.source / "weft" / "__init__.py").read_text() == "old = True\n"
    assert not arm.source.exists()
    assert checkout(tmp_path).source == (tmp_path / "src").resolve()
    with pytest.raises(BenchError, match="no-such-commit"), committed("no-such-commit", tmp_path):
        pass
    with pytest.raises(BenchError, match="holds no src/weft"):
        checkout(tmp_path / "src" / "weft")


def test_a_change_of_the_synthetic_mesh_is_one_change() -> None:
    world = World(Shape(6, 2, 4, 3, 2))
    first = world.snapshot()
    moved = world.move_endpoint(1)
    assert moved.revision > first.revision
    assert moved.documents is first.documents
    assert len(set(moved.workloads) - set(first.workloads)) == 1
    routed = world.change_route()
    changed = set(map(id, routed.documents)) - set(map(id, first.documents))
    assert len(changed) == 1
    added = world.add_service()
    assert len(added.documents) == len(first.documents) + 1
    assert len(added.workloads) == len(first.workloads) + 2
    assert list(added.workloads) == sorted(added.workloads, key=lambda one: (one.namespace, one.name))
    assert world.remove_service().documents == routed.documents
    restored = world.restore()
    assert (restored.documents, restored.workloads) == (first.documents, first.workloads)


def test_all_callers_share_a_service_and_few_share_the_others() -> None:
    shape = Shape(1000, 10, 1000, 10)
    declared = [used_services(shape, number) for number in range(shape.callers)]
    assert all(len(one) == 10 for one in declared)
    assert set.intersection(*map(set, declared)) == {"service-0.load-0.svc.cluster.local"}
    assert sum("service-1.load-0.svc.cluster.local" in one for one in declared) == 10
    assert used_services(Shape(1000, 10, 1000), 3) == ()


def response(kind: str, nonce: str, **resources: Message) -> bytes:
    """A delta response with these resources at version 1."""
    message = discovery_pb2.DeltaDiscoveryResponse(type_url=kind, nonce=nonce)
    for name, body in resources.items():
        one = message.resources.add(name=name, version="1")
        one.resource.Pack(body)
    return message.SerializeToString()


def test_a_simulated_proxy_asks_as_envoy_does() -> None:
    proxy = SimulatedProxy("caller-0.load", Responses())
    assert [Request.FromString(raw).type_url for raw in proxy.opening()] == [CLUSTER, LISTENER]
    eds = cluster_pb2.Cluster(name="b", type=cluster_pb2.Cluster.EDS)
    clusters = response(CLUSTER, "1", a=cluster_pb2.Cluster(name="a"), b=eds)
    acked, asked = map(Request.FromString, proxy.answer(clusters))
    assert (acked.type_url, acked.response_nonce) == (CLUSTER, "1")
    assert (asked.type_url, list(asked.resource_names_subscribe)) == (ENDPOINTS, ["b"])
    assert len(proxy.answer(clusters)) == 1, "an update of a cluster asks for nothing new"
    again = [Request.FromString(raw) for raw in proxy.opening()]
    assert dict(again[0].initial_resource_versions) == {"a": "1", "b": "1"}
    removal = discovery_pb2.DeltaDiscoveryResponse(type_url=CLUSTER, nonce="2", removed_resources=["b"])
    _, dropped = map(Request.FromString, proxy.answer(removal.SerializeToString()))
    assert list(dropped.resource_names_unsubscribe) == ["b"]


def test_side_by_side_is_for_sections_that_can(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["bench", "--against", "HEAD"])
    assert parse_arguments().section == list(COMPARED)
    monkeypatch.setattr(sys, "argv", ["bench", "--against", "HEAD", "--section", "demo"])
    with pytest.raises(SystemExit):
        parse_arguments()
    assert "demo cannot be measured side by side" in capsys.readouterr().err
