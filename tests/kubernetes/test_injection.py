"""An API server that asks weft's webhook: pods that kubectl and controllers make come back with their sidecars."""

from __future__ import annotations

import base64
import http.client
import json
import socket
import ssl
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from tools.kubernetes_cluster import ApiCluster, ClusterError

from support.injection import SETTINGS, pod, review
from support.kubernetes import rules
from support.mesh import Mesh, until
from weft.controlplane import injector as module
from weft.controlplane.injector import Injector
from weft.inject.review import review_from_json
from weft.model.snapshot import ConfigSnapshot, MeshSettings
from weft.settings.home import Home
from weft.sources.kubernetes.access import Credentials
from weft.sources.kubernetes.kubeconfig import KubeconfigFile

EXAMPLE = Path(__file__).parents[2] / "examples" / "kubernetes" / "webhooks.yaml"
INJECTOR = "mutatingwebhookconfiguration/weft-injector"
WATCH: list[dict[str, Any]] = [
    *({**rule, "verbs": ["watch"]} for rule in rules()),
    {"apiGroups": [""], "resources": ["pods", "nodes"], "verbs": ["watch"]},
    {"apiGroups": ["discovery.k8s.io"], "resources": ["endpointslices"], "verbs": ["watch"]},
]
ROOTS: list[dict[str, Any]] = [
    {
        "apiGroups": ["admissionregistration.k8s.io"],
        "resources": ["mutatingwebhookconfigurations", "validatingwebhookconfigurations"],
        "resourceNames": ["weft-injector", "weft-validator"],
        "verbs": ["get", "patch"],
    }
]


class Injecting:
    """A control plane that injects, with the least rights, and the cluster that asks it."""

    def __init__(self, cluster: ApiCluster, mesh: Mesh) -> None:
        self.cluster = cluster
        self.mesh = mesh

    def serve(self) -> None:
        of_server = ("--kubeconfig", str(self.cluster.kubeconfig("weft")), "--advertise", "weft.weft-system.svc")
        image = ("--sidecar-image", "weft.test/weft:1", "--sidecar-pull-policy", "Never")
        self.mesh.serve(*of_server, *image, "--webhook-port", "0")

    @property
    def port(self) -> int:
        told = json.loads(Home(self.mesh.home).endpoints.read_text())
        return int(told["webhooks"].rpartition(":")[2])

    def configure(self) -> None:
        """The configuration of the example, with an address of loopback for the Service."""
        given = yaml.safe_load(EXAMPLE.read_text())
        for webhook in given["webhooks"]:
            webhook["clientConfig"] = {"url": f"https://127.0.0.1:{self.port}/inject"}
        self.cluster.kubectl("apply", "-f", "-", given=given)
        until("the mesh's roots are there", lambda: all(self.bundles()))

    def bundles(self) -> list[str]:
        """The roots in each webhook, as PEM."""
        given = json.loads(self.cluster.kubectl("get", INJECTOR, "-o", "json"))
        texts = [one["clientConfig"].get("caBundle", "") for one in given["webhooks"]]
        return [base64.b64decode(text).decode() for text in texts]

    def namespaces(self, wanted: Mapping[str, Mapping[str, str]]) -> None:
        """Namespaces with these labels, in which pods can be made."""
        items = [
            {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": dict(labels)}}
            for name, labels in wanted.items()
        ]
        self.cluster.kubectl("apply", "-f", "-", given={"apiVersion": "v1", "kind": "List", "items": items})
        until("their accounts are there", lambda: set(wanted) <= self._with_account())

    def namespace(self, name: str, **labels: str) -> str:
        self.namespaces({name: labels})
        return name

    def _with_account(self) -> set[str]:
        fields = ("--field-selector=metadata.name=default", "-o", "jsonpath={.items[*].metadata.namespace}")
        return set(self.cluster.kubectl("get", "serviceaccounts", "--all-namespaces", *fields).split())

    def create(self, given: dict[str, Any]) -> None:
        self.cluster.kubectl("create", "-f", "-", given=given)

    def made(self, namespace: str, **parts: Any) -> dict[str, Any]:
        """The pod that is made of one that kubectl creates."""
        self.create(pod(namespace=namespace, **parts))
        found: dict[str, Any] = json.loads(
            self.cluster.kubectl("get", "pod", parts.get("name", "web"), "-n", namespace, "-o", "json")
        )
        return found

    def pods(self, where: str) -> list[dict[str, Any]]:
        """Those of a namespace, or of all."""
        option = where if where.startswith("--") else f"--namespace={where}"
        items: list[dict[str, Any]] = json.loads(self.cluster.kubectl("get", "pods", option, "-o", "json"))["items"]
        return items


@pytest.fixture(scope="module")
def injecting(cluster: ApiCluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Injecting]:
    directory = tmp_path_factory.mktemp("injecting")
    cluster.account("weft", WATCH + ROOTS)
    found = Injecting(cluster, Mesh(directory / "home", directory / "logs"))
    try:
        found.serve()
        found.configure()
        yield found
    finally:
        cluster.kubectl("delete", INJECTOR, "--ignore-not-found")
        found.mesh.stop()


def inits(made: dict[str, Any]) -> list[str]:
    return [one["name"] for one in made["spec"].get("initContainers", [])]


BOTH = ["weft-init", "weft-proxy"]
TEMPLATE = {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "web", "image": "web:1"}]}}


def test_a_pod_comes_back_with_its_sidecar(injecting: Injecting) -> None:
    namespace = injecting.namespace("enabled", **{"istio-injection": "enabled"})
    container = {
        "name": "web",
        "image": "web:1",
        "ports": [{"name": "http", "containerPort": 8080}],
        "readinessProbe": {"httpGet": {"path": "/ready", "port": "http"}, "timeoutSeconds": 2},
    }
    annotations = {"sidecar.istio.io/logLevel": "debug", "traffic.sidecar.istio.io/excludeOutboundPorts": "5432"}
    made = injecting.made(namespace, containers=[container], annotations=annotations)
    assert inits(made) == BOTH
    init, proxy = made["spec"]["initContainers"]
    assert init["command"] == ["weft", "pod", "init", "--exclude-outbound-port=5432"]
    assert (proxy["image"], proxy["imagePullPolicy"], proxy["restartPolicy"]) == ("weft.test/weft:1", "Never", "Always")
    told = {one["name"]: one.get("value", "") for one in proxy["env"]}
    assert told["WEFT_SERVER"].startswith("weft.weft-system.svc:")
    assert told["WEFT_CA_FINGERPRINT"] == injecting.mesh.api("ca")["fingerprint"]
    served = {"httpGet": {"path": "/ready", "port": 8080, "scheme": "HTTP"}, "timeoutSeconds": 2}
    assert json.loads(told["WEFT_POD_PROBES"]) == {"/app-health/web/readyz": served}
    probe = made["spec"]["containers"][0]["readinessProbe"]
    assert (probe["httpGet"]["path"], probe["httpGet"]["port"]) == ("/app-health/web/readyz", 15020)
    status = json.loads(made["metadata"]["annotations"]["weft.dev/status"])
    assert "'sidecar.istio.io/logLevel: debug' is not done" in status["warnings"][0]


def test_who_gets_one(injecting: Injecting) -> None:
    asks, refuses = {"sidecar.istio.io/inject": "true"}, {"sidecar.istio.io/inject": "false"}
    cases: dict[str, tuple[dict[str, str], dict[str, Any], list[str]]] = {
        "own-word": ({"weft.dev/injection": "enabled"}, {}, BOTH),
        "revision": ({"istio.io/rev": "default"}, {}, BOTH),
        "own-revision": ({"weft.dev/rev": "default"}, {}, BOTH),
        "pod-asks": ({}, {"labels": asks}, BOTH),
        "nobody-asks": ({}, {}, []),
        "another-revision": ({"istio.io/rev": "canary"}, {}, []),
        "off": ({"istio-injection": "disabled"}, {"labels": asks}, []),
        "ours-counts": ({"istio-injection": "enabled", "weft.dev/injection": "disabled"}, {}, []),
        "pod-refuses": ({"istio-injection": "enabled"}, {"labels": refuses}, []),
        "by-annotation": ({"istio-injection": "enabled"}, {"annotations": refuses}, []),
        "host-network": ({"istio-injection": "enabled"}, {"hostNetwork": True}, []),
    }
    injecting.namespaces({name: labels for name, (labels, _, _) in cases.items()})
    pods = [pod(namespace=name, **parts) for name, (_, parts, _) in cases.items()]
    injecting.create({"apiVersion": "v1", "kind": "List", "items": pods})
    made = {one["metadata"]["namespace"]: inits(one) for one in injecting.pods("--all-namespaces")}
    assert {name: made[name] for name in cases} == {name: expected for name, (_, _, expected) in cases.items()}


def test_a_label_counts_at_once(injecting: Injecting) -> None:
    """The mesh may have read the namespace without it."""
    namespace = injecting.namespace("late")
    assert inits(injecting.made(namespace, name="before")) == []
    injecting.cluster.kubectl("label", "namespace", namespace, "istio-injection=enabled")
    assert inits(injecting.made(namespace, name="after")) == BOTH


def test_a_pod_that_cannot_be_what_it_says_is_refused(injecting: Injecting) -> None:
    namespace = injecting.namespace("refused", **{"istio-injection": "enabled"})
    with pytest.raises(ClusterError, match="excludeInboundPorts: 'ssh' is none; expected ports"):
        injecting.made(namespace, annotations={"traffic.sidecar.istio.io/excludeInboundPorts": "ssh"})


def test_what_was_injected_by_hand_stays(injecting: Injecting) -> None:
    namespace = injecting.namespace("by-hand", **{"istio-injection": "enabled"})
    text = json.dumps(pod(namespace=namespace))
    done = injecting.mesh.weft("inject", "-f", "-", "-o", "json", "--image-pull-policy", "Always", stdin=text)
    injecting.create(json.loads(done.stdout))
    [made] = injecting.pods(namespace)
    assert inits(made) == BOTH
    assert {one["imagePullPolicy"] for one in made["spec"]["initContainers"]} == {"Always"}


def test_pods_that_controllers_make(injecting: Injecting) -> None:
    namespace = injecting.namespace("controllers", **{"istio-injection": "enabled"})
    selector = {"matchLabels": {"app": "web"}}
    about = {"name": "web", "namespace": namespace}
    injecting.create(
        {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": about,
            "spec": {"selector": selector, "template": TEMPLATE},
        }
    )
    of_job = {"spec": {"containers": [{"name": "web", "image": "web:1"}], "restartPolicy": "Never"}}
    injecting.create({"apiVersion": "batch/v1", "kind": "Job", "metadata": about, "spec": {"template": of_job}})
    until("both have a pod", lambda: len(injecting.pods(namespace)) == 2)
    pods = injecting.pods(namespace)
    assert [inits(one) for one in pods] == [BOTH, BOTH]
    assert {one["metadata"]["ownerReferences"][0]["kind"] for one in pods} == {"ReplicaSet", "Job"}


def test_the_server_proves_the_name_of_its_service(injecting: Injecting) -> None:
    tls = ssl.create_default_context(cadata=injecting.bundles()[0])
    name = "weft.weft-system.svc"
    plain = socket.create_connection(("127.0.0.1", injecting.port), 10)
    with plain, tls.wrap_socket(plain, server_hostname=name) as secured:
        assert secured.version() == "TLSv1.3"


def test_garbage_is_answered(injecting: Injecting) -> None:
    tls = ssl.create_default_context(cadata=injecting.bundles()[0])
    connection = http.client.HTTPSConnection("127.0.0.1", injecting.port, context=tls, timeout=10)

    def ask(body: bytes, method: str = "POST", path: str = "/inject") -> tuple[int, str]:
        connection.request(method, path, body)
        answer = connection.getresponse()
        return answer.status, answer.read().decode()

    assert ask(b"garbage")[0] == 400
    assert "this is no AdmissionReview" in ask(b"[" * 1000)[1]
    assert ask(b"{}", path="/nothing")[0] == 404
    assert ask(b"", "GET")[0] == 405
    assert ask(b" " * (4 * 1024 * 1024 + 1))[0] == 413
    connection.close()
    status, text = ask(review({"spec": 3}, "nowhere"))
    assert (status, json.loads(text)["response"]["allowed"]) == (200, False)
    connection.close()


def test_roots_are_kept(injecting: Injecting) -> None:
    cluster, before = injecting.cluster, injecting.bundles()
    nothing = [{"op": "remove", "path": "/webhooks/1/clientConfig/caBundle"}]
    cluster.kubectl("patch", INJECTOR, "--type=json", "-p", json.dumps(nothing))
    until("somebody's change is taken back", lambda: injecting.bundles() == before)
    injecting.mesh.weft("ca", "rotate")
    until("a new root is among them", lambda: all(one not in before for one in injecting.bundles()))
    namespace = injecting.namespace("rotated", **{"istio-injection": "enabled"})
    assert inits(injecting.made(namespace)) == BOTH


def test_rights_that_are_missing_are_told(injecting: Injecting) -> None:
    def told() -> set[str]:
        return {one["code"] for one in injecting.mesh.problems()}

    injecting.cluster.account("weft", WATCH)
    try:
        until("it is told", lambda: "webhook-refused" in told())
    finally:
        injecting.cluster.account("weft", WATCH + ROOTS)
    until("it is over", lambda: "webhook-refused" not in told())


def test_while_the_control_plane_is_down(injecting: Injecting) -> None:
    """Who asks for a sidecar waits, everybody else does not."""
    namespace, other = injecting.namespace("down", **{"istio-injection": "enabled"}), injecting.namespace("besides")
    injecting.mesh.processes["control-plane"].stop()
    try:
        with pytest.raises(ClusterError, match="failed calling webhook"):
            injecting.made(namespace)
        assert inits(injecting.made(other)) == []
        assert inits(injecting.made(namespace, name="no", labels={"sidecar.istio.io/inject": "false"})) == []
        selector = {"matchLabels": {"app": "web"}}
        about = {"name": "web", "namespace": namespace, "labels": {"app": "web"}}
        spec = {"selector": selector, "template": TEMPLATE}
        injecting.create({"apiVersion": "apps/v1", "kind": "ReplicaSet", "metadata": about, "spec": spec})
    finally:
        injecting.serve()
    made = until("its pod is made", lambda: [one for one in injecting.pods(namespace) if inits(one)])
    assert inits(made[0]) == BOTH


async def test_labels_that_the_mesh_has_not_read_yet(injecting: Injecting, monkeypatch: pytest.MonkeyPatch) -> None:
    """The API server is asked for them; where it does not say, its question is answer enough."""
    monkeypatch.setattr(module, "_LOOK_SECONDS", 60.0)
    snapshot = ConfigSnapshot(1, (), (), (), MeshSettings())
    enabled = injecting.namespace("unread", **{"istio-injection": "enabled"})
    disabled = injecting.namespace("unread-off", **{"weft.dev/injection": "disabled"})

    async def patched(kubeconfig: Path, namespace: str) -> bool:
        credentials = Credentials(KubeconfigFile(str(kubeconfig)).access)
        async with Injector(lambda: SETTINGS, lambda: snapshot, credentials) as injector:
            verdict = await injector.review(review_from_json(review(pod(), namespace)))
        return verdict.allowed and bool(verdict.patch)

    account = injecting.cluster.kubeconfig("weft")
    assert await patched(account, enabled)
    assert not await patched(account, disabled)
    assert not await patched(account, "nowhere")
    nobody = injecting.cluster.account("nobody", [])
    assert await patched(nobody, enabled)
