"""`weft stat`, `weft edges`, `weft top`: what they ask, what they print, and what they say when there is nothing."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click
import pytest

from support.admin import Admin
from weft.cli.looking import Looking, milliseconds, name_of, rate, span, success
from weft.cli.main import run
from weft.cli.screen import View, drawn
from weft.settings.home import Home


def edge(**changes: Any) -> dict[str, Any]:
    """An edge of the admin API: 600 calls of reviews in a minute, six of which failed."""
    return {
        "source": "default/page-v1",
        "source_service": "default/page",
        "destination": "default/reviews",
        "destination_workload": "default/reviews-v1",
        "port": 9080,
        "protocol": "http",
        "mtls": True,
        "requests": 600,
        "failures": 6,
        "requests_per_second": 10.0,
        "success_rate": 0.99,
        "codes": {"200": 594, "503": 6},
        "flags": {"UF": 6},
        "p50_ms": 3.2,
        "p95_ms": 12.0,
        "p99_ms": 250.0,
        "bytes_sent": 0,
        "bytes_received": 60_000,
        "connections_opened": 0,
        "connections_closed": 0,
        "last_seen": "2026-01-01T00:00:59.000Z",
    } | changes


NOTHING: dict[str, Any] = {
    "requests": 0,
    "failures": 0,
    "requests_per_second": 0.0,
    "success_rate": None,
    "codes": {},
    "flags": {},
}
NO_TIMES = {"p50_ms": None, "p95_ms": None, "p99_ms": None}
DATABASE = edge(
    destination="default/db", destination_workload="", protocol="tcp", port=5432, mtls=None, connections_opened=3
)
DATABASE |= NOTHING | NO_TIMES


def answer(*edges: dict[str, Any], **changes: Any) -> dict[str, Any]:
    return {
        "from": "2026-01-01T00:00:00.000Z",
        "until": "2026-01-01T00:01:00.000Z",
        "seconds": 60.0,
        "complete": True,
        "known_since": None,
        "dropped": 0,
        "edges": list(edges),
    } | changes


def test_a_line_for_each_service(admin: Admin, capsys: pytest.CaptureFixture[str]) -> None:
    admin.answers["GET", "/v1/traffic"] = (200, answer(edge(), DATABASE))
    assert run(["stat"]) == 0
    printed = capsys.readouterr()
    assert [line.split() for line in printed.out.splitlines()] == [
        ["SERVICE", "SUCCESS", "RPS", "P50", "P95", "P99"],
        ["db", "-", "-", "-", "-", "-"],
        ["reviews", "99.0%", "10.0", "3.2", "ms", "12", "ms", "250", "ms"],
    ]
    assert printed.err == ""
    assert admin.asked[-1][2] == {"window": ["60"], "by": ["service"]}


def test_names_namespaces_and_the_window_are_asked_for(admin: Admin) -> None:
    admin.answers["GET", "/v1/traffic"] = (200, answer(edge()))
    assert run(["stat", "reviews", "ratings", "--by", "workload", "-n", "shop", "-n", "bank", "--window", "1h"]) == 0
    assert admin.asked[-1][2] == {
        "window": ["3600"],
        "by": ["workload"],
        "name": ["reviews", "ratings"],
        "namespace": ["shop", "bank"],
    }


def test_json_is_a_list_of_edges(admin: Admin, capsys: pytest.CaptureFixture[str]) -> None:
    admin.answers["GET", "/v1/traffic"] = (200, answer(edge(), DATABASE))
    assert run(["stat", "-o", "json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert list(found[0])[:7] == [
        "source", "destination", "requests_per_second", "success_rate", "p50_ms", "p95_ms", "p99_ms"
    ]  # fmt: skip
    assert found[0] == edge()
    assert found[1]["success_rate"] is None
    assert admin.asked[-1][2]["by"] == ["pair"]


def test_json_without_traffic_is_an_empty_list(admin: Admin, capsys: pytest.CaptureFixture[str]) -> None:
    admin.answers["GET", "/v1/traffic"] = (200, answer())
    assert run(["stat", "-o", "json"]) == 0
    assert capsys.readouterr().out == "[]\n"


def test_wide_shows_how_they_ended(admin: Admin, capsys: pytest.CaptureFixture[str]) -> None:
    admin.answers["GET", "/v1/traffic"] = (200, answer(edge()))
    assert run(["stat", "-o", "wide", "--by", "edge"]) == 0
    line = capsys.readouterr().out.splitlines()[1]
    assert "200:594 503:6" in line
    assert "UF:6" in line
    assert "1.0 kB/s" in line
    assert line.startswith("page-v1")


def test_edges_say_who_answered_and_whether_both_are_proven(admin: Admin, capsys: pytest.CaptureFixture[str]) -> None:
    stranger = edge(source="", mtls=False)
    admin.answers["GET", "/v1/traffic"] = (200, answer(edge(), DATABASE, stranger))
    assert run(["edges"]) == 0
    assert [line.split() for line in capsys.readouterr().out.splitlines()] == [
        ["FROM", "TO", "ANSWERED", "BY", "PROTOCOL", "MTLS", "SUCCESS", "RPS"],
        ["(unknown)", "reviews:9080", "reviews-v1", "http", "no", "99.0%", "10.0"],
        ["page-v1", "db:5432", "(unknown)", "tcp", "-", "-", "3", "conn"],
        ["page-v1", "reviews:9080", "reviews-v1", "http", "yes", "99.0%", "10.0"],
    ]


def test_nothing_seen_says_what_to_do_next(admin: Admin, capsys: pytest.CaptureFixture[str]) -> None:
    admin.answers["GET", "/v1/traffic"] = (200, answer())
    assert run(["stat"]) == 0
    printed = capsys.readouterr()
    assert printed.out == ""
    assert "no traffic seen in the last minute" in printed.err
    assert "weft get services" in printed.err


def test_a_name_that_is_not_there_gets_the_nearest(admin: Admin, home: Home) -> None:
    looking = Looking(home, 60.0, ("shop",), ("default/reveiws",))
    admin.answers["GET", "/v1/traffic"] = (200, answer(edge()))
    assert "no traffic about default/reveiws in namespace shop seen in the last minute" in looking.nothing()
    assert "did you mean default/reviews?" in looking.nothing()
    far = Looking(home, 60.0, (), ("zzz",))
    assert "there is traffic about: default/page-v1, default/reviews" in far.nothing()


def test_what_is_not_known_is_said(admin: Admin, capsys: pytest.CaptureFixture[str]) -> None:
    admin.answers["GET", "/v1/traffic"] = (
        200,
        answer(edge(), complete=False, known_since="2026-01-01T00:00:30.000Z", dropped=5),
    )
    assert run(["stat"]) == 0
    printed = capsys.readouterr().err
    assert "known since 00:00:30 UTC only" in printed
    assert "5 more requests" in printed


@pytest.mark.parametrize("window", ["5s", "2d", "x", "1w"])
def test_windows_that_cannot_be_asked_for(admin: Admin, window: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["stat", "--window", window]) == 2
    assert "expected 10s to 1d" in capsys.readouterr().err


def test_top_wants_a_terminal(admin: Admin, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["top"]) == 1
    assert "weft stat -o json" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, "-"), (0.0, "<1 ms"), (0.5, "<1 ms"), (3.14, "3.1 ms"), (250.2, "250 ms"), (12_345, "12.3 s")],
)
def test_latencies(value: float | None, text: str) -> None:
    assert milliseconds(value) == text


@pytest.mark.parametrize(
    ("share", "text"),
    [(None, "-"), (1.0, "100%"), (0.99999, "99.99%"), (0.995, "99.50%"), (0.5, "50.0%"), (0.0, "0.0%")],
)
def test_success_is_never_rounded_up_to_all(share: float | None, text: str) -> None:
    assert success(edge(success_rate=share)) == text


def test_no_requests_are_no_rate() -> None:
    assert rate(edge(requests=0, requests_per_second=0.0)) == "-"
    assert rate(edge(requests=1, requests_per_second=0.0167)) == "0.02"


def test_names_are_printable() -> None:
    assert name_of("default/x") == "x"
    assert name_of("shop/x") == "shop/x"
    assert "\x1b" not in name_of("shop/\x1b[31m")
    assert span(60) == "minute"
    assert span(7200) == "2 hours"
    assert span(90) == "90 s"


LOOKING = Looking(Home(Path()), 60.0)
ROWS = (
    edge(),
    edge(destination="default/ratings", requests_per_second=50.0, success_rate=1.0, failures=0, p99_ms=5.0),
    edge(destination="default/details", requests_per_second=1.0, success_rate=0.5, p99_ms=9000.0),
)


def plain(view: View, columns: int = 80, lines: int = 24) -> list[str]:
    return [click.unstyle(line) for line in drawn(view, LOOKING, columns, lines)]


def shown(view: View) -> list[str]:
    """The names in order."""
    return [
        line.split()[0] for line in plain(view)[3:] if line and line.split()[0] in ("reviews", "ratings", "details")
    ]


@pytest.mark.parametrize("columns", [20, 40, 80, 81, 200])
@pytest.mark.parametrize("lines", [3, 6, 24])
def test_the_screen_fits(columns: int, lines: int) -> None:
    view = View()
    view.take(answer(*ROWS, *(edge(destination=f"default/service-with-a-long-name-{n}") for n in range(40))))
    screen = plain(view, columns, lines)
    assert len(screen) == lines
    assert max(map(len, screen)) <= columns


def test_keys_sort_filter_and_end() -> None:
    view = View()
    view.take(answer(*ROWS))
    assert shown(view) == ["ratings", "reviews", "details"]
    view.press("s")
    assert shown(view) == ["details", "reviews", "ratings"], "few successes first"
    view.press("s")
    assert shown(view) == ["details", "reviews", "ratings"], "slow ones first"
    view.press("r")
    assert shown(view) == ["ratings", "reviews", "details"]
    for key in ("/", "r", "e", "v", "x", "erase", "enter"):
        assert view.press(key)
    assert shown(view) == ["reviews"]
    assert "(rev; Esc: all)" in plain(view)[-1]
    view.press("escape")
    assert len(shown(view)) == 3
    view.press("/")
    assert view.press("q"), "typed, not meant"
    view.press("escape")
    assert not view.press("q")


def test_what_a_line_is_about_changes() -> None:
    view = View()
    view.take(answer(*ROWS))
    seen = []
    for _ in range(4):
        seen.append(view.group)
        view.press("b")
    assert seen == ["service", "workload", "route", "pair"]
    assert plain(View(by="edge", answer=answer(edge())))[3].startswith("page-v1 → reviews")


def test_the_screen_scrolls_and_says_where_it_is() -> None:
    view = View()
    view.take(answer(*(edge(destination=f"default/s{n:02}", requests_per_second=100.0 - n) for n in range(50))))
    assert plain(view)[3].startswith("s00")
    for _ in range(60):
        view.press("down")
    assert "s49" in plain(view)[-3] or "s49" in "".join(plain(view))
    assert "of 50" in plain(view)[-1]
    view.press("up")
    assert plain(view)[3] != "s00"


def test_a_control_plane_that_goes_away_leaves_the_old_figures_and_says_so() -> None:
    view = View()
    assert "no traffic in the last minute" in "".join(plain(view))
    view.take(answer(*ROWS))
    view.take("no control plane is running\nstart one")
    screen = plain(view)
    assert shown(view)
    assert "no control plane is running" in screen[-1]
