"""Two real control planes that share their state in a real API server: what one is told, the other knows."""

from __future__ import annotations

import concurrent.futures
import contextlib
import json
import signal
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from tools.kubernetes_cluster import ApiCluster

from support.kubernetes import service
from support.mesh import Mesh, Proc, until
from weft.sources.kubernetes.discovery import FOLLOWED

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


def serve(cluster: ApiCluster, mesh: Mesh, *options: str, namespace: str = NAMESPACE) -> Proc:
    return mesh.serve(*where(cluster.kubeconfig("admin"), namespace), *(options or ("--write-status",)))


def where(kubeconfig: Path, namespace: str) -> tuple[str, ...]:
    """Options of a control plane whose state is in a namespace."""
    access = ("--kubeconfig", str(kubeconfig), "--context", "test")
    return (*access, "--state=kubernetes", f"--kubernetes-namespace={namespace}")


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


class Leading:
    """Two control planes of a namespace of their own, with these options each; what they say of who leads."""

    def __init__(self, cluster: ApiCluster, namespace: str, directory: Path, *options: tuple[str, ...]) -> None:
        self._cluster = cluster
        self._namespace = namespace
        self._options = options
        self.meshes = [Mesh(directory / name / "home", directory / name) for name in ("first", "second")]

    def __enter__(self) -> Leading:
        self._cluster.kubectl("create", "namespace", self._namespace)
        with concurrent.futures.ThreadPoolExecutor() as pool:
            list(pool.map(self._serve, self.meshes, self._options))
        return self

    def _serve(self, mesh: Mesh, options: tuple[str, ...]) -> Proc:
        return serve(self._cluster, mesh, *options, namespace=self._namespace)

    def __exit__(self, *_: object) -> None:
        for each in self.meshes:
            each.stop()

    def holders(self) -> dict[str, str]:
        """Whom the Leases name."""
        found = json.loads(self._cluster.kubectl("get", "leases", "-n", self._namespace, "-o", "json"))["items"]
        return {each["metadata"]["name"]: each["spec"].get("holderIdentity", "") for each in found}

    def leaders(self) -> list[Mesh]:
        """Who runs, and says last that it leads for the state."""
        said = [(each, [line for line in log(each).splitlines() if LEADS in line]) for each in self.running()]
        return [each for each, lines in said if lines and "no more" not in lines[-1]]

    def running(self) -> list[Mesh]:
        """Those that have not ended."""
        return [each for each in self.meshes if each.processes["control-plane"].process.poll() is None]

    def leader(self) -> tuple[Mesh, Mesh]:
        """The one that leads for the state, when one does, and the other."""
        (found,) = until("one leads for the state", self.leaders)
        (other,) = (each for each in self.meshes if each is not found)
        return found, other

    def change(self, name: str) -> None:
        """A Service is made, and every control plane that is there has it in force."""
        self._cluster.kubectl("apply", "-f", "-", given=service(name, self._namespace))
        until(f"all know {name}", lambda: all(name in json.dumps(each.api("services")) for each in self.running()))

    def written(self, mesh: Mesh, name: str) -> int:
        """How often the history has it that a Service was made."""
        objects = [each for one in mesh.api("history?limit=200")["revisions"] for each in one["objects"]]
        return sum((each["name"], each["namespace"]) == (name, self._namespace) for each in objects)


LEADS = "that leads for the shared state"
SERVES = "ready: admin API"


def test_of_two_revisions_one_leads_for_the_state_that_they_share(cluster: ApiCluster, tmp_path: Path) -> None:
    """Each writes its own Gateways all the same. A leader that stops is followed at once."""
    options = (("--write-status",), ("--write-status", "--revision=canary"))
    with Leading(cluster, "two-revisions", tmp_path, *options) as both:
        leader, other = both.leader()
        assert log(leader).index(SERVES) < log(leader).index(LEADS)
        for name in ("alpha", "beta"):
            both.change(name)
        until("it is written", lambda: both.written(other, "beta"))
        assert [both.written(other, name) for name in ("alpha", "beta")] == [1, 1]
        assert both.leaders() == [leader]
        held = until("each leads for its revision", lambda: _all_held(both.holders()))
        assert len({held["weft-leader"], held["weft-leader-canary"]}) == 2

        leads = both.holders()["weft-state"]
        leader.processes["control-plane"].stop()
        assert leads not in both.holders().values(), "it has given back what it had"
        until("the other leads", lambda: both.leaders() == [other], 30)
        both.change("gamma")
        until("it is written", lambda: both.written(other, "gamma"))
        assert [both.written(other, name) for name in ("alpha", "beta", "gamma")] == [1, 1, 1]


def _all_held(holders: dict[str, str]) -> dict[str, str]:
    assert set(holders) == {"weft-leader", "weft-leader-canary", "weft-state"}
    return holders if all(holders.values()) else {}


def test_without_writes_one_leads_and_is_followed_within_its_lease(cluster: ApiCluster, tmp_path: Path) -> None:
    with Leading(cluster, "no-writes", tmp_path, *(2 * [("--no-write-status",)])) as both:
        leader, other = both.leader()
        for name in ("alpha", "beta"):
            both.change(name)
        until("it is written", lambda: both.written(other, "beta"))
        assert [both.written(other, name) for name in ("alpha", "beta")] == [1, 1]
        assert set(both.holders()) == {"weft-state"}

        victim = leader.processes["control-plane"]
        victim.process.send_signal(signal.SIGKILL)
        victim.process.wait()
        both.change("gamma")  # nobody writes it down as yet
        until("the other leads", both.leaders, 15 + 15)
        until("and goes on with what is missing", lambda: both.written(other, "gamma"))
        assert [both.written(other, name) for name in ("alpha", "beta", "gamma")] == [1, 1, 1]


def test_one_that_cannot_work_yet_does_not_lead(cluster: ApiCluster, tmp_path: Path) -> None:
    """As in a rollout that is stuck: who waits for documents writes nothing, so it may not keep others from it."""
    name, mesh = "cannot-work", Mesh(tmp_path / "home", tmp_path)
    cluster.kubectl("create", "namespace", name)
    account = cluster.account(name, RULES)
    proc = mesh.spawn("control-plane", "serve", *where(account, name), "--no-write-status")
    try:
        until("it has opened what is shared, and waits", lambda: mesh.died(proc) or WAITS in proc.output())
        assert "weft-state" in cluster.kubectl("get", "secrets", "-n", name, "-o", "name")
        assert "weft-state" not in cluster.kubectl("get", "leases", "-n", name, "-o", "name")
    finally:
        mesh.stop()


WAITS = "the mesh waits: "
RULES: list[dict[str, Any]] = [
    {
        "apiGroups": sorted({kind.group for kind in FOLLOWED} - {"", "security.istio.io"}),
        "resources": ["*"],
        "verbs": ["get", "list", "watch"],
    },
    {"apiGroups": ["", "coordination.k8s.io"], "resources": ["*"], "verbs": ["*"]},
]
"""All that a control plane needs that writes no statuses, but for who may call whom: without that it serves nobody."""
