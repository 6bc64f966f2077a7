"""Argo Rollouts' own controller shifts requests to a new version by weight, and back where it is told to abort."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest
from tools.kubernetes_node import NodeCluster

from support.delivery import SPACE, answering, template, weights
from support.kubernetes import service
from support.mesh import until
from support.pod_apps import as_list

pytestmark = pytest.mark.timeout(1200)  # pods of a busy machine take long to come and go
Load = Callable[[str], AbstractContextManager[dict[str, int]]]


def rollout(version: str) -> dict[str, Any]:
    """As the tutorial for Istio has it: two Services, one VirtualService, and steps that wait for a person."""
    steps: list[dict[str, Any]] = [{"setWeight": 20}, {"pause": {}}, {"setWeight": 60}, {"pause": {}}]
    routing = {"istio": {"virtualService": {"name": "shop", "routes": ["primary"]}}}
    canary = {"canaryService": "shop-canary", "stableService": "shop-stable", "trafficRouting": routing, "steps": steps}
    return {
        "apiVersion": "argoproj.io/v1alpha1",
        "kind": "Rollout",
        "metadata": {"name": "shop", "namespace": SPACE},
        "spec": {
            "replicas": 1,
            "selector": {"matchLabels": {"app": "shop"}},
            "template": template("shop", version),
            "strategy": {"canary": canary},
        },
    }


def routed() -> list[dict[str, Any]]:
    """What people write beside it."""
    to = [
        {"destination": {"host": f"shop-{each}"}, "weight": share} for each, share in (("stable", 100), ("canary", 0))
    ]
    return [
        *(service(name, SPACE, "shop") for name in ("shop", "shop-stable", "shop-canary")),
        {
            "apiVersion": "networking.istio.io/v1",
            "kind": "VirtualService",
            "metadata": {"name": "shop", "namespace": SPACE},
            "spec": {"hosts": ["shop"], "http": [{"name": "primary", "route": to}]},
        },
    ]


def apply(node: NodeCluster, *objects: dict[str, Any]) -> None:
    node.kubectl("apply", "-f", "-", given=as_list(*objects))


def said(node: NodeCluster) -> dict[str, Any]:
    found = json.loads(node.kubectl("get", "rollout", "shop", "-n", SPACE, "-o", "json"))
    return dict(found.get("status", {}))


def tell(node: NodeCluster, **status: Any) -> None:
    """What ``kubectl argo rollouts promote`` and ``abort`` write."""
    patch = json.dumps({"status": status})
    node.kubectl("patch", "rollout", "shop", "-n", SPACE, "--subresource=status", "--type=merge", "-p", patch)


def canary(node: NodeCluster) -> int:
    return weights(node, "shop")["shop-canary"]


def share_is(node: NodeCluster, version: str, least: int, most: int) -> bool:
    """Whether a version answers a share of 200 calls (per cent), once the controller has written it."""
    found = answering(node, "shop", 200)
    return 2 * least <= found[version] <= 2 * most


@pytest.fixture(scope="module")
def shop(space: NodeCluster, rollouts: Path) -> NodeCluster:
    apply(space, *routed(), rollout("v1"))
    try:
        until("v1 is there", lambda: said(space).get("phase") == "Healthy", 180)
    except AssertionError as error:
        raise AssertionError(f"{error}\n{rollouts.read_text()[-2000:]}") from error
    return space


def test_a_canary_gets_its_shares_is_promoted_and_another_aborted(shop: NodeCluster, load: Load) -> None:
    until("v1 answers", lambda: set(answering(shop, "shop")) == {"v1"})
    with load("shop") as counts:
        apply(shop, rollout("v2"))
        until("a fifth is written", lambda: canary(shop) == 20, 180)
        until("a fifth goes to v2", lambda: share_is(shop, "v2", 8, 35))
        tell(shop, pauseConditions=None)
        until("three fifths are written", lambda: canary(shop) == 60, 120)
        until("three fifths go to v2", lambda: share_is(shop, "v2", 45, 75))
        tell(shop, pauseConditions=None)
        until("v2 is the stable one", lambda: said(shop).get("phase") == "Healthy" and canary(shop) == 0, 180)
        until("v2 has all", lambda: set(answering(shop, "shop")) == {"v2"})
        apply(shop, rollout("v3"))
        until("a fifth goes to v3", lambda: canary(shop) == 20 and share_is(shop, "v3", 8, 35), 180)
        tell(shop, abort=True)
        until("the canary has nothing", lambda: canary(shop) == 0, 120)
        until("v2 has all again", lambda: set(answering(shop, "shop")) == {"v2"})
    assert set(counts) == {"200"}, counts
    assert counts["200"] > 500
