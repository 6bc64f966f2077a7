"""Formats and filters of access logs: what Envoy would refuse is refused before it comes to it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from support.access_logs import EXPRESSIONS, FORMATS, REFUSED_EXPRESSIONS, REFUSED_FORMATS, STRANGE_EXPRESSIONS
from weft.schema.cel import CelError, check_expression
from weft.schema.log_format import OPERATORS, LogFormatError, check_format, secret_headers
from weft.xds.signals.access_logs import DEFAULT_LABELS, DEFAULT_TEXT, cut


@pytest.mark.parametrize("text", EXPRESSIONS)
def test_expressions_are_taken(text: str) -> None:
    check_expression(text)


@pytest.mark.parametrize("text", [*REFUSED_EXPRESSIONS, *STRANGE_EXPRESSIONS, " ", "(" * 100 + "1", "a" * 5000])
def test_expressions_are_refused(text: str) -> None:
    with pytest.raises(CelError):
        check_expression(text)


@given(st.text(alphabet="ab.()[]{}?:'\"<>=!&|+-*/%, 1in\\\n", max_size=40))
def test_no_expression_makes_the_check_fail(text: str) -> None:
    try:
        check_expression(text)
    except CelError as error:
        assert str(error)


@pytest.mark.parametrize("text", [*FORMATS, DEFAULT_TEXT, cut(DEFAULT_TEXT), *DEFAULT_LABELS.values()])
def test_formats_are_taken(text: str) -> None:
    check_format(text)


@pytest.mark.parametrize("text", [*REFUSED_FORMATS, "x" * 20000, "%REQ(a):99999%", "%REQ(a b)%"])
def test_formats_are_refused(text: str) -> None:
    with pytest.raises(LogFormatError):
        check_format(text)


def test_the_nearest_operator_is_named() -> None:
    with pytest.raises(LogFormatError, match="did you mean DURATION"):
        check_format("%DURATON%")
    assert len(OPERATORS) > 100


def test_headers_that_let_their_reader_in_are_found() -> None:
    assert list(secret_headers("%REQ(Authorization)% %RESP(set-cookie):10% %REQ(x-a?cookie)% %REQ(user-agent)%")) == [
        "Authorization",
        "set-cookie",
        "cookie",
    ]
    assert not list(secret_headers(DEFAULT_TEXT + "".join(DEFAULT_LABELS.values())))


def test_what_clients_choose_is_cut_in_the_default_formats() -> None:
    assert "%REQ(USER-AGENT):4096%" in cut(DEFAULT_TEXT)
    assert cut("%REQ(A):10% %DURATION%") == "%REQ(A):10% %DURATION%"
