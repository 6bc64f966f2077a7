"""TrafficTargets of the Service Mesh Interface as access policies."""

from __future__ import annotations

import pytest

from support.meshdocs import Compiled, documents, service, workload
from weft.mesh.access.access import OPEN
from weft.mesh.access.policy import Action, Attribute, Pattern, PatternKind
from weft.schema.decode import decode_documents

SERVER = workload("web", port=80)
TARGET = """
apiVersion: access.smi-spec.io/v1alpha3
kind: TrafficTarget
metadata: {name: web}
spec:
  destination: {kind: ServiceAccount, name: DESTINATION}
  sources: [{kind: ServiceAccount, name: shop}, {kind: ServiceAccount, name: probe, namespace: other}]
  rules: RULES
"""
ROUTES = """
---
apiVersion: specs.smi-spec.io/v1alpha4
kind: HTTPRouteGroup
metadata: {name: paths}
spec:
  matches:
    - {name: read, pathRegex: /a.*, methods: [GET]}
    - {name: write, methods: ["*"], headers: {X-User: j.*}}
---
apiVersion: specs.smi-spec.io/v1alpha4
kind: TCPRoute
metadata: {name: ports}
spec: {matches: {ports: [80, 81]}}
"""


def compiled(rules: str = "[]", destination: str = "web", more: str = "") -> Compiled:
    text = TARGET.replace("RULES", rules).replace("DESTINATION", destination) + more
    return Compiled(service("web", 80), text, ROUTES, workloads=[SERVER])


def test_the_sources_and_nobody_else_may_call_the_accounts_workloads() -> None:
    (port,) = compiled().sidecar(SERVER).inbound
    (policy,) = port.access.policies
    assert (policy.action, str(policy.object)) == (Action.ALLOW, "TrafficTarget default/web")
    ((condition,),) = policy.rules[0].sources
    assert condition.attribute is Attribute.SERVICE_ACCOUNT
    assert [each.value for each in condition.patterns] == ["default/shop", "other/probe"]
    assert compiled(destination="other").sidecar(SERVER).inbound[0].access is OPEN


@pytest.mark.parametrize(
    ("rules", "expected", "codes"),
    [
        ("[{kind: HTTPRouteGroup, name: paths, matches: [read]}]", [[["/a.*"], ["GET"]]], []),
        ("[{kind: HTTPRouteGroup, name: paths}]", [[["/a.*"], ["GET"]], [["j.*"]]], ["header-by-expression"]),
        ("[{kind: TCPRoute, name: ports}]", [[["80", "81"]]], []),
        ("[{kind: TCPRoute, name: paths}]", [], ["unknown-target"]),
        ("[{kind: HTTPRouteGroup, name: paths, matches: [raed]}]", [], ["unknown-target"]),
    ],
)
def test_what_the_rules_name(rules: str, expected: list[list[list[str]]], codes: list[str]) -> None:
    mesh = compiled(rules)
    (policy,) = mesh.sidecar(SERVER).inbound[0].access.policies
    found = [
        [[pattern.value for pattern in each.patterns] for each in conditions]
        for rule in policy.rules
        for conditions in rule.operations
    ]
    assert found == expected
    assert mesh.codes == codes


def test_paths_and_headers_are_the_users_expressions_but_for_plain_texts() -> None:
    plain = ROUTES.replace("name: paths", "name: plain").replace("j.*", "the-reader")
    mesh = compiled("[{kind: HTTPRouteGroup, name: paths}, {kind: HTTPRouteGroup, name: plain}]", more=plain)
    (policy,) = mesh.sidecar(SERVER).inbound[0].access.policies
    read, write = policy.rules[0].operations[:2]
    assert read[0].patterns == (Pattern(PatternKind.REGEX, "/a.*"),)
    assert (write[0].key, write[0].patterns) == (("x-user",), (Pattern(PatternKind.REGEX, "j.*"),))
    texts = [one.patterns for each in policy.rules for way in each.operations for one in way if one.key]
    assert texts == [(Pattern(PatternKind.REGEX, "j.*"),), (Pattern(PatternKind.EXACT, "the-reader"),)]
    assert mesh.codes == ["header-by-expression"]


def test_another_namespaces_workloads_are_not_its_to_open() -> None:
    text = TARGET.replace("RULES", "[]").replace("name: DESTINATION", "name: web, namespace: other")
    assert Compiled(text).codes == ["misplaced-policy"]


def test_one_that_cannot_be_understood_closes_its_namespace() -> None:
    bad = decode_documents(TARGET.replace("RULES", "[{kind: UDPRoute, name: x}]"), "bad.yaml").documents
    mesh = Compiled(documents(service("web", 80)), bad, workloads=[SERVER])
    assert mesh.codes == ["policy-unreadable"]
    assert len(mesh.sidecar(SERVER).inbound[0].access.closed) == 1
