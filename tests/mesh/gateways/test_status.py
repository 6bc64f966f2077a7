"""The status of listeners: in force or not and why, and how many routes each has."""

from __future__ import annotations

from support.meshdocs import Compiled, documents, service
from weft.mesh.gateways.status import ListenerStatus, listener_statuses, listeners_mapping
from weft.model.origin import Origin
from weft.model.problem import Problem, Severity
from weft.schema.kinds.gateway import GatewaySpec

TEXT = """
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: edge}
spec:
  gatewayClassName: CLASS
  listeners:
  - {name: http, port: 80, protocol: HTTP}
  - {name: plain, port: 80, protocol: HTTP, hostname: a.example.com}
  - {name: theirs, port: 444, protocol: HTTPS, tls: {certificateRefs: [{name: s, namespace: other}]}}
  - {name: none, port: 445, protocol: HTTPS, tls: {certificateRefs: [{name: none}]}}
---
apiVersion: gateway.networking.k8s.io/v1
kind: GatewayClass
metadata: {name: foreign}
spec: {controllerName: example.com/foreign}
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: r}
spec:
  parentRefs: [{name: edge, sectionName: http}]
  rules: [{backendRefs: [{name: a, port: 9080}]}]
"""


USUAL = ("Accepted", "NoConflicts", "Programmed", "ResolvedRefs")


def statuses(of: str, *more: Problem) -> tuple[ListenerStatus, ...]:
    """The status of the listeners of the Gateway, of which sources tell `more`."""
    found = documents(TEXT.replace("CLASS", of))
    mesh = Compiled(service("a"), found).mesh
    document = found[0]
    assert isinstance(document.spec, GatewaySpec)
    problems = [*more, *(problem for problem in mesh.problems if problem.object == document.key)]
    return listener_statuses(document.key, mesh.gateways, problems)


def listeners(of: str) -> list[tuple[object, ...]]:
    """Name, attached routes, and the conditions of each listener that are not the usual ones."""
    return [
        (
            each.name,
            each.attached,
            *(one.reason for one in each.conditions if one.reason not in USUAL),
        )
        for each in statuses(of)
    ]


def test_listeners_tell_whether_they_are_in_force_and_what_is_attached() -> None:
    assert listeners("weft") == [
        ("http", 1),
        ("plain", 0),
        ("theirs", 0, "Invalid", "RefNotPermitted"),
        ("none", 0, "Invalid", "InvalidCertificateRef"),
    ]


def test_a_gateway_of_another_controller_has_no_status() -> None:
    assert listeners("foreign") == []


def test_routes_are_attached_to_a_listener_that_waits_for_its_certificate() -> None:
    found = documents(TEXT.replace("CLASS", "weft").replace("sectionName: http}", "sectionName: none}"))
    mesh = Compiled(service("a"), found).mesh
    status = listener_statuses(found[0].key, mesh.gateways, mesh.problems)[3]
    assert (status.name, status.attached) == ("none", 1)
    programmed, resolved = status.conditions[2:]
    assert not programmed.status
    assert not resolved.status
    [route] = mesh.acceptance
    assert [one.status for one in route.parents[0].conditions if one.type == "Accepted"] == [True]
    assert not mesh.gateways.by_name["default/edge"].hosts.get(445)


def test_a_secret_that_may_not_be_read_is_no_resolved_reference() -> None:
    path = ("spec", "listeners", 0, "tls", "certificateRefs", 0)
    refused = Problem(Severity.ERROR, "kubernetes-refused", "it answers 403", Origin("kubernetes:test"), None, path)
    [resolved] = [one for one in statuses("weft", refused)[0].conditions if one.type == "ResolvedRefs"]
    assert (resolved.status, resolved.reason, resolved.message) == (False, "InvalidCertificateRef", "it answers 403")


def test_it_is_written_as_the_api_has_it() -> None:
    assert listeners_mapping(statuses("weft"))[0] == {
        "name": "http",
        "attachedRoutes": 1,
        "conditions": [
            {"type": "Accepted", "status": "True", "reason": "Accepted", "message": ""},
            {"type": "Conflicted", "status": "False", "reason": "NoConflicts", "message": ""},
            {"type": "Programmed", "status": "True", "reason": "Programmed", "message": ""},
            {"type": "ResolvedRefs", "status": "True", "reason": "ResolvedRefs", "message": ""},
        ],
    }
