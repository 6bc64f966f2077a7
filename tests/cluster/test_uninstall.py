"""What stays when an installation is taken out: the GatewayClass that another control plane serves, or may serve."""

from __future__ import annotations

import json
from typing import Any

import pytest

from weft.cluster.manifests import Settings
from weft.cluster.record import Record
from weft.cluster.uninstall import uninstall
from weft.sources.kubernetes.client import Answer, ApiError

CLASSES = "/apis/gateway.networking.k8s.io/v1/gatewayclasses"
DEPLOYMENTS = "/apis/apps/v1/deployments"
RECORD = Record(Settings("weft-system"), "1.0.0", frozenset(("GatewayClass.gateway.networking.k8s.io",)), frozenset())
KEPT = "kept: GatewayClass weft, which another control plane"
NEXT = {"metadata": {"name": "weft-next", "namespace": "weft-system"}}
AGENT = {"apiVersion": "apps/v1", "kind": "DaemonSet", "metadata": {"name": "weft-cni", "namespace": "kube-system"}}


class Cluster:
    """An API server with a GatewayClass and these Deployments (None: whoever asks may not list them)."""

    def __init__(self, deployments: list[Any] | None) -> None:
        self.deployments = deployments
        self.deleted: list[str] = []

    async def get(self, path: str, *_: object) -> Answer:
        """A list."""
        if path.startswith(DEPLOYMENTS):
            assert "app.kubernetes.io%2Fname" not in path, "revisions have names of their own"
            if self.deployments is None:
                raise ApiError("forbidden", 403)
            return Answer(json.dumps({"items": self.deployments}).encode())
        if not path.startswith(f"{CLASSES}?"):
            raise ApiError("not found", 404)  # nothing is left over
        return Answer(json.dumps({"items": [{"metadata": {"name": "weft"}}]}).encode())

    async def send(self, method: str, path: str, *_: object) -> bytes:
        """A deletion."""
        assert method == "DELETE"
        self.deleted.append(path)
        return b"{}"


@pytest.mark.parametrize(
    ("deployments", "said"),
    [
        ([], "removed: GatewayClass weft"),
        ([NEXT], f"{KEPT} serves"),
        (None, f"{KEPT} may serve: you may not list deployments of all namespaces"),
    ],
)
async def test_a_class_goes_only_if_nobody_else_serves_it(deployments: list[Any] | None, said: str) -> None:
    cluster: Any = Cluster(deployments)
    changes = [f"{each.what}: {each.title}" async for each in uninstall(cluster, RECORD)]
    assert changes == [said, "removed: ConfigMap weft-system/weft-install"]
    assert (f"{CLASSES}/weft" in cluster.deleted) is said.startswith("removed")
