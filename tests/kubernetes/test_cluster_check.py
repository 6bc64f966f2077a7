"""`weft check` of a real API server: is it fit before weft is installed; each thing that can be wrong afterwards."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tools.kubernetes_cluster import ApiCluster

from support.mesh import Mesh, until
from weft.cluster.gather import Question, gather_cluster
from weft.cluster.install import needed_rights
from weft.cluster.manifests import Settings
from weft.findings.checks.check import Checked
from weft.findings.cluster.check import check_cluster
from weft.model.revisions import USUAL, Revision
from weft.settings.home import Home
from weft.sources.kubernetes.access import Credentials
from weft.sources.kubernetes.kubeconfig import KubeconfigFile
from weft.testing.processes import cli

NAMESPACE = "weft-system"
READY = [{"type": "Ready", "status": "True"}]
CONTROL_PLANE = ("-n", NAMESPACE, "deployment", "weft")
CANARY = Revision("canary", ("prod",))


def look(kubeconfig: Path, *, before: bool = False, namespace: str = NAMESPACE, revision: str = USUAL.name) -> Checked:
    needed = needed_rights(Settings(namespace=namespace))
    question = Question("test", namespace, needed, revision)
    facts = asyncio.run(gather_cluster(Credentials(KubeconfigFile(str(kubeconfig)).access), question))
    return check_cluster(facts, before=before)


class Working:
    """weft as it is installed in a cluster without nodes: its control plane is a process of this host."""

    def __init__(self, cluster: ApiCluster, mesh: Mesh, names: Revision = USUAL) -> None:
        self.cluster = cluster
        self.mesh = mesh
        self.names = names
        self.called = (f"--revision={names.name}", *(f"--revision-tag={each}" for each in names.tags))
        self.pod = ""
        self.admin = cluster.kubeconfig("admin")

    def install(self) -> None:
        words = ("--image=weft.test/weft:1", "--no-wait")
        cli(self.mesh.home, "install", f"--kubeconfig={self.admin}", *words, *self.called)
        self.serve()
        node = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": "one"}}
        self.cluster.kubectl("apply", "-f", "-", given=node)
        self.status("node", "one", {"conditions": READY})
        labels = f"app.kubernetes.io/name=weft{self.names.suffix}"
        pods = ("get", "pods", "-n", NAMESPACE, "-l", labels, "-o", "name")
        self.pod = until("the pod is there", lambda: self.cluster.kubectl(*pods)).strip().removeprefix("pod/")
        binding = {"apiVersion": "v1", "kind": "Binding", "metadata": {"name": self.pod}, "target": {"name": "one"}}
        path = f"/api/v1/namespaces/{NAMESPACE}/pods/{self.pod}/binding"
        self.cluster.kubectl("create", "--raw", path, "-f", "-", given=binding)
        address = "10.1.2.4" if self.names.suffix else "10.1.2.3"
        running = {"phase": "Running", "podIP": address, "podIPs": [{"ip": address}], "conditions": READY}
        self.status("pod", self.pod, running, "-n", NAMESPACE)

    def serve(self) -> None:
        """The control plane, as an administrator, and webhooks that lead to it."""
        suffix = self.names.suffix
        image = ("--sidecar-image=weft.test/weft-proxy:1", f"--advertise=weft{suffix}.weft-system.svc", *self.called)
        leads = (f"--kubernetes-namespace={NAMESPACE}", "--write-status", "--state=kubernetes")
        self.mesh.serve(f"--kubeconfig={self.admin}", *leads, *image, "--webhook-port=0")
        told = json.loads(Home(self.mesh.home).endpoints.read_text())
        port = told["webhooks"].rpartition(":")[2]
        for kind, name, path in (
            ("mutatingwebhookconfiguration", f"weft-injector{suffix}", "inject"),
            ("validatingwebhookconfiguration", f"weft-validator{suffix}", "validate"),
        ):
            given = json.loads(self.cluster.kubectl("get", kind, name, "-o", "json"))
            for webhook in given["webhooks"]:
                webhook["clientConfig"] = {"url": f"https://127.0.0.1:{port}/{path}"}
            self.cluster.kubectl("replace", "-f", "-", given=given)

    def status(self, kind: str, name: str, status: dict[str, Any], *more: str) -> None:
        patch = json.dumps({"status": status})
        self.cluster.kubectl("patch", kind, name, *more, "--subresource=status", "--type=merge", "-p", patch)

    def errors(self, kubeconfig: Path | None = None) -> list[str]:
        found = look(kubeconfig or self.admin, revision=self.names.name).findings
        return [f"{one.about}: {one.message}" for one in found]

    def said(self, text: str) -> str:
        """What is found, once a finding has `text` in it."""

        def there() -> str:
            found = self.errors()
            told = next((one for one in found if text in one), "")
            assert told, found
            return told

        return until(f"'{text}' is told", there, 60)

    def well(self) -> None:
        def nothing() -> bool:
            assert self.errors() == []
            return True

        until("all is well", nothing, 60)


@pytest.fixture(scope="module")
def bare(cluster: ApiCluster) -> Checked:
    """What is found before weft is installed."""
    return look(cluster.kubeconfig("admin"))


@pytest.fixture(scope="module")
def working(cluster: ApiCluster, bare: Checked, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Working]:
    directory = tmp_path_factory.mktemp("working")
    found = Working(cluster, Mesh(directory / "home", directory / "logs"))
    try:
        found.install()
        found.well()
        yield found
    finally:
        found.mesh.stop()


@contextlib.contextmanager
def changed(cluster: ApiCluster, given: dict[str, Any]) -> Iterator[None]:
    cluster.kubectl("apply", "-f", "-", given=given)
    try:
        yield
    finally:
        cluster.kubectl("delete", "-f", "-", "--wait=true", given=given)


def test_a_cluster_that_is_fit(bare: Checked) -> None:
    assert bare.findings == ()
    assert "you may do what installing needs" in bare.passed


def test_who_may_little_is_told_what_is_missing(cluster: ApiCluster) -> None:
    weak = cluster.account("weak", [{"apiGroups": [""], "resources": ["namespaces"], "verbs": ["get", "list"]}])
    told = {one.about: one for one in look(weak, before=True, namespace="elsewhere").findings}
    assert {one.code for one in told.values()} == {"cluster-rights"}
    texts = " ".join(f"{one.message} {one.fix}" for one in look(weak, before=True, namespace="elsewhere").findings)
    assert "you may not " in texts
    assert "not looked at, since it could not be read: " in texts
    assert "kubectl auth can-i " in texts


def test_a_server_that_does_not_answer(cluster: ApiCluster, tmp_path: Path) -> None:
    text = cluster.kubeconfig("admin").read_text().replace(cluster.server, "https://127.0.0.1:1")
    path = tmp_path / "config"
    path.write_text(text)
    path.chmod(0o600)
    done = cli(tmp_path, "check", f"--kubeconfig={path}", "-o", "json", check=False)
    assert done.returncode == 2
    (finding,) = json.loads(done.stdout)["findings"]
    assert (finding["number"], finding["message"]) == ("WEFT1630", "it cannot be asked: no connection can be made")


def test_all_is_well(working: Working) -> None:
    done = cli(
        working.mesh.home,
        "check",
        f"--kubeconfig={working.admin}",
        "--all",
        "--wait",
        "--timeout=60",
        check=False,
        timeout=120,
    )
    assert "well: the API server reaches the webhooks" in done.stdout
    assert done.returncode == 1
    assert "1 warning; " in done.stdout, "no pod runs here, so nobody forwards ports to one"
    assert "warning: admin API: the mesh itself is not looked at: " in done.stdout


def test_versions_apart(working: Working) -> None:
    def labelled(version: str) -> None:
        label = ("label", *CONTROL_PLANE, "--overwrite", f"app.kubernetes.io/version={version}")
        working.cluster.kubectl(*label)

    try:
        labelled("0.2.0")
        working.said("the control plane is weft 0.2.0, and this command 0.1.0")
        labelled("0.3.0")
        working.said("more than one release apart")
    finally:
        labelled("0.1.0")


def test_the_control_planes_rights(working: Working) -> None:
    role = json.loads(working.cluster.kubectl("get", "clusterrole", "weft", "-o", "json"))
    del role["metadata"]["resourceVersion"]
    less = {**role, "rules": [one for one in role["rules"] if "tokenreviews" not in one["resources"]]}
    working.cluster.kubectl("replace", "-f", "-", given=less)
    try:
        told = working.said("service account weft-system/weft: it may not ")
        assert told.endswith("create tokenreviews.authentication.k8s.io")
    finally:
        working.cluster.kubectl("replace", "-f", "-", given=role)


def test_a_definition_that_is_not_there(working: Working) -> None:
    name = "oidcpolicies.weft.dev"
    crd = json.loads(working.cluster.kubectl("get", "crd", name, "-o", "json"))
    working.cluster.kubectl("delete", "crd", name)
    try:
        working.said(f"definitions: the server has no {name}")
    finally:
        kept = {key: value for key, value in crd["metadata"].items() if key in ("name", "labels", "annotations")}
        working.cluster.kubectl("create", "-f", "-", given={**crd, "metadata": kept})
        working.cluster.kubectl("wait", "--for=condition=Established", "crd", name, "--timeout=60s")


def test_another_mesh_and_pods_without_their_sidecar(working: Working) -> None:
    about = {"name": "shop", "labels": {}}
    namespace: dict[str, Any] = {"apiVersion": "v1", "kind": "Namespace", "metadata": about}
    pod = {"containers": [{"name": "app", "image": "weft.test/none:1"}]}
    other = {
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "MutatingWebhookConfiguration",
        "metadata": {"name": "istio-sidecar-injector"},
        "webhooks": [
            {
                "name": "namespace.sidecar-injector.istio.io",
                "namespaceSelector": {"matchLabels": {"istio-injection": "enabled"}},
                "objectSelector": {"matchLabels": {"nobody": "has-this"}},
                "clientConfig": {"url": "https://127.0.0.1:1/inject"},
                "rules": [{"apiGroups": [""], "apiVersions": ["v1"], "resources": ["pods"], "operations": ["CREATE"]}],
                "admissionReviewVersions": ["v1"],
                "sideEffects": "None",
            }
        ],
    }
    with changed(working.cluster, namespace), changed(working.cluster, other):
        accounts = ("get", "serviceaccounts", "-n", "shop", "-o", "name")
        until("its account is there", lambda: "default" in working.cluster.kubectl(*accounts))
        old = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "old", "namespace": "shop"}, "spec": pod}
        working.cluster.kubectl("create", "-f", "-", given=old)
        assert working.errors() == [], "the namespace is in no mesh"
        working.cluster.kubectl("label", "namespace", "shop", "istio-injection=enabled")
        working.said("should have a sidecar and have none, so they speak plaintext: old")
        working.said("namespace.sidecar-injector.istio.io of another mesh is asked about pods of shop too")
        enforce = "pod-security.kubernetes.io/enforce=restricted"
        working.cluster.kubectl("label", "namespace", "shop", enforce)
        working.said("it enforces Pod Security 'restricted', which refuses weft-init")


def test_a_revision_beside_the_default(cluster: ApiCluster, working: Working, tmp_path: Path) -> None:
    canary = Working(cluster, Mesh(tmp_path / "home", tmp_path / "logs"), CANARY)
    try:
        canary.install()
        canary.well()
        working.well()
        canary.mesh.processes["control-plane"].stop()
        told = canary.said("connection refused; nothing listens there")
        assert told.startswith("webhook weft-injector-canary, asked about a pod in default: ")
        assert working.errors() == [], "the default's answers"
    finally:
        canary.mesh.stop()
        cli(canary.mesh.home, "uninstall", f"--kubeconfig={canary.admin}", "--revision=canary")
    done = cli(canary.mesh.home, "check", f"--kubeconfig={canary.admin}", "--revision=prot", check=False)
    assert "the revision prot of weft is not in the namespace weft-system; there is default" in done.stderr


def test_a_control_plane_that_does_not_answer(cluster: ApiCluster, working: Working) -> None:
    """Roots can be spoilt only while nobody puts them right."""
    working.mesh.processes["control-plane"].stop()
    try:
        working.said("connection refused; nothing listens there")
        working.said("it would be written: the API server does not reach the control plane")
        patch = json.dumps([{"op": "remove", "path": "/webhooks/0/clientConfig/caBundle"}])
        configuration = ("mutatingwebhookconfiguration", "weft-injector")
        cluster.kubectl("patch", *configuration, "--type=json", "-p", patch)
        working.said("weft-injector: it has no caBundle")
        unready = [{"type": "Ready", "status": "False"}]
        waiting = {"waiting": {"reason": "ImagePullBackOff", "message": "Back-off pulling image"}}
        about = {"name": "weft", "ready": False, "restartCount": 0, "image": "", "imageID": ""}
        waits = [{**about, "state": waiting}]
        working.status("pod", working.pod, {"conditions": unready, "containerStatuses": waits}, "-n", NAMESPACE)
        working.said("its container waits: ImagePullBackOff: Back-off pulling image")
        working.said("no endpoint of it is ready")
    finally:
        working.status("pod", working.pod, {"conditions": READY, "containerStatuses": []}, "-n", NAMESPACE)
        working.serve()
        working.well()
