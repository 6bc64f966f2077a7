"""Commands against a small server that answers as the admin API does."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click
import pytest

from support.admin import Admin
from weft.cli.main import run, weft
from weft.settings.home import Home

KEY = {"group": "networking.istio.io", "kind": "VirtualService", "namespace": "default", "name": "reviews"}
PROBLEM = {
    "severity": "error",
    "code": "unknown-field",
    "message": "unknown field 'hostz'",
    "source": "routes.yaml",
    "line": 7,
    "path": "spec.hostz",
    "expected": "one of hosts, http",
    "nearest": "hosts",
    "object": KEY,
}


def applied(change: str = "created", **more: Any) -> dict[str, Any]:
    return {"revision": 3, "documents": [{"key": KEY, "change": change}], "problems": [], "wait": None, **more}


def test_without_a_control_plane_the_exit_code_is_3_and_the_way_out_is_told(
    home: Home, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["get", "services"]) == 3
    told = capsys.readouterr().err
    assert f"weft serve --home {home.root}" in told
    assert "--home DIR" in told


def test_a_control_plane_that_was_killed_is_not_reached(
    home: Home, admin: Admin, capsys: pytest.CaptureFixture[str]
) -> None:
    admin.shutdown()
    admin.server_close()
    assert run(["problems"]) == 3
    assert "does not answer" in capsys.readouterr().err


def test_apply_sends_the_file_with_its_name_and_the_token(
    admin: Admin, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    admin.answers["POST", "/v1/documents"] = (200, applied())
    (tmp_path / "my routes.yaml").write_text("kind: VirtualService\n")
    assert run(["apply", "-f", "my routes.yaml", "-n", "shop"]) == 0
    _, _, query, headers, body = admin.asked[0]
    assert headers["content-type"] == "application/vnd.weft.texts+json"
    assert headers["authorization"] == "Bearer secret"
    assert query == {"namespace": ["shop"]}
    assert json.loads(body) == [{"source": "my routes.yaml", "text": "kind: VirtualService\n"}]
    assert capsys.readouterr().out == "VirtualService default/reviews created\n"


def test_a_mesh_file_is_not_applied(admin: Admin, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    place = tmp_path / "shop"
    place.mkdir()
    (place / "weft.yaml").write_text("workloads: []\n")
    (place / "a.yaml").write_text("kind: A\n")
    assert run(["apply", "-f", "shop/weft.yaml"]) == 2
    assert "weft up -f shop/weft.yaml" in capsys.readouterr().err
    admin.answers["POST", "/v1/documents"] = (200, applied())
    assert run(["apply", "-f", str(place)]) == 0
    assert len(admin.asked) == 1


def test_apply_sends_all_files_as_one_change(admin: Admin, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    admin.answers["POST", "/v1/documents"] = (422, {"error": "nothing was changed", "problems": [PROBLEM]})
    (tmp_path / "mesh").mkdir()
    for name in ("a.yaml", "b.yml", "c.json", "ignored.txt"):
        (tmp_path / "mesh" / name).write_text("x: 1\n")
    assert run(["apply", "-f", "mesh"]) == 1
    ((_, _, query, _, body),) = admin.asked
    assert query == {"namespace": ["default"]}
    assert [text["source"] for text in json.loads(body)] == ["mesh/a.yaml", "mesh/b.yml", "mesh/c.json"]
    told = capsys.readouterr().err
    for part in ("routes.yaml:7", "spec.hostz", "unknown field", "expected one of hosts", "'hosts'", "nothing was"):
        assert part in told


def test_programs_get_the_problems_of_a_refusal(
    admin: Admin, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "routes.yaml").write_text("kind: X\n")
    admin.answers["POST", "/v1/documents"] = (422, {"error": "nothing was changed", "problems": [PROBLEM]})
    assert run(["apply", "-f", "routes.yaml", "-o", "json"]) == 1
    assert json.loads(capsys.readouterr().out) == [{"documents": [], "problems": [PROBLEM], "wait": None}]


REFUSAL = {"proxy": "a.default", "type": "RouteConfiguration", "resource": "outbound", "message": "bad regex",
           "origins": [{"source": "r.yaml", "line": 4}]}  # fmt: skip


@pytest.mark.parametrize(
    ("wait", "code", "told"),
    [
        ({"confirmed": ["a.default", "b.default"], "nacked": [], "pending": []}, 0, "confirmed by 2 proxies"),
        ({"confirmed": [], "nacked": [], "pending": []}, 0, "nothing changed for any connected proxy"),
        ({"confirmed": [], "nacked": [], "pending": ["slow.default"]}, 4, "not confirmed in time: slow.default"),
        (
            {"confirmed": [], "nacked": [], "pending": [], "untried": ["EnvoyFilter default/slow"]},
            4,
            "not tried in time: EnvoyFilter default/slow",
        ),
        (
            {"confirmed": [], "nacked": [REFUSAL], "pending": []},
            1,
            "a.default refused RouteConfiguration outbound: bad regex\n    because of r.yaml:4",
        ),
        (
            {
                "confirmed": ["b.default", "c.default"],
                "nacked": [{**REFUSAL, "taken_by": 2, "stands_alone": True}],
                "pending": [],
                "stuck": ["d.default"],
            },
            0,
            "warning: only a.default refuses RouteConfiguration outbound, which 2 others have taken: bad regex\n"
            "warning: not waited for, because it has not answered anything for a while: d.default; "
            "see: weft proxy status\nconfirmed by 2 proxies",
        ),
        (
            {
                "confirmed": ["a.default"],
                "nacked": [],
                "pending": ["slow.default", "b.default", "replica weft-c"],
                "unknown": [{"replica": "weft-c", "why": "no connection can be made"}],
                "at": {"slow.default": "weft-b"},
            },
            4,
            "error: not confirmed in time: b.default, slow.default at weft-b\n"
            "error: replica weft-c of the control plane is unknown (no connection can be made), and so is what its "
            "proxies have\n",
        ),
        (
            {"confirmed": [], "nacked": [{**REFUSAL, "replica": "weft-b"}], "pending": []},
            1,
            "error: a.default at weft-b refused RouteConfiguration outbound: bad regex\n    because of r.yaml:4",
        ),
    ],
)
def test_apply_wait_says_what_the_proxies_said(
    admin: Admin, tmp_path: Path, capsys: pytest.CaptureFixture[str], wait: Any, code: int, told: str
) -> None:
    admin.answers["POST", "/v1/documents"] = (200, applied(wait=wait))
    (tmp_path / "r.yaml").write_text("x: 1\n")
    assert run(["apply", "-f", "r.yaml", "--wait", "--timeout", "7"]) == code
    assert 6 < float(admin.asked[0][2]["wait"][0]) <= 7
    assert told in capsys.readouterr().err


def test_a_dry_run_shows_the_difference(admin: Admin, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    answer = applied("configured")
    answer["documents"][0]["diff"] = "-old\n+new"
    admin.answers["POST", "/v1/documents"] = (200, answer)
    (tmp_path / "r.yaml").write_text("x: 1\n")
    assert run(["apply", "-f", "r.yaml", "--dry-run", "--wait"]) == 0
    assert admin.asked[0][2] == {"namespace": ["default"], "dry_run": ["1"]}
    assert "configured (dry run)\n-old\n+new\n" in capsys.readouterr().out


def test_delete_by_name_and_by_file(admin: Admin, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = "/v1/documents/VirtualService/default/reviews"
    admin.answers["DELETE", path] = (200, applied("deleted"))
    assert run(["delete", "vs", "reviews"]) == 0
    text = "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: reviews}\nspec:\n"
    (tmp_path / "r.yaml").write_text(text + "  hosts: [reviews]\n  http: [{route: [{destination: {host: reviews}}]}]\n")
    assert run(["delete", "-f", "r.yaml"]) == 0
    assert [(method, asked) for method, asked, *_ in admin.asked] == [("DELETE", path)] * 2
    assert run(["delete", "vs", "other"]) == 1
    assert "there is no such document" in capsys.readouterr().err
    assert run(["delete", "vs", "other", "--ignore-not-found"]) == 0
    assert run(["delete", "vs"]) == 2
    assert run(["delete"]) == 2


FILE = """
apiVersion: v1
kind: Service
metadata: {name: a}
spec: {selector: {app: a}, ports: [{name: http, port: 80}]}
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: a}
spec: {selector: {matchLabels: {app: a}}}
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: a}
spec: {host: a, subsets: [{name: v1, labels: {version: v1}}]}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: a}
spec: {hosts: [a], http: [{route: [{destination: {host: a, subset: v1}}]}]}
"""


def test_what_leads_somewhere_is_deleted_first_and_what_protects_last(admin: Admin, tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(FILE)
    kinds = ["VirtualService", "DestinationRule", "Service", "AuthorizationPolicy"]
    for kind in kinds:
        admin.answers["DELETE", f"/v1/documents/{kind}/default/a"] = (200, applied("deleted"))
    assert run(["delete", "-f", "a.yaml"]) == 0
    assert [asked.split("/")[3] for _, asked, *_ in admin.asked] == kinds


def test_problems_are_listed_and_make_the_exit_code(admin: Admin, capsys: pytest.CaptureFixture[str]) -> None:
    admin.answers["GET", "/v1/problems"] = (200, {"problems": [PROBLEM]})
    assert run(["problems"]) == 1
    assert "routes.yaml:7: error: spec.hostz: unknown field" in capsys.readouterr().err
    admin.answers["GET", "/v1/problems"] = (200, {"problems": [{**PROBLEM, "severity": "warning"}]})
    assert run(["problems", "-o", "json"]) == 0
    assert json.loads(capsys.readouterr().out)[0]["line"] == 7


def test_the_token_is_not_shown_to_another_users_process(
    admin: Admin, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A control plane that was killed leaves its port and its process id for anybody to take."""

    def foreign(_pid: int, _number: int) -> None:
        raise PermissionError

    monkeypatch.setattr("os.kill", foreign)
    assert run(["problems"]) == 3
    assert "no control plane is running" in capsys.readouterr().err
    assert not admin.asked


def test_names_are_completed_from_the_running_mesh(admin: Admin) -> None:
    documents = [{"metadata": {"name": name}} for name in ("reviews", "ratings", "details")]
    admin.answers["GET", "/v1/documents"] = (200, {"documents": documents})
    workloads = [{"name": "reviews-v1", "namespace": "default"}, {"name": "rest", "namespace": "far"}]
    admin.answers["GET", "/v1/workloads"] = (200, {"workloads": workloads})
    admin.answers["GET", "/v1/proxies"] = (200, {"proxies": [{"name": "reviews-v1.default"}]})

    def offered(command: str, parameter: str, typed: str, *words: str) -> list[str]:
        found = get_command(command)
        context = found.make_context(command, list(words), resilient_parsing=True)
        argument = next(one for one in found.params if one.name == parameter)
        return [item.value for item in argument.shell_complete(context, typed)]

    assert offered("get", "name", "r", "svc") == ["ratings", "reviews"]
    assert admin.asked[0][2] == {"kind": ["Service"], "namespace": ["default"]}
    assert offered("delete", "names", "d", "vs", "-n", "far") == ["details"]
    assert admin.asked[1][2] == {"kind": ["VirtualService"], "namespace": ["far"]}
    assert offered("get", "name", "r", "workloads") == ["reviews-v1"]
    assert offered("get", "name", "r", "workloads", "-A") == ["rest", "reviews-v1"]
    assert offered("proxy config", "name", "") == ["reviews-v1.default"]


def get_command(name: str) -> click.Command:
    """The command called `name`, which may have two words."""
    found: click.Command = weft
    for word in name.split():
        assert isinstance(found, click.Group)
        inner = found.get_command(click.Context(found), word)
        assert inner is not None
        found = inner
    return found
