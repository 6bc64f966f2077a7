"""What messages say, and what they do not: one mistake is told once, and no kind that exists is a typing error."""

from __future__ import annotations

import pytest

from weft.schema.decode import decode_documents
from weft.schema.kinds.gateway import GATEWAY_GROUP
from weft.schema.kinds.httproute import HttpRouteSpec

ROUTE = f"apiVersion: {GATEWAY_GROUP}/v1\nkind: HTTPRoute\nmetadata: {{name: r}}\nspec: "


def told(text: str) -> list[str]:
    return [str(problem) for problem in decode_documents(text, "f").problems]


@pytest.mark.parametrize(
    ("api_version", "kind"), [("example.com/v1", "GRPCRoute"), ("v1", "TCPRoute"), ("apps/v2", "Service")]
)
def test_a_kind_that_exists_is_not_taken_for_a_mistyped_other(api_version: str, kind: str) -> None:
    (text,) = told(f"apiVersion: {api_version}\nkind: {kind}\nmetadata: {{name: a}}\n")
    assert f"did you mean '{kind}" not in text
    assert "Route'?" not in text


def test_another_projects_kind_is_told_as_such_and_the_object_is_named() -> None:
    text = "apiVersion: policy.linkerd.io/v1beta1\nkind: Server\nmetadata: {name: a, namespace: shop}\n"
    (problem,) = decode_documents(text, "f").problems
    assert problem.message == "Server is a kind of Linkerd's own; weft does not read it"
    assert str(problem.object) == "Server shop/a"


def test_a_kind_that_has_a_counterpart_here_says_which() -> None:
    operator = "apiVersion: install.istio.io/v1alpha1\nkind: IstioOperator\nmetadata: {name: a}\n"
    assert "its meshConfig goes into the spec of a MeshConfig" in told(operator)[0]


def test_the_core_group_may_be_called_core() -> None:
    text = ROUTE + "{parentRefs: [{kind: Service, group: core, name: a, port: 80}]}\n"
    decoded = decode_documents(text, "f")
    assert [problem.code for problem in decoded.problems] == ["deprecated-field"]
    (document,) = decoded.documents
    assert isinstance(document.spec, HttpRouteSpec)
    assert document.spec.parent_refs[0].group == ""


def test_what_is_no_base64_is_not_shown_and_where_text_goes_is() -> None:
    (text,) = told("apiVersion: v1\nkind: Secret\nmetadata: {name: a}\ndata: {password: hunter2!}\n")
    assert "hunter2" not in text
    assert "found a value that is not shown; expected base64; plain text goes into stringData" in text


def test_what_has_no_reason_of_its_own_is_not_supported_yet() -> None:
    assert told(ROUTE + "{useDefaultGateways: All}\n")[0].endswith("'useDefaultGateways' is not supported by weft yet")


def test_kinds_that_are_left_out_are_told_once_each() -> None:
    pod = "apiVersion: v1\nkind: Pod\nmetadata: {name: p}\n---\n"
    role = "apiVersion: rbac.authorization.k8s.io/v1\nkind: Role\nmetadata: {name: r}\n---\n"
    found = told(pod * 4 + role + pod)
    assert found[0].startswith("f:2: warning: 5 Pods (p, p, p, …) are left out: weft runs")
    assert found[1].startswith("f:18: warning: Role r is left out: ")
    assert len(found) == 2


def test_a_parent_of_another_api_is_one_mistake() -> None:
    (text,) = told(ROUTE + "{parentRefs: [{group: example.com, kind: Waypoint, name: b, sectionName: c}]}\n")
    assert "spec.parentRefs[0].kind: Waypoint of example.com cannot be referred to here" in text
    assert text.endswith("; expected kind Gateway or Service")
    for one, field in (("group: example.com, kind: Gateway", "group"), ("kind: Pod", "kind")):
        (text,) = told(ROUTE + f"{{parentRefs: [{{{one}, name: b}}]}}\n")
        assert f"spec.parentRefs[0].{field}: found " in text
