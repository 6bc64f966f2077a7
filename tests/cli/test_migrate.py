"""`weft migrate` as people call it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from weft.cli.main import run

VALUES = "pilot: {traceSampling: 1}\nglobal: {multiCluster: {clusterName: a}, hubb: x}\n"


def test_it_tells_the_worst_first_and_how_to_move(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "values.yaml"
    file.write_text(VALUES)
    assert run(["migrate", "istio", str(file)]) == 0
    said = capsys.readouterr().out
    assert said.startswith(f"missing:\n  {file}:2: Helm values global.multiCluster\n")
    assert "did you mean 'hub'?" in said
    assert said.index("missing:") < said.index("differs:") < said.index("How to move:")
    assert "1 document: 2 missing, 1 differs, 0 same, 0 not needed" in said
    assert run(["migrate", "istio", "--strict", str(file)]) == 1


def test_json_has_everything(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "values.yaml"
    file.write_text(VALUES)
    assert run(["migrate", "istio", "-o", "json", str(file)]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["counts"] == {"same": 0, "differs": 1, "missing": 2, "not needed": 0}
    assert {one["path"] for one in report["lines"]} == {"pilot.traceSampling", "global.multiCluster", "global.hubb"}


def test_what_cannot_be_read_is_an_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "values.yaml"
    file.write_text("replicas: 3\n")
    assert run(["migrate", "istio", str(file)]) == 1
    assert f"{file}:1: error: 'replicas' is no value of Istio's charts" in capsys.readouterr().err


def test_without_a_cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("KUBECONFIG", raising=False)
    assert run(["migrate", "linkerd"]) != 0
    assert "there is no kubeconfig file" in capsys.readouterr().err
