"""The forms of scalars: each reads a text or says what is wrong with it."""

from __future__ import annotations

import base64
import binascii
import datetime
import ipaddress
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

import re2  # type: ignore[import-untyped]  # ships no types

from weft.model.addresses import is_loopback
from weft.model.identity import is_trust_domain
from weft.model.locality import locality_from_text
from weft.schema.cel import CelError, check_expression
from weft.schema.claims import claim_path, is_claim
from weft.schema.log_format import LogFormatError, check_format

MAX_REGEX = 1024
MAX_URL = 2048
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
_STAT_PREFIX = re.compile(r"[A-Za-z0-9_-]*", re.ASCII)
_LOG_FILE = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}")
_METRIC_LABEL = re.compile(r"(?!__)[a-zA-Z_][a-zA-Z0-9_]{0,127}")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,255}")
_SECRET_KEY = re.compile(r"[-._a-zA-Z0-9]+")
_URL_PATH = re.compile(r"/[-A-Za-z0-9._~!$&'()*+,=:@/]*")
_REFUSALS = frozenset((*range(400, 418), *range(421, 425), 426, 428, 429, 431, *range(500, 509), 510, 511))
"""The statuses of failures that Envoy knows."""
_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
_GO_DURATION = re.compile(r"(?:(?:\d{1,18}(?:\.\d{0,18})?|\.\d{1,18})(?:ns|us|µs|μs|ms|s|m|h)){1,8}", re.ASCII)
_GO_PART = re.compile(r"(\d+(?:\.\d*)?|\.\d+)(ns|us|µs|μs|ms|s|m|h)")
_GATEWAY_DURATION = re.compile(r"(?:\d{1,5}(?:h|m|s|ms)){1,4}", re.ASCII)
_OWN_HOSTS = ("127.0.0.1", "0.0.0.0", "[::1]", "[::]")  # noqa: S104 - a word of documents, nothing binds there
SERVICE_PROTOCOLS = ("HTTP", "HTTPS", "HTTP2", "GRPC", "GRPC-WEB", "TCP", "TLS", "MONGO", "MYSQL", "REDIS")
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


def _read_gateway_host(text: str) -> str:
    """Istio's host of a Gateway: perhaps a namespace (``*``: any, ``.``: the Gateway's own) before it."""
    namespace, slash, host = text.rpartition("/")
    if slash and namespace not in ("*", "."):
        _matching(_DNS_LABEL, 63)(namespace)
    read_mesh_host(host)
    return text


def read_service_host(text: str) -> str:
    """The host of a service in a DestinationRule or destination."""
    if text.startswith("*"):
        raise FormError("wildcards are not supported by weft here")
    return read_precise_hostname(text)


def _read_settable_header(text: str) -> str:
    return text if text.lower() == ":authority" else _read_header_name(text)


def _read_matched_header(text: str) -> str:
    if not is_claim(text):
        return _read_header_name(text)
    if claim_path(text) is None:
        raise FormError
    return text


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


def _read_cel(text: str) -> str:
    try:
        if text:
            check_expression(text)
    except CelError as error:
        raise FormError(str(error)) from error
    return text


def _read_log_format(text: str) -> str:
    try:
        check_format(text)
    except LogFormatError as error:
        raise FormError(str(error)) from error
    return text


def _read_log_path(text: str) -> str:
    if text in ("", "/dev/stdout", "/dev/stderr"):
        return text
    if "/" in text:
        raise FormError("proxies write into their own directory only")
    return _matching(_LOG_FILE, 128)(text)


def _read_provider_service(text: str) -> str:
    namespace, slash, host = text.rpartition("/")
    if slash:
        _matching(_DNS_LABEL, 63)(namespace)
    elif _is_address(text):
        return text
    read_precise_hostname(host)
    return text


def _read_host_and_port(text: str) -> str:
    host, _, port = text.rpartition(":")
    if not port.isascii() or not port.isdigit() or not 1 <= int(port) <= 65535:
        raise FormError("the port is missing" if not host else "")
    address = host.removeprefix("[").removesuffix("]")
    if not _is_address(address):
        read_precise_hostname(host)
    return text


def _read_header_pattern(text: str) -> str:
    name = text[1:] if text.startswith("*") else text.removesuffix("*")
    if "*" in name:
        raise FormError
    _read_header_name(name)
    return text


def _read_cors_origin(text: str) -> str:
    scheme, separator, host = text.partition("://")
    if text == "*":
        return text
    name, _, port = host.partition(":")
    if not separator or scheme not in ("http", "https") or (port and not port.isdigit()) or host.endswith(":"):
        raise FormError
    if name != "*":
        read_precise_hostname(name.removeprefix("*."))
    return text


def _read_refusal_status(text: str) -> int:
    if text not in map(str, _REFUSALS):
        raise FormError
    return int(text)


def read_https_url(text: str) -> str:
    """A URL with https, or with http to a loopback address; no password and no fragment in it."""
    try:
        parts = urlsplit(text)
        host, _ = parts.hostname or "", parts.port
    except ValueError as error:
        raise FormError from error
    if not text.isascii() or not text.isprintable() or " " in text or not host or "%" in parts.netloc:
        raise FormError
    if parts.username is not None or parts.password is not None:
        raise FormError("documents are no place for passwords")
    if parts.fragment or len(text) > MAX_URL:
        raise FormError("a fragment" if parts.fragment else f"longer than {MAX_URL} characters")
    if parts.scheme != "https" and not (parts.scheme == "http" and is_loopback(host)):
        raise FormError("plaintext on a network" if parts.scheme == "http" else "")
    return text


def _read_url_path(text: str) -> str:
    if not text.startswith("/") or "//" in text or any(part in (".", "..") for part in text.split("/")):
        raise FormError
    return _matching(_URL_PATH, 1024)(text)


def _read_instance_address(text: str) -> str:
    if text.startswith("unix:"):
        raise FormError("a proxy opens no unix socket of its host: whatever listens there would be published")
    return text if _is_address(text) else read_precise_hostname(text)


def _read_address_range(text: str) -> str:
    try:
        network = ipaddress.ip_network(text, strict=False)
    except ValueError:
        raise FormError from None
    return str(network) if "/" in text and network.num_addresses > 1 else str(network.network_address)


def _read_locality(text: str) -> str:
    try:
        locality_from_text(text)
    except ValueError:
        raise FormError from None
    return text


def _read_service_protocol(text: str) -> str:
    word = text.upper()
    if word == "UDP":
        raise FormError("UDP is not carried by sidecars of the mesh")
    if word not in SERVICE_PROTOCOLS:
        raise FormError
    return word


def _read_namespaced_host(text: str) -> str:
    space, slash, host = text.partition("/")
    if not slash:
        raise FormError
    return f"{_read_export(space)}/{read_mesh_host(host)}"


def _read_loopback_endpoint(text: str) -> str:
    if text.startswith("unix:"):
        raise FormError("a proxy opens no unix socket of its host: whatever listens there would be published")
    host, colon, digits = text.rpartition(":")
    if text and (not colon or host not in _OWN_HOSTS or not digits.isdecimal() or not 0 < int(digits) < 65536):
        raise FormError
    return text


def _read_export(text: str) -> str:
    return text if text in (".", "*", "~") else _matching(_DNS_LABEL, 63)(text)


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
    "gateway-host": Form(_read_gateway_host, "a host such as example.com, *.example.com or *, or NAMESPACE/HOST"),
    "service-host": Form(read_service_host, "the host of a service, such as reviews or reviews.ns.svc.cluster.local"),
    "cluster-ip": Form(_read_cluster_ip, "None, or an IP address"),
    "regex": Form(read_regex, "a regular expression in RE2 syntax (no look-around, no back references)"),
    "presence-regex": Form(_read_presence_regex, "a regular expression in RE2 syntax, or * for any value"),
    "header-name": Form(_read_header_name, "the name of an HTTP header, such as x-user"),
    "matched-header": Form(
        _read_matched_header, "the name of an HTTP header, such as x-user, or @request.auth.claims.NAME"
    ),
    "settable-header": Form(_read_settable_header, "the name of an HTTP header, such as x-user"),
    "stat-prefix": Form(_matching(_STAT_PREFIX, 128), "letters, digits, '-' and '_'"),
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
    "cel": Form(_read_cel, "a CEL expression over Envoy's attributes, such as response.code >= 400"),
    "log-format": Form(_read_log_format, "text with Envoy's command operators, such as %RESPONSE_CODE%"),
    "log-path": Form(_read_log_path, "/dev/stdout, or the name of a file such as access.log"),
    "host-and-port": Form(_read_host_and_port, "a host and a port, such as zipkin.telemetry:9411"),
    "metric-label": Form(_matching(_METRIC_LABEL, 128), "a label of letters, digits and '_'"),
    "variable-name": Form(_matching(_VARIABLE, 256), "the name of an environment variable"),
    "provider-service": Form(_read_provider_service, "a Service such as telemetry/collector, or a host"),
    "header-pattern": Form(_read_header_pattern, "the name of an HTTP header, or x-user-* or *-user for several"),
    "cors-origin": Form(_read_cors_origin, "* or an origin such as https://shop.example.com or https://*.example.com"),
    "refusal-status": Form(_read_refusal_status, 'the status of a failure in quotes, such as "403" or "503"'),
    "https-url": Form(read_https_url, "a URL such as https://id.example.com, or one with http on loopback"),
    "url-path": Form(_read_url_path, "a path such as /oauth2/callback, without query and escapes"),
    "trust-domain": Form(_read_trust_domain, "a trust domain, such as cluster.local"),
    "instance-address": Form(_read_instance_address, "an IP address, or a DNS name in lower case"),
    "address-range": Form(_read_address_range, "an IP address, or a range such as 10.1.0.0/16"),
    "locality": Form(_read_locality, "region/zone/subzone, such as eu-west/eu-west-1a"),
    "service-protocol": Form(_read_service_protocol, "one of " + ", ".join(SERVICE_PROTOCOLS)),
    "namespaced-host": Form(
        _read_namespaced_host, "NAMESPACE/HOST, such as ./*, istio-system/* or shop/reviews.shop.svc.cluster.local"
    ),
    "loopback-endpoint": Form(_read_loopback_endpoint, "127.0.0.1:PORT, or 0.0.0.0:PORT"),
    "export": Form(_read_export, "a namespace, '.' for that of the document, or '*' for all"),
    "timestamp": Form(read_timestamp, "a time such as 2026-01-31T12:00:00Z"),
}
