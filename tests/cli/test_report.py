"""The support bundle: what is in it, what is not, its bounds and its mode; without a control plane, too."""

from __future__ import annotations

import json
import tarfile
from pathlib import Path

import pytest

from support.admin import Admin
from weft.cli.main import run
from weft.local import report
from weft.local.report import Bundle, gather, write_bundle
from weft.local.scrubbing import scrubbed
from weft.settings.home import Home

KEY = "-----BEGIN EC PRIVATE KEY-----\nMHcCAQEEIB\n-----END EC PRIVATE KEY-----"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (f"before\n{KEY}\nafter", "before\n[removed]\nafter"),
        ("-----BEGIN PRIVATE KEY-----\ncut", "[removed]"),
        ("Authorization: Bearer abcdefgh.ij", "Authorization: [removed]"),
        ("authorization: basic dXNlcjpwYXNz", "authorization: [removed]"),
        ("GET /x?token=abc&y=1", "GET /x?token=[removed]&y=1"),
        ("postgres://me:secret@db:5432/x", "postgres://[removed]@db:5432/x"),
        ("eyJhbGciOiJI.eyJzdWIiOiIx.c2ln rest", "[removed] rest"),
        ("the admin token is hunter2hunter2", "the admin token is [removed]"),
        ("set: {x-api-key: geheim}\nnext: 1", "set: {x-api-key: [removed]\nnext: 1"),
        ('{"x-api-key": "geheim", "n": 1}', '{"x-api-key": "[removed]", "n": 1}'),
        ("- name: x-api-key\n  value: geheim\n", "- name: x-api-key\n  value: [removed]\n"),
        (r'"+  - name: cookie\n+    value: a=geheim; b=c\n+ x"', r'"+  - name: cookie\n+    value: [removed]\n+ x"'),
        ('{"key": "X-Auth-Token",\n "value": "geheim"}', '{"key": "X-Auth-Token",\n "value": "[removed]"}'),
        (r'"{\"password\": \"geheim\"}"', r'"{\"password\": \"[removed]\"}"'),
        ('{"token": true, "secret": null, "cookie": 5}', '{"token": true, "secret": null, "cookie": 5}'),
        ("kind: Secret\nmetadata:\n  name: a\n", "kind: Secret\nmetadata:\n  name: a\n"),
        ("credentialName: shop, httpCookie: {name: user}", "credentialName: shop, httpCookie: {name: user}"),
        ("nothing of the kind: http://a:80/x", "nothing of the kind: http://a:80/x"),
    ],
)
def test_what_looks_like_a_secret_is_taken_out(text: str, told: str) -> None:
    assert scrubbed(text, ("hunter2hunter2", "short")) == told


def test_a_bundle_of_files_alone(home: Home, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    home.logs.mkdir()
    home.admin_token.write_text("0123456789abcdef\n")
    (home.logs / "control-plane.log").write_text(f"started with 0123456789abcdef\n{KEY}\n")
    (home.logs / "shop.log").write_text("card 4111\n")
    assert run(["report", "--file", "r.tar.gz"]) == 0
    told = capsys.readouterr()
    assert "logs/control-plane.log" in told.out
    assert "not in it: logs/shop.log: may hold what applications print" in told.err
    assert "not in it: control plane: it does not answer" in told.err
    path = tmp_path / "r.tar.gz"
    assert path.stat().st_mode & 0o777 == 0o600
    with tarfile.open(path) as packed:
        names = packed.getnames()
        texts = {name: (packed.extractfile(name) or path.open("rb")).read().decode() for name in names}
    assert {"r/versions.json", "r/machine.json", "r/logs/control-plane.log", "r/left-out.txt"} <= set(names)
    assert texts["r/logs/control-plane.log"] == "started with [removed]\n[removed]"
    assert "4111" not in "".join(texts.values())
    assert run(["report", "--file", "r.tar.gz"]) == 1
    assert "is there already" in capsys.readouterr().err
    assert run(["report", "--file", "s.tar.gz", "--application-logs", "-o", "json"]) == 0
    assert "logs/shop.log" in [one["name"] for one in json.loads(capsys.readouterr().out)["contents"]]


def test_a_bundle_is_bounded(home: Home, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(report, "PART_BYTES", 1000)
    monkeypatch.setattr(report, "TOTAL_BYTES", 2500)
    bundle = Bundle()
    for index in range(5):
        bundle.add(f"{index}.txt", "x" * 5000)
    assert sum(map(len, bundle.parts.values())) <= 2500
    assert [one.split(":")[0] for one in bundle.left_out] == ["2.txt", "3.txt", "4.txt"]
    assert bundle.parts["0.txt"].endswith(b"(cut: it is longer than is kept)\n")
    assert write_bundle(bundle, tmp_path / "b.tar.gz") < 2500


def test_what_the_control_plane_refuses_is_left_out(home: Home, admin: Admin) -> None:
    admin.answers["GET", "/v1/health"] = (200, {"status": "ok"})
    admin.answers["GET", "/v1/check"] = (200, {"findings": [], "passed": []})
    admin.answers["GET", "/v1/history"] = (200, {"revisions": [{"revision": 4}]})
    admin.answers["GET", "/v1/history/4"] = (200, {"revision": 4})
    admin.answers["GET", "/v1/proxies"] = (200, {"proxies": [{"name": "a.default"}, {"name": "a.default"}]})
    admin.answers["GET", "/v1/proxies/a.default/config/all"] = (200, {"proxy": "a.default"})
    bundle = gather(home)
    assert {"findings.json", "history/4.json", "proxies/a.default.json"} <= set(bundle.parts)
    assert any(one.startswith("documents.json: there is no such document") for one in bundle.left_out)
