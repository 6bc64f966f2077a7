"""`weft inject` on manifests of all kinds: what comes out is written down, and `weft uninject` gives back what was.

A case is a directory with ``input.yaml`` and ``injected.yaml``; ``./run golden`` rewrites the second. OPTIONS are
more of a case."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from weft.cli.main import run

CASES = sorted((Path(__file__).parent / "cases").iterdir())
SETTINGS = (
    "--image=registry.example/weft:1",
    "--control-plane=weft.weft-system.svc:15013",
    f"--ca-fingerprint=sha256:{'6b' * 32}",
)
OPTIONS = {"restricted": ("--cni",)}
Output = pytest.CaptureFixture[str]


def inject(path: Path, capsys: Output, *more: str) -> tuple[int, str, str]:
    code = run(["inject", "-f", str(path), *SETTINGS, *more])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


@pytest.mark.parametrize("directory", CASES, ids=lambda path: path.name)
def test_what_is_injected(directory: Path, capsys: Output, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    code, produced, said = inject(directory / "input.yaml", capsys, *OPTIONS.get(directory.name, ()))
    assert code == 0, said
    expected = directory / "injected.yaml"
    if request.config.getoption("--update-golden", default=False):
        expected.write_text(produced)
    assert produced == expected.read_text(), "changed on purpose? run: ./run golden"


@pytest.mark.parametrize("directory", CASES, ids=lambda path: path.name)
def test_what_was_injected_is_taken_out_again(directory: Path, capsys: Output) -> None:
    before = list(yaml.safe_load_all((directory / "input.yaml").read_text()))
    assert run(["uninject", "-f", str(directory / "injected.yaml")]) == 0
    assert list(yaml.safe_load_all(capsys.readouterr().out)) == before


def test_json_of_several_documents_is_a_list(capsys: Output) -> None:
    _, produced, _ = inject(CASES[0].parent / "deployment" / "input.yaml", capsys, "-o", "json")
    given = json.loads(produced)
    assert [one["kind"] for one in given["items"]] == ["Service", "Deployment"]
    names = [one["name"] for one in given["items"][1]["spec"]["template"]["spec"]["initContainers"]]
    assert names == ["weft-init", "weft-proxy", "migrate", "cache"]


def test_a_second_time_is_refused(capsys: Output) -> None:
    code, produced, said = inject(CASES[0].parent / "deployment" / "injected.yaml", capsys)
    assert code == 1
    assert produced == ""
    assert "it has a sidecar already" in said
    assert "weft uninject takes it out" in said


def test_what_is_not_done_is_an_error_with_its_line(capsys: Output, tmp_path: Path) -> None:
    path = tmp_path / "pod.yaml"
    path.write_text(
        "apiVersion: v1\nkind: Pod\nmetadata:\n  name: web\n  annotations:\n    sidecar.istio.io/logLevel: debug\n"
        "spec:\n  containers: [{name: web, image: web}]\n"
    )
    code, produced, said = inject(path, capsys)
    assert code == 1
    assert produced == ""
    assert f"{path}:6: error: metadata.annotations" in said
    assert "in Pod web (injection-annotation)" in said


def test_what_has_no_status_cannot_be_taken_out(capsys: Output, tmp_path: Path) -> None:
    path = tmp_path / "pod.json"
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "web"},
        "spec": {"containers": [{"name": "weft-proxy"}]},
    }
    path.write_text(json.dumps(pod))
    assert run(["uninject", "-f", str(path)]) == 1
    assert "but no annotation weft.dev/status that says what it was" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("option", "said"),
    [
        ("--ca-fingerprint=sha256:12", "expected sha256: and 64 hexadecimal digits"),
        ("--control-plane=weft", "expected HOST:PORT"),
        ("--image=-x", "the image '-x' cannot be"),
    ],
)
def test_settings_that_cannot_be(option: str, said: str, capsys: Output) -> None:
    code, _, told = inject(CASES[0] / "input.yaml", capsys, option)
    assert code == 2
    assert said in told


def test_without_settings_a_control_plane_is_asked(
    capsys: Output, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WEFT_HOME", str(tmp_path))
    assert run(["inject", "-f", str(CASES[0] / "input.yaml"), *SETTINGS[1:]]) == 2
    assert "--image must be given: no control plane" in capsys.readouterr().err


@pytest.mark.parametrize(
    "option",
    [
        "--webhook-port=0",
        "--sidecar-image=weft:1",
        "--no-gateways",
        "--revision=canary",
        "--revision-tag=prod",
        "--discovery-selector=mesh=on",
    ],
)
def test_webhooks_are_those_of_an_api_server(option: str, capsys: Output, tmp_path: Path) -> None:
    assert run(["serve", "--home", str(tmp_path), option]) == 2
    assert "goes with --kubeconfig" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--revision=Canary"], "--revision: found 'Canary', expected lower-case letters"),
        (["--revision-tag=a_b"], "--revision-tag: found 'a_b', expected"),
        (["--discovery-selector=team like shop"], "--discovery-selector: found 'team like shop'; expected KEY=VALUE"),
    ],
)
def test_what_is_no_revision_and_no_selector(options: list[str], said: str, capsys: Output, tmp_path: Path) -> None:
    file = tmp_path / "kubeconfig"
    cluster = {"name": "c", "cluster": {"server": "https://127.0.0.1:1"}}
    context = {"name": "c", "context": {"cluster": "c", "user": "u"}}
    user = {"name": "u", "user": {"token": "t"}}
    config = {"current-context": "c", "clusters": [cluster], "contexts": [context], "users": [user]}
    file.write_text(json.dumps({"apiVersion": "v1", "kind": "Config", **config}))
    file.chmod(0o600)
    assert run(["serve", "--home", str(tmp_path), f"--kubeconfig={file}", *options]) == 2
    assert said in capsys.readouterr().err
