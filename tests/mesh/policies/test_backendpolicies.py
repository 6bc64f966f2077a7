"""Policies of the Gateway API for Services: TLS with their servers, and a budget for retries."""

from __future__ import annotations

import json
from typing import Any

from support.certificates import TestAuthority
from support.meshdocs import Compiled, service, workload
from weft.mesh.policies.backendtlspolicy import policy_conditions
from weft.mesh.services.service import (
    BackendKey,
    CertificateName,
    MutualTls,
    NameKind,
    Plaintext,
    RetryBudget,
    Tls,
    TrafficPolicy,
    Transport,
)

HOST = "api.default.svc.cluster.local"
PUBLIC = TestAuthority()
API = """
apiVersion: v1
kind: Service
metadata: {name: api}
spec:
  selector: {app: api}
  ports: [{name: http, port: 80, targetPort: 9080}, {name: other, port: 81, targetPort: 9080}]
"""


def authorities(content: bytes = PUBLIC.bundle, name: str = "ca") -> str:
    data = json.dumps({"ca.crt": content.decode(), "more": "of the application"})
    return f"apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: {name}}}\ndata: {data}\n"


def policy(validation: str, name: str = "a", section: str = "", target: str = "api", created: str = "") -> str:
    port = f", sectionName: {section}" if section else ""
    age = f", creationTimestamp: '{created}'" if created else ""
    return f"""
apiVersion: gateway.networking.k8s.io/v1
kind: BackendTLSPolicy
metadata: {{name: {name}{age}}}
spec:
  targetRefs: [{{group: "", kind: Service, name: {target}{port}}}]
  validation: {{hostname: {name}.example.com, {validation}}}
"""


def budget(percent: int, name: str = "a", rate: str = "{count: 10, interval: 1s}") -> str:
    return f"""
apiVersion: gateway.networking.x-k8s.io/v1alpha1
kind: XBackendTrafficPolicy
metadata: {{name: {name}}}
spec:
  targetRefs: [{{name: api}}]
  retryConstraint: {{budget: {{percent: {percent}}}, minRetryRate: {rate}}}
"""


SYSTEM = "wellKnownCACertificates: System"
REFS = 'caCertificateRefs: [{group: "", kind: ConfigMap, name: ca}]'


def compiled(*texts: str) -> Compiled:
    return Compiled(API, *texts, workloads=[workload("api")])


def transport(mesh: Compiled, port: int = 80) -> Transport:
    return mesh.mesh.targets.by_key[BackendKey(HOST, port)].backend.transport


def seen(mesh: Compiled, port: int = 80) -> TrafficPolicy:
    return mesh.mesh.targets.by_key[BackendKey(HOST, port)].backend.policy


def conditions(mesh: Compiled, name: str = "a") -> dict[str, tuple[bool, str]]:
    problems = tuple(each for each in mesh.mesh.problems if each.object and each.object.name == name)
    return {each.type: (each.status, each.reason) for each in policy_conditions(problems)}


def tls(**fields: Any) -> Tls:
    name = fields.pop("name", "a.example.com")
    return Tls(sni=name, host=HOST, names=(CertificateName(NameKind.DNS, name),), **fields)


def test_a_policy_is_for_every_port_of_its_service_and_one_for_a_port_comes_first() -> None:
    mesh = compiled(policy(SYSTEM), policy(SYSTEM, "b", "other"))
    assert transport(mesh) == tls()
    assert transport(mesh, 81) == tls(name="b.example.com")
    assert mesh.codes == []
    assert conditions(mesh) == {"Accepted": (True, "Accepted"), "ResolvedRefs": (True, "ResolvedRefs")}
    assert isinstance(transport(compiled(policy(SYSTEM, section="other"))), MutualTls)


def test_authorities_are_those_of_config_maps() -> None:
    assert transport(compiled(authorities(), policy(REFS))) == tls(authorities=PUBLIC.bundle)
    two = 'caCertificateRefs: [{group: "", kind: ConfigMap, name: none}, {group: "", kind: ConfigMap, name: ca}]'
    mesh = compiled(authorities(), policy(two))
    assert transport(mesh) == tls(authorities=PUBLIC.bundle)
    assert mesh.codes == ["unknown-authority"]
    assert conditions(mesh)["Accepted"] == (True, "Accepted")
    assert conditions(mesh)["ResolvedRefs"] == (False, "InvalidCACertificateRef")


def test_who_can_believe_nobody_cannot_call() -> None:
    for given in ((), (authorities(b"nothing"),)):
        mesh = compiled(*given, policy(REFS))
        assert transport(mesh) == tls(unusable=True)
        assert sorted(mesh.codes) == ["no-authority", "unknown-authority"]
        assert conditions(mesh)["Accepted"] == (False, "NoValidCACertificate")
    mesh = compiled(policy('caCertificateRefs: [{group: "", kind: Secret, name: ca}]'))
    assert transport(mesh) == tls(unusable=True)
    assert conditions(mesh)["ResolvedRefs"] == (False, "InvalidKind")


def test_of_two_for_one_target_the_oldest_is_in_force() -> None:
    mesh = compiled(policy(SYSTEM, "b"), policy(SYSTEM, "a"))
    assert transport(mesh) == tls()
    assert mesh.codes == ["policy-conflict"]
    assert conditions(mesh, "b")["Accepted"] == (False, "Conflicted")
    assert conditions(mesh, "a")["Accepted"] == (True, "Accepted")


def test_a_target_that_is_not_there_is_told() -> None:
    assert compiled(policy(SYSTEM, target="apo")).codes == ["unknown-service"]
    mesh = compiled(policy(SYSTEM, section="htp"))
    assert mesh.codes == ["unknown-section"]
    assert mesh.mesh.problems[0].nearest == "http"
    assert conditions(mesh)["Accepted"] == (False, "TargetNotFound")


def test_a_destination_rule_that_says_something_comes_first() -> None:
    rule = """
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: api}
spec: {host: api, trafficPolicy: {tls: {mode: DISABLE}, retryBudget: {percent: 1, minRetryConcurrency: 2}}}
"""
    mesh = compiled(policy(SYSTEM), budget(50), rule)
    assert transport(mesh) == Plaintext()
    assert seen(mesh).retry_budget == RetryBudget(1.0, 2)


def test_a_budget_is_a_share_and_a_number() -> None:
    assert seen(compiled(budget(50))).retry_budget == RetryBudget(50.0, 10)
    assert seen(compiled(budget(0, rate="{count: 1, interval: 10s}"))).retry_budget == RetryBudget(0.0, 1)
    mesh = compiled(budget(50, "b"), budget(20, "a"))
    assert (seen(mesh).retry_budget, mesh.codes) == (RetryBudget(20.0, 10), ["policy-conflict"])
    assert conditions(mesh, "b")["Accepted"] == (False, "Conflicted")


def test_without_policies_a_service_stays_as_it_is() -> None:
    mesh = Compiled(service("api", 9080), workloads=[workload("api")])
    assert seen_plain(mesh) == TrafficPolicy()


def seen_plain(mesh: Compiled) -> TrafficPolicy:
    return mesh.mesh.targets.by_key[BackendKey(HOST, 9080)].backend.policy
