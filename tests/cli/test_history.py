"""weft history, diff and undo against a small server that answers as the admin API does."""

from __future__ import annotations

import json
from typing import Any

import pytest

from support.admin import Admin
from weft.cli.main import run
from weft.settings.home import Home

KEY = {"group": "networking.istio.io", "kind": "VirtualService", "namespace": "default", "name": "reviews"}
DIFF = "--- before\n+++ after\n@@ -1 +1 @@\n-timeout: 5s\n+timeout: 7s\n"
GROUP = {
    "proxies": ["a.default", "b.default"],
    "proxy_count": 2,
    "counts": {"routes": {"changed": 1}},
    "changes": [{"type": "routes", "name": "outbound", "change": "changed", "diff": DIFF}],
}


def revision(number: int, **more: Any) -> dict[str, Any]:
    return {
        "revision": number,
        "time": "2026-11-26T12:00:00.000Z",
        "who": "admin token",
        "action": "apply",
        "objects": [{**KEY, "change": "changed", "owner": "api", "source": "r.yaml", "line": 1}],
        "object_count": 1,
        "changed_proxies": 2,
        "confirmed": 2,
        "confirmed_ms": 21.5,
        "median_ms": 12.0,
        "pending": [],
        "refused": [],
        "stuck": [],
        "final": True,
        "together_with": None,
        **more,
    }


def test_the_history_is_a_table_with_the_latest_last(admin: Admin, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [
        revision(3, confirmed=1, pending=["b.default"]),
        revision(2, changed_proxies=0, final=False),
        revision(1, object_count=5),
    ]
    admin.answers["GET", "/v1/history"] = (200, {"revisions": rows})
    assert run(["history", "vs/reviews", "--limit", "7"]) == 0
    assert admin.asked[0][2] == {"limit": ["7"], "kind": ["VirtualService"], "name": ["reviews"]}
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == ["REVISION", "1", "2", "3"]
    assert "VirtualService default/reviews changed and 4 more" in lines[1]
    assert lines[1].endswith("2 (12 ms, last 21.5 ms)")
    assert lines[2].endswith("not known yet")
    assert lines[3].endswith("1 (12 ms, last 21.5 ms), 1 pending")
    assert run(["history", "-o", "json"]) == 0
    assert [one["revision"] for one in json.loads(capsys.readouterr().out)] == [1, 2, 3]


def test_a_proxy_whose_connection_ended_is_counted(admin: Admin, capsys: pytest.CaptureFixture[str]) -> None:
    one = revision(2, confirmed=1)
    admin.answers["GET", "/v1/history"] = (200, {"revisions": [one, revision(1, confirmed=1, final=False)]})
    assert run(["history"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[1].endswith("last 21.5 ms)") and lines[2].endswith("last 21.5 ms), 1 gone")
    admin.answers["GET", "/v1/history/2"] = (200, {**one, "documents": [], "resources": []})
    assert run(["history", "show", "2"]) == 0
    assert "connection ended before: 1; " in capsys.readouterr().out


def test_a_difference_for_a_proxy_that_got_nothing_says_so(admin: Admin, capsys: pytest.CaptureFixture[str]) -> None:
    admin.answers["GET", "/v1/diff"] = (200, {"from": 1, "to": 2, "documents": [], "resources": []})
    assert run(["diff", "1", "--proxy", "nope"]) == 0
    assert run(["diff", "1", "--resources"]) == 0
    assert capsys.readouterr().err == "nope got nothing in between\nno proxy got anything in between\n"


def test_with_all_workloads_stand_between_the_revisions(admin: Admin, capsys: pytest.CaptureFixture[str]) -> None:
    event = {"time": "2026-11-26T11:00:00.000Z", "who": "local", "action": "register", "outcome": "done"}
    events = [{**event, "object": "workload default/a"}, {**event, "object": "Service default/a"}]
    admin.answers["GET", "/v1/history"] = (200, {"revisions": [revision(1)]})
    admin.answers["GET", "/v1/events"] = (200, {"events": events})
    assert run(["history", "list", "--all"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 3
    assert "workload default/a" in lines[1]


def test_one_revision_is_shown_with_its_diff(admin: Admin, capsys: pytest.CaptureFixture[str]) -> None:
    document = {**KEY, "change": "changed", "source": "r.yaml", "line": 1, "diff": DIFF}
    admin.answers["GET", "/v1/history/3"] = (
        200,
        revision(3, documents=[document], proxies={"a.default": 10.0}, resources=[GROUP], pending=["b.default"]),
    )
    assert run(["history", "show", "3"]) == 0
    out = capsys.readouterr().out
    assert "revision 3, 2026-11-26T12:00:00.000Z, apply by admin token" in out
    assert "-timeout: 5s\n+timeout: 7s\n" in out
    assert "2 of 2 proxies confirmed within 21.5 ms" in out
    assert "not confirmed: b.default" in out
    assert "a.default, b.default\n  routes: 1 changed\n" in out
    assert "changed routes outbound" not in out
    assert run(["history", "show", "3", "--resources"]) == 0
    assert "  changed routes outbound\n    --- before\n" in capsys.readouterr().out


def test_nothing_of_a_diff_moves_the_cursor(admin: Admin, capsys: pytest.CaptureFixture[str]) -> None:
    diff = "--- a\x1b[2J\n+++ b\n+x: \x9b1m\u202ey\r\tz\n"
    document = {"key": KEY, "change": "changed", "diff": diff}
    answer = {"from": 1, "to": 2, "revisions": [], "documents": [document], "resources": []}
    admin.answers["GET", "/v1/diff"] = (200, answer)
    assert run(["diff", "1"]) == 0
    out = capsys.readouterr().out
    assert "--- a\\x1b[2J\n" in out
    assert "+x: \\x9b1m\\u202ey\\r\tz\n" in out


def test_a_diff_of_two_revisions(admin: Admin, capsys: pytest.CaptureFixture[str]) -> None:
    answer = {
        "from": 1,
        "to": 3,
        "revisions": [],
        "documents": [{"key": KEY, "change": "changed", "diff": DIFF}],
        "resources": [{"revision": 2, **GROUP}],
    }
    admin.answers["GET", "/v1/diff"] = (200, answer)
    assert run(["diff", "1"]) == 0
    assert admin.asked[0][2] == {"from": ["1"]}
    out = capsys.readouterr().out
    assert "VirtualService default/reviews changed\n--- before" in out
    assert "routes" not in out
    assert run(["diff", "1", "3", "--proxy", "a"]) == 0
    assert admin.asked[1][2] == {"from": ["1"], "to": ["3"], "proxy": ["a"]}
    assert "  changed routes outbound" in capsys.readouterr().out
    admin.answers["GET", "/v1/diff"] = (200, {**answer, "documents": []})
    assert run(["diff", "1", "3"]) == 0
    assert "revisions 1 and 3 have the same documents" in capsys.readouterr().err


PLANNED = {
    "revision": 9,
    "documents": [{"key": KEY, "change": "configured", "diff": DIFF}],
    "left": [{"key": {**KEY, "kind": "Secret"}, "reason": "the values of secrets are not kept"}],
    "problems": [],
    "wait": None,
}


def test_undo_shows_first_and_does_nothing_unasked(admin: Admin, capsys: pytest.CaptureFixture[str]) -> None:
    admin.answers["POST", "/v1/history/3/undo"] = (200, PLANNED)
    assert run(["undo", "3"]) == 2
    told = capsys.readouterr()
    assert "+timeout: 7s" in told.out
    assert "Secret default/reviews stays as it is: the values of secrets are not kept" in told.err
    assert "nothing was changed: --yes undoes revision 3 without asking" in told.err
    assert [one[2] for one in admin.asked] == [{"dry_run": ["1"]}]
    assert run(["undo", "3", "--dry-run", "--force"]) == 0
    assert [one[2] for one in admin.asked[1:]] == [{"dry_run": ["1"], "force": ["1"]}]


def test_undo_with_yes_applies_and_waits(admin: Admin, capsys: pytest.CaptureFixture[str]) -> None:
    wait = {"confirmed": ["a.default"], "nacked": [], "pending": [], "stuck": []}
    admin.answers["POST", "/v1/history/3/undo"] = (200, {**PLANNED, "wait": wait})
    assert run(["undo", "3", "--yes", "--wait", "--timeout", "9"]) == 0
    assert 0 < float(admin.asked[1][2]["wait"][0]) <= 9
    told = capsys.readouterr()
    assert told.out.endswith("VirtualService default/reviews configured\n")
    assert "confirmed by 1 proxy" in told.err


def test_what_belongs_to_files_has_an_exit_code_of_its_own(admin: Admin, capsys: pytest.CaptureFixture[str]) -> None:
    files = [
        {**KEY, "source": "mesh/r.yaml", "line": 3, "before": "kind: VirtualService\n", "left_out": False},
        {**KEY, "name": "new", "source": "mesh/r.yaml", "line": 9, "before": None, "left_out": False},
    ]
    answer = {"error": "revision 3 was made in mesh/r.yaml: undo it there", "code": "owned-by-file", "files": files}
    admin.answers["POST", "/v1/history/3/undo"] = (409, answer)
    assert run(["undo", "3", "--yes"]) == 5
    told = capsys.readouterr()
    assert told.out == ""
    assert "made in mesh/r.yaml" in told.err
    assert "weft undo 3 --print" in told.err
    assert run(["undo", "3", "--yes", "--print"]) == 5
    out = capsys.readouterr().out
    assert "# mesh/r.yaml:3\nkind: VirtualService\n" in out
    assert "# there was no VirtualService default/new" in out


def test_a_later_change_is_named(admin: Admin, capsys: pytest.CaptureFixture[str]) -> None:
    answer = {"error": "changed since: VirtualService reviews by revision 4", "code": "changed-since", "conflicts": []}
    admin.answers["POST", "/v1/history/3/undo"] = (409, answer)
    assert run(["undo", "3", "--yes"]) == 1
    err = capsys.readouterr().err
    assert "by revision 4" in err
    assert "--force" in err


def test_help_of_the_group_is_its_own(home: Home, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["history", "--help"]) == 0
    out = capsys.readouterr().out
    assert "list" in out
    assert "show" in out
