"""Commands that are told of a cluster, or find one, where nothing answers there: what they say, and what they leave."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.shell_completion import ShellComplete

from support.admin import Admin
from support.kubernetes import route
from weft.cli.main import run, weft
from weft.settings.home import Home

VARIABLES = ("WEFT_KUBECONFIG", "WEFT_CONTEXT", "WEFT_KUBE_NAMESPACE", "WEFT_SERVER", "WEFT_VERBOSE")


@pytest.fixture(autouse=True)
def nothing_named(home: Home, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in VARIABLES:
        monkeypatch.setenv(name, "")  # and what options set is undone
    monkeypatch.delenv("KUBECONFIG", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))


@pytest.fixture
def kubeconfig(tmp_path: Path) -> Iterator[Path]:
    """Contexts of a cluster that does not answer."""
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        server = f"http://127.0.0.1:{nobody.getsockname()[1]}"
        config = {
            "current-context": "prod",
            "contexts": [{"name": name, "context": {"cluster": "c"}} for name in ("prod", "dev")],
            "clusters": [{"name": "c", "cluster": {"server": server}}],
        }
        path = tmp_path / "kubeconfig"
        path.write_text(json.dumps(config))
        yield path


def test_a_cluster_that_does_not_answer(kubeconfig: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["--kubeconfig", str(kubeconfig), "get", "services"]) == 3
    assert "the API server at http://127.0.0.1:" in capsys.readouterr().err


def test_a_context_that_is_not_there(kubeconfig: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["--kubeconfig", str(kubeconfig), "--context", "test", "problems"]) == 3
    assert "context 'test' is not there; there is dev, prod" in capsys.readouterr().err


def test_without_a_kubeconfig_file(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["--context", "prod", "problems"]) == 1
    assert "there is no kubeconfig file" in capsys.readouterr().err


def test_a_server_and_a_cluster_are_too_much(
    kubeconfig: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("WEFT_KUBECONFIG", str(kubeconfig))
    assert run(["--server", "https://mesh.example", "problems"]) == 1
    assert "name one" in capsys.readouterr().err


def test_where_nothing_runs_kubectl_s_context_is_tried_and_named(
    kubeconfig: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("KUBECONFIG", str(kubeconfig))
    assert run(["problems"]) == 3
    told = capsys.readouterr().err
    assert "no control plane is running in" in told
    assert "or name a cluster:    --context NAME (the API server at" in told


def test_what_runs_here_goes_before_a_cluster_that_nobody_named(
    kubeconfig: Path, admin: Admin, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("KUBECONFIG", str(kubeconfig))
    admin.answers["GET", "/v1/problems"] = (200, {"problems": []})
    assert run(["-v", "problems"]) == 0
    assert f"weft: talking to pid {json.loads(admin_file())['pid']}, http://127.0.0.1:" in capsys.readouterr().err


def admin_file() -> str:
    return Home(Path.cwd() / "home").endpoints.read_text()


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["apply", "-f", "doc.json", "--force-conflicts"], "--force-conflicts goes with a cluster"),
        (["--kubeconfig", "kubeconfig", "ps"], "weft get workloads -A, weft proxy status"),
        (["--kubeconfig", "kubeconfig", "logs", "--access"], "access logs are what weft-proxy says"),
    ],
)
def test_options_that_do_not_fit(
    kubeconfig: Path, capsys: pytest.CaptureFixture[str], words: list[str], told: str
) -> None:
    Path("doc.json").write_text(json.dumps(route("web", "shop", "web", "web")))
    assert run(words) == 2
    assert told in capsys.readouterr().err


def test_what_is_no_document_of_the_mesh_is_refused(kubeconfig: Path, capsys: pytest.CaptureFixture[str]) -> None:
    deployment = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"}}
    Path("doc.json").write_text(json.dumps(deployment))
    assert run(["--kubeconfig", str(kubeconfig), "apply", "-f", "doc.json"]) == 1
    assert "Deployment web is no document of the mesh; use kubectl apply" in capsys.readouterr().err
    Path("doc.json").write_text(json.dumps({**route("web", "shop", "web", "web"), "spec": {"rulez": []}}))
    assert run(["--kubeconfig", str(kubeconfig), "apply", "-f", "doc.json"]) == 1
    told = capsys.readouterr().err
    assert "doc.json:1" in told
    assert "nothing was changed" in told


def test_the_shell_completes_contexts(kubeconfig: Path) -> None:
    completion = ShellComplete(weft, {}, "weft", "_WEFT_COMPLETE")
    found = completion.get_completions(["--kubeconfig", str(kubeconfig), "--context"], "p")
    assert [item.value for item in found] == ["prod"]
