"""Definitions of weft's own kinds: a real API server takes every document of the examples, and refuses wrong ones."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
import yaml
from tools.kubernetes_cluster import ApiCluster, ClusterError

from support.chart import ROOT
from weft.schema.kinds.meshconfig import WEFT_GROUP
from weft.schema.registry import KINDS

OURS = {kind.name: kind for kind in KINDS if kind.group == WEFT_GROUP}
_BLOCK = re.compile(r"^```yaml\n(.*?)^```", re.DOTALL | re.MULTILINE)


def texts() -> Iterator[str]:
    for pattern in ("examples/**/*.yaml", "tests/golden/*/input.yaml"):
        yield from (path.read_text() for path in sorted(ROOT.glob(pattern)))
    for path in sorted(ROOT.glob("docs/*.md")):
        yield from _BLOCK.findall(path.read_text())


def documents() -> list[dict[str, Any]]:
    """Every whole document of our kinds in examples, pages and goldens, under names of their own in one namespace."""
    found: list[dict[str, Any]] = []
    for text in texts():
        if f"{WEFT_GROUP}/" not in text:
            continue
        for each in yaml.safe_load_all(text):
            if isinstance(each, dict) and each.get("kind") in OURS and "metadata" in each:
                about = {"name": f"document-{len(found)}", "namespace": "default"}
                found.append(json.loads(json.dumps({**each, "metadata": about}, default=str)))
    return found


def strictly(cluster: ApiCluster, document: dict[str, Any]) -> None:
    """Have the server itself look at a document, as strictly as it can. ClusterError says why it refuses it."""
    path = f"/apis/{document['apiVersion']}/namespaces/default/{OURS[document['kind']].plural}"
    cluster.kubectl("create", "--raw", f"{path}?dryRun=All&fieldValidation=Strict", "-f", "-", given=document)


def test_every_document_of_ours_is_taken(cluster: ApiCluster) -> None:
    found = documents()
    assert {each["kind"] for each in found} == OURS.keys()
    given = {"apiVersion": "v1", "kind": "List", "items": found}
    told = cluster.kubectl("apply", "--dry-run=server", "--validate=strict", "-f", "-", given=given)
    assert told.count("created (server dry run)") == len(found)


@pytest.mark.parametrize("name", sorted(OURS))
def test_a_field_that_no_kind_has_is_refused(cluster: ApiCluster, name: str) -> None:
    document = next(each for each in documents() if each["kind"] == name and each.get("spec"))
    with pytest.raises(ClusterError, match=r'strict decoding error: unknown field "spec\.mispelt"'):
        strictly(cluster, {**document, "spec": {**document["spec"], "mispelt": 1}})


HEALTH = {"targetRefs": [{"name": "web"}], "http": {"path": "/healthz"}}
LIMITS = {"targetRefs": [{"kind": "Service", "name": "web"}], "limits": [{"name": "a", "requests": 1, "unit": "Hour"}]}


@pytest.mark.parametrize(
    ("kind", "spec", "told"),
    [
        ("HealthCheckPolicy", {**HEALTH, "tcp": {}}, "exactly one of http, grpc, tcp"),
        ("HealthCheckPolicy", {**HEALTH, "interval": "10"}, 'spec.interval: Invalid value: "10"'),
        ("HealthCheckPolicy", {**HEALTH, "unhealthyThreshold": 0}, "should be greater than or equal to 1"),
        ("HealthCheckPolicy", {"http": {}}, "spec.targetRefs: Required value"),
        ("RateLimitPolicy", {**LIMITS, "mode": "Both"}, 'supported values: "Local", "Global"'),
        ("RateLimitPolicy", {**LIMITS, "dryRun": "yes"}, "spec.dryRun: Invalid value"),
        ("RateLimitPolicy", {**LIMITS, "limits": []}, "should have at least 1 items"),
        ("MeshConfig", {"trustDomain": "Example"}, 'spec.trustDomain: Invalid value: "Example"'),
    ],
)
def test_values_that_are_wrong_are_refused(cluster: ApiCluster, kind: str, spec: dict[str, Any], told: str) -> None:
    about = {"name": "wrong", "namespace": "default"}
    document = {"apiVersion": f"{WEFT_GROUP}/v1alpha1", "kind": kind, "metadata": about, "spec": spec}
    with pytest.raises(ClusterError) as refused:
        strictly(cluster, document)
    assert told in str(refused.value)


def test_kubectl_explains_them(cluster: ApiCluster) -> None:
    told = cluster.kubectl("explain", "healthcheckpolicies.spec.http.expectedStatuses")
    assert "KIND:       HealthCheckPolicy" in told
    told = cluster.kubectl("explain", "ratelimitpolicies.spec.limits.unit")
    assert "ENUM:\n    Second\n    Minute\n    Hour\n    Day\n" in told
