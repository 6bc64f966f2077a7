"""Lines about requests, read: what a client wrote into a request reaches nobody unmasked, unbounded or unprintable."""

from __future__ import annotations

import json
from typing import Any

import pytest

from weft.agent.request_lines import request_from_line
from weft.model.masking import masked_headers, masked_path
from weft.model.requests import MASKED, RequestSeen, RequestsReport, TapFilter, fitting


def line(**fields: Any) -> bytes:
    return json.dumps({"time": "1700000000.250", "side": "outbound", **fields}).encode()


def read(**fields: Any) -> RequestSeen:
    found = request_from_line(line(**fields))
    assert found is not None
    return found


def test_a_line_of_envoy() -> None:
    seen = read(
        id="abc", trace="00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", method="GET", path="/x",
        host="reviews:9080", status=503, flags="UF,URX", details="upstream_reset", failure="refused", ms=12, first=3,
        upstream="127.0.0.1:1", cluster="outbound|80||a", peer="OU=v2,O=reviews,CN=reviews-v2.default", tries=3,
        object="VirtualService default/reviews", source="r.yaml:3", grpc=14,
    )  # fmt: skip
    assert seen.time == 1700000000.25
    assert (seen.trace, seen.peer, seen.attempts) == ("4bf92f3577b34da6a3ce929d0e0e4736", "reviews-v2.default", 3)
    assert (seen.status, seen.duration_ms, seen.first_byte_ms, seen.grpc_status) == (503, 12, 3, "14")
    assert seen.failed
    assert not seen.tapped


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"{",
        b"null",
        b"[]",
        b'{"time": "soon", "side": "inbound"}',
        b'{"side": "inbound"}',
        b"\xff\xfe",
        b"x" * 300_000,
    ],
)
def test_what_is_no_line(text: bytes) -> None:
    assert request_from_line(text) is None


def test_hostile_text_is_cut_and_printable() -> None:
    evil = "\r\nFAKE 200\x1b[31m\x00\u202e\"'<script>" + "a" * 5_000
    seen = read(
        id=evil, method=evil, path=f"/{evil}", host=evil, flags=evil, details=evil, peer=f"CN={evil}", trace=evil,
        object=evil, source=evil, failure=evil, headers={evil: evil, "b": evil},
    )  # fmt: skip
    texts = [value for name in seen.__dataclass_fields__ if isinstance(value := getattr(seen, name), str)]
    texts += [text for pair in seen.headers for text in pair]
    assert all(text.isprintable() for text in texts)
    assert sum(map(len, texts)) < 4000


def test_secrets_are_masked_by_their_names_and_by_their_form() -> None:
    token = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.abcdefghijklmnop"
    headers = masked_headers(
        {
            ":path": "/secret",
            "Authorization": "Bearer geheim",
            "cookie": "session=geheim",
            "x-api-key": "geheim",
            "x-auth-request-access-token": "geheim",
            "x-custom": token,
            "x-other": "basic geheim",
            "accept": "text/html",
        }
    )
    assert "geheim" not in str(headers)
    assert token not in str(headers)
    assert ("accept", "text/html") in headers
    assert all(not name.startswith(":") for name, _ in headers)
    path = masked_path(f"/login?user=anna&password=geheim&access%5Ftoken=geheim&sig=geheim&x={token}&page=2&{token}")
    assert path == f"/login?user=anna&password={MASKED}&access%5Ftoken={MASKED}&sig={MASKED}&x={MASKED}&page=2&{MASKED}"


@pytest.mark.parametrize(
    ("name", "value", "shown"),
    [
        ("referer", "https://shop/x?access_token=geheim&page=2", "https://shop/x?access_token=***&page=2"),
        ("x-envoy-original-path", "/a?token=geheim", "/a?token=***"),
        ("x-original-url", "http://anna:geheim@shop/x", "http://***@shop/x"),
        ("x-upstream", "ghp_geheimgeheimgeheim", "***"),
        ("link", "</reset/eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxgeheim>", "***"),
        ("x-csrf", "geheim", "***"),
        ("location", "/in?next=%2Fx%3Ftoken%3Dgeheim", "/in?next=***"),
        ("referer", "https://shop/?q=what%3F", "https://shop/?q=what%3F"),
    ],
)
def test_what_is_secret_in_an_address_is_masked_and_the_rest_is_not(name: str, value: str, shown: str) -> None:
    assert masked_headers({name: value}) == ((name, shown),)


@pytest.mark.parametrize(
    ("path", "shown"),
    [
        ("/verify/eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.geheim/x", "/verify/***/x"),
        ("/x?a=1;token=geheim", "/x?a=1;token=***"),
        ("/x?back=/y?code=geheim", "/x?back=***"),
        ("/static/application.production.javascript", "/static/application.production.javascript"),
    ],
)
def test_paths_without_a_query_and_queries_of_another_form_hide_nothing(path: str, shown: str) -> None:
    assert masked_path(path) == shown


@pytest.mark.parametrize("text", ["a", "aaaaaaaa.", "bearer ", "bearer  ", "?", "://", "?a=", "eyJ", "ghp_"])
def test_no_text_takes_longer_the_longer_it_is(text: str) -> None:
    """With a search from every letter to the end of its word this would take half an hour."""
    long = text + " " * 1_000_000 if text == "bearer  " else text * (1_000_000 // len(text))
    assert masked_headers({"x": long})
    assert len(masked_path(f"/x?{long}")) <= 512


def test_headers_are_bounded_in_number() -> None:
    assert len(masked_headers({f"x-{number}": "1" for number in range(5000)})) == 60


@pytest.mark.parametrize(
    ("fields", "failed"),
    [
        ({"status": 200}, False),
        ({"status": 200, "flags": "DI"}, False),
        ({"status": 503}, True),
        ({"status": 404, "flags": "NR"}, True),
        ({"status": 200, "grpc": 14}, True),
        ({"status": 200, "grpc": 0}, False),
        ({"status": 0, "flags": "DC"}, True),
    ],
)
def test_what_has_failed(fields: dict[str, Any], failed: bool) -> None:
    assert read(**fields).failed is failed


@pytest.mark.parametrize(
    ("wanted", "covered"),
    [
        (TapFilter(), True),
        (TapFilter(method="post"), True),
        (TapFilter(method="GET"), False),
        (TapFilter(path="/ord"), True),
        (TapFilter(path="/x"), False),
        (TapFilter(status="5xx"), True),
        (TapFilter(status="503"), True),
        (TapFilter(status="4xx"), False),
        (TapFilter(header="End-User"), True),
        (TapFilter(header="nobody"), False),
        (TapFilter(peer="a.default"), True),
        (TapFilter(peer="b.default"), False),
    ],
)
def test_filters_of_a_tap(wanted: TapFilter, covered: bool) -> None:
    seen = read(method="POST", path="/orders", status=503, headers={"End-User": "jason"}, peer="CN=a.default")
    assert wanted.covers(seen) is covered


def test_a_report_of_a_hostile_agent_is_made_to_fit() -> None:
    evil = "\x1b" + "a" * 100_000
    seen = RequestSeen(1e300, evil, id=evil, path=evil, headers=tuple((evil, evil) for _ in range(500)))
    report = fitting(RequestsReport((seen,) * 1000, -5, -5), 1000.0)
    assert len(report.requests) == 200
    assert (report.left_out, report.untapped) == (800, 0)
    one = report.requests[0]
    assert one.time == 1000.0
    assert len(one.path) <= 512
    assert one.path.isprintable()
    assert len(one.headers) == 60


@pytest.mark.parametrize("number", [-5, 10**4000])
def test_no_number_of_an_agent_is_kept_as_it_is(number: int) -> None:
    seen = RequestSeen(time=1.0, side="inbound", status=number, attempts=number)
    report = fitting(RequestsReport((seen,), number, number), 1000.0)
    (kept,) = report.requests
    assert kept.status == 0
    for found in (kept.attempts, report.left_out, report.untapped):
        assert 0 <= found <= 1 << 48
