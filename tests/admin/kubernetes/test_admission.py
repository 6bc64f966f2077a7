"""What a cluster's API server is told about objects before they are written, by values."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from support.meshdocs import documents
from weft.admin.kubernetes.admission import ALLOWED, Admission
from weft.admin.validation import problems_in
from weft.model.problem import Problem
from weft.model.snapshot import ConfigSnapshot

GATEWAY = "gateway.networking.k8s.io/v1"
WORLD = """
{apiVersion: v1, kind: Service, metadata: {name: web, namespace: shop}, spec: {ports: [{name: http, port: 80}]}}
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: edge, namespace: shop}
spec: {gatewayClassName: weft, listeners: [{name: http, port: 80, protocol: HTTP}]}
"""


def world(*problems: Problem) -> Admission:
    snapshot = ConfigSnapshot(1, tuple(sorted(documents(WORLD), key=lambda each: each.key)))
    return Admission(lambda: snapshot, lambda: problems)


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


async def test_what_another_document_mends_is_a_warning() -> None:
    judged = await world().judge("CREATE", route(backend="later"))
    assert judged.allowed
    assert [text for text in judged.warnings if "there is no Service 'later'" in text]


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
