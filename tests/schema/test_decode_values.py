"""What the decoder makes of a document: spellings, secrets, lists, namespaces, canonical text."""

from __future__ import annotations

import base64
import json

import pytest

from weft.model.problem import Severity
from weft.schema.decode import MAX_PROBLEMS, decode_documents
from weft.schema.kinds.core import SecretSpec
from weft.schema.kinds.destinationrule import DestinationRuleSpec
from weft.schema.kinds.httproute import HttpRouteSpec
from weft.schema.kinds.virtualservice import PresenceMatch, VirtualServiceSpec
from weft.schema.output import REDACTED, document_as_mapping, document_yaml

SECRET = """
apiVersion: v1
kind: Secret
metadata: {name: s}
data: {a: MQ==, b: Mg==}
stringData: {b: "3", c: word}
"""


def account(name: str, extra: str = "") -> str:
    return f"{{apiVersion: v1, kind: ServiceAccount, metadata: {{name: {name}{extra}}}}}"


ROUTE = """
apiVersion: gateway.networking.k8s.io/v1alpha2
kind: HTTPRoute
metadata: {name: %s}
spec: {parentRefs: [%s], rules: [{backendRefs: [{name: a, port: 80}]}]}
"""


def test_a_name_may_be_as_long_as_kubernetes_allows_in_any_part() -> None:
    name = "a" * 100 + "." + "b" * 152
    (document,) = decode_documents(ROUTE % (name, "{name: g}"), "f").documents
    assert document.key.name == name
    (problem, _) = sorted(decode_documents(ROUTE % (name + "c", "{name: g}"), "f").problems, key=lambda one: one.code)
    assert (problem.code, "253" in problem.message) == ("bad-value", True)


def test_the_old_version_of_the_gateway_api_is_read_with_a_warning() -> None:
    decoded = decode_documents(ROUTE % ("r", "{name: g}"), "f")
    (problem,) = decoded.problems
    assert (problem.code, problem.expected) == ("deprecated-field", "gateway.networking.k8s.io/v1")
    assert decoded.documents[0].api_version == "gateway.networking.k8s.io/v1alpha2"
    grant = "{from: [{group: a.b, kind: C, namespace: d}], to: [{group: '', kind: Service}]}"
    for version, warnings in (("v1alpha2", 1), ("v1beta1", 0)):
        head = f"apiVersion: gateway.networking.k8s.io/{version}\nkind: ReferenceGrant\nmetadata: {{name: g}}\n"
        decoded = decode_documents(f"{head}spec: {grant}\n", "f")
        assert (len(decoded.documents), len(decoded.problems)) == (1, warnings)


@pytest.mark.parametrize("group", ["", "group: core, ", "group: gateway.networking.k8s.io, "])
def test_a_service_parent_needs_no_group(group: str) -> None:
    text = (ROUTE % ("r", f"{{{group}kind: Service, name: a}}")).replace("v1alpha2", "v1")
    decoded = decode_documents(text, "f")
    (document,) = decoded.documents
    assert [problem.code for problem in decoded.problems] == ["deprecated-field"]
    assert isinstance(document.spec, HttpRouteSpec)
    assert (document.spec.parent_refs[0].group, document.spec.parent_refs[0].kind) == ("", "Service")


def test_what_only_a_cluster_does_with_a_service_is_a_warning() -> None:
    decoded = decode_documents(
        """
apiVersion: v1
kind: Service
metadata: {name: a}
spec:
  type: NodePort
  clusterIP: 10.0.0.1
  clusterIPs: [10.0.0.1]
  ipFamilies: [IPv6, IPv4]
  ipFamilyPolicy: RequireDualStack
  externalTrafficPolicy: Local
  publishNotReadyAddresses: true
  ports: [{port: 80, nodePort: 30000}]
""",
        "f",
    )
    assert len(decoded.documents) == 1
    told = {str(problem.path[-1]): problem.severity for problem in decoded.problems}
    assert told == dict.fromkeys(
        ("type", "ipFamilies", "externalTrafficPolicy", "nodePort"),
        Severity.WARNING,
    )


def test_parameters_of_a_class_are_its_controllers_and_ours_has_an_effect_in_a_cluster_only() -> None:
    text = """
apiVersion: gateway.networking.k8s.io/v1
kind: GatewayClass
metadata: {name: c}
spec: {controllerName: %s, parametersRef: {group: example.com, kind: Settings, name: s, namespace: n}}
"""
    assert decode_documents(text % "example.com/controller", "f").problems == ()
    (problem,) = decode_documents(text % "weft.dev/gateway-controller", "f").problems
    assert (problem.code, problem.severity) == ("no-effect", Severity.WARNING)


def test_presence_may_be_asked_for_in_two_ways() -> None:
    text = """
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: a}
spec:
  hosts: [a]
  http:
  - match: [{uri: {}, headers: {x: {regex: "*"}, y: {}}, queryParams: {q: {regex: "*"}, r: {}}}]
    route: [{destination: {host: a}}]
"""
    decoded = decode_documents(text, "f")
    assert decoded.problems == ()
    spec = decoded.documents[0].spec
    assert isinstance(spec, VirtualServiceSpec)
    (match,) = spec.http[0].match
    assert [*match.headers.values(), *match.query_params.values()] == [PresenceMatch()] * 4
    assert decode_documents(text.replace("uri: {}", "uri: {regex: '*'}"), "f").failed
    assert decode_documents(text.replace("route:", "corsPolicy: {allowOrigins: [{}]}\n    route:"), "f").failed


def names(text: str) -> list[str]:
    return [f"{document.key.namespace}/{document.key.name}" for document in decode_documents(text, "f").documents]


def test_old_spellings_become_the_present_ones() -> None:
    decoded = decode_documents(
        """
apiVersion: networking.istio.io/v1alpha3
kind: VirtualService
metadata: {name: a}
spec:
  hosts: [a]
  http:
  - route: [{destination: {host: a}}]
    mirror: {host: b}
    mirrorPercent: 10
    corsPolicy: {allowOrigin: ["*", "https://a.example"]}
    fault: {delay: {percent: 20, fixedDelay: 1s}, abort: {percent: 30, httpStatus: 503}}
---
apiVersion: networking.istio.io/v1alpha3
kind: DestinationRule
metadata: {name: a}
spec:
  host: a
  trafficPolicy: {outlierDetection: {consecutiveErrors: 7}, loadBalancer: {simple: LEAST_CONN}}
""",
        "f",
    )
    assert {problem.code for problem in decoded.problems} == {"deprecated-field"}
    assert len(decoded.problems) == 6
    assert not decoded.failed
    service, rule = (document.spec for document in decoded.documents)
    assert isinstance(service, VirtualServiceSpec)
    assert isinstance(rule, DestinationRuleSpec)
    http = service.http[0]
    assert http.fault is not None
    assert http.fault.delay is not None
    assert http.fault.abort is not None
    assert http.fault.delay.percentage is not None
    assert http.fault.abort.percentage is not None
    assert (http.fault.delay.percentage.value, http.fault.abort.percentage.value) == (20.0, 30.0)
    assert http.mirror_percentage is not None
    assert (http.mirror_percentage.value, http.mirror_percent) == (10.0, None)
    assert http.cors_policy is not None
    assert [(each.regex, each.exact) for each in http.cors_policy.allow_origins] == [
        (".*", None),
        (None, "https://a.example"),
    ]
    assert rule.traffic_policy is not None
    assert rule.traffic_policy.load_balancer is not None
    assert rule.traffic_policy.load_balancer.simple == "LEAST_REQUEST"
    assert rule.traffic_policy.outlier_detection is not None
    assert rule.traffic_policy.outlier_detection.consecutive_gateway_errors == 7


def test_string_data_is_merged_over_data() -> None:
    (document,) = decode_documents(SECRET, "f").documents
    assert isinstance(document.spec, SecretSpec)
    assert dict(document.spec.data) == {"a": b"1", "b": b"3", "c": b"word"}
    assert json.loads(document.text)["data"] == {"a": "MQ==", "b": "Mw==", "c": "d29yZA=="}
    assert "stringData" not in document.text


def test_secrets_are_shown_only_on_request_and_never_in_reprs() -> None:
    (document,) = decode_documents(SECRET, "f").documents
    assert document_as_mapping(document)["data"] == {"a": REDACTED, "b": REDACTED, "c": REDACTED}
    assert document_as_mapping(document, redact=False)["data"]["c"] == base64.b64encode(b"word").decode()
    assert "d29yZA" not in document_yaml(document)
    assert "d29yZA" in document_yaml(document, redact=False)
    assert "word" not in repr(document)
    assert "d29yZA" not in repr(document)


def test_annotations_of_a_secret_are_hidden_too() -> None:
    """kubectl keeps there what was applied last, values included."""
    text = SECRET.replace("metadata: {", "metadata: {annotations: {last-applied: d29yZA==}, ")
    (document,) = decode_documents(text, "f").documents
    assert document_as_mapping(document)["metadata"]["annotations"] == {"last-applied": REDACTED}
    assert document_as_mapping(document, redact=False)["metadata"]["annotations"] == {"last-applied": "d29yZA=="}
    assert "d29yZA" not in document_yaml(document) + repr(document)


@pytest.mark.parametrize(
    "entries",
    ["data: {a: hunter2!}", "stringData: {a: 123456}", "data: hunter2!", "type: [hunter2!]", "data: {a: 123456}"],
)
def test_errors_never_show_what_a_secret_holds(entries: str) -> None:
    problems = decode_documents(f"apiVersion: v1\nkind: Secret\nmetadata: {{name: s}}\n{entries}\n", "f").problems
    assert problems
    for problem in problems:
        assert "hunter2" not in str(problem)
        assert "123456" not in str(problem)


def test_the_canonical_text_does_not_depend_on_the_writing() -> None:
    one = "apiVersion: v1\nkind: Service\nmetadata: {name: a}\nspec:\n  selector: {b: c}\n  ports:\n  - port: 80\n"
    other = json.dumps(
        {
            "spec": {"ports": [{"port": 80}], "selector": {"b": "c"}},
            "metadata": {"namespace": "default", "name": "a", "uid": "x"},
            "kind": "Service",
            "apiVersion": "v1",
        },
        indent=2,
    )
    (first,), (second,) = decode_documents(one, "f").documents, decode_documents(other, "g").documents
    assert first.text == second.text
    assert document_yaml(first) == document_yaml(second)
    (again,) = decode_documents(document_yaml(first), "h").documents
    assert again.text == first.text
    (once_more,) = decode_documents(first.text, "h").documents
    assert once_more.text == first.text


@pytest.mark.parametrize("kind", ["List", "ServiceAccountList"])
def test_lists(kind: str) -> None:
    items = [account("a"), account("b", ", namespace: n")]
    text = f"apiVersion: v1\nkind: {kind}\nitems:\n- {items[0]}\n- {items[1]}\n"
    assert names(text) == ["default/a", "n/b"]
    assert decode_documents(text, "f").documents[1].origin.line == 5


def test_the_default_namespace_is_for_namespaced_kinds() -> None:
    text = (
        account("a") + "\n---\n{apiVersion: v1, kind: Namespace, metadata: {name: n}, spec: {finalizers: [kubernetes]}}"
    )
    found = decode_documents(text, "f", default_namespace="other").documents
    assert [document.key.namespace for document in found] == ["other", ""]


def test_what_the_store_knows_of_the_age_counts_first() -> None:
    text = account("a", ", creationTimestamp: '1970-01-01T00:00:05Z'")
    assert decode_documents(text, "f").documents[0].created == 5.0
    assert decode_documents(text, "f", created=7.0).documents[0].created == 7.0


def test_a_bad_document_does_not_keep_the_others_out() -> None:
    text = "\n---\n".join((account("a"), "kind: [", account("b", ", nmae: x"), "a: b: c", account("c")))
    assert names(text) == ["default/a", "default/c"]


def test_a_document_with_a_field_given_twice_is_not_accepted() -> None:
    text = "apiVersion: v1\nkind: ServiceAccount\nmetadata: {name: a}\nmetadata: {name: b}\n"
    decoded = decode_documents(text, "f")
    assert decoded.documents == ()
    assert [problem.code for problem in decoded.problems] == ["duplicate-field"]


def test_problems_are_bounded() -> None:
    many = "apiVersion: v1\nkind: Service\nmetadata: {name: a}\nspec:\n" + "".join(
        f"  k{n}: 1\n" for n in range(50_000)
    )
    assert len(decode_documents(many, "f").problems) == 100
    for text in ("---\n@\n" * 20_000, "apiVersion: v1\nkind: List\nitems:\n" + "- {}\n" * 20_000):
        problems = decode_documents(text, "f").problems
        assert len(problems) <= MAX_PROBLEMS + 10
        assert problems[-1].code == "too-many-problems"
