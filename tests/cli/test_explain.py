"""`weft explain`, `weft requests`, `weft tap`: what they ask, and what they print."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest

from support.admin import Admin
from weft.admin.requests import request_json
from weft.cli.failure import ExitCode
from weft.cli.main import run
from weft.explain.answer import Answer, Cause, Change, Decider, EndpointState, Explanation, Hop, Share, Tried
from weft.explain.journal import Noted
from weft.model.requests import RequestSeen

ID = "4f1c1a52-92fa-4a9b-9d9e-3f0a51c4c1f0"
RULE = Decider("VirtualService default/reviews", "reviews.yaml:12")
EXPLANATION = Explanation(
    Answer("unavailable", "the proxy answers 503: nobody is there", 503),
    (
        Hop(
            "page-v1.default",
            "outbound",
            RULE,
            "path begins with '/x'",
            ("gives up after 3 s (504)",),
            (Tried(Decider("VirtualService default/reviews", "reviews.yaml:9"), "0", "m", ("path is '/y'",)),),
            (Share("outbound|80|v1|reviews", 0.9), Share("", 0.1)),
            "outbound|80|v1|reviews",
            "mutual TLS",
            (EndpointState("", "reviews-v1.default", "starting", note="it has not been healthy yet"),),
            time="2026-01-01T00:00:00.000Z",
            duration_ms=12.0,
            status=503,
            flags="UF",
            meaning="no connection could be made",
            attempts=3,
        ),
    ),
    (Change(41, "2026-01-01T00:00:00.000Z", "anna", "changed", "VirtualService default/reviews", "reviews.yaml:12"),),
    (Cause("unknown-subset", "no such subset", "VirtualService default/reviews", "reviews.yaml:12", "did you mean?"),),
)
FOUND: dict[str, Any] = json.loads(msgspec.json.encode(EXPLANATION))
SEEN = RequestSeen(
    1000.0, "outbound", id=ID, method="GET", path="/x", host="reviews", status=503, flags="UF", source="reviews.yaml:12"
)
REQUEST: dict[str, Any] = json.loads(msgspec.json.encode(request_json(Noted("default/page-v1", SEEN))))


def test_a_description_is_asked_as_it_is_written(admin: Admin, capsys: pytest.CaptureFixture[str]) -> None:
    admin.answers["POST", "/v1/explain"] = (200, FOUND)
    words = ["--from", "page-v1", "--to", "reviews:80", "POST", "/x", "-H", "End-User: a: b", "-H", "X:1"]
    assert run(["explain", *words]) == 1, "the request would fail"
    asked = json.loads(admin.asked[-1][4])
    assert asked == {
        "url": "/x",
        "to": "reviews:80",
        "method": "POST",
        "headers": {"End-User": "a: b", "X": "1"},
        "from": "page-v1",
        "namespace": "default",
    }
    text = capsys.readouterr().out
    for line in (
        "unavailable: the proxy answers 503: nobody is there",
        "1 page-v1.default  outbound",
        "    rule      VirtualService default/reviews  reviews.yaml:12",
        "    not       reviews.yaml:9: path is '/y'",
        "    to        outbound|80|v1|reviews  90 %",
        "    to        nowhere  10 %",
        "    endpoint  -  reviews-v1.default  starting  it has not been healthy yet",
        "    because   no connection could be made  (UF)",
        "  error: no such subset",
        "    at reviews.yaml:12  VirtualService default/reviews",
        "    fix did you mean?",
    ):
        assert line in text.splitlines()
    assert "2026-01-01T00:00:00.000Z  503 in 12 ms, tried 3 times" in text
    assert "anna: VirtualService default/reviews changed: reviews.yaml:12" in text
    assert "since then" not in text
    admin.answers["POST", "/v1/explain"] = (200, FOUND | {"worked_until": "2025-12-31T23:59:00.000Z"})
    assert run(["explain", "http://reviews"]) == 1
    assert "changed: calls last succeeded" in (text := capsys.readouterr().out)
    assert "  since then, revision 41, " in text


def test_a_request_id_and_a_trace_id_are_looked_up(admin: Admin, capsys: pytest.CaptureFixture[str]) -> None:
    admin.answers["GET", "/v1/requests/explain"] = (
        200,
        FOUND | {"answer": {"outcome": "failed", "text": "", "status": 1}},
    )
    assert run(["explain", ID]) == 1
    assert admin.asked[-1][2] == {"id": [ID]}
    assert run(["explain", "--trace", "ab" * 16, "-o", "json"]) == 1
    assert admin.asked[-1][2] == {"trace": ["ab" * 16]}
    assert '"outcome": "failed"' in capsys.readouterr().out


def test_a_service_whose_name_looks_like_an_id_is_called_with_from(admin: Admin) -> None:
    admin.answers["POST", "/v1/explain"] = (
        200,
        FOUND | {"answer": {"outcome": "forwarded", "text": "", "status": None}},
    )
    assert run(["explain", "--from", "a", "deadbeefdeadbeef"]) == 0
    assert json.loads(admin.asked[-1][4])["url"] == "deadbeefdeadbeef"


@pytest.mark.parametrize("words", [[], ["GET"], ["http://a", "http://b"], ["http://a", "-H", "no colon"]])
def test_what_is_no_request(admin: Admin, words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["explain", *words]) == ExitCode.USAGE
    assert "expected" in capsys.readouterr().err
    assert not admin.asked


def test_requests_are_a_table_with_the_latest_last(admin: Admin, capsys: pytest.CaptureFixture[str]) -> None:
    connection = REQUEST | {"method": "", "cluster": "outbound|5432||db", "status": 0, "id": ""}
    admin.answers["GET", "/v1/requests"] = (200, {"requests": [REQUEST, connection], "left_out": 0})
    assert run(["requests", "page-v1", "--failed", "--limit", "5"]) == 0
    assert admin.asked[-1][2] == {"workload": ["page-v1"], "failed": ["1"], "limit": ["5"]}
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split()[:4] == ["TIME", "PROXY", "SIDE", "REQUEST"]
    assert "connection outbound|5432||db  -" in lines[1]
    assert "GET reviews/x" in lines[2]
    assert "no connection could be made to the endpoint (UF)" in lines[2]
    assert lines[2].endswith(ID)
    admin.answers["GET", "/v1/requests"] = (200, {"requests": [], "left_out": 0})
    assert run(["requests"]) == 0
    assert "no request has failed or was slow" in capsys.readouterr().err


def test_on_a_narrow_terminal_the_rule_and_the_id_stand_below_each_request(
    admin: Admin, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    long = REQUEST | {"workload": "default/page-v1", "source": f"/home/{'x/' * 40}reviews.yaml:12"}
    admin.answers["GET", "/v1/requests"] = (200, {"requests": [long], "left_out": 0})
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    assert run(["requests"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["TIME", "PROXY", "SIDE", "REQUEST", "STATUS", "TOOK"]
    assert len(lines[1]) <= 80 and "  page-v1  " in lines[1]
    assert lines[2].startswith(f"    {ID}  …") and "/reviews.yaml:12  no connection could be made" in lines[2]


def test_a_tap_prints_lines_and_what_was_left_out(admin: Admin, capsys: pytest.CaptureFixture[str]) -> None:
    admin.answers["GET", "/v1/tap"] = (200, REQUEST | {"headers": {"end-user": "jason"}})
    assert run(["tap", "page-v1", "--method", "GET", "--status", "5xx", "--headers", "--seconds", "3"]) == 0
    assert admin.asked[-1][2] == {
        "workload": ["page-v1"], "method": ["GET"], "status": ["5xx"], "rate": ["20"], "seconds": ["3"]
    }  # fmt: skip
    printed = capsys.readouterr()
    assert "GET reviews/x  503" in printed.out
    assert "    end-user: jason" in printed.out
    admin.answers["GET", "/v1/tap"] = (200, {"left_out": 7})
    assert run(["tap", "page-v1"]) == 0
    assert "7 left out for the rate" in capsys.readouterr().err
    admin.answers["GET", "/v1/tap"] = (404, {"error": "no workload 'nobody' is registered"})
    assert run(["tap", "nobody"]) == ExitCode.FAILED
    assert capsys.readouterr().err == "error: no workload 'nobody' is registered\n"
    assert run(["tap", "nobody", "--rate", "1000"]) == ExitCode.USAGE
