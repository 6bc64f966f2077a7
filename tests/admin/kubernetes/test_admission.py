"""What a cluster's API server is told about objects before they are written, by values."""

from __future__ import annotations

import asyncio
import copy
import threading
from pathlib import Path
from typing import Any

import pytest
import yaml

from support.meshdocs import documents
from weft.admin.kubernetes.admission import ALLOWED, Admission
from weft.admin.validation import problems_in
from weft.model.problem import Problem
from weft.model.snapshot import ConfigSnapshot

EVERYTHING = Path(__file__).parents[2] / "support" / "everything.yaml"
GATEWAY = "gateway.networking.k8s.io/v1"
WORLD = """
{apiVersion: v1, kind: Service, metadata: {name: web, namespace: shop}, spec: {ports: [{name: http, port: 80}]}}
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: edge, namespace: shop}
spec: {gatewayClassName: weft, listeners: [{name: http, port: 80, protocol: HTTP}]}
"""


def world(further: str = "") -> Admission:
    snapshot = ConfigSnapshot(1, tuple(sorted(documents(WORLD + further), key=lambda each: each.key)))
    return Admission(lambda: snapshot)


def route(*parents: dict[str, Any], backend: str = "web", **spec: Any) -> dict[str, Any]:
    about = {"name": "web", "namespace": "shop", "uid": "1", "resourceVersion": "7", "managedFields": [{}]}
    rules = [{"backendRefs": [{"name": backend, "port": 80}]}]
    named = list(parents) or [{"group": "", "kind": "Service", "name": "web"}]
    return {
        "apiVersion": GATEWAY,
        "kind": "HTTPRoute",
        "metadata": about,
        "spec": {"parentRefs": named, "rules": rules, **spec},
    }


def policy(**spec: Any) -> dict[str, Any]:
    about = {"name": "p", "namespace": "shop"}
    return {"apiVersion": "security.istio.io/v1", "kind": "AuthorizationPolicy", "metadata": about, "spec": spec}


async def test_what_is_good_may_be() -> None:
    assert await world().judge("CREATE", route()) == ALLOWED
    assert await world().judge("CREATE", {"apiVersion": "apps/v1", "kind": "Deployment"}) == ALLOWED
    assert await world().judge("CREATE", "no object at all") == ALLOWED


async def test_what_is_wrong_with_itself_may_not_be() -> None:
    judged = await world().judge("CREATE", route(rulez=[]))
    assert not judged.allowed
    assert judged.message.startswith("HTTPRoute shop/web: spec.rulez: unknown field")
    assert judged.message.endswith("did you mean 'rules'?")
    judged = await world().judge("CREATE", policy(action="REFUSE"))
    assert not judged.allowed
    assert "spec.action: " in judged.message


@pytest.mark.parametrize("backend", ["web", "later"])
async def test_nothing_is_told_of_other_documents(backend: str) -> None:
    """Whoever reaches the port may ask, in the name of any namespace."""
    assert await world().judge("CREATE", route(backend=backend)) == ALLOWED
    gateway = {"name": "edge", "namespace": "shop"}
    assert await world().judge("CREATE", route(gateway, backend=backend)) == ALLOWED
    for host in (backend, f"{backend}.shop.svc.cluster.local"):
        rules = [{"route": [{"destination": {"host": host, "subset": "none"}}]}]
        spec = {"hosts": [host], "gateways": ["mesh", "shop/edge"], "http": rules}
        about = {"name": "web", "namespace": "shop"}
        virtual = {"apiVersion": "networking.istio.io/v1", "kind": "VirtualService", "metadata": about, "spec": spec}
        assert await world().judge("CREATE", virtual) == ALLOWED


async def test_the_mistakes_of_a_document_in_force_are_told_to_nobody() -> None:
    """What was wrong before is known by what is sent: whoever sends only what is to be learns nothing."""
    bad = policy(action="REFUSE")
    assert not (await world().judge("UPDATE", bad, None)).allowed
    changed = policy(action="REFUSE", selector={"matchLabels": {"app": "web"}})
    assert (await world().judge("UPDATE", changed, bad)).allowed


async def test_what_is_good_in_a_mesh_is_good_by_itself() -> None:
    for text in EVERYTHING.read_text().split("\n---\n"):
        judged = await world().judge("CREATE", yaml.safe_load(text))
        assert judged.allowed, judged.message


async def test_others_have_their_turn_while_an_object_is_judged(monkeypatch: pytest.MonkeyPatch) -> None:
    lasting = threading.Event()

    def lasts(*_: object) -> tuple[Problem, ...]:
        lasting.wait(60)
        return ()

    monkeypatch.setattr("weft.admin.kubernetes.admission.problems_in", lasts)
    judging = asyncio.create_task(world().judge("CREATE", policy()))
    try:
        for _ in range(10):
            await asyncio.sleep(0)
        assert not judging.done()
    finally:
        lasting.set()
    assert await judging == ALLOWED


async def test_what_is_not_for_weft_is_none_of_its_business() -> None:
    theirs = {"name": "theirs"}
    for each in (route(theirs, rulez=[]), route({"name": "edge"}, theirs, rulez=[])):
        assert await world().judge("CREATE", each) == ALLOWED
    assert not (await world().judge("CREATE", route({"name": "edge"}, rulez=[]))).allowed
    of_others = {"apiVersion": GATEWAY, "kind": "Gateway", "metadata": {"name": "g", "namespace": "shop"}}
    wrong = {"listeners": [{"name": "http", "port": 80, "protocol": "HTTP", "colour": "red"}]}
    assert await world().judge("CREATE", {**of_others, "spec": {"gatewayClassName": "others", **wrong}}) == ALLOWED
    assert not (await world().judge("CREATE", {**of_others, "spec": {"gatewayClassName": "weft", **wrong}})).allowed
    service = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "web"}, "spec": {"port": "no"}}
    assert await world().judge("CREATE", service) == ALLOWED


def sized(kind: str = "ConfigMap", **reference: str) -> dict[str, Any]:
    infrastructure = {"parametersRef": {"group": "", "kind": kind, "name": "sizes", **reference}}
    listeners = [{"name": "http", "port": 80, "protocol": "HTTP"}]
    spec = {"gatewayClassName": "weft", "infrastructure": infrastructure, "listeners": listeners}
    return {"apiVersion": GATEWAY, "kind": "Gateway", "metadata": {"name": "edge", "namespace": "shop"}, "spec": spec}


async def test_parameters_have_an_effect_in_a_cluster_and_are_of_a_config_map() -> None:
    assert await world().judge("CREATE", sized()) == ALLOWED, "no warning either"
    judged = await world().judge("CREATE", sized(kind="Secret"))
    assert judged.allowed, "the Gateway API has a reason for the status of it"
    assert "parameters are not read from Secret" in judged.warnings[0]
    spec = {"controllerName": "weft.dev/gateway-controller", "parametersRef": {"group": "", "kind": "ConfigMap"}}
    spec["parametersRef"] |= {"name": "usual"}  # type: ignore[operator]
    declared = {"apiVersion": GATEWAY, "kind": "GatewayClass", "metadata": {"name": "weft"}, "spec": spec}
    judged = await world().judge("CREATE", declared)
    assert judged.allowed
    assert "ConfigMap 'usual' is in a namespace, which is not said" in judged.warnings[0]
    spec["parametersRef"] |= {"namespace": "system"}  # type: ignore[operator]
    assert await world().judge("CREATE", declared) == ALLOWED


async def test_nobody_is_warned_of_parameters_that_are_for_another_controller() -> None:
    theirs = """---
apiVersion: gateway.networking.k8s.io/v1
kind: GatewayClass
metadata: {name: theirs}
spec: {controllerName: example.com/controller}
"""
    asked = sized(kind="TheirProxy", group="example.com")
    asked["spec"]["gatewayClassName"] = "theirs"
    assert await world(theirs).judge("CREATE", asked) == ALLOWED
    assert (await world().judge("CREATE", asked)).warnings, "nobody says whose it is"


async def test_what_was_wrong_before_may_stay_so() -> None:
    bad = policy(action="REFUSE")
    about = copy.deepcopy(bad)
    about["metadata"] |= {"finalizers": [], "generation": 2}
    assert await world().judge("UPDATE", about, bad) == ALLOWED, "nothing that counts is another"
    bad["metadata"]["deletionTimestamp"] = "2026-11-28T00:00:00Z"
    assert await world().judge("UPDATE", bad, policy()) == ALLOWED, "it is about to go"
    assert await world().judge("DELETE", None, bad) == ALLOWED
    assert not (await world().judge("UPDATE", policy(action="REFUSE"), policy())).allowed


async def test_whatever_happens_it_may_be(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: object) -> tuple[Problem, ...]:
        raise RuntimeError

    monkeypatch.setattr("weft.admin.kubernetes.admission.problems_in", fails)
    assert await world().judge("CREATE", route()) == ALLOWED
    for strange in ({}, {"kind": 3, "apiVersion": []}, {**route(), "metadata": 7}, {**route(), "spec": [1]}):
        await world().judge("UPDATE", strange, strange)
        await world().judge("CREATE", strange, None)
    assert problems_in is not fails
