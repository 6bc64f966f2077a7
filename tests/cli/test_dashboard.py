"""`weft dashboard` against a small server that answers as the admin API does."""

from __future__ import annotations

import json

import pytest

from support.admin import Admin
from weft.cli.main import run
from weft.settings.home import Home

ADDRESS = {"url": "http://127.0.0.1:15080/open?code=x", "expires": "2030-01-01T00:00:00.000Z"}


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What a browser was asked to open."""
    found: list[str] = []

    def open_page(url: str) -> bool:
        found.append(url)
        return True

    monkeypatch.setattr("webbrowser.open", open_page)
    return found


def test_the_address_is_printed_and_no_browser_starts_where_nobody_would_see_it(
    admin: Admin, opened: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    admin.answers["POST", "/v1/dashboard"] = (201, ADDRESS)
    assert run(["dashboard"]) == 0
    told = capsys.readouterr()
    assert told.out == f"{ADDRESS['url']}\n"
    assert "works once" in told.err
    assert opened == []
    assert admin.asked[0][3]["authorization"] == "Bearer secret"


@pytest.mark.parametrize(
    ("options", "variables", "expected"),
    [
        ([], {"DISPLAY": ":0"}, [ADDRESS["url"]]),
        ([], {"WAYLAND_DISPLAY": "w"}, [ADDRESS["url"]]),
        (["--no-open"], {"DISPLAY": ":0"}, []),
        (["-o", "json"], {"DISPLAY": ":0"}, []),
        ([], {"DISPLAY": ":0", "SSH_CONNECTION": "a 1 b 2"}, []),
        ([], {}, []),
    ],
)
def test_a_browser_is_opened_on_a_terminal_with_a_display(
    admin: Admin,
    opened: list[str],
    monkeypatch: pytest.MonkeyPatch,
    options: list[str],
    variables: dict[str, str],
    expected: list[str],
) -> None:
    for name in ("DISPLAY", "WAYLAND_DISPLAY", "SSH_CONNECTION"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("sys.platform", "linux")
    monkeypatch.setattr("weft.cli.dashboard._on_terminal", lambda: True)
    admin.answers["POST", "/v1/dashboard"] = (201, ADDRESS)
    assert run(["dashboard", *options]) == 0
    assert opened == expected


def test_json_for_programs(admin: Admin, capsys: pytest.CaptureFixture[str]) -> None:
    admin.answers["POST", "/v1/dashboard"] = (201, ADDRESS)
    assert run(["dashboard", "-o", "json"]) == 0
    assert json.loads(capsys.readouterr().out) == ADDRESS


def test_without_a_control_plane_the_way_out_is_told(home: Home, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["dashboard"]) == 3
    assert f"weft serve --home {home.root}" in capsys.readouterr().err
