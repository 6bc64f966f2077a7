"""`weft token`: what is asked of the admin API, and what is printed."""

from __future__ import annotations

import hashlib
import json
from urllib.parse import quote

import pytest

from support.admin import Admin
from weft.cli.main import run

TOKEN = {
    "token": "weft-abc",
    "id": "0123456789ab",
    "fingerprint": "sha256:00",
    "expires": 1.0,
    "agent_api": "10.0.0.1:15013",
}

PRINCIPAL = {
    "name": "ci",
    "role": "editor",
    "namespaces": ["shop", "pay"],
    "permissions": ["edit", "read", "undo"],
    "certificate": None,
    "state": "valid",
    "created": "1970-01-01T00:00:00.000Z",
    "created_by": "admin token",
    "expires": "1970-01-31T00:00:00.000Z",
    "revoked": None,
    "last_used": None,
}


def test_token_create_prints_the_command_for_the_other_host(admin: Admin, capsys: pytest.CaptureFixture[str]) -> None:
    admin.answers["POST", "/v1/tokens"] = (200, TOKEN)
    assert run(["token", "create", "--service-account", "reviews", "--ttl", "60"]) == 0
    assert json.loads(admin.asked[0][4]) == {"namespace": "default", "service_account": "reviews", "ttl": 60.0}
    out, told = capsys.readouterr()
    for part in ("--control-plane 10.0.0.1:15013", "WEFT_TOKEN=weft-abc \\\n", "--ca-fingerprint sha256:00", "reviews"):
        assert part in out
    assert "put in NAME, KEY=VALUE, PORT, COMMAND" in told
    assert "token 0123456789ab" in told
    words = ["--service-account", "reviews", "--name", "r1", "--labels", "app=r", "--port", "9080", "--", "./r", "$1"]
    assert run(["token", "create", *words]) == 0
    out, told = capsys.readouterr()
    assert out.endswith("--name r1 --labels app=r --port 9080 \\\n  -- ./r '$1'\n")
    assert "put in" not in told


def test_token_create_for_a_gateway_and_for_systemd(admin: Admin, capsys: pytest.CaptureFixture[str]) -> None:
    admin.answers["POST", "/v1/tokens"] = (200, TOKEN)
    assert run(["token", "create", "--gateway", "public", "--bind", "10.0.0.7"]) == 0
    assert json.loads(admin.asked[-1][4])["service_account"] == "public"
    assert capsys.readouterr().out.endswith("--bind 10.0.0.7 public\n")
    words = ["--service-account", "reviews", "--systemd"]
    assert run(["token", "create", *words]) == 2
    assert run(["token", "create", *words, "--name", "r1", "-o", "json", "--", "./r"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["id"] == TOKEN["id"]
    assert "Restart=always" in found["command"]
    for wrong in ([], ["--bind", "1.1.1.1", "--service-account", "a"], ["--gateway", "a", "--port", "80"]):
        asked = len(admin.asked)
        assert run(["token", "create", *wrong]) == 2
        assert len(admin.asked) == asked, "no token is made for a wrong command line"


def test_tokens_are_listed_and_revoked(admin: Admin, capsys: pytest.CaptureFixture[str]) -> None:
    token: dict[str, object] = {
        "id": "0123456789ab",
        "namespace": "default",
        "service_account": "reviews",
        "state": "used",
        "created": "1970-01-01T00:00:00.000Z",
        "expires": "1970-01-01T00:01:00.000Z",
        "used": "1970-01-01T00:00:30.000Z",
        "revoked": None,
        "demands": [],
    }
    admin.answers["GET", "/v1/tokens"] = (200, {"tokens": [token]})
    admin.answers["GET", "/v1/principals"] = (200, {"principals": [PRINCIPAL]})
    assert run(["token", "list"]) == 0
    heading, join, principal = capsys.readouterr().out.splitlines()
    assert heading.split() == ["NAME", "FOR", "STATE", "CREATED", "EXPIRES", "USED"]
    assert join.split() == [
        "0123456789ab", "join", "as", "default/reviews", "used", "1970-01-01T00:00:00.000Z", "1970-01-01T00:01:00.000Z",
        "1970-01-01T00:00:30.000Z",
    ]  # fmt: skip
    assert principal.split()[:6] == ["ci", "editor", "of", "shop,", "pay", "valid"]
    assert run(["token", "list", "-o", "json"]) == 0
    assert json.loads(capsys.readouterr().out) == [{"kind": "join", **token}, {"kind": "principal", **PRINCIPAL}]
    assert run(["token", "list", "--join", "-o", "json"]) == 0
    assert json.loads(capsys.readouterr().out) == [{"kind": "join", **token}]
    admin.answers["DELETE", "/v1/tokens/0123456789ab"] = (200, {"revoked": token})
    assert run(["token", "revoke", "0123456789ab"]) == 0
    assert "token 0123456789ab for default/reviews is revoked" in capsys.readouterr().out
    assert run(["token", "revoke", "a/b"]) == 1


def test_a_token_for_a_control_plane_on_loopback_says_so(admin: Admin, capsys: pytest.CaptureFixture[str]) -> None:
    admin.answers["POST", "/v1/tokens"] = (200, {**TOKEN, "agent_api": "127.0.0.1:15013"})
    assert run(["token", "create", "--service-account", "reviews"]) == 0
    assert "weft serve --bind" in capsys.readouterr().err


def test_a_principal_s_token_is_printed_alone(admin: Admin, capsys: pytest.CaptureFixture[str]) -> None:
    admin.answers["POST", "/v1/principals"] = (201, {"token": "weft_abc", "principal": PRINCIPAL})
    words = ["--role", "editor", "-n", "shop", "--namespace", "pay", "--name", "ci"]
    assert run(["token", "create", *words, "--expires", "12h"]) == 0
    out, told = capsys.readouterr()
    assert out == "weft_abc\n"
    assert "ci is editor of shop, pay until 1970-01-31" in told
    wanted = {"name": "ci", "role": "editor", "namespaces": ["shop", "pay"], "certificate": ""}
    assert json.loads(admin.asked[-1][4]) == {**wanted, "ttl": 43200.0}
    assert run(["token", "create", *words]) == 0
    assert json.loads(admin.asked[-1][4]) == wanted, "how long is the control plane's to say"
    admin.answers["POST", "/v1/principals"] = (201, {"token": None, "principal": PRINCIPAL})
    assert run(["token", "create", *words, "--certificate", "spiffe://a/ns/b/sa/c"]) == 0
    assert json.loads(admin.asked[-1][4]) == {**wanted, "certificate": "spiffe://a/ns/b/sa/c", "ttl": 0.0}


@pytest.mark.parametrize(
    "words",
    [
        ["--role", "viewer"],
        ["--role", "viewer", "--name", "a", "-n", "shop"],
        ["--role", "editor", "--name", "a"],
        ["--role", "editr", "--name", "a", "-n", "shop"],
        ["--role", "viewer", "--name", "a", "--service-account", "b"],
        ["--role", "viewer", "--name", "a", "--expires", "tomorrow"],
        ["--service-account", "a", "--expires", "30d"],
        ["--service-account", "a", "-n", "b", "-n", "c"],
    ],
)
def test_wrong_words_make_no_token(admin: Admin, words: list[str]) -> None:
    assert run(["token", "create", *words]) == 2
    assert not admin.asked


def test_principals_are_revoked_and_know_themselves(admin: Admin, capsys: pytest.CaptureFixture[str]) -> None:
    admin.answers["DELETE", "/v1/principals/ci"] = (200, {"revoked": PRINCIPAL})
    assert run(["token", "revoke", "ci"]) == 0
    assert "ci, editor of shop, pay, is revoked" in capsys.readouterr().out
    name = "sha256:" + hashlib.sha256(b"weft_abc").hexdigest()
    admin.answers["DELETE", f"/v1/principals/{quote(name, safe='')}"] = (200, {"revoked": PRINCIPAL})
    assert run(["token", "revoke", "weft_abc"]) == 0, "the token itself is not sent"
    assert run(["token", "revoke", "weft-abc"]) == 1
    assert admin.asked[-1][1] == "/v1/tokens/" + hashlib.sha256(b"weft-abc").hexdigest()[:12]
    capsys.readouterr()
    roles = [{"role": "editor", "namespaces": ["shop"]}]
    me = {"name": "ci", "proof": "token", "roles": roles, "permissions": ["read", "edit"], "expires": None}
    admin.answers["GET", "/v1/self"] = (200, me)
    assert run(["token", "whoami"]) == 0
    assert "editor of shop" in capsys.readouterr().out
    assert run(["token", "whoami", "-o", "json"]) == 0
    assert json.loads(capsys.readouterr().out) == me
