"""A revision gets the tag `default` and loses it again: webhooks come and go, into which its control plane has written
its roots as another field manager."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tools.kubernetes_cluster import ApiCluster

from support.chart import CHART, USUAL, helm
from weft.testing.processes import cli

NAMESPACE = "weft-system"
CONFIGURATIONS = (
    "mutatingwebhookconfiguration/weft-injector-canary",
    "validatingwebhookconfiguration/weft-validator-canary",
)

INJECTS = {f"{name}.injector.weft.dev" for name in ("revision", "istio-revision", "pod")}
INJECTS_BY_DEFAULT = {f"{name}.injector.weft.dev" for name in ("namespace", "istio-namespace")}


def webhooks(cluster: ApiCluster) -> dict[str, dict[str, Any]]:
    """Those of the revision, by their names."""
    found = [json.loads(cluster.kubectl("get", each, "-o", "json"))["webhooks"] for each in CONFIGURATIONS]
    return {one["name"]: one for each in found for one in each}


def write_roots(cluster: ApiCluster) -> None:
    """As the control plane does it: by a JSON patch, as a field manager of its own."""
    roots = base64.b64encode((cluster.pki / "ca.crt").read_bytes()).decode()
    for each in CONFIGURATIONS:
        count = len(json.loads(cluster.kubectl("get", each, "-o", "json"))["webhooks"])
        patch = [{"op": "add", "path": f"/webhooks/{n}/clientConfig/caBundle", "value": roots} for n in range(count)]
        cluster.kubectl("patch", each, "--type=json", "--field-manager=weft", "-p", json.dumps(patch))


def by_weft(cluster: ApiCluster, home: Path) -> Callable[[str, bool], None]:
    def run(command: str, tagged: bool) -> None:
        words = () if command == "uninstall" else ("--no-wait", "--image=weft.test/weft:1")
        tags = ("--revision-tag=default",) if tagged else ("--no-revision-tags",) if command == "upgrade" else ()
        cli(
            home,
            command,
            f"--kubeconfig={cluster.kubeconfig('admin')}",
            "--revision=canary",
            *words,
            *tags,
            timeout=120,
        )

    return run


def by_helm(cluster: ApiCluster, home: Path) -> Callable[[str, bool], None]:
    def run(command: str, tagged: bool) -> None:
        access = ("-n", NAMESPACE, "--kubeconfig", str(cluster.kubeconfig("admin")))
        chart = () if command == "uninstall" else (str(CHART),)
        more = ("--create-namespace",) if command == "install" else ()
        values = {**USUAL, "revision": "canary", "revisionTags": ["default"] if tagged else []}
        helm(command, "weft-canary", *chart, *more, *access, home=home, values=values)

    return run


@pytest.mark.parametrize("way", [by_weft, by_helm])
def test_a_revision_is_promoted_and_takes_its_place_again(
    cluster: ApiCluster, tmp_path: Path, way: Callable[[ApiCluster, Path], Callable[[str, bool], None]]
) -> None:
    run = way(cluster, tmp_path)
    run("install", False)
    try:
        write_roots(cluster)
        before = webhooks(cluster)
        assert before.keys() == {
            *INJECTS,
            "documents.weft-dev.validator.weft.dev",
            "documents.istio-io.validator.weft.dev",
        }
        run("upgrade", True)
        promoted = webhooks(cluster)
        assert promoted.keys() == {*INJECTS, *INJECTS_BY_DEFAULT, "documents.validator.weft.dev"}
        assert all(promoted[name]["clientConfig"]["caBundle"] for name in INJECTS), "the roots stay"
        write_roots(cluster)
        run("upgrade", False)
        assert webhooks(cluster).keys() == before.keys()
    finally:
        run("uninstall", False)
