"""The rights of the control plane's account: every one of the chart's is used, and it asks for no other."""

from __future__ import annotations

import contextlib
import http.client
import json
import ssl
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import reduce
from pathlib import Path
from typing import Any

import msgspec
import pytest
from tools.kubernetes_cluster import ApiCluster
from tools.kubernetes_pki import write_kubeconfig

from admin.test_agent_api import new_request
from support.chart import ACCOUNT, CHART, NAMESPACE, helm, of_kind, rendered
from support.injection import pod, review
from support.kubernetes import definition, service
from support.mesh import Mesh, until
from weft.model.enrolment import RegisterRequest
from weft.model.workload import Workload
from weft.settings.home import Home


def document(api_version: str, kind: str, spec: object, name: str = "web") -> dict[str, Any]:
    about = {"name": name, "namespace": "default"}
    return {"apiVersion": api_version, "kind": kind, "metadata": about, "spec": spec}


OTHERS = (
    definition("access.smi-spec.io", "TrafficTarget", "traffictargets", "v1alpha3"),
    definition("specs.smi-spec.io", "HTTPRouteGroup", "httproutegroups", "v1alpha4"),
    definition("split.smi-spec.io", "TrafficSplit", "trafficsplits", "v1alpha4"),
    definition("gateway.networking.x-k8s.io", "XBackendTrafficPolicy", "xbackendtrafficpolicies", "v1alpha1"),
    definition("networking.istio.io", "DestinationRule", "destinationrules", "v1"),
    definition("security.istio.io", "AuthorizationPolicy", "authorizationpolicies", "v1"),
    definition("telemetry.istio.io", "Telemetry", "telemetries", "v1"),
)
"""A kind of each group that the cluster of the tests has none of."""
TARGETS = {"targetRefs": [{"group": "", "kind": "Service", "name": "web"}]}
DOCUMENTS = (
    service("web", "default"),
    document("gateway.networking.x-k8s.io/v1alpha1", "XBackendTrafficPolicy", TARGETS),
    document("networking.istio.io/v1", "DestinationRule", {"host": "web"}),
    document("security.istio.io/v1", "AuthorizationPolicy", {"rules": [{}]}),
    document("telemetry.istio.io/v1", "Telemetry", {"accessLogging": [{"disabled": True}]}),
    document("weft.dev/v1alpha1", "HealthCheckPolicy", {**TARGETS, "tcp": {}}),
    document("networking.istio.io/v1", "DestinationRule", {"host": 3}, name="wrong"),
)
"""One of each group that has a status; and one that is refused, which is an event."""
MADE = (
    ("", "serviceaccounts"),
    ("", "services"),
    ("apps", "deployments"),
    ("autoscaling", "horizontalpodautoscalers"),
    ("policy", "poddisruptionbudgets"),
)
"""What Gateways become."""
PORTS = ("xds", "agent", "metrics", "webhook")
OPEN = frozenset(("/api", "/apis", "/readyz", "/version"))
"""What everybody with an account may ask."""


@dataclass(frozen=True, order=True)
class Right:
    """One verb for one resource (``*``: all of the group); `name` where it is for one object only."""

    group: str
    resource: str
    verb: str
    name: str = ""

    def covers(self, asked: Right) -> bool:
        part = asked.resource.partition("/")[2]
        resources = (asked.resource, f"*/{part}" if part else "*")
        same = self.group == asked.group and self.verb == asked.verb
        return same and self.resource in resources and self.name in ("", asked.name)


def rights(objects: list[dict[str, Any]]) -> set[Right]:
    """Every right that the chart's roles give to the control plane's account; other roles are for people."""
    found = set()
    bindings = (*of_kind(objects, "ClusterRoleBinding"), *of_kind(objects, "RoleBinding"))
    bound = {(each["roleRef"]["kind"], each["roleRef"]["name"]) for each in bindings}
    for role in (*of_kind(objects, "ClusterRole"), *of_kind(objects, "Role")):
        if (role["kind"], role["metadata"]["name"]) not in bound:
            continue
        for rule in role["rules"]:
            for group in rule["apiGroups"]:
                for resource in rule["resources"]:
                    for verb in rule["verbs"]:
                        found |= {Right(group, resource, verb, name) for name in rule.get("resourceNames", [""])}
    return found


def asked(events: Iterator[Mapping[str, Any]]) -> Iterator[tuple[Right, Mapping[str, Any]]]:
    """What the account has asked of resources. What is no resource has to be open to everybody."""
    for event in events:
        what = event.get("objectRef")
        if what is None:
            assert event["requestURI"].partition("?")[0] in OPEN, event["requestURI"]
            continue
        resource = "/".join(part for part in (what["resource"], what.get("subresource", "")) if part)
        verbs = [event["verb"]]
        if verbs == ["patch"] and event["responseStatus"]["code"] == 201:
            verbs.append("create")  # what was applied was not there: it takes both rights
        for verb in verbs:
            yield Right(what.get("apiGroup", ""), resource, verb, what.get("name", "")), event


def apply(cluster: ApiCluster, *objects: dict[str, Any]) -> None:
    cluster.kubectl("apply", "-f", "-", given={"apiVersion": "v1", "kind": "List", "items": list(objects)})


@pytest.fixture
def installed(cluster: ApiCluster, tmp_path: Path) -> Iterator[Path]:
    """The chart's objects in the cluster; the kubeconfig file of its account."""
    for each in OTHERS:
        each["spec"]["versions"][0]["subresources"] = {"status": {}}
    apply(cluster, *OTHERS)
    for each in OTHERS:
        cluster.kubectl("wait", "--for=condition=Established", "crd", each["metadata"]["name"], "--timeout=60s")
    apply(cluster, *DOCUMENTS)
    access = ("-n", NAMESPACE, "--kubeconfig", str(cluster.kubeconfig("admin")))
    helm("install", "weft", str(CHART), "--create-namespace", *access, home=tmp_path)
    try:
        token = cluster.kubectl("create", "token", "weft", "-n", NAMESPACE).strip()
        path = cluster.kubeconfig("weft")
        path.unlink(missing_ok=True)
        write_kubeconfig(path, cluster.server, cluster.directory / "pki", token=token)
        yield path
    finally:
        helm("uninstall", "weft", "--wait", *access, home=tmp_path)


def options(objects: list[dict[str, Any]]) -> list[str]:
    """The command line of the control plane, but what is the pod's own."""
    (deployment,) = of_kind(objects, "Deployment")
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    weft, serve, *words = container["command"]
    assert (weft, serve) == ("weft", "serve")
    places = tuple(f"--{name}=" for name in ("kubeconfig", "bind", "admin-bind", *(f"{port}-port" for port in PORTS)))
    assert all(any(word.startswith(place) for word in words) for place in places)
    values = {f"$({each['name']})": each["value"] for each in container["env"]}
    # Outside of a pod it has to be said that it writes, and where the Lease is.
    ports = ("--admin-bind=127.0.0.1:0", *(f"--{port}-port=0" for port in PORTS))
    also = ["--write-status", f"--kubernetes-namespace={NAMESPACE}", *ports]
    kept = [word for word in words if not word.startswith(places)]
    return [*also, *(reduce(lambda text, pair: text.replace(*pair), values.items(), word) for word in kept)]


def test_nothing_may_be_made_without_gateways(tmp_path: Path) -> None:
    objects = rendered(tmp_path, {"gateways": {"enabled": False}})
    made = {Right(*each, verb) for each in MADE for verb in ("create", "delete", "get", "patch")}
    assert rights(rendered(tmp_path)) - rights(objects) == made
    assert "--no-gateways" in options(objects)


def test_the_agents_of_nodes_have_no_rights_and_no_token(tmp_path: Path) -> None:
    objects = rendered(tmp_path, {"cni": {"enabled": True}})
    assert rights(objects) == rights(rendered(tmp_path))
    (agent,) = of_kind(objects, "DaemonSet")
    (account,) = [each for each in of_kind(objects, "ServiceAccount") if each["metadata"]["name"] == "weft-cni"]
    spec = agent["spec"]["template"]["spec"]
    assert spec["serviceAccountName"] == "weft-cni"
    assert not account["automountServiceAccountToken"]
    assert not spec["automountServiceAccountToken"]
    bound = [one["name"] for kind in ("ClusterRoleBinding", "RoleBinding") for each in of_kind(objects, kind)
             for one in each["subjects"]]  # fmt: skip
    assert "weft-cni" not in bound
    assert not {"hostNetwork", "hostPID", "hostIPC"} & spec.keys()


def gateway(of_class: str) -> dict[str, Any]:
    spec = {"gatewayClassName": of_class, "listeners": [{"name": "http", "port": 80, "protocol": "HTTP"}]}
    return document("gateway.networking.k8s.io/v1", "Gateway", spec, name="edge")


def post(address: str, path: str, body: bytes, token: str = "") -> None:
    """Ask a server of the control plane; what it answers is not looked at, nor who it is."""
    anybody = ssl.create_default_context()
    anybody.check_hostname, anybody.verify_mode = False, ssl.CERT_NONE
    connection = http.client.HTTPSConnection(address, context=anybody, timeout=30)
    with contextlib.closing(connection):
        head = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
        connection.request("POST", path, body, head)
        connection.getresponse().read()


def join(cluster: ApiCluster, agent_api: str) -> None:
    """A pod of the mesh shows its token."""
    containers = [{"name": name, "image": "weft.test/none:1"} for name in ("app", "weft-proxy")]
    about = {"name": "proxied", "namespace": "default"}
    node = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": "one"}}  # a pod without one is not known yet
    apply(cluster, node)
    spec = {"nodeName": "one", "containers": containers}
    apply(cluster, {"apiVersion": "v1", "kind": "Pod", "metadata": about, "spec": spec})
    bound = ("--bound-object-kind=Pod", "--bound-object-name=proxied")
    token = cluster.kubectl("create", "token", "default", "-n", "default", "--audience=weft", *bound).strip()
    request = RegisterRequest(Workload("proxied", "default", "default"), new_request()[1])
    post(agent_api, "/v1/workloads", msgspec.json.encode(request), token)


def test_every_right_is_used_and_none_is_missing(cluster: ApiCluster, installed: Path, tmp_path: Path) -> None:
    objects = rendered(tmp_path)
    given = rights(objects)
    mesh = Mesh(tmp_path / "home", tmp_path / "logs")

    def all_used(*verbs: str) -> bool:
        used = {right for right, _ in asked(cluster.audit())}
        left = {each for each in given if each.verb in verbs and not any(each.covers(one) for one in used)}
        assert not left
        return True

    def none_refused() -> None:
        for right, event in asked(cluster.audit()):
            assert event["user"]["username"] == ACCOUNT
            assert event["responseStatus"]["code"] not in (401, 403), event
            assert any(each.covers(right) for each in given), right

    try:
        mesh.serve(f"--kubeconfig={installed}", *options(objects))
        apply(cluster, gateway("weft"))
        told = json.loads(Home(mesh.home).endpoints.read_text())
        join(cluster, told["agent_api"])
        post(told["webhooks"], "/inject", review(pod(namespace="default"), "default"))  # it asks for the labels
        token = cluster.kubectl("create", "token", "default", "-n", "default").strip()
        post(f"127.0.0.1:{told['remote_admin'].rpartition(':')[2]}", "/v1/explain", b"{}", token)  # who may that?
        for _ in range(2):  # the store is sealed anew, and made short: parts are made, listed and deleted
            mesh.api("secrets/rotation", "POST")
        mesh.api("ca/rotate", "POST", b"{}")
        until("every right is used", lambda: all_used(*{each.verb for each in given} - {"delete"}))
        named = {"apiVersion": "gateway.networking.k8s.io/v1", "kind": "GatewayClass", "metadata": {"name": "another"}}
        apply(cluster, {**named, "spec": {"controllerName": "example.com/another"}})
        apply(cluster, gateway("another"))
        until("what is not wanted any more is deleted", lambda: all_used("delete"))
        assert [one for one in mesh.problems() if one["code"].startswith("kubernetes")] == []
    finally:
        mesh.stop()
        none_refused()
