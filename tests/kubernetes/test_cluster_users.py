"""Users of a real cluster at the admin API: whom it takes, what they may do there, and until when."""

from __future__ import annotations

import contextlib
import http.client
import json
import ssl
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from tools.kubernetes_cluster import ApiCluster
from tools.kubernetes_pki import make_authority

from support.mesh import Mesh, until
from weft.admin.people.cluster_users import GROUP, RESOURCE
from weft.settings.home import Home

SAYS = {"apiGroups": [GROUP], "resources": [RESOURCE]}
VIEW = [{**SAYS, "verbs": ["get"]}]
OPERATE = [{**SAYS, "verbs": ["get", "operate"]}]
ADMINISTER = [{**SAYS, "verbs": ["administer"]}]
NAME = "weft.test"
RBAC = "rbac.authorization.k8s.io"


@dataclass
class Door:
    """The admin API for users of the cluster."""

    cluster: ApiCluster
    mesh: Mesh
    port: int

    def ask(
        self, path: str, token: str = "", certificate: Path | None = None, method: str = "GET", host: str = NAME
    ) -> tuple[int, Any]:
        """The status and the answer to one request, with a token, or the certificate and key of two files."""
        tls = ssl.create_default_context(cafile=str(Home(self.mesh.home).trust_bundle))
        if certificate is not None:
            tls.load_cert_chain(certificate.with_suffix(".crt"), certificate.with_suffix(".key"))
        connection = http.client.HTTPSConnection("127.0.0.1", self.port, timeout=30, context=tls)
        head = {"Host": host, **({"Authorization": f"Bearer {token}"} if token else {})}
        with contextlib.closing(connection):
            connection.request(method, f"/v1/{path}", headers=head)
            answer = connection.getresponse()
            return answer.status, json.loads(answer.read())

    def roles(self, token: str = "", certificate: Path | None = None) -> list[str]:
        """What somebody is."""
        status, found = self.ask("self", token, certificate)
        assert status == 200, found
        return [one["role"] for one in found["roles"]]

    def refused(self, *shown: Any, **more: Any) -> tuple[int, str, str]:
        """The status, code and text that somebody is refused with."""
        status, found = self.ask(*shown, **more)
        assert status >= 400, found
        return status, found["code"], found["error"]

    def token(self, name: str, rules: list[dict[str, Any]]) -> str:
        """That of a service account of the cluster with these rights."""
        text = self.cluster.account(name, rules).read_text()
        return str(json.loads(text)["users"][0]["user"]["token"])


@pytest.fixture(scope="module")
def door(cluster: ApiCluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Door]:
    place = tmp_path_factory.mktemp("mesh")
    mesh = Mesh(place / "home", place / "logs")
    bind = ("--admin-bind=127.0.0.1:0", f"--admin-host={NAME}", "--kubernetes-users")
    writes = ("--write-status", "--kubernetes-namespace=default")
    about = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "weft-door", "namespace": "default"}}
    cluster.kubectl("apply", "-f", "-", given=about)
    try:
        mesh.serve(f"--kubeconfig={cluster.kubeconfig('admin')}", *bind, *writes)
        told = json.loads(Home(mesh.home).endpoints.read_text())
        yield Door(cluster, mesh, urlsplit(told["remote_admin"]).port or 0)
    finally:
        mesh.stop()


def test_rights_in_the_cluster_are_roles_here(door: Door) -> None:
    viewer, operator, admin = (
        door.token(name, rules) for name, rules in (("viewer", VIEW), ("operator", OPERATE), ("boss", ADMINISTER))
    )
    assert [door.roles(one) for one in (viewer, operator, admin)] == [["viewer"], ["viewer", "operator"], ["admin"]]
    assert door.ask("services", viewer)[0] == 200
    status, code, text = door.refused("tap?workload=web", viewer)
    assert (status, code) == (403, "not-permitted")
    assert "viewer (kubernetes) has not the right to 'operate mesh.admin.weft.dev'" in text
    assert "kubectl create clusterrolebinding NAME --clusterrole=weft-operate --serviceaccount=default:viewer" in text
    assert door.refused("tap?workload=web", operator)[0] == 404  # no such workload: it may ask
    status, _, text = door.refused("principals/x", operator, method="DELETE")
    assert (status, "'administer mesh.admin.weft.dev'" in text) == (403, True)
    assert door.refused("principals/x", admin, method="DELETE")[0] == 404


def test_who_has_no_right_is_told_which(door: Door) -> None:
    status, code, text = door.refused("services", door.token("nobody", []))
    assert (status, code) == (403, "not-permitted")
    assert "'get mesh.admin.weft.dev' in the cluster; the ClusterRole weft-view has it" in text
    audited = door.mesh.api("events?outcome=refused")["events"]
    assert "system:serviceaccount:default:nobody (kubernetes)" in {one["who"] for one in audited}


def test_tokens_that_the_api_server_does_not_take(door: Door) -> None:
    good = door.token("viewer", VIEW)
    for wrong in ("of-somebody", good.rpartition(".")[0] + ".AAAA"):
        status, code, text = door.refused("self", wrong)
        assert (status, code) == (401, "wrong-token")
        assert "the API server does not take the token" in text
    for_weft = door.cluster.kubectl("create", "token", "viewer", "-n", "default", "--audience=weft").strip()
    assert door.refused("self", for_weft)[0] == 401
    assert door.refused("self")[1] == "token-required"
    # In plaintext, on the loopback of the control plane's own host, nobody shows a token of the cluster.
    plain = http.client.HTTPConnection(urlsplit(door.mesh.endpoints()["admin"]).netloc, timeout=30)
    with contextlib.closing(plain):
        plain.request("GET", "/v1/self", headers={"Authorization": f"Bearer {good}"})
        assert plain.getresponse().status == 401


def test_certificates_of_the_cluster_name_users_and_groups(door: Door, tmp_path: Path) -> None:
    authority, pki = door.cluster.authority, door.cluster.pki
    authority.issue("alice", "alice", "mesh-team")
    authority.issue("bob", "bob")
    role = {"kind": "ClusterRole", "name": "viewer", "apiGroup": RBAC}
    door.token("viewer", VIEW)
    subjects = [{"kind": "Group", "name": "mesh-team", "apiGroup": RBAC}]
    about = {"apiVersion": f"{RBAC}/v1", "kind": "ClusterRoleBinding", "metadata": {"name": "mesh-team"}}
    door.cluster.kubectl("apply", "-f", "-", given={**about, "subjects": subjects, "roleRef": role})
    # The authority is read soon after the start; a hand-shake before that fails.
    until("alice is known", lambda: door.roles(certificate=pki / "alice") == ["viewer"])
    assert door.ask("self", certificate=pki / "alice")[1]["name"] == "alice (kubernetes)"
    status, _, text = door.refused("self", certificate=pki / "bob")
    assert (status, "--clusterrole=weft-view --user='bob'" in text) == (403, True)
    assert door.roles(certificate=pki / "admin") == ["admin"]  # of system:masters
    other = make_authority(tmp_path / "other")
    other.issue("alice", "alice", "system:masters")
    with pytest.raises((ssl.SSLError, ConnectionError, http.client.RemoteDisconnected)):
        door.ask("self", certificate=other.directory / "alice")


def test_who_loses_a_right_loses_it_within_seconds(door: Door) -> None:
    token = door.token("leaver", VIEW)
    assert door.roles(token) == ["viewer"]
    door.cluster.kubectl("delete", "clusterrolebinding", "leaver")
    until("the right is gone", lambda: door.ask("self", token)[0] == 403)
    door.cluster.kubectl("delete", "serviceaccount", "leaver", "-n", "default")
    until("the account is gone", lambda: door.ask("self", token)[0] == 401)


def test_a_page_comes_by_the_loopback_of_its_tunnel(door: Door) -> None:
    token = door.token("viewer", VIEW)
    assert door.ask("self", token, host="127.0.0.1:4711")[0] == 200
    assert door.refused("self", token, host="evil.example")[1] == "foreign-host"
    status, found = door.ask("dashboard", token, method="POST", host="127.0.0.1:4711")
    assert (status, found["url"].partition("?")[0]) == (201, "http://127.0.0.1:4711/open")


def test_the_cluster_says_where_the_door_is(door: Door) -> None:
    def told() -> dict[str, str]:
        text = door.cluster.kubectl("get", "configmap", "weft-door", "-n", "default", "-o", "json")
        return dict(json.loads(text).get("data") or {})

    until("the control plane has said it", lambda: told().get("port") == str(door.port))
    assert (told()["name"], told()["roots.pem"]) == (NAME, Home(door.mesh.home).trust_bundle.read_text())
    door.cluster.kubectl("patch", "configmap", "weft-door", "-n", "default", "-p", '{"data": {"roots.pem": "none"}}')
    until("it is put right", lambda: "BEGIN" in told()["roots.pem"], deadline=120)


def test_without_the_api_server_nobody_is_let_in(door: Door) -> None:
    token = door.token("latecomer", VIEW)
    door.cluster.kill_api_server()
    try:
        status, code, text = door.refused("self", token)
        assert (status, code) == (503, "kubernetes-unavailable")
        assert text.endswith("nothing was done")
        for _ in range(12):  # that is nobody's fault: no one is held up for it
            assert door.refused("self", token)[0] == 503
    finally:
        door.cluster.start_api_server()
    until("it is back", lambda: door.ask("self", token)[0] == 200)
