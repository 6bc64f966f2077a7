"""Two real control planes that share their state in a real API server: what one is told, the other knows."""

from __future__ import annotations

import concurrent.futures
import contextlib
import json
import signal
from collections.abc import Iterator
from functools import partial
from typing import Any

import pytest
from tools.kubernetes_cluster import ApiCluster

from support.mesh import Mesh, Proc, until

NAMESPACE = "weft-shared"


@pytest.fixture(scope="module")
def two(cluster: ApiCluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Mesh, Mesh]]:
    """Both started at the same moment, so that either may be the one that makes what is made once."""
    cluster.kubectl("create", "namespace", NAMESPACE)
    places = [tmp_path_factory.mktemp(name) for name in ("first", "second")]
    meshes = [Mesh(place / "home", place / "logs") for place in places]
    try:
        with concurrent.futures.ThreadPoolExecutor() as pool:
            list(pool.map(partial(serve, cluster), meshes))
        yield meshes[0], meshes[1]
    finally:
        for each in meshes:
            each.stop()


def serve(cluster: ApiCluster, mesh: Mesh) -> Proc:
    where = ("--kubeconfig", str(cluster.kubeconfig("admin")), "--context", "test", "--write-status")
    return mesh.serve(*where, "--state=kubernetes", f"--kubernetes-namespace={NAMESPACE}")


def post(mesh: Mesh, path: str, **body: Any) -> Any:
    return mesh.api(path, "POST", json.dumps(body).encode())


def secret_files(mesh: Mesh) -> dict[str, bytes]:
    """Files that both have to have."""
    root = mesh.home / "control-plane"
    paths = [root / "admin.token", root / "prometheus.token", root / "store.key", *(root / "ca").iterdir()]
    return {path.name: path.read_bytes() for path in paths}


def same_files(two: tuple[Mesh, Mesh]) -> bool:
    first, second = (secret_files(each) for each in two)
    assert first == second
    return {"root.pem", "intermediate.pem", "token-keys.json"} <= first.keys() or "rotation.json" in first


def ids(mesh: Mesh) -> set[str]:
    return {each["id"] for each in mesh.items("tokens") if not each["revoked"]}


def test_both_have_one_authority_and_one_store(two: tuple[Mesh, Mesh]) -> None:
    first, second = two
    assert same_files(two)
    assert first.api("ca")["fingerprint"] == second.api("ca")["fingerprint"]
    assert not (first.home / "control-plane" / "weft.db").exists()
    made = post(first, "tokens", namespace="shop", service_account="cart")
    until("the second knows the token", lambda: made["id"] in ids(second))
    second.api(f"tokens/{made['id']}", "DELETE")
    until("the first refuses it", lambda: made["id"] not in ids(first))


def test_a_workload_of_one_is_known_and_ended_by_the_other(two: tuple[Mesh, Mesh]) -> None:
    first, second = two
    first.echo("shop")
    until("the second knows it", lambda: second.workload("shop"))
    post(second, "identities/revoke", namespace="default", workload="shop")
    until("the first has ended its trust", lambda: "revoked" in json.dumps(first.api("identities")))
    post(first, "identities/restore", namespace="default", workload="shop")
    first.processes["shop"].stop()
    until("it is gone in both", lambda: not [one for each in two for one in each.items("workloads")])


def test_the_root_is_rotated_for_both(two: tuple[Mesh, Mesh]) -> None:
    before = two[0].api("ca")["fingerprint"]
    post(two[1], "ca/rotate")  # whether it leads or not

    def done() -> bool:
        told = [each.api("ca") for each in two]
        assert {one["phase"] for one in told} == {"steady"}
        (fingerprint,) = {one["fingerprint"] for one in told}
        return bool(fingerprint != before)

    until("both have the new root", done)
    assert same_files(two)
    assert "PRIVATE KEY" not in log(two[0]) + log(two[1])


def log(mesh: Mesh) -> str:
    return (mesh.logs / "control-plane.log").read_text()


def test_nothing_that_was_confirmed_is_lost_when_one_is_killed(cluster: ApiCluster, two: tuple[Mesh, Mesh]) -> None:
    first, second = two
    confirmed: list[str] = []

    def write() -> None:
        with contextlib.suppress(OSError, ValueError):
            while True:
                confirmed.append(post(first, "tokens", namespace="shop", service_account="cart")["id"])

    victim = first.processes["control-plane"]
    with concurrent.futures.ThreadPoolExecutor() as pool:
        writers = [pool.submit(write) for _ in range(4)]
        until("some are written", lambda: len(confirmed) > 40)
        victim.process.send_signal(signal.SIGKILL)
        for each in writers:
            each.result()
    victim.process.wait()
    until("the other has every one", lambda: set(confirmed) <= ids(second))
    serve(cluster, first)
    assert set(confirmed) <= ids(first)
    post(first, "tokens", namespace="shop", service_account="cart")
    assert first.api("audit/chain")["findings"] == []
