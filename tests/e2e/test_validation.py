"""`weft validate --against-mesh`, and files that are no more than a part of a mesh, with a real control plane."""

from __future__ import annotations

from pathlib import Path

import pytest

from support.mesh import Mesh

ROUTE = """
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: part}
spec:
  parentRefs: [{group: "", kind: Service, name: HOST}]
  rules: [{backendRefs: [{name: HOST, port: 80}]}]
"""
SERVICE = """
apiVersion: v1
kind: Service
metadata: {name: elsewhere}
spec: {selector: {app: elsewhere}, ports: [{port: 80, name: http}]}
"""


def part(directory: Path, host: str) -> str:
    file = directory / "part.yaml"
    file.write_text(ROUTE.replace("HOST", host))
    return str(file)


def test_a_part_is_judged_with_the_mesh_that_runs(world: Mesh, tmp_path: Path) -> None:
    file = part(tmp_path, "echo")
    before = world.api("documents")
    assert world.weft("validate", "--against-mesh", file).stdout == "1 document, 0 errors, 0 warnings\n"
    alone = world.weft("validate", file, check=False)
    assert (alone.returncode, "there is no Service 'echo'" in alone.stderr) == (1, True)
    assert "--against-mesh" in alone.stderr
    assert world.weft("validate", "--allow-missing-references", "--strict", file).returncode == 0
    assert world.api("documents") == before


@pytest.mark.parametrize("words", [["validate", "--against-mesh"], ["apply", "--dry-run", "-f"], ["apply", "-f"]])
def test_what_is_missing_is_an_error_for_all_unless_it_is_allowed(
    world: Mesh, tmp_path: Path, words: list[str]
) -> None:
    file = part(tmp_path, "elsewhere")
    try:
        done = world.weft(*words, file, check=False)
        assert done.returncode == 1
        assert "error: spec.parentRefs[0].name: there is no Service 'elsewhere'" in done.stderr
        done = world.weft(*words, file, "--allow-missing-references")
        assert "warning: spec.parentRefs[0].name: there is no Service 'elsewhere'" in done.stderr
    finally:
        world.weft("delete", "-f", file, "--ignore-not-found")


def test_files_that_need_each_other_are_applied_together(world: Mesh, tmp_path: Path) -> None:
    part(tmp_path, "elsewhere")
    (tmp_path / "service.yaml").write_text(SERVICE)
    (tmp_path / "comments.yaml").write_text("# nothing yet\n")
    assert world.weft("apply", "-f", str(tmp_path), "--wait").stdout.count(" created\n") == 2
    world.weft("delete", "-f", str(tmp_path))
