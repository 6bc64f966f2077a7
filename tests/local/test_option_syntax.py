"""The small languages of options."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from weft.agent.parameters import (
    CaptureParameters,
    DnsParameters,
    HealthParameters,
    InboundCaptureParameters,
    PortParameter,
    UpstreamParameter,
)
from weft.local.option_syntax import (
    OptionValueError,
    parse_capture,
    parse_dns,
    parse_health,
    parse_inbound_capture,
    parse_labels,
    parse_listen,
    parse_locality,
    parse_port,
    parse_upstream,
)
from weft.model.locality import NOWHERE, Locality


@pytest.mark.parametrize(
    ("parse", "text", "expected"),
    [
        (parse_port, "9080", PortParameter(9080)),
        (parse_port, "9080:auto", PortParameter(9080, 0)),
        (parse_port, "9080:18081", PortParameter(9080, 18081)),
        (parse_port, "http=9080", PortParameter(9080, name="http")),
        (parse_port, "http=9080:auto", PortParameter(9080, 0, "http")),
        (parse_upstream, "postgres:5432", UpstreamParameter("postgres", 5432)),
        (parse_upstream, "postgres.data:5432=15432", UpstreamParameter("postgres.data", 5432, 15432)),
        (parse_listen, "80=auto", (80, "", 0)),
        (parse_listen, "80=8080", (80, "", 8080)),
        (parse_listen, "443=0.0.0.0:8443", (443, "0.0.0.0", 8443)),
        (parse_listen, "443=[::1]:8443", (443, "::1", 8443)),
    ],
)
def test_good_words(parse: Callable[[str], object], text: str, expected: object) -> None:
    assert parse(text) == expected


@pytest.mark.parametrize(
    ("parse", "text"),
    [
        (parse_port, "x"),
        (parse_port, "0"),
        (parse_port, "70000"),
        (parse_port, "80:"),
        (parse_port, "80:any"),
        (parse_port, "٣"),
        (parse_port, "=80"),
        (parse_port, "80=8080"),
        (parse_port, "Http=80"),
        (parse_port, "http="),
        (parse_upstream, "postgres"),
        (parse_upstream, ":5432"),
        (parse_upstream, "postgres:5432="),
        (parse_listen, "80"),
        (parse_listen, "80="),
        (parse_listen, "80=host"),
    ],
)
def test_bad_words_say_what_was_expected(parse: Callable[[str], object], text: str) -> None:
    with pytest.raises(OptionValueError) as caught:
        parse(text)
    assert text in caught.value.found
    assert "such as" in caught.value.expected


@pytest.mark.parametrize(
    ("text", "upstreams", "wanted"),
    [
        ("off", (), None),
        ("false", (), None),
        ("on", (), DnsParameters()),
        ("true", ("10.0.0.2:5353",), DnsParameters(0, ("10.0.0.2:5353",))),
        ("53", ("fd00::1",), DnsParameters(53, ("fd00::1",))),
    ],
)
def test_whether_and_where_names_are_answered(
    text: str, upstreams: tuple[str, ...], wanted: DnsParameters | None
) -> None:
    assert parse_dns(text, upstreams) == wanted


@pytest.mark.parametrize(
    ("text", "upstreams"), [("maybe", ()), ("0", ()), ("70000", ()), ("on", ("dns.example",)), ("off", ("10.0.0.2",))]
)
def test_where_names_cannot_be_answered(text: str, upstreams: tuple[str, ...]) -> None:
    with pytest.raises(OptionValueError):
        parse_dns(text, upstreams)


def test_labels() -> None:
    assert parse_labels(("version=v2,app=reviews", "tier=")) == (("app", "reviews"), ("tier", ""), ("version", "v2"))
    with pytest.raises(OptionValueError):
        parse_labels(("app",))


def test_health() -> None:
    assert parse_health("http:/health", 1, 2) == HealthParameters("http", "/health", 1, 2)
    assert parse_health("/health", 1, 2).kind == "http"
    assert parse_health("none", 1, 2).kind == "none"
    with pytest.raises(OptionValueError):
        parse_health("grpc", 1, 2)


def test_localities() -> None:
    assert parse_locality("eu/eu-1/rack-7") == Locality("eu", "eu-1", "rack-7")
    assert parse_locality("") == NOWHERE
    with pytest.raises(OptionValueError, match="expected REGION"):
        parse_locality("eu/*")


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("on", CaptureParameters()),
        ("off", None),
        ("15001", CaptureParameters(15001, "rules")),
        ("rules", CaptureParameters(0, "rules")),
        ("seccomp", CaptureParameters(0, "seccomp")),
        ("strict", CaptureParameters(0, "strict")),
    ],
)
def test_capture(text: str, wanted: CaptureParameters | None) -> None:
    assert parse_capture(text) == wanted


@pytest.mark.parametrize("text", ["maybe", "0", "70000", ""])
def test_capture_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(OptionValueError, match="on, off, seccomp, strict, rules or a port"):
        parse_capture(text)


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("on", InboundCaptureParameters()),
        ("off", None),
        ("15007", InboundCaptureParameters(15007)),
        ("tproxy", InboundCaptureParameters(transparent=True)),
        ("tproxy:15007", InboundCaptureParameters(15007, transparent=True)),
    ],
)
def test_inbound_capture(text: str, wanted: InboundCaptureParameters | None) -> None:
    assert parse_inbound_capture(text) == wanted


@pytest.mark.parametrize("text", ["maybe", "0", "70000", "", "tproxy:0", "tproxyy", "tproxy:x", "redirect:15006"])
def test_inbound_capture_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(OptionValueError, match="on, off, a port"):
        parse_inbound_capture(text)
