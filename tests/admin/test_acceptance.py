"""What the mesh says of a Gateway, in the API's words."""

from __future__ import annotations

import json
from typing import Any, cast

import pytest

from support.certificates import TestAuthority
from support.meshdocs import Compiled, documents
from weft.admin.acceptance import Acceptance
from weft.model.origin import Origin
from weft.model.problem import Problem, Severity

GATEWAY = """
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: edge}
spec:
  gatewayClassName: weft
  listeners: [{name: http, port: 80, protocol: HTTP}]
  allowedListeners: {namespaces: {from: Same}}
---
apiVersion: gateway.networking.k8s.io/v1
kind: ListenerSet
metadata: {name: more}
spec:
  parentRef: {name: edge}
  listeners: [{name: other, port: 81, protocol: HTTP}]
"""


LEAF = TestAuthority().issue(dns=("x.example",))
DATA = {"tls.crt": LEAF.chain.decode(), "tls.key": LEAF.key.decode()}
ABOUT = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "shown"}, "stringData": DATA}
SECRET = "---\n" + json.dumps(ABOUT)


def test_sets_are_counted_and_what_may_not_be_read_is_told() -> None:
    found = documents(GATEWAY)
    mesh = Compiled(found).mesh
    path = ("spec", "listeners", 0, "tls", "certificateRefs", 0)
    text = "Secret shop-tls cannot be read: it answers 403"
    refused = Problem(Severity.ERROR, "kubernetes-refused", text, Origin("kubernetes:test"), found[0].key, path)
    said = cast("dict[str, Any]", Acceptance(mesh, [refused]).of(found[0]))
    assert said["attachedListenerSets"] == 1
    [resolved] = [one for one in said["listeners"][0]["conditions"] if one["type"] == "ResolvedRefs"]
    assert (resolved["status"], resolved["reason"], resolved["message"]) == ("False", "InvalidCertificateRef", text)
    assert "attachedListenerSets" not in Acceptance(mesh).of(found[1])


SENT_TO = """
---
apiVersion: v1
kind: Service
metadata: {name: NAME}
spec: {ports: [{name: https, port: 443}]}
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: NAME}
spec:
  parentRefs: [{name: edge}]
  rules: [{backendRefs: [{name: NAME, port: 443}]}]
"""
POLICY = """
apiVersion: gateway.networking.k8s.io/v1
kind: BackendTLSPolicy
metadata: {name: NAME}
spec:
  targetRefs: [TARGETS]
  validation: {hostname: a.example.com, wellKnownCACertificates: System}
---
"""


def ancestors(policy: str, *more: str) -> list[tuple[object, ...]]:
    """Kind, name, section and reasons of each ancestor of the first document."""
    found = documents(policy + GATEWAY + "".join(more))
    mesh = Compiled(found).mesh
    said = cast("dict[str, Any]", Acceptance(mesh).of(found[0]))["ancestors"]
    found_out = []
    for one in said:
        reference, reasons = one["ancestorRef"], [each["reason"] for each in one["conditions"]]
        found_out.append((reference["kind"], reference["name"], reference.get("sectionName", ""), *reasons))
    return found_out


def test_a_policy_for_servers_has_the_gateways_that_call_them_as_ancestors() -> None:
    both = "{group: '', kind: Service, name: a, sectionName: https}, {group: '', kind: Service, name: b}"
    policy = POLICY.replace("NAME", "p").replace("TARGETS", both)
    services = [SENT_TO.replace("NAME", "a"), SENT_TO.replace("NAME", "b").replace("{name: edge}", "{name: none}")]
    good = ("Accepted", "ResolvedRefs")
    assert ancestors(policy, *services) == [
        ("Gateway", "edge", "", *good),
        ("Service", "a", "https", *good),
        ("Service", "b", "", *good),
    ]


def test_a_gateway_hears_of_what_is_wrong_with_the_targets_that_it_calls() -> None:
    one = "{group: '', kind: Service, name: a}"
    beaten = POLICY.replace("NAME", "p").replace("TARGETS", f"{one}, {{group: '', kind: Service, name: none}}")
    older = POLICY.replace("NAME", "o").replace("TARGETS", one)
    service = SENT_TO.replace("NAME", "a")
    assert ancestors(beaten, "---", older, service) == [
        ("Gateway", "edge", "", "Conflicted", "ResolvedRefs"),
        ("Service", "a", "", "Conflicted", "ResolvedRefs"),
        ("Service", "none", "", "TargetNotFound", "ResolvedRefs"),
    ]


def test_a_gateway_for_which_no_process_can_be_made_is_not_accepted() -> None:
    found = documents(GATEWAY)
    mesh = Compiled(found).mesh
    for path, accepted in ((("spec", "infrastructure", "parametersRef"), False), (("spec", "listeners"), True)):
        unfit = Problem(Severity.ERROR, "invalid-parameters", "no", Origin("kubernetes:test"), found[0].key, path)
        said = cast("dict[str, Any]", Acceptance(mesh, [unfit]).of(found[0]))["conditions"][0]
        assert (said["type"], said["status"]) == ("Accepted", "True" if accepted else "False")
        assert accepted or said["reason"] == "InvalidParameters"


@pytest.mark.parametrize("mode", ["AllowInsecureFallback", "AllowValidOnly"])
@pytest.mark.parametrize("where", ["default: {VALIDATION}", "default: {}, perPort: [{port: 80, tls: {VALIDATION}}]"])
def test_that_anybody_gets_in_is_told(mode: str, where: str) -> None:
    reference = "caCertificateRefs: [{group: '', kind: ConfigMap, name: none}]"
    asked = where.replace("VALIDATION", f"validation: {{mode: {mode}, {reference}}}")
    text = GATEWAY.replace("listeners: [{name: http", f"tls: {{frontend: {{{asked}}}}}\n  listeners: [{{name: http", 1)
    found = documents(text)
    conditions = cast("dict[str, Any]", Acceptance(Compiled(found).mesh).of(found[0]))["conditions"]
    told = [(one["status"], one["reason"]) for one in conditions if one["type"] == "InsecureFrontendValidationMode"]
    assert told == ([("True", "ConfigurationChanged")] if mode == "AllowInsecureFallback" else [])


@pytest.mark.parametrize(
    ("secret", "expected"),
    [("", ("False", "InvalidClientCertificateRef")), (SECRET, ("True", "ResolvedRefs"))],
)
def test_a_certificate_for_servers_is_resolved_or_not(secret: str, expected: tuple[str, str]) -> None:
    shown = "tls: {backend: {clientCertificateRef: {name: shown}}}\n  listeners: [{name: http"
    found = documents(GATEWAY.replace("listeners: [{name: http", shown, 1) + secret)
    [_, _, resolved] = cast("dict[str, Any]", Acceptance(Compiled(found).mesh).of(found[0]))["conditions"]
    assert (resolved["status"], resolved["reason"]) == expected
