"""The door to a control plane in a cluster: commands here reach it by a kubeconfig, with rights of the cluster."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from tools.kubernetes_mesh import NAMESPACE
from tools.kubernetes_node import NodeCluster

from support.kubernetes import route, service
from support.mesh import until

WEFT = [sys.executable, "-m", "weft.cli.main"]
PLACE = "door"


def environment(home: Path, kubeconfig: Path, name: str = "WEFT_KUBECONFIG") -> dict[str, str]:
    """That of a person who has this kubeconfig file, and runs nothing here."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("KUBE", "WEFT_"))}
    return {**kept, "HOME": str(home), "WEFT_HOME": str(home / "none"), name: str(kubeconfig)}


def weft(env: Mapping[str, str], *words: str, given: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*WEFT, *words], env=env, input=given, capture_output=True, text=True, check=False, timeout=180
    )


def bind(node: NodeCluster, account: str, *, cluster_role: str = "", role: str = "") -> None:
    kind, name = ("clusterrolebinding", cluster_role) if cluster_role else ("rolebinding", role)
    where = [f"--clusterrole={cluster_role}"] if cluster_role else [f"--role={role}", "-n", NAMESPACE]
    node.kubectl("create", kind, f"{account}-{name}", *where, f"--serviceaccount=default:{account}")


@pytest.fixture(scope="module")
def boss(weft_node: NodeCluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """The environment of the cluster's administrator, who has a namespace for documents."""
    weft_node.kubectl("create", "namespace", PLACE)
    yield environment(tmp_path_factory.mktemp("boss"), weft_node.kubeconfig("admin"))
    weft_node.kubectl("delete", "namespace", PLACE, "--wait=false")


def test_an_administrator_s_certificate_opens_it(boss: dict[str, str]) -> None:
    done = weft(boss, "-v", "get", "services", "-n", NAMESPACE, "-o", "json")
    assert "weft" in [one["metadata"]["name"] for one in json.loads(done.stdout)], done.stderr
    assert f"weft: talking to weft in namespace {NAMESPACE} of the cluster 'test'" in done.stderr
    who = json.loads(weft(boss, "token", "whoami", "-o", "json").stdout)
    assert (who["name"], [one["role"] for one in who["roles"]]) == ("admin (kubernetes)", ["admin"])


def looked(done: subprocess.CompletedProcess[str]) -> bool:
    """Whether the problems were told, of which other tests of this cluster may have left some; whoever may not look is
    told none."""
    told = json.loads(done.stdout)
    worst = {one["severity"] for one in told}
    return isinstance(told, list) and done.returncode == int("error" in worst)


def test_a_token_has_the_rights_that_were_bound_to_it(weft_node: NodeCluster, tmp_path: Path) -> None:
    env = environment(tmp_path, weft_node.account("looker", []))
    done = weft(env, "problems")
    assert done.returncode == 3
    assert "--role=weft-door" in done.stderr
    bind(weft_node, "looker", role="weft-door")
    until("it is reached", lambda: "--clusterrole=weft-view" in weft(env, "problems").stderr)
    bind(weft_node, "looker", cluster_role="weft-view")
    until("it may look", lambda: looked(weft(env, "problems", "-o", "json")))
    for words in (["get", "all", "-A"], ["stat"], ["graph"], ["proxy", "status"], ["history"], ["check"]):
        done = weft(env, *words)
        assert done.returncode in ((0, 1, 2) if words == ["check"] else (0, 1)), done.stderr
        assert "has not the right" not in done.stderr
    done = weft(env, "token", "create", "--service-account", "default/web")
    assert (done.returncode, "'operate mesh.admin.weft.dev'" in done.stderr) == (1, True)


def test_a_context_that_nobody_named_is_only_read(weft_node: NodeCluster, tmp_path: Path) -> None:
    env = environment(tmp_path, weft_node.kubeconfig("admin"), "KUBECONFIG")
    done = weft(env, "get", "namespaces")
    assert done.returncode == 0
    assert f"note: no control plane runs here; asking weft in namespace {NAMESPACE}" in done.stderr
    done = weft(env, "apply", "-f", "-", given=json.dumps(service("web", PLACE)))
    assert done.returncode == 3
    assert "to change something there say so, with --context NAME" in done.stderr
    done = weft({**env, "WEFT_KUBE_NAMESPACE": "elsewhere"}, "problems")
    assert (done.returncode, "--kube-namespace says where weft is" in done.stderr) == (3, True)


def test_documents_are_applied_at_the_api_server(weft_node: NodeCluster, boss: dict[str, str], tmp_path: Path) -> None:
    path = tmp_path / "web.json"
    items = [service("web", PLACE), route("web", PLACE, "web", "web")]
    path.write_text(json.dumps({"apiVersion": "v1", "kind": "List", "items": items}))
    tried = weft(boss, "apply", "-f", str(path), "--dry-run")
    assert tried.stdout.count(" created (dry run)") == 2, tried.stderr
    assert "HTTPRoute" not in weft_node.kubectl("get", "httproutes", "-n", PLACE, "-o", "json")
    done = weft(boss, "apply", "-f", str(path), "--wait")
    assert (done.returncode, done.stdout.count(" created\n")) == (0, 2), done.stderr
    assert "confirmed by" in done.stderr or "nothing changed" in done.stderr
    found = json.loads(weft_node.kubectl("get", "httproute", "web", "-n", PLACE, "--show-managed-fields", "-o", "json"))
    assert "weft" in {one["manager"] for one in found["metadata"]["managedFields"]}
    again = json.loads(weft(boss, "apply", "-f", str(path), "--wait", "-o", "json").stdout)
    assert {one["change"] for one in again[0]["documents"]} == {"unchanged"}

    path.write_text(json.dumps(route("web", PLACE, "web", "nowhere")))
    done = weft(boss, "apply", "-f", str(path), "--wait")
    assert done.returncode == 1
    assert f"{path}:" in done.stderr
    assert "there is no Service 'nowhere'" in done.stderr

    weft_node.kubectl("label", "service", "web", "-n", PLACE, "team=kubectl", "--field-manager=somebody")
    labelled = service("web", PLACE)
    labelled["metadata"]["labels"] = {"team": "weft"}
    path.write_text(json.dumps(labelled))
    done = weft(boss, "apply", "-f", str(path))
    assert (done.returncode, "--force-conflicts takes these fields over" in done.stderr) == (1, True)
    assert weft(boss, "apply", "-f", str(path), "--force-conflicts").returncode == 0

    done = weft(boss, "delete", "httproute", "web", "-n", PLACE, "--wait")
    assert (done.returncode, done.stdout) == (0, f"HTTPRoute {PLACE}/web deleted\n")
    done = weft(boss, "delete", "httproute", "web", "-n", PLACE)
    assert (done.returncode, "there is no HTTPRoute" in done.stderr) == (1, True)


def test_the_page_is_here_until_ctrl_c(boss: dict[str, str]) -> None:
    command = [*WEFT, "dashboard", "-o", "json"]
    with subprocess.Popen(command, env=boss, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as page:
        try:
            assert page.stdout is not None
            where = urlsplit(json.loads(page.stdout.readline())["url"])

            def get(path: str, **head: str) -> http.client.HTTPResponse:
                connection = http.client.HTTPConnection(where.netloc, timeout=60)
                with contextlib.closing(connection):
                    connection.request("GET", path, headers=head)
                    answer = connection.getresponse()
                    answer.read()
                    return answer

            opened = get(f"{where.path}?{where.query}")
            assert opened.status == 303
            cookie = str(opened.headers["Set-Cookie"]).partition(";")[0]
            key = str(opened.headers["Location"]).partition("=")[2]
            shown = {"Cookie": cookie, "X-Weft-Key": key}
            assert get("/v1/self", **shown).status == 200
            assert get("/v1/self", **{**shown, "Host": "evil.example"}).status == 403
            assert get("/v1/self", **{**shown, "Origin": "http://127.0.0.1:1"}).status == 403
            page.send_signal(signal.SIGINT)
            assert page.wait(timeout=60) == 0
        finally:
            page.kill()
    with pytest.raises(ConnectionRefusedError):
        get("/")


def events(boss: Mapping[str, str]) -> Any:
    return json.loads(weft(boss, "audit", "-o", "json").stdout)


def test_the_audit_has_the_user_of_the_cluster(boss: dict[str, str]) -> None:
    done = weft(boss, "token", "create", "--role", "viewer", "--name", "watcher")
    assert done.returncode == 0, done.stderr
    made = [one for one in events(boss) if one["action"] == "create principal"]
    assert made[0]["who"] == "admin (kubernetes)"
