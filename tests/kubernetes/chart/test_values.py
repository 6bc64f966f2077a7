"""The Helm chart: what it renders is what an API server takes, and every value of it does something."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml
from tools.chart import BASE, IMAGE, base_files
from tools.kubernetes_cluster import ApiCluster, ClusterError

from support.chart import CHART, NAMESPACE, ROOT, USUAL, HelmError, helm, merged, of_kind, rendered, value_paths
from weft.schema.definitions import DEFINED
from weft.sources.kubernetes.selectors import selector_from_text

TURNED: dict[str, Any] = {
    "image.repository": "weft.test/other",
    "image.tag": "2",
    "image.pullPolicy": "Always",
    "image.pullSecrets": ["registry"],
    "revision": "canary",
    "revisionTags": ["prod"],
    "discoverySelectors": [{"matchLabels": {"mesh": "on"}}],
    "trustDomain": "example.org",
    "ca.signer": "example.com/other",
    "ca.issuer": "ClusterIssuer/mesh",
    "ca.roots": "bundle/other",
    "ca.days": 10,
    "bind": "::",
    "replicas": 3,
    "autoscaling.enabled": True,
    "autoscaling.minReplicas": 3,
    "autoscaling.maxReplicas": 9,
    "autoscaling.targetCPUUtilizationPercentage": 50,
    "extraArgs": ["--lease=20"],
    "injection.enabled": False,
    "injection.image": "weft.test/another:3",
    "injection.pullPolicy": "Always",
    "injection.classic": True,
    "injection.failurePolicy": "Ignore",
    "injection.timeoutSeconds": 3,
    "cni.enabled": True,
    "cni.install": False,
    "cni.image": "weft.test/another-cni:3",
    "cni.pullPolicy": "Always",
    "cni.namespace": "weft-nodes",
    "cni.plugins": "/usr/libexec/cni",
    "cni.networks": "/var/lib/rancher/net.d",
    "cni.records": "/var/lib/other/results",
    "cni.resources": {"requests": {"cpu": "1"}},
    "cni.tolerations": [],
    "cni.nodeSelector": {"example.org/mesh": "yes"},
    "cni.priorityClassName": "",
    "gateways.enabled": False,
    "gateways.replicas": "2",
    "gateways.serviceType": "ClusterIP",
    "validation.enabled": False,
    "validation.timeoutSeconds": 3,
    "users.enabled": False,
    "references": [{"namespace": "shop", "secrets": ["shop-tls"], "configMaps": ["*"]}],
    "gatewayClass.create": False,
    "serviceAccount.annotations": {"example.org/role": "mesh"},
    "podDisruptionBudget.enabled": False,
    "networkPolicy.enabled": True,
    "serviceMonitor.enabled": True,
    "serviceMonitor.interval": "1m",
    "serviceMonitor.labels": {"release": "prometheus"},
    "serviceMonitor.secretName": "other",
    "resources": {"requests": {"cpu": "2"}},
    "podAnnotations": {"example.org/note": "x"},
    "podLabels": {"team": "platform"},
    "nodeSelector": {"kubernetes.io/os": "linux"},
    "tolerations": [{"key": "control-plane", "operator": "Exists"}],
    "affinity": {"nodeAffinity": {}},
    "topologySpreadConstraints": [
        {"maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "DoNotSchedule", "labelSelector": {}}
    ],
    "priorityClassName": "system-cluster-critical",
}
"""By value: another than its default."""
WITH: dict[str, dict[str, Any]] = {
    "serviceMonitor": {"serviceMonitor": {"enabled": True}},
    "cni": {"cni": {"enabled": True}},
    "autoscaling": {"autoscaling": {"enabled": True}},
    "ca": {"ca": {"signer": "example.com/mesh", "roots": "configmap/default/roots"}},
}
"""What has to be on for values of a group to show."""


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path


def values_of(path: str, value: object) -> dict[str, Any]:
    group, dot, name = path.partition(".")
    return {group: {name: value}} if dot else {group: value}


def test_helm_finds_nothing_to_say(home: Path) -> None:
    told = helm("lint", "--strict", str(CHART), home=home)
    assert "1 chart(s) linted, 0 chart(s) failed" in told
    assert "WARN" not in told


def test_definitions_come_with_it(home: Path) -> None:
    text = helm("template", "weft", str(CHART), "--include-crds", home=home)
    objects = [each for each in yaml.safe_load_all(text) if each]
    definitions = of_kind(objects, "CustomResourceDefinition")
    assert {each["spec"]["names"]["kind"] for each in definitions} == {kind.name for kind in DEFINED}


def test_an_image_has_to_be_named(home: Path) -> None:
    with pytest.raises(HelmError, match=r"image\.repository is missing: no image is published"):
        helm("template", "weft", str(CHART), home=home, values={})


def test_every_value_does_something(home: Path) -> None:
    schema = json.loads((CHART / "values.schema.json").read_text())
    assert set(value_paths(schema)) - {"global"} == TURNED.keys()
    usual = {"": rendered(home), **{group: rendered(home, base) for group, base in WITH.items()}}
    for path, value in TURNED.items():
        group = path.partition(".")[0] if not path.endswith(".enabled") else ""
        turned = merged(WITH.get(group, {}), values_of(path, value))
        assert rendered(home, turned) != usual.get(group, usual[""]), f"{path} changes nothing"


def test_two_revisions_have_nothing_in_common(home: Path) -> None:
    """But their state, and what Helm never takes away."""
    first, second = rendered(home), rendered(home, {"revision": "canary", "revisionTags": ["prod"]})
    names = [{(each["kind"], each["metadata"]["name"]) for each in one} for one in (first, second)]
    assert not names[0] & names[1]
    services = [of_kind(one, "Service")[0] for one in (first, second)]
    assert services[0]["spec"]["selector"] != services[1]["spec"]["selector"]
    assert not of_kind(second, "GatewayClass")
    [kept] = of_kind(first, "GatewayClass")
    assert kept["metadata"]["annotations"] == {"helm.sh/resource-policy": "keep"}
    leases = [rule["resourceNames"] for role in of_kind(second, "Role") for rule in role["rules"] if _of_lease(rule)]
    assert leases == [["weft-leader-canary", "weft-leader-prod", "weft-state"]]


def _of_lease(rule: dict[str, Any]) -> bool:
    return rule["resources"] == ["leases"] and "resourceNames" in rule


def webhooks(objects: list[dict[str, Any]]) -> dict[str, set[str]]:
    """By webhook of the injector, the values of the labels of namespaces that it is asked about."""
    [configuration] = of_kind(objects, "MutatingWebhookConfiguration")
    found: dict[str, set[str]] = {}
    for each in configuration["webhooks"]:
        wanted = [one for one in each["namespaceSelector"]["matchExpressions"] if one["operator"] == "In"]
        found[each["name"].partition(".")[0]] = {value for one in wanted for value in one["values"]}
    return found


def test_a_revision_is_asked_about_its_own_pods(home: Path) -> None:
    enabled, default = {"enabled"}, {"default"}
    usual = {"namespace": enabled, "istio-namespace": enabled, "revision": default, "istio-revision": default}
    assert webhooks(rendered(home)) == {**usual, "pod": set()}
    canary = rendered(home, {"revision": "canary", "revisionTags": ["prod"]})
    own = {"canary", "prod"}
    assert webhooks(canary) == {"revision": own, "istio-revision": own, "pod": set()}
    [validating] = of_kind(canary, "ValidatingWebhookConfiguration")
    assert [each["objectSelector"]["matchExpressions"][0]["key"] for each in validating["webhooks"]] == [
        "weft.dev/rev",
        "istio.io/rev",
    ]
    moved = rendered(home, {"revision": "v2", "revisionTags": ["default"]})
    assert webhooks(moved)["namespace"] == enabled
    [validating] = of_kind(moved, "ValidatingWebhookConfiguration")
    assert "objectSelector" not in validating["webhooks"][0]


def test_discovery_selectors_are_told_as_kubectl_has_them(home: Path) -> None:
    expressions = [
        {"key": "team", "operator": "In", "values": ["shop", "pay"]},
        {"key": "env", "operator": "NotIn", "values": ["test"]},
        {"key": "mesh", "operator": "Exists"},
        {"key": "legacy", "operator": "DoesNotExist"},
    ]
    given = [{"matchLabels": {"a": "1", "b": "2"}}, {"matchExpressions": expressions}]
    [made] = of_kind(rendered(home, {"discoverySelectors": given}), "Deployment")
    command = made["spec"]["template"]["spec"]["containers"][0]["command"]
    told = [word.partition("=")[2] for word in command if word.startswith("--discovery-selector=")]
    assert told == ["a=1,b=2", "team in (shop,pay),env notin (test),mesh,!legacy"]
    labels = {"team": "pay", "mesh": ""}
    assert [selector_from_text(text).matches(labels) for text in told] == [False, True]


@pytest.mark.parametrize(
    "values",
    [{"revision": "Canary"}, {"revisionTags": ["a b"]}, {"discoverySelectors": [{}]}, {"discoverySelectors": ["a=b"]}],
)
def test_what_is_no_revision_or_selector_is_refused(home: Path, values: dict[str, Any]) -> None:
    with pytest.raises(HelmError, match=next(iter(values))):
        rendered(home, values)


def test_references_are_let_out_in_a_namespace_or_in_all(home: Path) -> None:
    objects = rendered(
        home, {"references": [{"namespace": "*", "secrets": ["*"]}, {"namespace": "shop", "secrets": ["a"]}]}
    )
    found = {each["kind"]: each for each in objects if each["metadata"]["name"] == "weft-references"}
    assert found["ClusterRole"]["rules"] == [{"apiGroups": [""], "resources": ["secrets"], "verbs": ["watch"]}]
    assert found["ClusterRoleBinding"]["roleRef"]["kind"] == "ClusterRole"
    assert found["Role"]["rules"][0]["resourceNames"] == ["a"]
    assert found["RoleBinding"]["metadata"]["namespace"] == "shop"


@pytest.mark.parametrize(
    ("values", "rules"),
    [
        (
            {"signer": "example.com/mesh", "roots": "bundle/mesh"},
            {
                "certificatesigningrequests": ["create", "delete", "get"],
                "certificatesigningrequests/approval": ["update"],
                "signers": ["approve"],
                "clustertrustbundles": ["get"],
            },
        ),
        (
            {"issuer": "Issuer/mesh", "roots": "configmap/trust/mesh"},
            {"certificaterequests": ["create", "delete", "get"], "configmaps": ["get"]},
        ),
    ],
)
def test_who_signs_gives_the_rights_that_it_takes(home: Path, values: dict[str, str], rules: dict[str, Any]) -> None:
    """Those of tests/kubernetes/test_cluster_authority.py, and no more."""
    roles = [
        one for one in rendered(home, {"ca": values}) if one["metadata"]["name"] in ("weft-authority", "weft-roots")
    ]
    found = {rule["resources"][0]: rule["verbs"] for role in roles for rule in role.get("rules", ())}
    assert found == rules
    assert not [one for one in rendered(home) if one["metadata"]["name"] in ("weft-authority", "weft-roots")]
    with pytest.raises(HelmError, match=r"ca\.roots is missing"):
        rendered(home, {"ca": {**values, "roots": ""}})


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({"imagePullSecret": "x"}, "additional properties 'imagePullSecret' not allowed"),
        ({"image": {"pullpolicy": "Never"}}, "at '/image': additional properties 'pullpolicy' not allowed"),
        ({"image": {"pullPolicy": "Sometimes"}}, "at '/image/pullPolicy': value must be one of"),
        ({"bind": "10.0.0.1"}, "at '/bind': value must be one of '0.0.0.0', '::'"),
        ({"trustDomain": "Example"}, "at '/trustDomain': 'Example' does not match pattern"),
        ({"replicas": 0}, "at '/replicas': minimum: got 0, want 1"),
        ({"references": [{"secrets": ["a"]}]}, "at '/references/0': missing property 'namespace'"),
        ({"extraArgs": "--lease=20"}, "at '/extraArgs': got string, want array"),
    ],
)
def test_values_that_are_wrong_are_refused_with_their_path(home: Path, values: dict[str, Any], told: str) -> None:
    with pytest.raises(HelmError) as refused:
        rendered(home, values)
    assert told in str(refused.value)


@pytest.mark.parametrize(
    ("kind", "file"),
    [("MutatingWebhookConfiguration", "webhooks"), ("ValidatingWebhookConfiguration", "validator")],
)
def test_webhooks_are_those_of_the_examples(home: Path, kind: str, file: str) -> None:
    (configuration,) = of_kind(rendered(home), kind)
    example = yaml.safe_load((ROOT / "examples" / "kubernetes" / f"{file}.yaml").read_text())
    assert configuration["webhooks"] == example["webhooks"]


@pytest.fixture(scope="module")
def system(cluster: ApiCluster) -> str:
    """The namespace of the control plane, in which only restricted pods may run."""
    labels = {"pod-security.kubernetes.io/enforce": "restricted"}
    about = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE, "labels": labels}}
    cluster.kubectl("apply", "-f", "-", given=about)
    return NAMESPACE


def test_an_api_server_takes_all_of_it(cluster: ApiCluster, home: Path, system: str) -> None:
    on = {"networkPolicy": {"enabled": True}, "cni": {"enabled": True}}
    strictly = ("apply", "--dry-run=server", "--validate=strict", "-f", "-")
    for each in rendered(home, on):
        cluster.kubectl(*strictly, given=each)


def test_its_pods_are_restricted(cluster: ApiCluster, home: Path, system: str) -> None:
    objects = rendered(home)
    (control_plane,) = of_kind(objects, "Deployment")
    account = of_kind(objects, "ServiceAccount")
    cluster.kubectl("apply", "-f", "-", given=account[0])
    try:
        template = control_plane["spec"]["template"]
        about = {"namespace": system, "name": "weft-one", "labels": template["metadata"]["labels"]}
        for pod in (
            {"apiVersion": "v1", "kind": "Pod", "metadata": about, "spec": template["spec"]},
            *of_kind(objects, "Pod"),
        ):
            cluster.kubectl("create", "--dry-run=server", "-f", "-", given=pod)
            del pod["spec"]["securityContext"]["runAsNonRoot"]
            with pytest.raises(ClusterError, match="violates PodSecurity"):
                cluster.kubectl("create", "--dry-run=server", "-f", "-", given=pod)
    finally:
        cluster.kubectl("delete", "serviceaccount", "weft", "-n", system)


def test_what_is_uninstalled_is_gone(cluster: ApiCluster, home: Path, system: str) -> None:
    access = ("-n", system, "--kubeconfig", str(cluster.kubeconfig("admin")))
    helm("install", "weft", str(CHART), *access, home=home, values=USUAL)
    try:
        assert "deployment.apps/weft" in ours(cluster)
        helm(
            "upgrade",
            "weft",
            str(CHART),
            *access,
            home=home,
            values=merged(USUAL, {"networkPolicy": {"enabled": True}, "cni": {"enabled": True}}),
        )
        assert "daemonset.apps/weft-cni" in ours(cluster)
        assert "networkpolicy.networking.k8s.io/weft" in ours(cluster)
    finally:
        helm("uninstall", "weft", "--wait", *access, home=home)
    assert ours(cluster) == {"gatewayclass.gateway.networking.k8s.io/weft"}, "which other revisions serve, too"
    cluster.kubectl("delete", "gatewayclass", "weft")
    kept = cluster.kubectl("get", "crd", "-l", "app.kubernetes.io/part-of=weft", "-o", "name").split()
    assert "customresourcedefinition.apiextensions.k8s.io/meshconfigs.weft.dev" in kept


def ours(cluster: ApiCluster) -> set[str]:
    """What of the chart is in the cluster, but the definitions."""
    kinds = (
        "deployment daemonset service serviceaccount poddisruptionbudget networkpolicy gatewayclass clusterrole "
        "clusterrolebinding role rolebinding mutatingwebhookconfiguration validatingwebhookconfiguration"
    )
    told = cluster.kubectl("get", ",".join(kinds.split()), "-A", "-l", "app.kubernetes.io/part-of=weft", "-o", "name")
    return set(told.split())


def test_the_base_for_kustomize_is_fresh_and_taken(cluster: ApiCluster, tmp_path: Path) -> None:
    wanted = base_files()
    assert {path.name: path.read_text() for path in BASE.iterdir()} == {
        path.name: text for path, text in wanted.items()
    }
    image = {"name": IMAGE, "newName": "registry.example/weft", "newTag": "7"}
    shutil.copytree(BASE, tmp_path / "base")
    page = (ROOT / "docs" / "install-kubernetes.md").read_text()
    told = yaml.safe_load(page.partition("# kustomization.yaml\n")[2].partition("```")[0])
    mine = {**told, "resources": ["base"], "images": [image]}
    (tmp_path / "kustomization.yaml").write_text(json.dumps(mine))
    built = cluster.kubectl("kustomize", str(tmp_path))
    assert "image: registry.example/weft:7" in built
    assert "weft.invalid" not in built
    objects = [each for each in yaml.safe_load_all(built) if not each["metadata"].get("namespace")]
    strictly = ("apply", "--dry-run=server", "--validate=strict", "-f", "-")
    cluster.kubectl(*strictly, given={"apiVersion": "v1", "kind": "List", "items": objects})
