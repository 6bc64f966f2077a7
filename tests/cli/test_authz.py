"""`weft authz`: what it asks, what it prints, and with which exit code it ends."""

from __future__ import annotations

import base64
import json
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from support.admin import Admin
from weft.cli.failure import ExitCode
from weft.cli.main import run
from weft.settings.home import Home

POLICY = {"object": "AuthorizationPolicy shop/orders", "source": "shop.yaml:12"}
ALLOWED: dict[str, Any] = {
    "allowed": True,
    "policy": POLICY,
    "reason": "rule 0 of an ALLOW policy matches the call",
    "notes": ["dry run of DENY: would be denied"],
}
DENIED: dict[str, Any] = {"allowed": False, "policy": None, "reason": "mutual TLS only", "notes": []}
CHECK = ("POST", "/v1/authz/check")
WORDS = ["authz", "check", "--from", "shop/cart", "--to", "shop/orders:8080"]
CLAIMS = {"iss": "me", "sub": "you"}
TOKEN = ".".join(base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=").decode() for part in ({}, CLAIMS, 1))
FILES = """
apiVersion: v1
kind: Service
metadata: {name: orders, namespace: shop}
spec: {selector: {app: orders}, ports: [{name: http, port: 8080}]}
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: orders, namespace: shop}
spec:
  selector: {matchLabels: {app: orders}}
  rules:
  - from: [{source: {serviceAccounts: [cart]}}]
    to: [{operation: {methods: [GET]}}]
"""


def test_json_is_exactly_what_programs_are_promised(admin: Admin, capsys: pytest.CaptureFixture[str]) -> None:
    admin.answers[CHECK] = (200, ALLOWED)
    request = ["--method", "GET", "--path", "/x", "-H", "X-Team: red", "-H", "x-team: blue", "-o", "json"]
    assert run([*WORDS, *request]) == 0
    assert json.loads(capsys.readouterr().out) == {
        "allowed": True,
        "policy": POLICY,
        "reason": "rule 0 of an ALLOW policy matches the call",
    }
    assert json.loads(admin.asked[-1][4]) == {
        "from": "shop/cart",
        "to": "shop/orders:8080",
        "method": "GET",
        "path": "/x",
        "headers": {"x-team": ["red", "blue"]},
        "source_ip": "",
        "namespace": "default",
    }


def test_denied_is_exit_code_1_and_no_policy_is_null(admin: Admin, capsys: pytest.CaptureFixture[str]) -> None:
    admin.answers[CHECK] = (200, DENIED)
    assert run([*WORDS, "-o", "json"]) == 1
    assert json.loads(capsys.readouterr().out)["policy"] is None
    assert run(["authz", "check", "shop/cart", "shop/orders:8080"]) == 1
    assert capsys.readouterr().out == "denied: mutual TLS only\n"


def test_who_names_nobody_is_not_told_denied(admin: Admin, capsys: pytest.CaptureFixture[str]) -> None:
    admin.answers[CHECK] = (
        404,
        {"error": "no workload 'ordrs' is known; did you mean 'orders'?", "code": "unknown-name"},
    )
    assert run([*WORDS, "-o", "json"]) == 2
    assert "did you mean 'orders'" in capsys.readouterr().err


def test_people_are_told_policy_line_and_notes(admin: Admin, capsys: pytest.CaptureFixture[str]) -> None:
    admin.answers[CHECK] = (200, ALLOWED)
    assert run(WORDS) == 0
    out = capsys.readouterr().out
    assert out.startswith("allowed: rule 0") and "AuthorizationPolicy shop/orders  shop.yaml:12" in out
    assert "dry run of DENY" in out


def test_claims_of_a_token_are_used_and_it_is_said_that_nobody_checked_it(
    admin: Admin, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    admin.answers[CHECK] = (200, ALLOWED)
    (tmp_path / "token").write_text(TOKEN)
    assert run([*WORDS, "--jwt", str(tmp_path / "token")]) == 0
    assert json.loads(admin.asked[-1][4])["claims"] == CLAIMS
    assert TOKEN not in admin.asked[-1][4], "the token itself stays here"
    assert "signature was not checked" in capsys.readouterr().out


@pytest.mark.parametrize(
    "words",
    [
        ["authz", "check", "shop/cart"],
        ["authz", "check", "a", "b", "c"],
        [*WORDS, "one-too-many"],
        [*WORDS, "-H", "no colon"],
    ],
)
def test_a_line_that_is_wrong_is_a_usage_error(admin: Admin, words: list[str]) -> None:
    assert run(words) == ExitCode.USAGE
    assert not admin.asked


@pytest.mark.parametrize("text", ["", "a.b", "a.!!.c", f"a.{base64.urlsafe_b64encode(b'[1]').decode()}.c"])
def test_what_is_no_token_is_a_usage_error(admin: Admin, tmp_path: Path, text: str) -> None:
    (tmp_path / "token").write_text(text)
    assert run([*WORDS, "--jwt", str(tmp_path / "token")]) == ExitCode.USAGE
    assert not admin.asked


@pytest.mark.usefixtures("home")
def test_without_a_control_plane_it_says_so() -> None:
    assert run(WORDS) == ExitCode.UNREACHABLE


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["sa:shop/cart", "shop/orders:8080"], 0),
        (["sa:shop/cart", "shop/orders:8080", "--method", "PUT"], 1),
        (["sa:shop/job", "shop/orders:8080"], 1),
        (["nobody", "orders:8080", "-n", "shop"], 1),
        (["sa:shop/cart", "shop/order:8080"], 2),
    ],
)
def test_files_are_asked_without_a_control_plane(home: Home, words: list[str], code: int) -> None:
    (home.root / "shop.yaml").write_text(FILES)
    assert run(["authz", "check", *words, "--files", str(home.root / "shop.yaml")]) == code


def test_files_are_named_with_the_line(home: Home, capsys: pytest.CaptureFixture[str]) -> None:
    (home.root / "shop.yaml").write_text(FILES)
    words = ["authz", "check", "sa:shop/cart", "shop/orders:8080", "--files", str(home.root), "-o", "json"]
    assert run(words) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["policy"]["object"] == "AuthorizationPolicy shop/orders"
    assert found["policy"]["source"].endswith("shop.yaml:13")


LIST = {
    "places": [
        {
            "workload": "shop/orders-v1",
            "port": 8080,
            "protocol": "http",
            "policies": [
                {"action": "DENY", "object": "AuthorizationPolicy shop/no\x1b[31m", "source": "a.yaml:1", "rules": []},
                {**POLICY, "action": "ALLOW", "rules": [{"text": "rule 0: every call", "source": "shop.yaml:14"}]},
            ],
            "default": "denied",
            "meets": ["wants an API key"],
        }
    ]
}


def test_a_list_has_rules_in_words_with_their_lines(admin: Admin, capsys: pytest.CaptureFixture[str]) -> None:
    admin.answers["GET", "/v1/authz/policies"] = (200, LIST)
    assert run(["authz", "list", "orders", "-n", "shop"]) == 0
    assert admin.asked[-1][2] == {"of": ["orders"], "namespace": ["shop"]}
    out = capsys.readouterr().out
    assert "shop/orders-v1 port 8080 (http)" in out and "everything else is denied" in out
    assert "rule 0: every call" in out and "shop.yaml:14" in out and "\x1b" not in out
    assert "besides, it wants an API key" in out
    assert run(["authz", "list", "orders", "-o", "json"]) == 0
    assert json.loads(capsys.readouterr().out) == LIST["places"]


def matrix(callers: int, targets: int) -> dict[str, Any]:
    """A matrix in which every cell of a row is the same."""
    answers = [
        {"reaches": "yes", "only": [], "but": [], "asks": [], "policies": [POLICY]},
        {"reaches": "some", "only": ["to method GET"], "but": ["<b>"], "asks": [], "policies": [POLICY]},
        {"reaches": "no", "only": [], "but": [], "asks": [], "policies": []},
        {"reaches": "unconstrained", "only": [], "but": [], "asks": [], "policies": []},
    ]
    return {
        "callers": [{"name": f"shop/<i>{n}", "workloads": [], "gateway": n == 0} for n in range(callers)],
        "targets": [{"name": f"shop/t{n}:80", "protocol": "http", "workloads": 1} for n in range(targets)],
        "answers": answers,
        "cells": [[(row + column) % 4 for column in range(targets)] for row in range(callers)],
    }


def test_the_matrix_as_text_has_groups_and_says_what_some_is(admin: Admin, capsys: pytest.CaptureFixture[str]) -> None:
    admin.answers["GET", "/v1/authz/matrix"] = (200, matrix(6, 5))
    assert run(["authz", "matrix", "-n", "shop", "-n", "pay"]) == 0
    assert admin.asked[-1][2] == {"namespace": ["shop,pay"]}
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["CALLER", "shop/t0:80", "+1", "shop/t1:80", "shop/t2:80", "shop/t3:80"]
    assert lines[1].split() == ["shop/<i>0", "(gateway)", "+1", "yes", "some", "[1]", "no", "open"]
    assert lines[5] == "[1] only to method GET; not <b> (AuthorizationPolicy shop/orders shop.yaml:12)"
    assert lines[6] == "shop/<i>0 (gateway) +1 = shop/<i>0 (gateway), shop/<i>4"


def test_a_matrix_too_wide_for_a_table_is_a_list(admin: Admin, capsys: pytest.CaptureFixture[str]) -> None:
    wide = matrix(12, 12)
    wide["cells"] = [[2 if column == row else 0 for column in range(12)] for row in range(12)]
    admin.answers["GET", "/v1/authz/matrix"] = (200, wide)
    assert run(["authz", "matrix"]) == 0
    out = capsys.readouterr().out
    assert "shop/t3:80\n  yes       shop/<i>0 (gateway), shop/<i>1" in out and "  no        shop/<i>3\n" in out


class _Page(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.links: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.links += [value or "" for name, value in attrs if name in ("href", "src")]


def test_the_matrix_as_a_page_needs_nothing_else(admin: Admin, capsys: pytest.CaptureFixture[str]) -> None:
    admin.answers["GET", "/v1/authz/matrix"] = (200, matrix(6, 5))
    assert run(["authz", "matrix", "-o", "html"]) == 0
    text = capsys.readouterr().out
    page = _Page()
    page.feed(text)
    assert {"script", "link", "img", "iframe"}.isdisjoint(page.tags)
    assert all(link.startswith("#") for link in page.links)
    assert "<i>" not in text and "<b>" not in text and "&lt;i&gt;0" in text, "names are text"
    assert "prefers-color-scheme: dark" in text and "@media print" in text


def test_a_matrix_of_nothing_says_so(admin: Admin, capsys: pytest.CaptureFixture[str]) -> None:
    admin.answers["GET", "/v1/authz/matrix"] = (200, matrix(1, 0))
    assert run(["authz", "matrix"]) == 0
    assert "no service" in capsys.readouterr().err
