"""What the decoder makes of a document: spellings, secrets, lists, namespaces, canonical text."""

from __future__ import annotations

import base64
import json

import pytest

from weft.schema.decode import MAX_PROBLEMS, decode_documents
from weft.schema.kinds.core import SecretSpec
from weft.schema.kinds.destinationrule import DestinationRuleSpec
from weft.schema.kinds.virtualservice import VirtualServiceSpec
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
