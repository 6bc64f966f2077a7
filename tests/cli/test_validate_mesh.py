"""`weft validate` of a weft.yaml: with its documents, its workloads as the mesh would meet them, and its paths."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from weft.cli.main import run

DOCUMENTS = """\
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {selector: {app: web}, ports: [{port: 80, targetPort: http}]}
---
apiVersion: v1
kind: Service
metadata: {name: catalog}
spec: {selector: {app: catalog}, ports: [{port: 80, targetPort: 9080}]}
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: public}
spec: {gatewayClassName: weft, listeners: [{name: http, port: 80, protocol: HTTP}]}
"""
GOOD = """\
documents: [mesh/]
workloads:
  - {name: web, labels: {app: web}, ports: ["http=8080:auto"], uses: [catalog], command: "{python} web.py"}
  - name: catalog
    labels: {app: catalog}
    ports: ["9080"]
    upstreams: ["web:80"]
    command: "{python} catalog.py"
gateways:
  - {name: public, listen: {80: 8080}}
"""


def found(place: Path, mesh: str, capsys: pytest.CaptureFixture[str]) -> list[tuple[int, str, str, str, str]]:
    """Line, severity, field, code and nearest name of each finding in the weft.yaml `mesh`."""
    (place / "mesh").mkdir()
    (place / "mesh/documents.yaml").write_text(DOCUMENTS)
    (place / "weft.yaml").write_text(mesh)
    run(["validate", "-o", "json", str(place / "weft.yaml")])
    told = json.loads(capsys.readouterr().out)["problems"]
    here = [one for one in told if one["source"] == str(place / "weft.yaml")]
    return [(one["line"], one["severity"], one["path"], one["code"], one["nearest"]) for one in here]


def test_a_mesh_in_which_all_fits_together(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert found(tmp_path, GOOD, capsys) == []
    assert run(["validate", str(tmp_path)]) == 0  # its documents are read once, though named twice
    assert "3 documents, 0 errors, 0 warnings" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("{app: web}", "{app: wbe}", (3, "warning", "workloads[0].labels", "not-selected", "app=web")),
        ("uses: [catalog]", "uses: [cataloge]", (3, "error", "workloads[0].uses[0]", "unknown-use", "catalog")),
        ("web:80", "wep:80", (7, "error", "workloads[1].upstreams[0]", "unknown-upstream", "web")),
        ("web:80", "web:81", (7, "error", "workloads[1].upstreams[0]", "unknown-upstream", "")),
        ("name: public", "name: publik", (10, "error", "gateways[0].name", "unknown-gateway", "default/public")),
        ("80: 8080", "81: 8080", (10, "warning", "gateways[0].listen.81", "unknown-listener", "")),
        ("{python} catalog.py", "no-such-program", (8, "warning", "workloads[1].command", "unknown-program", "")),
        ("{python} catalog.py", "./catalog", (8, "warning", "workloads[1].command", "unknown-program", "")),
        ("[mesh/]", "[mesh/, msh]", (1, "error", "documents[1]", "unknown-path", "mesh")),
    ],
)
def test_what_does_not_fit_is_told_at_its_line(
    old: str, new: str, expected: tuple[object, ...], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert old in GOOD
    assert expected in found(tmp_path, GOOD.replace(old, new), capsys)


def test_documents_that_wait_for_a_workload_are_told_too(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "documents.yaml").write_text(DOCUMENTS)
    (tmp_path / "weft.yaml").write_text(GOOD.replace("[mesh/]", "[documents.yaml]").replace("app: web", "app: wep"))
    run(["validate", str(tmp_path)])
    assert "documents.yaml:4: warning: spec.selector: no workload" in capsys.readouterr().err


def test_ports_unlike_the_services_are_told_at_the_service(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "mesh").mkdir()
    (tmp_path / "mesh/documents.yaml").write_text(DOCUMENTS)
    (tmp_path / "weft.yaml").write_text(GOOD.replace("9080", "9090"))
    assert run(["validate", str(tmp_path / "weft.yaml")]) == 0
    told = capsys.readouterr().err
    assert "documents.yaml:9: warning: spec.ports[0].targetPort" in told and "one of 9090" in told


def test_an_empty_directory_of_documents_is_no_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "mesh").mkdir()
    (tmp_path / "weft.yaml").write_text("documents: [mesh]\n")
    assert run(["validate", str(tmp_path / "weft.yaml")]) == 0
    assert "0 documents, 0 errors" in capsys.readouterr().out


PARAMETERS = """\
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: public}
spec:
  gatewayClassName: weft
  infrastructure: {parametersRef: {group: "", kind: KIND, name: sizes}}
  listeners: [{name: http, port: 80, protocol: HTTP}]
---
apiVersion: v1
kind: ConfigMap
metadata: {name: sizes}
data:
  deployment: |
    spec:
      replicas: 3
      template: {spec: {hostPID: true}}
"""


def test_parameters_of_a_gateway_are_judged(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "gateway.yaml"
    path.write_text(PARAMETERS.replace("KIND", "ConfigMap"))
    assert run(["validate", str(path), "-o", "json"]) == 1
    told = {(each["code"], each["line"], each["path"]) for each in json.loads(capsys.readouterr().out)["problems"]}
    assert told == {
        ("no-effect", 6, "spec.infrastructure"),
        ("invalid-parameters", 16, "data.deployment.spec.template.spec.hostPID"),
    }
    path.write_text(PARAMETERS.replace("KIND", "Secret"))
    assert run(["validate", str(path)]) == 1
    assert "parameters are not read from Secret" in capsys.readouterr().err
    path.write_text(PARAMETERS.replace("KIND", "ConfigMap").replace("template: {spec: {hostPID: true}}", ""))
    assert run(["validate", str(path)]) == 0
