"""Flagger's own controller asks a real Prometheus how a new version does by Istio's metrics, and shifts requests."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest
from tools.kubernetes_node import NodeCluster

from support.delivery import SPACE, answering, template, weights
from support.mesh import until
from support.pod_apps import as_list, deployment

pytestmark = pytest.mark.timeout(1200)  # pods of a busy machine take long to come and go
Load = Callable[[str], AbstractContextManager[dict[str, int]]]


def podinfo(version: str) -> dict[str, Any]:
    made = deployment("podinfo", SPACE)
    made["spec"] |= {"template": template("podinfo", version), "selector": {"matchLabels": {"app": "podinfo"}}}
    return made


def canary() -> dict[str, Any]:
    """As the tutorial for Istio has it, but for its pace."""
    metrics = [
        {"name": "request-success-rate", "thresholdRange": {"min": 99}, "interval": "10s"},
        {"name": "request-duration", "thresholdRange": {"max": 5000}, "interval": "10s"},
    ]
    analysis = {"interval": "10s", "threshold": 2, "maxWeight": 60, "stepWeight": 30, "metrics": metrics}
    return {
        "apiVersion": "flagger.app/v1beta1",
        "kind": "Canary",
        "metadata": {"name": "podinfo", "namespace": SPACE},
        "spec": {
            "provider": "istio",
            "progressDeadlineSeconds": 300,
            "targetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "podinfo"},
            "service": {"port": 80, "targetPort": 8080, "portName": "http"},
            "analysis": analysis,
        },
    }


def apply(node: NodeCluster, *objects: dict[str, Any]) -> None:
    node.kubectl("apply", "-f", "-", given=as_list(*objects))


def phase(node: NodeCluster) -> str:
    found = json.loads(node.kubectl("get", "canary", "podinfo", "-n", SPACE, "-o", "json"))
    return str(found.get("status", {}).get("phase", ""))


def share(node: NodeCluster) -> int:
    return weights(node, "podinfo")["podinfo-canary"]


@pytest.fixture(scope="module")
def shop(space: NodeCluster, flagger: Path) -> NodeCluster:
    apply(space, podinfo("v1"), canary())
    try:
        until("it is taken over", lambda: phase(space) == "Initialized", 240)
    except AssertionError as error:
        raise AssertionError(f"{error}\n{flagger.read_text()[-2000:]}") from error
    return space


def test_a_good_version_is_promoted_and_one_that_fails_is_not(shop: NodeCluster, load: Load, flagger: Path) -> None:
    until("v1 answers", lambda: set(answering(shop, "podinfo")) == {"v1"})
    try:
        with load("podinfo") as good:
            apply(shop, podinfo("v2"))
            until("a share is written", lambda: share(shop) > 0, 180)
            until("v2 has a share", lambda: {"v1", "v2"} == set(answering(shop, "podinfo")))
            until("it is promoted", lambda: phase(shop) == "Succeeded" and share(shop) == 0, 240)
            until("v2 has all", lambda: set(answering(shop, "podinfo")) == {"v2"})
        assert set(good) == {"200"}, good
        with load("podinfo") as bad:
            apply(shop, podinfo("bad"))
            until("a share is written", lambda: share(shop) > 0, 180)
            until("it is taken back", lambda: phase(shop) == "Failed" and share(shop) == 0, 240)
            until("v2 has all again", lambda: set(answering(shop, "podinfo")) == {"v2"})
        assert set(bad) == {"200", "500"}, bad
        assert bad["200"] > bad["500"], bad
    except AssertionError as error:
        raise AssertionError(f"{error}\n{flagger.read_text()[-3000:]}") from error
