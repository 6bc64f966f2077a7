"""Small things that installing and looking rest on: selectors, kinds, fields that are taken over, records."""

from __future__ import annotations

from typing import Any

import pytest

from weft.cluster.applying import _united, difference, kind_of, path_of
from weft.cluster.manifests import Settings, checked, following, objects_of
from weft.cluster.reading import selected
from weft.cluster.record import Record, applyset_id, kinds_of, record_of
from weft.cluster.rights import Right, rights_of


@pytest.mark.parametrize(
    ("selector", "labels", "wanted"),
    [
        (None, {}, True),
        ({"matchLabels": {"a": "1"}}, {"a": "1", "b": "2"}, True),
        ({"matchLabels": {"a": "1"}}, {"a": "2"}, False),
        ({"matchExpressions": [{"key": "a", "operator": "In", "values": ["1"]}]}, {}, False),
        ({"matchExpressions": [{"key": "a", "operator": "NotIn", "values": ["1"]}]}, {}, True),
        ({"matchExpressions": [{"key": "a", "operator": "Exists"}]}, {"a": ""}, True),
        ({"matchExpressions": [{"key": "a", "operator": "DoesNotExist"}]}, {"a": ""}, False),
    ],
)
def test_selectors(selector: dict[str, Any] | None, labels: dict[str, str], wanted: bool) -> None:
    assert selected(selector, labels) is wanted


def test_paths_of_all_that_is_installed() -> None:
    objects = objects_of(checked(Settings(image="a")))
    paths = [path_of(each) for each in objects]
    assert len(set(paths)) == len(paths)
    assert "/apis/apps/v1/namespaces/weft-system/deployments/weft" in paths
    assert "/apis/gateway.networking.k8s.io/v1/gatewayclasses/weft" in paths
    assert "/apis/policy/v1/namespaces/weft-system/poddisruptionbudgets/weft" in paths
    namespaced = {each["kind"] for each in objects if "namespace" in each["metadata"]}
    assert {each["kind"] for each in objects if not kind_of(each).cluster_wide} == namespaced


def test_a_record_finds_every_kind_again() -> None:
    settings = checked(Settings(image="a"))
    members = [each for each in objects_of(settings) if each["kind"] not in ("Namespace", "CustomResourceDefinition")]
    record = record_of(settings, members, None)
    annotations = record["metadata"]["annotations"]
    assert annotations["applyset.kubernetes.io/additional-namespaces"] == "kube-system"
    kinds = frozenset(annotations["applyset.kubernetes.io/contains-group-kinds"].split(","))
    found = kinds_of(Record(settings, "0.1.0", kinds, frozenset()))
    assert {each.name for each in found} == {each["kind"] for each in members}
    assert applyset_id("weft-system").startswith("applyset-")


def test_images_that_are_called_after_another_follow_it() -> None:
    settings = checked(Settings(image="a/b:1", cni_image="c:2"))
    assert (settings.sidecar_image, settings.cni_image) == ("a/b-proxy:1", "c:2")
    assert following(settings) == ["sidecar_image"]
    assert following(Settings()) == ["sidecar_image", "cni_image"]


def test_fields_of_several_are_united() -> None:
    one: dict[str, Any] = {"f:spec": {"f:a": {}, "f:b": {"f:c": {}}}}
    other: dict[str, Any] = {"f:spec": {"f:b": {"f:d": {}}}, "f:metadata": {}}
    assert _united(one, other) == {"f:spec": {"f:a": {}, "f:b": {"f:c": {}, "f:d": {}}}, "f:metadata": {}}


def test_what_only_the_server_writes_is_no_difference() -> None:
    about = {"name": "a", "resourceVersion": "1", "generation": 1, "managedFields": []}
    before = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": about, "status": {"x": 1}}
    after = {**before, "metadata": {**about, "resourceVersion": "2", "generation": 2}, "status": {}}
    assert difference(before, after) == ""
    assert "+  a: b" in difference(before, {**after, "data": {"a": "b"}})


def test_rights_of_rules() -> None:
    rules = [{"apiGroups": [""], "resources": ["secrets"], "resourceNames": ["a", "b"], "verbs": ["get"]}]
    assert rights_of(rules, "shop") == [Right("", "secrets", "get", "shop", name) for name in ("a", "b")]
    assert str(rights_of(rules, "shop")[0]) == "get secrets/a in shop"
