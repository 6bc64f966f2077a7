"""`weft install`, `upgrade` and `uninstall` at a real API server: what is written, by whom, again, and what is left."""

from __future__ import annotations

import contextlib
import json
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from tools.kubernetes_cluster import ApiCluster, ClusterError

from support.chart import CHART, USUAL, HelmError, helm
from weft.cluster.record import applyset_id
from weft.schema.definitions import DIGEST
from weft.testing.polling import until
from weft.testing.processes import cli

NAMESPACE = "weft-system"
USED = ("--image=weft.test/weft:1", "--no-wait")
CONTROL_PLANE = ("deployment", "weft", "-n", NAMESPACE)
INJECTOR = ("mutatingwebhookconfiguration", "weft-injector")
CANARY = ("--revision=canary",)


class Weft:
    """The command line and the cluster that it is about."""

    def __init__(self, cluster: ApiCluster, home: Path) -> None:
        self.cluster = cluster
        self.home = home
        self.admin = cluster.kubeconfig("admin")

    def run(self, command: str, *words: str, kubeconfig: Path | None = None) -> subprocess.CompletedProcess[str]:
        """What one command gives."""
        access = f"--kubeconfig={kubeconfig or self.admin}"
        return cli(self.home, command, access, *words, check=False, timeout=120)

    def said(self, command: str, *words: str) -> list[str]:
        """The lines of one that succeeds."""
        done = self.run(command, *words)
        assert done.returncode == 0, (done.stdout, done.stderr)
        return done.stdout.splitlines()

    def refused(self, command: str, *words: str, kubeconfig: Path | None = None) -> str:
        """What one says that fails."""
        done = self.run(command, *words, kubeconfig=kubeconfig)
        assert done.returncode not in (0, 130), done.stdout
        return done.stderr + done.stdout

    def get(self, *words: str) -> dict[str, Any]:
        """An object, with who owns what of it."""
        found: dict[str, Any] = json.loads(
            self.cluster.kubectl("get", *words, "-o", "json", "--show-managed-fields=true", "--ignore-not-found")
            or "{}"
        )
        return found


@pytest.fixture
def weft(cluster: ApiCluster, tmp_path: Path) -> Iterator[Weft]:
    found = Weft(cluster, tmp_path)
    try:
        yield found
    finally:
        for revision, record in (("default", "weft-install"), ("canary", "weft-install-canary")):
            if found.get("configmap", record, "-n", NAMESPACE):
                found.run("uninstall", f"--revision={revision}")


def managers(thing: Mapping[str, Any]) -> set[str]:
    return {each["manager"] for each in thing["metadata"]["managedFields"]}


def test_installed_changed_and_taken_out(weft: Weft) -> None:
    planned = weft.said("install", *USED, "--dry-run")
    assert "created: Deployment weft-system/weft" in planned
    assert weft.get(*CONTROL_PLANE) == {}
    lines = weft.said("install", *USED)
    assert lines.index("created: ClusterRole weft") < lines.index("created: Deployment weft-system/weft")
    assert lines[-1] == "created: ValidatingWebhookConfiguration weft-validator"
    assert managers(weft.get(*CONTROL_PLANE)) >= {"weft-install"}
    assert weft.said("install", *USED) == ["nothing changed"]
    assert weft.said("upgrade", "--no-wait") == ["nothing changed"]

    lines = weft.said("upgrade", "--no-wait", "--no-validation", "--image=weft.test/weft:2")
    assert "    +        image: weft.test/weft:2" in lines
    assert "    +          value: weft.test/weft-proxy:2" in lines
    assert "removed: ValidatingWebhookConfiguration weft-validator" in lines
    assert weft.said("upgrade", "--no-wait") == ["nothing changed"]
    container = weft.get(*CONTROL_PLANE)["spec"]["template"]["spec"]["containers"][0]
    assert container["image"] == "weft.test/weft:2"

    assert "--trust-domain: it is cluster.local and cannot be changed" in weft.refused("upgrade", "--trust-domain=a.b")
    lines = weft.said("uninstall")
    assert lines[0] == "removed: MutatingWebhookConfiguration weft-injector"
    assert lines[-1] == "no pod has a sidecar"
    assert weft.get(*CONTROL_PLANE) == weft.get("clusterrole", "weft") == {}
    assert weft.get("crd", "ejectionpolicies.weft.dev") != {}
    assert weft.said("uninstall") == [f"nothing to do: there is no weft in the namespace {NAMESPACE}"]


def test_what_somebody_else_has_changed(weft: Weft) -> None:
    weft.said("install", *USED)
    patch = json.dumps({"webhooks": [{"name": "pod.injector.weft.dev", "timeoutSeconds": 3}]})
    weft.cluster.kubectl("patch", *INJECTOR, "-p", patch, "--field-manager=somebody")
    said = weft.refused("upgrade", "--no-wait")
    assert 'conflict with "somebody"' in said
    assert "--force-conflicts takes these fields over" in said
    assert "changed: MutatingWebhookConfiguration weft-injector" in weft.said(
        "upgrade", "--no-wait", "--force-conflicts"
    )
    assert weft.said("upgrade", "--no-wait") == ["nothing changed"]


def test_helms_installation_is_taken_over_only_with_words(weft: Weft, tmp_path: Path) -> None:
    access = ("-n", NAMESPACE, "--kubeconfig", str(weft.admin))
    values = {**USUAL, "networkPolicy": {"enabled": True}, "trustDomain": "example.org", "replicas": 2}
    helm("install", "weft", str(CHART), "--create-namespace", *access, home=tmp_path, values=values)
    said = weft.refused("upgrade", *USED)
    assert "was installed in weft-system by Helm, as the release weft: use `helm upgrade weft`" in said
    assert "helm uninstall weft -n weft-system" in weft.refused("uninstall")
    said = weft.refused("upgrade", *USED, "--take-over", "--trust-domain=cluster.local")
    assert "--trust-domain: it is example.org and cannot be changed" in said
    lines = weft.said("upgrade", *USED, "--take-over")
    assert "changed: Deployment weft-system/weft" in lines
    taken = weft.get(*CONTROL_PLANE)
    assert "helm" not in managers(taken)
    assert "--trust-domain=example.org" in taken["spec"]["template"]["spec"]["containers"][0]["command"]
    assert taken["spec"]["replicas"] == 2
    assert "helm.sh/chart" not in taken["metadata"]["labels"]
    assert "meta.helm.sh/release-name" not in taken["metadata"].get("annotations", {})
    assert weft.said("upgrade", "--no-wait") == ["nothing changed"]
    with pytest.raises(HelmError, match="weft-install"):
        helm("upgrade", "weft", str(CHART), *access, home=tmp_path, values=values)
    weft.cluster.kubectl("delete", "secret", "-l", "owner=helm", "-n", NAMESPACE)
    weft.cluster.kubectl("delete", "networkpolicy", "weft", "-n", NAMESPACE)


def test_what_helm_leaves_behind_is_no_conflict(weft: Weft, tmp_path: Path) -> None:
    """The GatewayClass stays for other revisions."""
    access = ("-n", NAMESPACE, "--kubeconfig", str(weft.admin))
    helm("install", "weft", str(CHART), "--create-namespace", *access, home=tmp_path, values=USUAL)
    helm("uninstall", "weft", *access, "--wait", home=tmp_path)
    assert weft.get("gatewayclass", "weft") != {}
    assert "changed: GatewayClass weft" in weft.said("install", *USED)
    assert weft.said("install", *USED) == ["nothing changed"]


def test_the_gateway_class_stays_while_another_revision_serves_it(weft: Weft) -> None:
    weft.said("install", *USED)
    names = {"name": "weft-next", "component": "control-plane", "part-of": "weft"}
    labels = {f"app.kubernetes.io/{key}": value for key, value in names.items()}
    pod = {"metadata": {"labels": labels}, "spec": {"containers": [{"name": "weft", "image": "weft.test/weft:1"}]}}
    another = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "weft-next", "namespace": "default", "labels": labels},
        "spec": {"replicas": 0, "selector": {"matchLabels": labels}, "template": pod},
    }
    weft.cluster.kubectl("apply", "-f", "-", given=another)
    try:
        planned = weft.said("uninstall", "--dry-run")
        assert "would be kept: GatewayClass weft, which another control plane serves" in planned
        assert "would be removed: Deployment weft-system/weft" in planned
        assert weft.get(*CONTROL_PLANE) != {}
        assert "removed: GatewayClass weft" not in weft.said("uninstall")
        assert weft.get("gatewayclass", "weft") != {}
    finally:
        weft.cluster.kubectl("delete", "deployment", "weft-next", "-n", "default")
    weft.said("install", *USED)
    assert "removed: GatewayClass weft" in weft.said("uninstall")


def test_helm_begins_no_other_root(weft: Weft, tmp_path: Path) -> None:
    """Earlier charts had a StatefulSet with the root on its volume."""
    access = ("-n", NAMESPACE, "--kubeconfig", str(weft.admin))
    labels = {"app": "former"}
    pod = {"metadata": {"labels": labels}, "spec": {"containers": [{"name": "weft", "image": "weft.test/weft:0"}]}}
    about = {"name": "weft", "namespace": NAMESPACE}
    spec = {"replicas": 0, "serviceName": "weft", "selector": {"matchLabels": labels}, "template": pod}
    namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}}
    weft.cluster.kubectl("apply", "-f", "-", given=namespace)
    former = {"apiVersion": "apps/v1", "kind": "StatefulSet", "metadata": about, "spec": spec}
    weft.cluster.kubectl("apply", "-f", "-", given=former)
    try:
        with pytest.raises(HelmError, match="would begin with another root"):
            helm("install", "weft", str(CHART), *access, home=tmp_path, values=USUAL)
        weft.cluster.kubectl("create", "secret", "generic", "weft-ca", "-n", NAMESPACE)
        assert "deployed" in helm("install", "weft", str(CHART), *access, home=tmp_path, values=USUAL)
        helm("uninstall", "weft", *access, "--wait", home=tmp_path)
    finally:
        weft.cluster.kubectl("delete", "statefulset", "weft", "-n", NAMESPACE)
        weft.cluster.kubectl("delete", "secret", "weft-ca", "-n", NAMESPACE, "--ignore-not-found")


def test_a_version_too_far_away(weft: Weft) -> None:
    weft.said("install", *USED)

    def recorded(version: str) -> None:
        patch = json.dumps({"data": {"version": version}})
        weft.cluster.kubectl("patch", "configmap", "weft-install", "-n", NAMESPACE, "-p", patch)

    recorded("0.3.0")
    assert "weft 0.3.0 is installed, and this is 0.1.0: go one release at a time" in weft.refused("upgrade")
    recorded("0.2.0")
    weft.said("upgrade", "--no-wait", "--image=weft.test/weft:1", "--force-conflicts")
    recorded("0.1.0")
    name = "overloadpolicies.weft.dev"
    weft.cluster.kubectl("patch", "crd", name, "--subresource=status", "--type=merge", "-p",
                         json.dumps({"status": {"storedVersions": ["v1alpha1", "v1"]}}))  # fmt: skip
    try:
        assert f"do not know: {name} (v1)" in weft.refused("upgrade").replace("does not know", "do not know")
    finally:
        weft.cluster.kubectl("patch", "crd", name, "--subresource=status", "--type=merge", "-p",
                             json.dumps({"status": {"storedVersions": ["v1alpha1"]}}))  # fmt: skip


def test_who_may_not_install(weft: Weft) -> None:
    weak = weft.cluster.account("nobody", [{"apiGroups": [""], "resources": ["namespaces"], "verbs": ["get"]}])
    said = weft.refused("install", *USED, kubeconfig=weak)
    assert "403" in said
    assert "nothing was changed" in said
    reader = [{"apiGroups": ["*"], "resources": ["*"], "verbs": ["get", "list"]}]
    said = weft.refused("install", *USED, kubeconfig=weft.cluster.account("reader", reader))
    assert "you: you may not create " in said
    assert "kubectl auth can-i create configmaps -n weft-system" in said
    assert "the cluster cannot take it as it is; nothing was changed" in said


def test_manifests_for_gitops_are_taken_by_the_server(weft: Weft) -> None:
    text = weft.said("install", "--image=registry.example/weft", "--kube-namespace=mesh", "-o", "yaml")
    objects = [each for each in yaml.safe_load_all("\n".join(text)) if each]
    (found,) = [each for each in objects if each["kind"] == "Deployment"]
    assert found["metadata"]["namespace"] == "mesh"
    assert found["spec"]["template"]["spec"]["containers"][0]["image"] == "registry.example/weft:0.1.0"
    weft.cluster.kubectl("apply", "-f", "-", given=objects[0])
    try:
        for each in objects:
            weft.cluster.kubectl(
                "apply", "--server-side", "--force-conflicts", "--dry-run=server", "-f", "-", given=each
            )
    finally:
        weft.cluster.kubectl("delete", "-f", "-", given=objects[0])


def test_definitions_go_only_when_asked(weft: Weft) -> None:
    """The namespace too, if `weft install` has made it, and not another test before."""
    weft.cluster.kubectl("delete", "namespace", NAMESPACE, "--ignore-not-found", "--timeout=120s")
    weft.said("install", *USED)
    weft.said("upgrade", "--no-wait", "--no-validation")
    policy = {
        "apiVersion": "weft.dev/v1alpha1",
        "kind": "EjectionPolicy",
        "metadata": {"name": "one", "namespace": "default"},
        "spec": {"targetRefs": [{"name": "web"}], "failurePercentage": {}},
    }
    weft.cluster.kubectl("apply", "-f", "-", given=policy)
    weft.cluster.kubectl("create", "secret", "generic", "weft-state", "-n", NAMESPACE)
    weft.cluster.kubectl("label", "secret", "weft-state", "-n", NAMESPACE, "weft.dev/state=head")
    said = weft.refused("uninstall", "--purge")
    assert "there are 1 ejectionpolicies, which would go with their definitions: say --with-documents" in said
    assert weft.get(*CONTROL_PLANE) != {}, "nothing was begun"
    planned = weft.said("uninstall", "--purge", "--with-documents", "--dry-run")
    assert weft.get(*CONTROL_PLANE) != {}, "nothing was begun"
    lines = weft.said("uninstall", "--purge", "--with-documents")
    assert [f"would be {each}" for each in lines[:-1]] == planned[:-1]
    assert "removed: CustomResourceDefinition ejectionpolicies.weft.dev" in lines
    assert lines[-3:-1] == [f"removed: Secret {NAMESPACE}/weft-state", f"removed: Namespace {NAMESPACE}"]

    def served() -> bool:
        with contextlib.suppress(ClusterError):
            weft.cluster.kubectl("get", "ejectionpolicies", "-A")
            return True
        return False

    until("the API server has forgotten the kind", lambda: not served())
    until("the namespace is gone", lambda: gone(weft))
    until("all kinds are gone", lambda: undefined(weft))


def undefined(weft: Weft) -> bool:
    """Whether none of weft's kinds is defined: what is being removed would be taken for it."""
    return "weft.dev" not in weft.cluster.kubectl("get", "crd", "-o", "name")


def gone(weft: Weft) -> bool:
    """Whether the namespace is; AssertionError with its state if not."""
    found = weft.get("namespace", NAMESPACE)
    assert not found, (found["metadata"].get("labels"), found["status"])
    return True


def test_a_namespace_of_somebody_else_stays(weft: Weft) -> None:
    weft.cluster.kubectl("delete", "namespace", NAMESPACE, "--ignore-not-found", "--timeout=120s")
    weft.cluster.kubectl("create", "namespace", NAMESPACE)
    weft.said("install", *USED)
    lines = weft.said("uninstall", "--purge")
    assert f"removed: Namespace {NAMESPACE}" not in lines
    assert weft.get("namespace", NAMESPACE)["status"] == {"phase": "Active"}
    until("all kinds are gone", lambda: undefined(weft))


def test_the_same_revision_is_not_in_two_namespaces(weft: Weft) -> None:
    weft.said("install", *USED)
    role = weft.get("clusterrole", "weft")
    said = weft.refused("install", *USED, "--kube-namespace=mesh")
    assert f"weft, the revision default, is in the namespace {NAMESPACE} already" in said
    assert weft.get("namespace", "mesh") == {}
    assert weft.get("clusterrole", "weft") == role
    weft.said("install", *USED, "--kube-namespace=mesh", *CANARY)
    try:
        assert weft.get("clusterrole", "weft") == role
        said = weft.refused("uninstall", "--purge")
        assert "away from the revision canary in mesh" in said
        assert "kept: GatewayClass weft, which another control plane serves" in weft.said("uninstall")
    finally:
        weft.said("uninstall", "--kube-namespace=mesh", *CANARY)
        weft.cluster.kubectl("delete", "namespace", "mesh", "--timeout=120s")
    assert weft.get("gatewayclass", "weft") == {}, "the last one has taken it"


def test_an_agent_that_was_kept_is_ended_when_nobody_needs_it(weft: Weft) -> None:
    weft.said("install", *USED, "--cni")
    weft.said("install", *CANARY, *USED, "--cni")
    kept = "kept: DaemonSet kube-system/weft-cni, which the revision canary in weft-system needs"
    assert kept in weft.said("upgrade", "--no-wait", "--no-cni")
    weft.said("uninstall", *CANARY)
    assert "removed: DaemonSet kube-system/weft-cni" in weft.said("upgrade", "--no-wait")
    assert weft.get("daemonset", "weft-cni", "-n", "kube-system") == {}


def own(weft: Weft, revision: str) -> set[str]:
    """The objects of a revision that are there."""
    kinds = "deployments,services,serviceaccounts,configmaps,roles,rolebindings,poddisruptionbudgets,daemonsets"
    everywhere = "clusterroles,clusterrolebindings,mutatingwebhookconfigurations,validatingwebhookconfigurations"
    selector = f"applyset.kubernetes.io/part-of={applyset_id(NAMESPACE, revision)}"
    words = ("-l", selector, "-o", "name")
    found = [weft.cluster.kubectl("get", kinds, "-A", *words), weft.cluster.kubectl("get", everywhere, *words)]
    return {line for text in found for line in text.split()}


def test_two_revisions_beside_each_other(weft: Weft) -> None:
    weft.said("install", *USED, "--cni")
    first = own(weft, "default")
    canary = ("--image=weft.test/weft:2", "--no-wait", "--cni", "--revision-tag=prod")
    lines = weft.said("install", *CANARY, *canary)
    assert "created: Deployment weft-system/weft-canary" in lines
    assert not [line for line in lines if "canary" not in line], (
        "nothing of the default was touched, nor what is shared"
    )
    assert weft.get("configmap", "weft-install-canary", "-n", NAMESPACE)["data"]["version"] == "0.1.0"
    assert own(weft, "default") == first
    second = own(weft, "canary")
    assert second
    for words in (("install", *USED), ("install", *CANARY, *canary), ("upgrade", "--no-wait")):
        assert weft.said(*words) == ["nothing changed"]

    lines = weft.said("upgrade", *CANARY, "--no-wait", "--image=weft.test/weft:3", "--revision-tag=default")
    changed = {line for line in lines if line.partition(":")[0] in ("created", "changed", "removed", "kept")}
    assert "changed: MutatingWebhookConfiguration weft-injector-canary" in changed
    assert "changed: Role weft-system/weft-canary-leader" in changed
    assert not [line for line in changed if "canary" not in line]
    for revision in ("default", "canary"):
        assert weft.said("upgrade", f"--revision={revision}", "--no-wait") == ["nothing changed"]
    weft.said("upgrade", *CANARY, "--no-wait", "--no-revision-tags")
    container = weft.get("deployment", "weft-canary", "-n", NAMESPACE)["spec"]["template"]["spec"]["containers"][0]
    assert not [word for word in container["command"] if word.startswith("--revision-tag")]
    assert (own(weft, "default"), own(weft, "canary")) == (first, second)


@pytest.mark.parametrize(("goes", "stays"), [("default", "canary"), ("canary", "default")])
def test_one_goes_and_the_other_stays_whole(weft: Weft, goes: str, stays: str) -> None:
    """The one that goes has the agent of nodes, which the other needs."""
    weft.said("install", f"--revision={goes}", *USED, "--cni")
    weft.said("install", f"--revision={stays}", *USED, "--cni")
    whole = own(weft, stays)
    planned = weft.said("uninstall", f"--revision={goes}", "--dry-run")
    assert f"would be kept: DaemonSet kube-system/weft-cni, which the revision {stays} in weft-system needs" in planned
    lines = weft.said("uninstall", f"--revision={goes}")
    assert [f"would be {line}" for line in lines[:-1]] == planned[:-1]
    assert lines[-1] == "no pod has a sidecar of it"
    suffix = "" if goes == "default" else "-canary"
    assert f"removed: Deployment weft-system/weft{suffix}" in lines
    assert f"removed: ConfigMap weft-system/weft-install{suffix}" in lines
    assert own(weft, stays) == whole
    assert weft.get("gatewayclass", "weft") != {}
    lines = weft.said("upgrade", f"--revision={stays}", "--no-wait")
    assert "changed: DaemonSet kube-system/weft-cni" in lines, "it is that one's now"
    assert weft.said("upgrade", f"--revision={stays}", "--no-wait") == ["nothing changed"]
    lines = weft.said("uninstall", f"--revision={stays}")
    assert "removed: DaemonSet kube-system/weft-cni" in lines
    assert "removed: GatewayClass weft" in lines
    assert weft.get("daemonset", "weft-cni", "-n", "kube-system") == weft.get("gatewayclass", "weft") == {}


def test_a_revision_that_is_not_there(weft: Weft) -> None:
    weft.said("install", *CANARY, *USED)
    for command in ("upgrade", "uninstall", "check"):
        said = weft.refused(command, "--revision=canari")
        assert "the revision canari of weft is not in the namespace weft-system; there is canary" in said
        assert "did you mean 'canary'?" in said
    for command in ("upgrade", "uninstall"):
        said = weft.refused(command)
        assert "the revision default of weft is not in the namespace weft-system; there is canary (--revision" in said
    said = weft.refused("check")
    assert "note: the default is not there; looking at the revision canary in weft-system" in said
    assert "weft-injector-canary" in said
    weft.said("install", *USED)
    assert "Service weft-system/weft: no endpoint of it is ready" in weft.refused("check")
    assert "Service weft-system/weft-canary: no endpoint of it is ready" in weft.refused("check", *CANARY)


def test_nothing_is_purged_beside_another_revision(weft: Weft) -> None:
    weft.said("install", *USED)
    weft.said("install", *CANARY, *USED)
    for words, other in (((), "canary"), (CANARY, "default")):
        for dry in ((), ("--dry-run",)):
            said = weft.refused("uninstall", "--purge", "--with-documents", *words, *dry)
            text = f"away from the revision {other} in weft-system: uninstall it first, or this one without --purge"
            assert text in said
    assert weft.get(*CONTROL_PLANE) != {}
    assert weft.get("crd", "ejectionpolicies.weft.dev") != {}


def test_revisions_have_one_trust_domain(weft: Weft) -> None:
    weft.said("install", *USED, "--trust-domain=example.org")
    said = weft.refused("install", *CANARY, *USED, "--trust-domain=cluster.local")
    assert "--trust-domain: it is example.org of the revision default in weft-system" in said
    weft.said("install", *CANARY, *USED)
    container = weft.get("deployment", "weft-canary", "-n", NAMESPACE)["spec"]["template"]["spec"]["containers"][0]
    assert "--trust-domain=example.org" in container["command"]


def test_definitions_of_a_later_release_are_not_taken_back(weft: Weft) -> None:
    weft.said("install", *USED)
    weft.said("install", *CANARY, *USED)
    name = "overloadpolicies.weft.dev"
    weft.cluster.kubectl("annotate", "crd", name, "example.org/later=yes", f"{DIGEST}=later", "--overwrite")
    weft.cluster.kubectl("label", "deployment", "weft-canary", "-n", NAMESPACE, "app.kubernetes.io/version=0.2.0",
                         "--overwrite")  # fmt: skip
    assert weft.said("upgrade", "--no-wait") == ["nothing changed"]
    weft.said("uninstall", *CANARY)
    assert f"changed: CustomResourceDefinition {name}" in weft.said("upgrade", "--no-wait")


def test_beside_a_revision_of_helms(weft: Weft, tmp_path: Path) -> None:
    access = ("-n", NAMESPACE, "--kubeconfig", str(weft.admin))
    values = {**USUAL, "revision": "canary", "cni": {"enabled": True}}
    helm("install", "weft-canary", str(CHART), "--create-namespace", *access, home=tmp_path, values=values)
    try:
        lines = weft.said("install", *USED, "--cni")
        assert not [line for line in lines if "canary" in line or "weft-cni" in line], "the agent of nodes is Helm's"
        assert weft.said("install", *USED) == ["nothing changed"]
        said = weft.refused("uninstall", *CANARY)
        assert "helm uninstall weft-canary -n weft-system" in said
        assert "by Helm, as the release weft-canary" in weft.refused("upgrade", *CANARY)
        assert "away from the revision canary in weft-system" in weft.refused("uninstall", "--purge")
        assert "kept: GatewayClass weft, which another control plane serves" in weft.said("uninstall")
    finally:
        helm("uninstall", "weft-canary", *access, "--wait", home=tmp_path)
    assert "would be removed: GatewayClass weft" in weft.said("uninstall", "--dry-run"), "Helm does not know of it"
    assert weft.said("uninstall")[0] == "removed: GatewayClass weft"
    assert weft.said("uninstall") == [f"nothing to do: there is no weft in the namespace {NAMESPACE}"]
