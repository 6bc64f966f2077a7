"""`weft token`: what is asked of the admin API, and what is printed."""

from __future__ import annotations

import json

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
    token = {
        "id": "0123456789ab",
        "namespace": "default",
        "service_account": "reviews",
        "state": "used",
        "created": "1970-01-01T00:00:00.000Z",
        "expires": "1970-01-01T00:01:00.000Z",
        "used": 1.0,
        "revoked": 0.0,
    }
    admin.answers["GET", "/v1/tokens"] = (200, {"tokens": [token]})
    assert run(["token", "list"]) == 0
    assert capsys.readouterr().out.splitlines()[1].split() == [
        "0123456789ab", "default", "reviews", "used", "1970-01-01T00:00:00.000Z", "1970-01-01T00:01:00.000Z",
    ]  # fmt: skip
    assert run(["token", "list", "-o", "json"]) == 0
    assert json.loads(capsys.readouterr().out) == [token]
    admin.answers["DELETE", "/v1/tokens/0123456789ab"] = (200, {"revoked": token})
    assert run(["token", "revoke", "0123456789ab"]) == 0
    assert "token 0123456789ab for default/reviews is revoked" in capsys.readouterr().out
    assert run(["token", "revoke", "a/b"]) == 1


def test_a_token_for_a_control_plane_on_loopback_says_so(admin: Admin, capsys: pytest.CaptureFixture[str]) -> None:
    admin.answers["POST", "/v1/tokens"] = (200, {**TOKEN, "agent_api": "127.0.0.1:15013"})
    assert run(["token", "create", "--service-account", "reviews"]) == 0
    assert "weft serve --bind" in capsys.readouterr().err
