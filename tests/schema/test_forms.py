"""The forms of scalars: what they take, what they give, what they refuse."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from weft.schema.forms import FORMS, FormError

GOOD: list[tuple[str, str, object]] = [
    ("duration", "0s", 0.0),
    ("duration", "0", 0.0),
    ("duration", "1.5s", 1.5),
    ("duration", ".5s", 0.5),
    ("duration", "100ms", 0.1),
    ("duration", "1h30m", 5400.0),
    ("duration", "250us", 0.00025),
    ("positive-duration", "1ms", 0.001),
    ("gateway-duration", "0s", 0.0),
    ("gateway-duration", "1m30s500ms", 90.5),
    ("dns-label", "reviews-v1", "reviews-v1"),
    ("dns-1035-label", "a1", "a1"),
    ("dns-subdomain", "a.b-c.1", "a.b-c.1"),
    ("hostname", "*.example.com", "*.example.com"),
    ("precise-hostname", "example.com", "example.com"),
    ("mesh-host", "*", "*"),
    ("mesh-host", "reviews", "reviews"),
    ("service-host", "reviews.prod.svc.cluster.local", "reviews.prod.svc.cluster.local"),
    ("regex", "^(.*?;)?(user=jason)(;.*)?$", "^(.*?;)?(user=jason)(;.*)?$"),
    ("header-name", "x-User_1", "x-User_1"),
    ("settable-header", ":Authority", ":Authority"),
    ("settable-header", "x-User_1", "x-User_1"),
    ("cookie-name", "user", "user"),
    ("header-value", "", ""),
    ("header-value", "a\tb é", "a\tb é"),
    ("label-key", "app.kubernetes.io/name", "app.kubernetes.io/name"),
    ("label-value", "", ""),
    ("label-value", "v1.2_3", "v1.2_3"),
    ("dns-subdomain", ("a" * 80 + ".") * 3 + "a" * 10, ("a" * 80 + ".") * 3 + "a" * 10),
    ("cluster-ip", "None", "None"),
    ("cluster-ip", "fd00::1", "fd00::1"),
    ("presence-regex", "*", "*"),
    ("presence-regex", "a+", "a+"),
    ("base64", "aGVs\nbG8=", b"hello"),
    ("trust-domain", "cluster.local", "cluster.local"),
    ("timestamp", "1970-01-01T00:01:00Z", 60.0),
    ("timestamp", "1970-01-01T01:00:00+01:00", 0.0),
    ("api-group", "", ""),
    ("kind-name", "HTTPRoute", "HTTPRoute"),
    ("secret-key", "tls.crt", "tls.crt"),
]

BAD: list[tuple[str, str]] = [
    ("duration", ""),
    ("duration", "10"),
    ("duration", "-1s"),
    ("duration", "1x"),
    ("duration", "1 s"),
    ("duration", "s"),
    ("duration", "99999999h"),
    ("duration", "\u0661s"),
    ("positive-duration", "0s"),
    ("positive-duration", "1us"),
    ("gateway-duration", "1.5s"),
    ("gateway-duration", "0"),
    ("gateway-duration", "100000s"),
    ("gateway-duration", "1h1h1h1h1h"),
    ("gateway-duration", "1us"),
    ("dns-label", "Reviews"),
    ("dns-label", "-a"),
    ("dns-label", "a" * 64),
    ("dns-label", "a.b"),
    ("dns-label", "a\n"),
    ("dns-1035-label", "1a"),
    ("dns-subdomain", "a..b"),
    ("dns-subdomain", "a" * 254),
    ("precise-hostname", "a" * 64 + ".com"),
    ("cluster-ip", "none"),
    ("presence-regex", "**"),
    ("hostname", "*"),
    ("hostname", "a.*.com"),
    ("hostname", "*.*.com"),
    ("hostname", "1.2.3.4"),
    ("hostname", "Example.com"),
    ("hostname", "example.com."),
    ("hostname", "example.com:80"),
    ("precise-hostname", "*.example.com"),
    ("service-host", "*"),
    ("regex", "(?=a)"),
    ("regex", "(a)\\1"),
    ("regex", "\\x{10FFFF}"),
    ("regex", "["),
    ("regex", ""),
    ("regex", "a" * 1025),
    ("regex", "((a{100}){100}){100}"),
    ("header-name", "x y"),
    ("header-name", ":path"),
    ("settable-header", ":path"),
    ("header-name", ""),
    ("cookie-name", "a;b"),
    ("header-value", "a\r\nx: y"),
    ("header-value", "a\0"),
    ("label-key", ""),
    ("label-key", "/a"),
    ("label-key", "A/B/c"),
    ("label-value", "a b"),
    ("label-value", "a" * 64),
    ("base64", "***"),
    ("base64", "aGVsbG8"),
    ("timestamp", "2026-01-01T00:00:00"),
    ("trust-domain", "Example.org"),
    ("timestamp", "yesterday"),
    ("secret-key", "a/b"),
]


@pytest.mark.parametrize(("form", "text", "value"), GOOD)
def test_texts_of_the_form_are_read(form: str, text: str, value: object) -> None:
    assert FORMS[form].read(text) == value


@pytest.mark.parametrize(("form", "text"), BAD)
def test_other_texts_are_refused(form: str, text: str) -> None:
    with pytest.raises(FormError):
        FORMS[form].read(text)


def test_every_form_is_tried_both_ways() -> None:
    assert {form for form, *_ in GOOD} == set(FORMS)
    assert set(FORMS) - {form for form, _ in BAD} == {"mesh-host", "api-group", "kind-name"}


@given(st.sampled_from(sorted(FORMS)), st.text())
def test_any_text_is_read_or_refused(form: str, text: str) -> None:
    with contextlib.suppress(FormError):
        FORMS[form].read(text)
