"""The mesh of examples/traffic: each of its documents is applied, and who answers is what it says."""

from __future__ import annotations

import subprocess
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.http import Client
from support.mesh import Mesh, until

EXAMPLE = Path(__file__).parents[2] / "examples" / "traffic"
DATABASES = {"db-v1": "v1", "db-v2": "v2"}


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mesh]:
    """The example as `weft up` starts it, and the two databases as database.yaml says."""
    root = tmp_path_factory.mktemp("traffic")
    mesh = Mesh(root / "home", root / "logs")
    try:
        up = mesh.spawn("up", "up", "-f", str(EXAMPLE / "weft.yaml"))
        until("the control plane answers", lambda: mesh.died(up) or mesh.api("health"))
        for name, version in DATABASES.items():
            command = ["sh", str(EXAMPLE / "postgres.sh"), name]
            mesh.run(name, command, app="db", version=version, port="5432:auto", health="tcp", wait=False)
        until("the mesh is up", lambda: mesh.died(up) or "the mesh is up" in up.output())
        mesh.wait_healthy(*DATABASES)
        yield mesh
    finally:
        mesh.stop()


def document(name: str) -> str:
    """One of the example."""
    return (EXAMPLE / f"{name}.yaml").read_text()


def answers(mesh: Mesh, times: int = 1, headers: dict[str, str] | None = None) -> Counter[str]:
    """Which version the page at the gateway was made with."""
    [[_, where]] = mesh.workload("edge")["gateway"]["ports"]
    client = Client()
    pages = [client(f"http://{where['host']}:{where['port']}/", headers=headers) for _ in range(times)]
    client.close()
    return Counter(page.body.decode().removeprefix("welcome to ").strip() for page in pages)


def seen(mesh: Mesh, name: str) -> int:
    """How many requests an instance has had; asked at its own port, past the mesh."""
    where = mesh.workload(name)["ports"][0]["application"]
    client = Client()
    answer = client(f"http://{where['host']}:{where['port']}/seen")
    client.close()
    return int(answer.body)


def test_without_a_document_both_versions_answer(shop: Mesh) -> None:
    until("both answer", lambda: set(answers(shop, 20)) == {"shop v1", "shop v2"})


def test_a_canary_by_weight(shop: Mesh) -> None:
    with shop.applied(document("canary")):
        found = answers(shop, 200)
        assert set(found) == {"shop v1", "shop v2"}
        assert found["shop v1"] > 130, found


@pytest.mark.parametrize(
    ("name", "chosen", "others"),
    [
        ("by-header", ({"x-beta": "yes"},), ({}, {"x-beta": "no"})),
        (
            "by-cookie",
            ({"cookie": "group=b"}, {"cookie": "a=1; group=b; c=2"}),
            ({}, {"cookie": "group=bb"}, {"cookie": "mygroup=b"}),
        ),
    ],
)
def test_who_says_so_gets_the_other_version(
    shop: Mesh, name: str, chosen: tuple[dict[str, str], ...], others: tuple[dict[str, str], ...]
) -> None:
    with shop.applied(document(name)):
        for headers in chosen:
            assert answers(shop, 12, headers) == {"shop v2": 12}
        for headers in others:
            assert answers(shop, 12, headers) == {"shop v1": 12}


def test_a_mirror_gets_copies_and_does_not_answer(shop: Mesh) -> None:
    with shop.applied(document("mirror")):
        before = seen(shop, "shop-v2")
        assert answers(shop, 20) == {"shop v1": 20}
        until("all copies have come", lambda: seen(shop, "shop-v2") == before + 20)


def test_a_trafficsplit(shop: Mesh) -> None:
    with shop.applied(document("trafficsplit")):
        found = answers(shop, 200)
        assert set(found) == {"shop v1", "shop v2"}
        assert found["shop v2"] > 130, found


def connections(mesh: Mesh, times: int) -> Counter[str]:
    """Which PostgreSQL answers, each time over a connection of its own, in one run of psql."""
    [upstream] = [each["listen"] for each in mesh.workload("web")["upstreams"]]
    command = ["psql", "-h", upstream["host"], "-p", str(upstream["port"]), "-U", "postgres", "-qAtX"]
    command += ["-v", "ON_ERROR_STOP=1"]
    script = "\\connect\nshow cluster_name;\n" * times
    done = subprocess.run(command, input=script, capture_output=True, text=True, timeout=60, check=False)
    if done.returncode:
        raise ConnectionError(done.stderr)
    return Counter(done.stdout.split())


def test_connections_to_postgresql_by_weight(shop: Mesh) -> None:
    until("both databases answer", lambda: set(connections(shop, 20)) == set(DATABASES))
    with shop.applied(document("database")):
        found = connections(shop, 100)
        assert found.total() == 100
        assert set(found) == set(DATABASES)
        assert found["db-v1"] > 60, found
        turned = document("database").replace("weight: 80", "weight: 0").replace("weight: 20", "weight: 100")
        shop.apply(turned)
        until("all go to the other", lambda: connections(shop, 20) == {"db-v2": 20})
