"""`weft migrate` reads another mesh's installation out of a cluster."""

from __future__ import annotations

import base64
import gzip
import json

import pytest
from tools.kubernetes_cluster import ApiCluster

from weft.cli.main import run


def kept_by_helm(name: str, chart: str, values: object) -> dict[str, object]:
    """The Secret in which Helm keeps a release."""
    release = {"name": name, "namespace": "istio-system", "config": values, "chart": {"metadata": {"name": chart}}}
    packed = base64.b64encode(gzip.compress(json.dumps(release).encode()))
    about = {
        "name": f"sh.helm.release.v1.{name}.v1",
        "namespace": "istio-system",
        "labels": {"owner": "helm", "status": "deployed", "name": name},
    }
    data = {"release": base64.b64encode(packed).decode()}
    return {"apiVersion": "v1", "kind": "Secret", "metadata": about, "type": "helm.sh/release.v1", "data": data}


def object_of(kind: str, name: str, **rest: object) -> dict[str, object]:
    version = {"Deployment": "apps/v1", "AuthorizationPolicy": "security.istio.io/v1"}.get(kind, "v1")
    about = {"name": name} if kind == "Namespace" else {"name": name, "namespace": "istio-system"}
    return {"apiVersion": version, "kind": kind, "metadata": about, **rest}


OBJECTS = [
    object_of("Namespace", "istio-system"),
    {**object_of("Namespace", "far"), "metadata": {"name": "far", "labels": {"istio.io/dataplane-mode": "ambient"}}},
    object_of("ConfigMap", "istio", data={"mesh": "accessLogFile: /dev/stdout\nenableAutoMtls: false\n"}),
    object_of("AuthorizationPolicy", "nobody", spec={}),
    object_of(
        "Deployment",
        "web",
        spec={
            "selector": {"matchLabels": {"app": "web"}},
            "template": {
                "metadata": {"labels": {"app": "web"}, "annotations": {"sidecar.istio.io/logLevel": "debug"}},
                "spec": {"containers": [{"name": "web", "image": "web:1"}]},
            },
        },
    ),
    kept_by_helm("istiod", "istiod", {"pilot": {"traceSampling": 1}, "global": {"multiCluster": {"clusterName": "a"}}}),
    kept_by_helm("other", "nginx", {"pilots": 1}),
]


def test_an_installation_is_read_from_the_cluster(
    cluster: ApiCluster, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    cluster.kubectl("apply", "-f", "-", given={"apiVersion": "v1", "kind": "List", "items": OBJECTS[:1]})
    cluster.kubectl("apply", "-f", "-", given={"apiVersion": "v1", "kind": "List", "items": OBJECTS[1:]})
    monkeypatch.setenv("WEFT_KUBECONFIG", str(cluster.kubeconfig("admin")))
    assert run(["migrate", "istio", "-o", "json"]) == 0
    said = capsys.readouterr()
    assert said.err.startswith("reading the cluster of context '")
    report = json.loads(said.out)
    assert not report["problems"]
    found = {(one["source"], one["path"].rpartition(".")[2]): one["verdict"] for one in report["lines"]}
    assert found["kubernetes:AuthorizationPolicy/istio-system/nobody", ""] == "same"
    assert found["kubernetes:ConfigMap/istio-system/istio", "enableAutoMtls"] == "missing"
    assert found["kubernetes:Namespace/far", 'io/dataplane-mode"]'] == "missing"
    assert found["helm:istio-system/istiod", "traceSampling"] == "differs"
    assert found["helm:istio-system/istiod", "multiCluster"] == "missing"
    assert not [source for source, _ in found if "other" in source]
    assert [one for one in report["lines"] if "sidecar.istio.io/logLevel" in one["path"]]
    assert run(["migrate", "istio", "--strict"]) == 1
    assert "kubernetes:ConfigMap/istio-system/istio:" in capsys.readouterr().out


def test_a_cluster_that_does_not_answer(
    cluster: ApiCluster, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    nobody = cluster.account("nobody", [])
    monkeypatch.setenv("WEFT_KUBECONFIG", str(nobody))
    assert run(["migrate", "istio"]) != 0
    said = capsys.readouterr().err
    assert "cannot be read: " in said
    assert "forbidden" in said
