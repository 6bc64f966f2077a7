"""What messages say, and what they do not: one mistake is told once, and no kind that exists is a typing error."""

from __future__ import annotations

import pytest

from weft.model.problem import Severity
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


def of_kind(api_version: str, kind: str, *names: str) -> str:
    return "".join(f"apiVersion: {api_version}\nkind: {kind}\nmetadata: {{name: {name}}}\n---\n" for name in names)


def test_what_is_left_out_for_one_reason_is_one_line_that_counts_it() -> None:
    text = of_kind("v1", "Pod", "a", "b", "c", "d") + of_kind("rbac.authorization.k8s.io/v1", "Role", "r")
    text += of_kind("apps/v1", "Deployment", "web", "db") + of_kind("batch/v1", "CronJob", "nightly")
    first, second = decode_documents(text, "f").problems
    assert str(first) == (
        "f:2: note: 4 Pods (a, …), 2 Deployments (web, db) and CronJob nightly are left out: "
        "weft runs no containers; weft up starts workloads"
    )
    assert str(second) == "f:18: note: Role r is left out: this is about the cluster, not about the mesh"


def test_a_line_about_what_is_left_out_stays_a_line() -> None:
    text = "".join(of_kind("grafana.com/v1", f"Kind{number}", "a") for number in range(500))
    (line,) = told(text)
    assert line.endswith("Kind11 a and 488 more are left out: Grafana's own, weft does not read it")
    assert len(line) < 300


def test_kinds_that_say_something_about_traffic_are_left_out_with_a_warning() -> None:
    (ingress,) = decode_documents(of_kind("networking.k8s.io/v1", "Ingress", "a", "b"), "f").problems
    assert str(ingress).startswith("f:2: warning: 2 Ingresses (a, b) are left out: weft publishes services with a ")


def test_a_policy_of_the_cluster_is_refused_for_it_would_keep_nobody_out() -> None:
    (policy,) = decode_documents(of_kind("networking.k8s.io/v1", "NetworkPolicy", "c"), "f").problems
    assert policy.severity is Severity.ERROR
    assert "it would keep nobody out" in policy.message


def test_other_projects_kinds_are_named_as_theirs() -> None:
    text = of_kind("monitoring.coreos.com/v1", "ServiceMonitor", "a") + of_kind("cert-manager.io/v1", "Issuer", "b")
    assert told(text) == [
        "f:2: note: ServiceMonitor a is left out: Prometheus Operator's own, weft does not read it",
        "f:6: note: Issuer b is left out: cert-manager's own, weft does not read it",
    ]
    assert not decode_documents(text, "f").failed
    (one,) = decode_documents(of_kind("kuma.io/v1alpha1", "MeshTrafficPermission", "a"), "f").problems
    assert one.message == "MeshTrafficPermission is a kind of Kuma's own; weft does not read it"
    assert one.severity is Severity.ERROR


def test_a_parent_of_another_api_is_one_mistake() -> None:
    (text,) = told(ROUTE + "{parentRefs: [{group: example.com, kind: Waypoint, name: b, sectionName: c}]}\n")
    assert "spec.parentRefs[0].kind: Waypoint of example.com cannot be referred to here" in text
    assert text.endswith("; expected kind Gateway or ListenerSet or Service or ServiceEntry")
    for one, field in (("group: example.com, kind: Gateway", "group"), ("kind: Pod", "kind")):
        (text,) = told(ROUTE + f"{{parentRefs: [{{{one}, name: b}}]}}\n")
        assert f"spec.parentRefs[0].{field}: found " in text


@pytest.mark.parametrize(
    ("value", "told_of"),
    [
        ("%HOSTNAME%", "'%HOSTNAME%'"),
        ("a %REQ(x-user)% b", "'%REQ(x-user)%'"),
        ("%DOWNSTREAM_REMOTE_ADDRESS:10%", "'%DOWNSTREAM_REMOTE_ADDRESS:10%'"),
        ("100%%", "'%%'"),
        ("50%", ""),
        ("a%20b%20c", ""),
        ("%A and 5%", ""),
    ],
)
def test_words_that_envoy_would_replace_are_said_to_stay(value: str, told_of: str) -> None:
    headers = f"headers: {{request: {{set: {{x-a: '{value}'}}}}, response: {{add: {{x-b: '{value}'}}}}}}"
    istio = "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: a}\n"
    istio += f"spec: {{hosts: [a], http: [{{route: [{{destination: {{host: a}}}}], {headers}}}]}}\n"
    found = [(problem.code, problem.message) for problem in decode_documents(istio, "f").problems]
    assert [code for code, _ in found] == (["no-effect"] * 2 if told_of else [])
    assert all(message.startswith(f"{told_of} is sent as it is written") for _, message in found)
    change = f"requestHeaderModifier: {{set: [{{name: x, value: '{value}'}}]}}"
    rule = f"filters: [{{type: RequestHeaderModifier, {change}}}]"
    gateway = decode_documents(ROUTE + f"{{parentRefs: [{{name: a}}], rules: [{{{rule}}}]}}\n", "f")
    assert len(gateway.problems) == (1 if told_of and value != "100%%" else 0)
