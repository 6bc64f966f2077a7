"""What `weft install` writes is what Helm would: of its switches, and of its texts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from tools.chart import CARRIED, carried

from support.chart import CHART, helm, rendered
from weft import __version__
from weft.cluster.applying import kind_of, path_of
from weft.cluster.manifests import Features, ManifestError, Settings, checked, objects_of, role_rights
from weft.model.revisions import Revision

MADE_BY = ("app.kubernetes.io/managed-by", "helm.sh/chart")


def helms(home: Path, namespace: str, values: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """What Helm renders, without its hooks and labels, by path."""
    also = ("--api-versions", "gateway.networking.k8s.io/v1/GatewayClass")
    text = helm("template", "weft", str(CHART), "-n", namespace, *also, home=home, values=values)
    objects = [each for each in yaml.safe_load_all(text) if each]
    for each in objects:
        for label in MADE_BY:
            each["metadata"]["labels"].pop(label, None)
    return {path_of(each): each for each in objects if "helm.sh/hook" not in each["metadata"].get("annotations", {})}


def ours(settings: Settings) -> dict[str, dict[str, Any]]:
    first = ("Namespace", "CustomResourceDefinition")
    return {path_of(each): each for each in objects_of(settings) if each["kind"] not in first}


def test_it_is_rendered_from_the_chart() -> None:
    assert CARRIED.read_text() == carried(), "run: ./run chart"


@pytest.mark.parametrize(
    ("settings", "values"),
    [
        (Settings(image="weft.test/weft"), {"image": {"repository": "weft.test/weft", "tag": __version__}}),
        (
            Settings(
                namespace="mesh",
                image="localhost:5000/weft:2",
                sidecar_image="weft.test/other:3",
                pull_policy="Never",
                trust_domain="example.org",
                gateway_service="ClusterIP",
                gateway_replicas="2",
                replicas=3,
                features=Features(cni=True),
            ),
            {
                "image": {"repository": "localhost:5000/weft", "tag": "2", "pullPolicy": "Never"},
                "trustDomain": "example.org",
                "injection": {"image": "weft.test/other:3"},
                "gateways": {"serviceType": "ClusterIP", "replicas": "2"},
                "cni": {"enabled": True},
                "replicas": 3,
            },
        ),
        (
            Settings(image="a/b:1", features=Features(injection=False, gateways=False, validation=False)),
            {
                "image": {"repository": "a/b", "tag": "1"},
                "injection": {"enabled": False},
                "gateways": {"enabled": False},
                "validation": {"enabled": False},
            },
        ),
        (
            Settings(image="a/b:1", features=Features(gateways=False)),
            {"image": {"repository": "a/b", "tag": "1"}, "gateways": {"enabled": False}},
        ),
        (
            Settings(image="a/b:1", revision_tags=("prod", "test")),
            {"image": {"repository": "a/b", "tag": "1"}, "revisionTags": ["prod", "test"]},
        ),
        (
            Settings(image="a/b:1", revision="canary", features=Features(cni=True)),
            {"image": {"repository": "a/b", "tag": "1"}, "revision": "canary", "cni": {"enabled": True}},
        ),
        (
            Settings(image="a/b:1", revision="canary", revision_tags=("prod",), features=Features(gateways=False)),
            {
                "image": {"repository": "a/b", "tag": "1"},
                "revision": "canary",
                "revisionTags": ["prod"],
                "gateways": {"enabled": False},
            },
        ),
        (
            Settings(image="a/b:1", revision="canary", revision_tags=("default", "prod", "test")),
            {
                "image": {"repository": "a/b", "tag": "1"},
                "revision": "canary",
                "revisionTags": ["default", "prod", "test"],
            },
        ),
    ],
)
def test_it_is_what_helm_makes(tmp_path: Path, settings: Settings, values: dict[str, Any]) -> None:
    wanted = helms(tmp_path, settings.namespace, values)
    found = ours(checked(settings))
    assert found.keys() == wanted.keys()
    for path, each in wanted.items():
        assert found[path] == each, path


@pytest.mark.parametrize("revision", ["", "canary"])
def test_further_cluster_roles_have_endings_that_no_revision_can_have(tmp_path: Path, revision: str) -> None:
    """Else the further roles of one were another's own."""
    everything = {
        "image": {"repository": "a", "tag": "1"},
        "revision": revision,
        "ca": {"signer": "a.b/c", "roots": "bundle/d"},
        "references": [{"namespace": "*", "secrets": ["e"]}],
    }
    kinds = ("ClusterRole", "ClusterRoleBinding")
    names = {each["metadata"]["name"] for each in helms(tmp_path, "mesh", everything).values() if each["kind"] in kinds}
    further = names - {f"weft{f'-{revision}' if revision else ''}"}
    assert len(further) >= 6
    for each in further:
        with pytest.raises(ManifestError, match="cannot be, since ClusterRoles of other revisions end so"):
            checked(Settings(image="a", revision=each.removeprefix("weft-")))


def test_the_accounts_rights_are_those_of_its_roles(tmp_path: Path) -> None:
    """Roles for people are not its own."""
    wanted = {str(each) for each in role_rights(Features(), "weft-system")}
    assert "create tokenreviews.authentication.k8s.io" in wanted
    assert "get configmaps/extension-apiserver-authentication in kube-system" in wanted
    assert not any("admin.weft.dev" in each or "portforward" in each for each in wanted)
    canarys = {str(each) for each in role_rights(Features(), "weft-system", Revision("canary", ("prod",)))}
    leases = {each for each in canarys if each.startswith("get leases")}
    assert leases == {
        f"get leases.coordination.k8s.io/{name} in weft-system"
        for name in ("weft-leader-canary", "weft-leader-prod", "weft-state")
    }
    assert len(canarys) == len(wanted) + 2, "another Lease, which is read and written"
    plurals = {kind_of(each).plural for each in rendered(tmp_path)}
    assert {"networkpolicys", "gatewayclasss"}.isdisjoint(plurals)
