"""AdmissionReviews: what is one, what is answered, and that nothing that comes in brings the judge down."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from support.injection import SETTINGS, pod, review
from weft.inject.admission import admit
from weft.inject.decision import Namespace
from weft.inject.review import ReviewError, Verdict, answer_to, is_new_pod, review_from_json

HERE = Namespace("shop", {"istio-injection": "enabled"})


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"", "this is no AdmissionReview of admission.k8s.io/v1"),
        (b"\xff", "this is no AdmissionReview"),
        (b"[]", "this is no AdmissionReview"),
        (b"{}", "this is no AdmissionReview"),
        (b"[" * 100_000, "this is no AdmissionReview"),
        (b'{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview"}', "this is no AdmissionReview"),
        (
            b'{"apiVersion":"admission.k8s.io/v1beta1","kind":"AdmissionReview","request":{"uid":"1"}}',
            "v1beta1; expected",
        ),
        (b'{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview","request":{"uid":""}}', "has no uid"),
    ],
)
def test_what_is_no_review(body: bytes, said: str) -> None:
    with pytest.raises(ReviewError, match=said):
        review_from_json(body)


def test_a_pod_is_patched() -> None:
    asked = review_from_json(review(pod(), "shop"))
    assert is_new_pod(asked)
    _, verdict = admit(asked.object, HERE, SETTINGS)
    answer = answer_to(asked, verdict)
    response = answer["response"]
    assert (answer["apiVersion"], answer["kind"]) == ("admission.k8s.io/v1", "AdmissionReview")
    assert (response["uid"], response["allowed"], response["patchType"]) == (asked.uid, True, "JSONPatch")
    paths = {step["path"] for step in json.loads(base64.b64decode(response["patch"]))}
    assert paths == {"/spec/initContainers", "/spec/volumes", "/metadata/annotations", "/metadata/labels"}


def test_a_warning_and_a_refusal_are_told() -> None:
    annotations = {"sidecar.istio.io/logLevel": "debug", "traffic.sidecar.istio.io/excludeInboundPorts": "ssh"}
    asked = review_from_json(review(pod(annotations=annotations), "shop"))
    _, verdict = admit(asked.object, HERE, SETTINGS)
    response = answer_to(asked, verdict)["response"]
    assert response["allowed"] is False
    assert "patch" not in response
    assert response["status"]["code"] == 422
    assert "excludeInboundPorts: 'ssh' is none; expected ports" in response["status"]["message"]
    assert [text for text in response["warnings"] if "logLevel: debug' is not done" in text]


def test_warnings_are_bounded() -> None:
    answer = answer_to(review_from_json(review({}, "shop")), Verdict(warnings=["x" * 1000] * 100))
    assert [len(text) for text in answer["response"]["warnings"]] == [250] * 20


@pytest.mark.parametrize(
    "other",
    [
        {"operation": "UPDATE"},
        {"subResource": "ephemeralcontainers"},
        {"resource": {"group": "", "version": "v1", "resource": "services"}},
        {"object": None},
    ],
)
def test_what_is_no_new_pod(other: dict[str, Any]) -> None:
    assert not is_new_pod(review_from_json(review(pod(), "shop", **other)))


_KEYS = st.sampled_from(
    [
        *("metadata", "labels", "annotations", "name", "spec", "containers", "initContainers", "volumes", "ports"),
        *("livenessProbe", "httpGet", "port", "containerPort", "securityContext", "runAsUser", "lifecycle", "preStop"),
        *("weft.dev/status", "sidecar.istio.io/inject", "proxy.istio.io/config", "hostNetwork", "restartPolicy"),
        *("traffic.sidecar.istio.io/includeInboundPorts", "sidecar.istio.io/proxyCPU"),
    ]
)
_SCALARS = st.sampled_from([None, True, 0, 1337, 15020, -1, 1.5, "", "true", "80", "9" * 5000, "{}", "weft-proxy", "٣"])
_ANYTHING: Any = st.recursive(
    _SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_KEYS, inner, max_size=5), max_leaves=25
)


@given(st.dictionaries(_KEYS, _ANYTHING, max_size=5), st.dictionaries(_KEYS, _ANYTHING, max_size=5))
def test_whatever_comes_in_there_is_an_answer(given_pod: dict[str, Any], container: dict[str, Any]) -> None:
    for one in (given_pod, pod(containers=[container]), {**pod(), "metadata": given_pod}, pod(**given_pod)):
        asked = review_from_json(review(one, "shop"))
        _, verdict = admit(asked.object, HERE, SETTINGS)
        json.dumps(answer_to(asked, verdict))
