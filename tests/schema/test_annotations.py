"""Annotations of other projects: which ones are told, whose they are said to be, and what to use instead."""

from __future__ import annotations

import pytest

from weft.model.problem import Severity
from weft.schema.annotations import foreign_annotation
from weft.schema.decode import decode_documents


@pytest.mark.parametrize(
    ("key", "owner", "instead"),
    [
        ("retry.linkerd.io/http", "Linkerd", "the retry of an HTTPRoute's rule"),
        ("timeout.linkerd.io/request", "Linkerd", "the timeouts of an HTTPRoute's rule"),
        ("balancer.linkerd.io/failure-accrual-consecutive-max-failures", "Linkerd", "outlierDetection"),
        ("config.linkerd.io/opaque-ports", "Linkerd", "appProtocol: tcp"),
        ("80.service.kuma.io/protocol", "Kuma", "the appProtocol of the Service's port"),
        ("konghq.com/strip-path", "Kong", "URLRewrite"),
        ("konghq.com/plugins", "Kong", ""),
        ("projectcontour.io/upstream-protocol.h2", "Contour", "appProtocol"),
        ("projectcontour.io/max-requests", "Contour", "connectionPool"),
        ("nginx.ingress.kubernetes.io/proxy-read-timeout", "ingress-nginx", "timeouts"),
        ("nginx.ingress.kubernetes.io/canary-weight", "ingress-nginx", "weights"),
        ("traefik.ingress.kubernetes.io/service.sticky.cookie", "Traefik", "consistentHash"),
        ("service.kubernetes.io/topology-mode", "Kubernetes", ""),
    ],
)
def test_an_annotation_that_changes_traffic_elsewhere_is_told_with_its_counterpart(
    key: str, owner: str, instead: str
) -> None:
    told = foreign_annotation(key)
    assert told.startswith(f"the annotation '{key}' is for {owner} and has no effect in weft")
    assert ("; use " in told) is bool(instead)
    assert instead in told


@pytest.mark.parametrize(
    "key",
    [
        "linkerd.io/inject", "kuma.io/sidecar-injection", "example.com/owner", "notlinkerd.io/http", "linkerd.io",
        "prometheus.io/scrape", "argocd.argoproj.io/sync-wave", "service.beta.kubernetes.io/aws-load-balancer-type",
    ],
)  # fmt: skip
def test_others_are_nobodys_business(key: str) -> None:
    assert foreign_annotation(key) == ""


def test_the_warning_stands_at_the_annotation() -> None:
    text = "apiVersion: v1\nkind: Namespace\nmetadata:\n  name: a\n  annotations:\n    kuma.io/mesh: other\n"
    decoded = decode_documents(text, "f")
    (problem,) = decoded.problems
    assert (problem.origin.line, problem.severity, problem.code) == (6, Severity.WARNING, "unsupported-annotation")
    assert len(decoded.documents) == 1
