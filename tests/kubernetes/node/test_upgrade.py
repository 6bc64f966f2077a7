"""From a former release to this one and back on a real node, by `weft upgrade` and by Helm: not one request fails."""

from __future__ import annotations

import contextlib
import json
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tools.kubernetes import gateway_api
from tools.kubernetes_mesh import helm
from tools.kubernetes_node import NodeCluster

from support.former import VERSION, former_cli, former_images
from support.kubernetes import service
from support.mesh import until
from support.pod_apps import LOAD, account, as_list, deployment, namespace_of
from weft.testing.processes import cli

pytestmark = pytest.mark.timeout(900)  # images of two releases, and six rollouts
SHOP = "shop"
NAMESPACE = "weft-system"
IMAGES = ("--image=weft.test/weft:1", "--pull-policy=Never")
FORMER = (f"--image=weft.test/weft:{VERSION}", "--pull-policy=Never")


@pytest.fixture(scope="module")
def node(images: list[Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[NodeCluster]:
    """A cluster without weft."""
    cluster = NodeCluster(tmp_path_factory.mktemp("upgraded") / "node")
    cluster.start()
    try:
        cluster.kubectl("apply", "--server-side", "-f", str(gateway_api()))
        for archive in (*images, *former_images(tmp_path_factory.mktemp("former"))):
            cluster.import_image(archive)
        yield cluster
    finally:
        cluster.stop()


class Weft:
    """The command line of this release and of the former one, and the shop whose requests are counted."""

    def __init__(self, node: NodeCluster, home: Path) -> None:
        self.node = node
        self.home = home
        self.access = f"--kubeconfig={node.kubeconfig('admin')}"

    def run(self, command: str, *words: str, codes: tuple[int, ...] = (0,)) -> str:
        done = cli(self.home, command, self.access, *words, check=False, timeout=400)
        assert done.returncode in codes, (done.stdout, done.stderr)
        return done.stdout

    def former(self, command: str, *words: str) -> str:
        return former_cli(command, self.access, *words)

    def check(self) -> list[dict[str, Any]]:
        """What `weft check` finds."""
        found: list[dict[str, Any]] = json.loads(self.run("check", "-o", "json", codes=(0, 1, 2)))["findings"]
        return found

    def open_shop(self) -> None:
        """Pods of the mesh, made anew where they were there."""
        namespace = namespace_of(SHOP, **{"istio-injection": "enabled"})
        apps = (deployment("front", SHOP), deployment("reviews", SHOP, replicas=2))
        accounts = (account("front", SHOP), account("reviews", SHOP))
        given = as_list(namespace, *accounts, service("reviews", SHOP), *apps)
        self.node.kubectl("apply", "-f", "-", given=given)
        self.restart("front", "reviews")

    def restart(self, *names: str) -> None:
        for name in names:
            self.node.kubectl("rollout", "restart", "-n", SHOP, f"deployment/{name}")
            self.node.kubectl("rollout", "status", "-n", SHOP, f"deployment/{name}", "--timeout=240s")

    def renew(self, tag: str) -> None:
        """Make the pods of reviews anew once they get the sidecar `tag`: while a control plane ends, the API server may
        still ask it. `weft check` tells of those that have another."""
        image = f"weft.test/weft-proxy:{tag}"
        now = f"have another sidecar than pods get now ({image})"
        until("old sidecars are told of", lambda: any(now in each["message"] for each in self.check()), 120)
        self.restart("reviews")
        until("they have the new one", lambda: self.sidecars("reviews") == {image}, 120)

    def sidecars(self, name: str) -> set[str]:
        """The images of the sidecars of a Deployment's pods."""
        pods = json.loads(self.node.kubectl("get", "pods", "-n", SHOP, "-l", f"app={name}", "-o", "json"))["items"]
        return {each["image"] for pod in pods for each in pod["spec"]["initContainers"] if each["name"] == "weft-proxy"}

    @contextlib.contextmanager
    def under_load(self) -> Iterator[None]:
        """Requests from front to reviews, of which none may fail."""
        stop = f"/tmp/stop-{uuid.uuid4().hex}"
        execute = ("exec", "-n", SHOP, "deploy/front", "-c", "app", "--")
        load = self.node.start_kubectl(*execute, "python3", "-c", LOAD, "reviews", "100", stop)
        try:
            yield
        finally:
            self.node.kubectl(*execute, "touch", stop)
            said, _ = load.communicate(timeout=60)
        counted = json.loads(said)
        assert set(counted["counts"]) == {"200"}, counted
        assert counted["counts"]["200"] > 100


@pytest.fixture
def weft(node: NodeCluster, tmp_path: Path) -> Weft:
    return Weft(node, tmp_path)


def test_by_weft_upgrade_to_this_release_and_back(weft: Weft) -> None:
    weft.former("install", *FORMER)
    try:
        weft.open_shop()
        former = {f"weft.test/weft-proxy:{VERSION}"}
        until("the former sidecar is in", lambda: weft.sidecars("reviews") == former)
        apart = [each["message"] for each in weft.check()]
        assert any(f"the control plane is weft {VERSION}, and this command" in each for each in apart), apart
        with weft.under_load():
            said = weft.run("upgrade", *IMAGES)
            assert "changed: Deployment weft-system/weft" in said
            weft.renew("1")
            # Back: the control plane is older than the sidecars of reviews.
            weft.former("upgrade", *FORMER)
            weft.renew(VERSION)
            # Without a control plane what runs goes on.
            told_last = weft.run("uninstall")
            assert "3 pods have a sidecar" in told_last
        weft.run("install", *IMAGES)
        assert not [each for each in weft.check() if each["severity"] == "error"]
        assert weft.run("install", *IMAGES).splitlines()[0] == "nothing changed"
    finally:
        weft.run("uninstall")


def test_by_helm_upgrade_and_rollback(weft: Weft) -> None:
    former = {"image.tag": VERSION}
    helm(weft.node, "install", "weft", "charts/weft", "--create-namespace", "--wait", values=former)
    try:
        weft.open_shop()
        with weft.under_load():
            helm(weft.node, "upgrade", "weft", "charts/weft", "--wait", values={})
            weft.restart("reviews")
            helm(weft.node, "rollback", "weft", "--wait")
            image = ("-o", "jsonpath={.spec.template.spec.containers[0].image}")
            there = weft.node.kubectl("get", "deployment", "weft", "-n", NAMESPACE, *image)
            assert there.endswith(f":{VERSION}")
            weft.restart("reviews")
    finally:
        helm(weft.node, "uninstall", "weft", "--wait")
