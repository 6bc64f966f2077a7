"""The forms of scalars: each reads a text or says what is wrong with it."""

from __future__ import annotations

import base64
import binascii
import datetime
import ipaddress
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import re2  # type: ignore[import-untyped]  # ships no types

from weft.model.identity import is_trust_domain

MAX_REGEX = 1024
MAX_DURATION = 99999 * 3600.0

_LABEL = r"[a-z0-9](?:[-a-z0-9]{0,61}[a-z0-9])?"
_DNS_LABEL = re.compile(_LABEL)
_DNS_1035_LABEL = re.compile(r"[a-z](?:[-a-z0-9]{0,61}[a-z0-9])?")
_PART = r"[a-z0-9](?:[-a-z0-9]*[a-z0-9])?"
_SUBDOMAIN = re.compile(rf"{_PART}(?:\.{_PART})*")
_DNS_NAME = re.compile(rf"{_LABEL}(?:\.{_LABEL})*")
_QUALIFIED = re.compile(r"[A-Za-z0-9](?:[-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?")
_KIND = re.compile(r"[A-Za-z](?:[-A-Za-z0-9]*[A-Za-z0-9])?")
_TOKEN = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]{1,256}")
_SECRET_KEY = re.compile(r"[-._a-zA-Z0-9]+")
_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
_GO_DURATION = re.compile(r"(?:(?:\d{1,18}(?:\.\d{0,18})?|\.\d{1,18})(?:ns|us|µs|μs|ms|s|m|h)){1,8}", re.ASCII)
_GO_PART = re.compile(r"(\d+(?:\.\d*)?|\.\d+)(ns|us|µs|μs|ms|s|m|h)")
_GATEWAY_DURATION = re.compile(r"(?:\d{1,5}(?:h|m|s|ms)){1,4}", re.ASCII)
_UNITS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "μs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}


class FormError(ValueError):
    """The text does not have the form; its words say why, where there is more to say than the form itself."""


@dataclass(frozen=True, slots=True)
class Form:
    """How texts of one form are read, and how the form is described to people."""

    read: Callable[[str], object]
    expected: str


def _matching(pattern: re.Pattern[str], limit: int) -> Callable[[str], str]:
    def read(text: str) -> str:
        if len(text) > limit:
            raise FormError(f"longer than {limit} characters")
        if pattern.fullmatch(text) is None:
            raise FormError
        return text

    return read


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def read_subdomain(text: str) -> str:
    """An object's name as Kubernetes checks it: RFC 1123 subdomain, whose parts may be longer than those of DNS."""
    return _matching(_SUBDOMAIN, 253)(text)


def read_precise_hostname(text: str) -> str:
    """A DNS name: no wildcard, no address."""
    if _is_address(text):
        raise FormError("an IP address is not a host name")
    return _matching(_DNS_NAME, 253)(text)


_read_header_name = _matching(_TOKEN, 256)


def read_hostname(text: str) -> str:
    """A DNS name, a leading ``*.`` allowed."""
    if text == "*":
        raise FormError("leave the field out to accept every host")
    read_precise_hostname(text.removeprefix("*."))
    return text


def read_mesh_host(text: str) -> str:
    """Istio host: also ``*`` alone."""
    if text != "*":
        read_hostname(text)
    return text


def read_service_host(text: str) -> str:
    """The host of a service in a DestinationRule or destination."""
    if text.startswith("*"):
        raise FormError("wildcards are not supported by weft here")
    return read_precise_hostname(text)


def _read_settable_header(text: str) -> str:
    return text if text.lower() == ":authority" else _read_header_name(text)


def _read_cluster_ip(text: str) -> str:
    if text not in ("", "None") and not _is_address(text):
        raise FormError
    return text


def read_duration(text: str) -> float:
    """Seconds from Go's form: ``1.5s``, ``1h30m``, ``0``."""
    if text == "0":
        return 0.0
    if text.startswith("-"):
        raise FormError("a duration cannot be negative")
    if _GO_DURATION.fullmatch(text) is None:
        raise FormError("a number needs a unit" if text.replace(".", "", 1).isdigit() else "")
    return _seconds(text)


def read_positive_duration(text: str) -> float:
    """Seconds, at least a millisecond."""
    seconds = read_duration(text)
    if seconds < 0.001:
        raise FormError("shorter than 1ms")
    return seconds


def read_gateway_duration(text: str) -> float:
    """Seconds from GEP-2257's form: up to four whole numbers with units."""
    if _GATEWAY_DURATION.fullmatch(text) is None:
        raise FormError
    return _seconds(text)


def _seconds(text: str) -> float:
    total = sum(float(number) * _UNITS[unit] for number, unit in _GO_PART.findall(text))
    if total > MAX_DURATION:
        raise FormError("longer than 99999h")
    return round(total, 9)


_REGEX_OPTIONS = re2.Options()
_REGEX_OPTIONS.log_errors = False
_REGEX_OPTIONS.encoding = re2.Options.Encoding.LATIN1  # Envoy matches bytes


def read_regex(text: str) -> str:
    """RE2 syntax, of limited length and program size."""
    if not text:
        raise FormError("empty")
    if len(text) > MAX_REGEX:
        raise FormError(f"longer than {MAX_REGEX} characters")
    try:
        re2.compile(text.encode(), _REGEX_OPTIONS)
    except re2.error as error:
        reason = error.args[0] if error.args else "not valid"
        raise FormError(reason.decode("utf-8", "replace") if isinstance(reason, bytes) else str(reason)) from error
    return text


def _read_presence_regex(text: str) -> str:
    return text if text == "*" else read_regex(text)


def regex_groups(text: str) -> int:
    """How many groups a valid regular expression has."""
    return int(re2.compile(text.encode(), _REGEX_OPTIONS).groups)


def read_header_value(text: str) -> str:
    """Text that may stand in a header."""
    if len(text) > 16384 or _CONTROL.search(text):
        raise FormError
    return text


def read_label_key(text: str) -> str:
    """Kubernetes' qualified name: an optional DNS prefix, a slash, a name."""
    prefix, slash, name = text.rpartition("/")
    if slash:
        read_subdomain(prefix)
    _matching(_QUALIFIED, 63)(name)
    return text


def read_label_value(text: str) -> str:
    """Kubernetes' label value."""
    return text and _matching(_QUALIFIED, 63)(text)


def read_base64(text: str) -> bytes:
    """Bytes from base64, white space allowed."""
    try:
        return base64.b64decode("".join(text.split()), validate=True)
    except (binascii.Error, ValueError) as error:
        raise FormError from error


def _read_trust_domain(text: str) -> str:
    if not is_trust_domain(text):
        raise FormError
    return text


def read_timestamp(text: str) -> float:
    """Seconds since the epoch from RFC 3339."""
    try:
        moment = datetime.datetime.fromisoformat(text)
    except ValueError as error:
        raise FormError from error
    if moment.tzinfo is None:
        raise FormError("the time zone is missing")
    try:
        return moment.timestamp()
    except (OverflowError, ValueError) as error:
        raise FormError from error


def _read_group(text: str) -> str:
    return text and read_subdomain(text)


FORMS: Mapping[str, Form] = {
    "duration": Form(read_duration, "a duration such as 1.5s, 2m or 100ms"),
    "positive-duration": Form(read_positive_duration, "a duration of at least 1ms, such as 1.5s, 2m or 100ms"),
    "gateway-duration": Form(read_gateway_duration, "a duration in whole numbers, such as 10s, 1m30s or 500ms"),
    "dns-label": Form(_matching(_DNS_LABEL, 63), "a name of lower-case letters, digits and '-', up to 63 characters"),
    "dns-1035-label": Form(
        _matching(_DNS_1035_LABEL, 63),
        "a name of lower-case letters, digits and '-' that starts with a letter, up to 63 characters",
    ),
    "dns-subdomain": Form(read_subdomain, "a name of lower-case letters, digits, '-' and '.', up to 253 characters"),
    "hostname": Form(read_hostname, "a DNS name in lower case, such as example.com or *.example.com"),
    "precise-hostname": Form(read_precise_hostname, "a DNS name in lower case without wildcard"),
    "mesh-host": Form(read_mesh_host, "a host in lower case, such as reviews, reviews.ns.svc.cluster.local or *.com"),
    "service-host": Form(read_service_host, "the host of a service, such as reviews or reviews.ns.svc.cluster.local"),
    "cluster-ip": Form(_read_cluster_ip, "None, or an IP address, which has no effect"),
    "regex": Form(read_regex, "a regular expression in RE2 syntax (no look-around, no back references)"),
    "presence-regex": Form(_read_presence_regex, "a regular expression in RE2 syntax, or * for any value"),
    "header-name": Form(_read_header_name, "the name of an HTTP header, such as x-user"),
    "settable-header": Form(_read_settable_header, "the name of an HTTP header, such as x-user"),
    "cookie-name": Form(_matching(_TOKEN, 256), "the name of a cookie, such as user"),
    "header-value": Form(read_header_value, "text without line breaks and other control characters"),
    "label-key": Form(
        read_label_key, "a label key: letters, digits, '-', '_', '.', up to 63, with an optional prefix/"
    ),
    "label-value": Form(read_label_value, "a label value: letters, digits, '-', '_', '.', up to 63 characters"),
    "api-group": Form(_read_group, "an API group such as gateway.networking.k8s.io, or '' for the core group"),
    "kind-name": Form(_matching(_KIND, 63), "the name of a kind, such as HTTPRoute"),
    "secret-key": Form(_matching(_SECRET_KEY, 253), "a key of letters, digits, '-', '_' and '.'"),
    "base64": Form(read_base64, "base64; plain text goes into stringData"),
    "trust-domain": Form(_read_trust_domain, "a trust domain, such as cluster.local"),
    "timestamp": Form(read_timestamp, "a time such as 2026-01-31T12:00:00Z"),
}
