"""`weft logs --proxy` and `--access`: the lines of each proxy, from standard output and files, fit for a terminal."""

from __future__ import annotations

from pathlib import Path

import pytest

from weft.cli.main import run


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A home in which two proxies have written access logs."""
    for name in ("reviews-v1", "ratings-v1"):
        directory = tmp_path / "workloads" / "default" / name
        (directory / "access-logs").mkdir(parents=True)
        (directory / "access.log").write_text(f'"GET /{name} HTTP/1.1" 200\n')
        (directory / "envoy.log").write_text("a word of Envoy's\n")
    logs = tmp_path / "workloads" / "default" / "reviews-v1" / "access-logs"
    (logs / "json.log").write_text('{"ua":"a\x1b[31mred\u202e"}\n' + "x" * 9000 + "\n")
    (logs / "json.log.1").write_text("put aside\n")
    return tmp_path


def test_lines_of_all_proxies_and_of_one(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["logs", "--access", "--home", str(home)]) == 0
    shown = capsys.readouterr().out
    assert "reviews-v1/access " in shown
    assert "reviews-v1/access/json.log" in shown
    assert '"GET /ratings-v1 HTTP/1.1" 200' in shown
    assert "Envoy's" not in shown
    assert "put aside" not in shown
    assert run(["logs", "--access", "ratings-v1", "--home", str(home)]) == 0
    assert capsys.readouterr().out == '"GET /ratings-v1 HTTP/1.1" 200\n'


def test_nothing_in_a_line_steers_the_terminal(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["logs", "--access", "reviews-v1", "--home", str(home)]) == 0
    shown = capsys.readouterr().out
    assert "\x1b" not in shown
    assert "\u202e" not in shown
    assert "\\x1b[31mred\\u202e" in shown
    assert max(map(len, shown.splitlines())) < 4100


def test_where_there_are_none_it_says_how_to_have_some(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["logs", "--access", "--home", str(tmp_path)]) == 1
    assert "a Telemetry or MeshConfig asks for them" in capsys.readouterr().err


def test_the_proxy_and_the_responder_of_one(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (home / "workloads" / "default" / "reviews-v1" / "dns.log").write_text("a resolver was passed over\n")
    assert run(["logs", "--proxy", "reviews-v1", "--home", str(home)]) == 0
    shown = capsys.readouterr().out
    assert "a word of Envoy's" in shown
    assert "reviews-v1/dns" in shown
    assert "a resolver was passed over" in shown
