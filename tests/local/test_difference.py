"""What `weft up` does about a changed weft.yaml, when it starts a process again, and where it says gateways are."""

from pathlib import Path

import pytest

from weft.local.addresses import listener_urls
from weft.local.commands import Launch, mesh_launches
from weft.local.difference import Difference, difference, refusal, restart_delay
from weft.local.meshfile import decode_meshfile
from weft.model.workload import SocketAddress
from weft.settings.home import Home

MESH = """\
documents: [mesh]
workloads:
  - {name: web, command: [web], labels: {app: web}, ports: ["80:auto"]}
  - {name: db, namespace: data, command: [db]}
gateways:
  - {name: front}
"""


def launches(text: str = MESH) -> dict[str, Launch]:
    mesh = decode_meshfile(text, "weft.yaml")
    return {launch.name: launch for launch in mesh_launches(Home(Path("/home")), mesh, Path("/base"))}


def compare(after: str, down: tuple[str, ...] = ()) -> Difference:
    return difference(launches(), down, tuple(launches(after).values()))


def test_nothing_changed() -> None:
    same = compare(MESH + "# a comment\n")
    assert same.keep == ("control-plane", "web", "db.data", "front")
    assert not same.waited_for
    assert str(same) == "unchanged: control-plane, web, db.data, front"


def test_what_stands_still_is_started() -> None:
    found = compare(MESH, ("web",))
    assert [launch.name for launch in found.start] == ["web"]
    assert found.keep == ("control-plane", "db.data", "front")


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        ("command: [web]", "command: [web, -v]", "restart, changed: web; unchanged: control-plane, db.data, front"),
        (
            "command: [web]",
            "env: {A: b}, command: [web]",
            "restart, changed: web; unchanged: control-plane, db.data, front",
        ),
        ("name: db", "name: sql", "start: sql.data; stop: db.data; unchanged: control-plane, web, front"),
        (
            "{name: front}",
            "{name: front, listen: {80: 8080}}",
            "restart, changed: front; unchanged: control-plane, web, db.data",
        ),
        ("[mesh]", "[mesh, more]", "restart, changed: control-plane; unchanged: web, db.data, front"),
    ],
)
def test_only_what_changed(before: str, after: str, said: str) -> None:
    assert before in MESH
    assert str(compare(MESH.replace(before, after))) == said


def test_what_stands_in_certificates_and_bootstraps_does_not_change() -> None:
    there = launches()
    assert refusal(there, tuple(launches(MESH.replace("[mesh]", "[other]")).values())) == ""
    for more, option in (
        ("trustDomain: a.example\n", "--trust-domain a.example"),
        ("ports: {xds: 7}\n", "--xds-port 7"),
    ):
        assert option in refusal(there, tuple(launches(more + MESH).values()))
        assert option in refusal(launches(more + MESH), tuple(there.values()))


def test_starts_come_later_each_time() -> None:
    assert [restart_delay(n, outlived=False) for n in (1, 2, 3, 6, 7, 100)] == [1, 2, 4, 32, 60, 60]
    assert [restart_delay(n, outlived=True) for n in (1, 2, 3, 9)] == [0, 2, 4, 5]


def test_only_what_listens_has_an_address() -> None:
    listeners = [
        {"port": 80, "protocol": "HTTP"},
        {"port": 443, "protocol": "HTTPS"},
        {"port": 5432, "protocol": "TCP"},
        {"port": 81, "protocol": "HTTP"},
    ]
    listening = [SocketAddress("0.0.0.0", 8080), SocketAddress("::1", 8443), SocketAddress("127.0.0.1", 5432)]
    assert listener_urls(listeners, {443: 8443, 80: 8080}, listening) == {
        "80": "http://127.0.0.1:8080",
        "443": "https://[::1]:8443",
        "5432": "tcp://127.0.0.1:5432",
    }
    assert listener_urls(listeners, {}, listening)["80"] == "http://127.0.0.1:8080", (
        "ports below 1024 are bound 8000 above"
    )
