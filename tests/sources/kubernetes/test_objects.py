"""Objects of an API server as documents."""

from __future__ import annotations

import json
from typing import Any

from weft.model.problem import Severity
from weft.model.unreadable import Unreadable
from weft.schema.registry import find_kind
from weft.sources.kubernetes.documents import Reading, reading_of
from weft.sources.kubernetes.reflection import Told

SERVICE: dict[str, Any] = {
    "clusterIP": "198.19.4.2",
    "clusterIPs": ["198.19.4.2"],
    "internalTrafficPolicy": "Cluster",
    "ipFamilies": ["IPv4"],
    "ipFamilyPolicy": "SingleStack",
    "ports": [{"name": "http", "port": 80, "protocol": "TCP", "targetPort": 8080}],
    "selector": {"app": "web"},
    "sessionAffinity": "None",
    "type": "ClusterIP",
}
POLICY = {"action": "DENY", "rules": [{}]}


def read(kind: str, spec: dict[str, Any], before: Reading | None = None, version: int = 7, **more: Any) -> Reading:
    known = find_kind(kind)
    metadata = {
        "name": "web",
        "namespace": "shop",
        "uid": "1-2-3",
        "resourceVersion": str(version),
        "generation": more.pop("generation", 1),
        "creationTimestamp": "2026-11-27T10:00:00Z",
        "managedFields": [{"manager": "kubectl", "fieldsV1": {"f:spec": {}}}],
    }
    whole = {"apiVersion": known.api_versions[0], "kind": known.name, "metadata": metadata, "spec": spec, **more}
    return reading_of(known)(Told("shop", "web", "1-2-3", str(version), json.dumps(whole)), before)


def test_what_the_server_fills_in_is_no_mistake_and_not_kept() -> None:
    reading = read("service", SERVICE, status={"loadBalancer": {}})
    assert reading.document is not None
    assert not reading.problems
    assert str(reading.document.origin) == "kubernetes:Service/shop/web/1-2-3@7"
    assert reading.document.created > 0
    assert "managedFields" not in reading.document.text
    assert "status" not in reading.document.text


def test_what_a_cluster_does_with_a_service_is_no_warning() -> None:
    spec = {**SERVICE, "type": "LoadBalancer", "externalTrafficPolicy": "Local", "allocateLoadBalancerNodePorts": True}
    spec["ports"] = [{**SERVICE["ports"][0], "nodePort": 30001}]
    assert not read("service", spec).problems
    sctp = [{**SERVICE["ports"][0], "protocol": "SCTP"}]
    told = read("service", {**SERVICE, "ports": sctp})
    assert "no-effect" in {problem.code for problem in told.problems}, "that is about the mesh"


def test_a_status_that_is_written_changes_nothing() -> None:
    first = read("service", SERVICE)
    second = read("service", SERVICE, first, version=8, status={"loadBalancer": {}})
    assert second is first
    third = read("service", {**SERVICE, "selector": {"app": "other"}}, second, version=9)
    assert third.document is not None
    assert third.document is not first.document
    assert str(third.document.origin).endswith("@9")


def test_the_last_good_one_stays_in_force() -> None:
    first = read("service", SERVICE)
    second = read("service", {**SERVICE, "sessionAffinity": "ClientIP"}, first, version=8)
    assert second.document is first.document
    [problem] = [each for each in second.problems if each.severity is Severity.ERROR]
    assert problem.origin.source.endswith("@8")
    assert read("service", {**SERVICE, "sessionAffinity": "ClientIP"}).document is None
    third = read("service", SERVICE, second, version=9)
    assert third.document is first.document
    assert not third.problems


def test_a_policy_that_cannot_be_understood_closes() -> None:
    bad = read("authorizationpolicy", {**POLICY, "action": "MAYBE"})
    assert bad.document is not None
    assert isinstance(bad.document.spec, Unreadable)
    good = read("authorizationpolicy", POLICY, bad, version=8)
    assert good.document is not None
    assert not isinstance(good.document.spec, Unreadable)
    assert read("authorizationpolicy", {**POLICY, "action": "MAYBE"}, good, version=9).document is good.document
