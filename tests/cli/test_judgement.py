"""`weft apply` and `weft validate --against-mesh` make the same exit code of the same problems."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from support.admin import Admin
from weft.cli.main import run

KEY = {"group": "networking.istio.io", "kind": "VirtualService", "namespace": "default", "name": "reviews"}
ERROR: dict[str, Any] = {
    "severity": "error",
    "code": "unknown-field",
    "message": "unknown field 'hostz'",
    "source": "r.yaml",
    "line": 7,
    "path": "spec.hostz",
    "expected": "",
    "nearest": "",
    "object": KEY,
}
MISSING = {
    **ERROR,
    "code": "unknown-service",
    "message": "there is no Service 'a'",
    "path": "spec",
}


@pytest.mark.parametrize("words", [["apply", "-f"], ["validate", "--against-mesh"]])
def test_apply_and_validate_judge_alike(
    admin: Admin, tmp_path: Path, capsys: pytest.CaptureFixture[str], words: list[str]
) -> None:
    (tmp_path / "r.yaml").write_text("x: 1\n")
    for problems, code, allowed in (
        ([MISSING], 1, 0),
        ([MISSING, ERROR], 1, 1),
        ([{**ERROR, "severity": "warning"}], 0, 0),
        ([{**ERROR, "severity": "note"}], 0, 0),
        ([], 0, 0),
    ):
        admin.answers["POST", "/v1/documents"] = (200, {"documents": [], "problems": problems, "wait": None})
        admin.answers["POST", "/v1/validation"] = (200, {"documents": 1, "problems": problems})
        assert run([*words, "r.yaml"]) == code
        assert ("--allow-missing-references" in capsys.readouterr().err) is (MISSING in problems)
        assert run([*words, "r.yaml", "--allow-missing-references"]) == allowed
        told = capsys.readouterr().err
        assert ("warning: spec: there is no Service 'a'" in told) is (MISSING in problems)
        assert "--allow-missing-references" not in told


def test_what_was_allowed_is_no_error_of_strict_validation(admin: Admin, tmp_path: Path) -> None:
    (tmp_path / "r.yaml").write_text("x: 1\n")
    strict = ["validate", "--against-mesh", "--strict", "--allow-missing-references", "r.yaml"]
    unrouted = {**MISSING, "code": "unknown-host", "severity": "warning"}
    admin.answers["POST", "/v1/validation"] = (200, {"documents": 1, "problems": [MISSING, unrouted]})
    assert run(strict) == 0
    warning = {**ERROR, "severity": "warning"}
    admin.answers["POST", "/v1/validation"] = (200, {"documents": 1, "problems": [MISSING, warning]})
    assert run(strict) == 1
