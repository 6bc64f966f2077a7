"""weft check, analyze and explain-code against a small server, and offline."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from support.admin import Admin
from weft.cli.main import run
from weft.settings.home import Home

FINDING = {
    "code": "unknown-subset",
    "number": "WEFT0203",
    "severity": "warning",
    "message": "no subset 'v3'",
    "object": {"group": "", "kind": "VirtualService", "namespace": "default", "name": "reviews"},
    "about": "",
    "source": "r.yaml:7",
    "fix": "${EDITOR:-vi} +7 r.yaml",
    "page": "docs/findings.md#unknown-subset",
}
MESH = """
apiVersion: v1
kind: Service
metadata: {name: a}
spec: {selector: {app: a}, ports: [{name: http, port: 80, targetPort: 8000}]}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: a}
spec: {hosts: [a], http: [{timeout: 2s, retries: {attempts: 2, perTryTimeout: 1s}, route: [{destination: {host: a}}]}]}
"""
WEFT = """
documents: [mesh.yaml]
workloads:
  - name: a-v1
    labels: {app: a}
    ports: ["8000:auto"]
    command: [sleep, "1"]
"""


def test_what_it_is_about_is_not_said_twice(admin: Admin, capsys: pytest.CaptureFixture[str]) -> None:
    found = {**FINDING, "object": None, "about": "proxy a.default", "source": "proxy a.default"}
    admin.answers["GET", "/v1/check"] = (200, {"findings": [found], "passed": []})
    assert run(["check"]) == 1
    assert capsys.readouterr().out.startswith("warning: proxy a.default: no subset 'v3'\n")


@pytest.mark.parametrize(("severity", "code"), [("note", 0), ("warning", 1), ("error", 2)])
def test_the_exit_code_is_the_worst_severity(
    admin: Admin, capsys: pytest.CaptureFixture[str], severity: str, code: int
) -> None:
    found = {"findings": [{**FINDING, "severity": severity}], "passed": ["clocks agree"]}
    admin.answers["GET", "/v1/check"] = (200, found)
    assert run(["check"]) == code
    out = capsys.readouterr().out
    assert (
        f"{severity}: r.yaml:7: VirtualService default/reviews: no subset 'v3'\n    ${{EDITOR:-vi}} +7 r.yaml\n" in out
    )
    assert "WEFT0203 unknown-subset" in out
    assert f"1 {severity}; 1 checks found nothing" in out
    assert "clocks agree" not in out
    assert run(["check", "-o", "json"]) == code
    assert json.loads(capsys.readouterr().out) == found
    assert "version" in admin.asked[0][2]


def test_all_is_well(admin: Admin, capsys: pytest.CaptureFixture[str]) -> None:
    admin.answers["GET", "/v1/check"] = (200, {"findings": [], "passed": ["clocks agree"]})
    assert run(["check", "--all"]) == 0
    out = capsys.readouterr().out
    assert out.endswith("well: clocks agree\nall is well (1 checks)\n")
    assert out.startswith("capture on this host ")
    assert "; strict " in out.partition("\n")[0]


def test_without_a_control_plane_that_is_the_finding(home: Home, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["check"]) == 2
    out = capsys.readouterr().out
    assert "error: control plane: no control plane is running" in out
    assert f"serve --home {home.root}" in out


def test_files_are_analysed_without_a_control_plane(
    home: Home, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "mesh.yaml").write_text(MESH)
    (tmp_path / "weft.yaml").write_text(WEFT)
    assert run(["analyze", "weft.yaml", "-o", "json"]) == 0
    found = json.loads(capsys.readouterr().out)["findings"]
    assert [(one["code"], one["severity"]) for one in found] == [
        ("timeout-below-tries", "warning"),
        ("no-http-probe", "note"),
    ]
    assert found[0]["source"] == "mesh.yaml:10"
    assert found[1]["source"].startswith("weft.yaml:")
    assert run(["analyze", ".", "--no-notes", "--strict"]) == 1
    out = capsys.readouterr().out
    assert "0 errors, 1 warning, 0 notes" in out
    assert "no-http-probe" not in out
    (tmp_path / "mesh.yaml").write_text(MESH.replace("{host: a}", "{host: nope}"))
    assert run(["analyze", "mesh.yaml"]) == 1


def test_a_running_mesh_is_analysed(admin: Admin, capsys: pytest.CaptureFixture[str]) -> None:
    admin.answers["GET", "/v1/analysis"] = (200, {"findings": [FINDING]})
    assert run(["analyze"]) == 0
    assert "no subset 'v3'" in capsys.readouterr().out


@pytest.mark.parametrize("words", [["explain-code", "IST0130"], ["analyze", "--code", "WEFT0206"]])
def test_a_code_is_explained(home: Home, capsys: pytest.CaptureFixture[str], words: list[str]) -> None:
    assert run(words) == 0
    assert "To mend it: Put the narrower rule first" in capsys.readouterr().out
    assert run([*words, "-o", "json"]) == 0
    assert json.loads(capsys.readouterr().out)[0]["code"] == "unreachable"
    assert run(["explain-code", "unreachabel"]) == 1
    assert "did you mean 'unreachable'?" in capsys.readouterr().err
