"""The syntax of option values: ports, upstreams, listeners, labels, health checks."""

from __future__ import annotations

import re

from weft.agent.dns.resolvers import parse_resolver
from weft.agent.parameters import (
    CaptureParameters,
    DnsParameters,
    HealthParameters,
    InboundCaptureParameters,
    PortParameter,
    UpstreamParameter,
)
from weft.model.identity import is_dns_label
from weft.model.labels import Labels, labels_from_mapping
from weft.model.locality import EXPECTED as LOCALITY
from weft.model.locality import Locality, locality_from_text
from weft.schema.wording import nearest_name

SWITCH = ("on", "off")
CAPTURE = ("on", "off", "seccomp", "strict", "rules")
INBOUND_CAPTURE = ("on", "off", "tproxy")


class OptionValueError(ValueError):
    """The value of an option is wrong: what was found, what was expected, and which of the `choices` is nearest."""

    def __init__(self, found: str, expected: str, text: str = "", choices: tuple[str, ...] = ()) -> None:
        if near := nearest_name(text, choices):
            expected = f"{expected}; did you mean '{near}'?"
        super().__init__(f"{found}; expected {expected}")
        self.found = found
        self.expected = expected


def parse_port(text: str) -> PortParameter:
    """``9080``, ``9080:auto``, ``9080:18081``; with a name in front: ``http=9080``."""
    expected = "[NAME=]PORT, [NAME=]PORT:auto or [NAME=]PORT:PORT, such as http=9080:auto"
    name, equals, rest = text.partition("=") if "=" in text else ("", "", text)
    if equals and (not is_dns_label(name) or name.isdigit()):
        raise OptionValueError(f"found '{text}'", expected)
    port, colon, application = rest.partition(":")
    number = _port(port, text, expected)
    if not colon:
        return PortParameter(number, name=name)
    return PortParameter(number, 0 if application == "auto" else _port(application, text, expected), name)


def parse_upstream(text: str) -> UpstreamParameter:
    """``postgres:5432`` or ``postgres:5432=15432``."""
    expected = "SERVICE:PORT or SERVICE:PORT=LOCALPORT, such as postgres:5432=15432"
    target, equals, local = text.partition("=")
    service, colon, port = target.rpartition(":")
    if not colon or not service:
        raise OptionValueError(f"found '{text}'", expected)
    number = 0 if not equals or local == "auto" else _port(local, text, expected)
    return UpstreamParameter(service, _port(port, text, expected), number)


def parse_listen(text: str) -> tuple[int, str, int]:
    """``80=auto``, ``80=8080``, ``80=0.0.0.0:8080``: the listener's port, the address (empty: the gateway's) and the
    port (0: any free one)."""
    expected = "PORT=auto, PORT=PORT or PORT=ADDRESS:PORT, such as 80=8080"
    left, equals, right = text.partition("=")
    listener = _port(left, text, expected)
    if not equals or not right:
        raise OptionValueError(f"found '{text}'", expected)
    address, _, port = right.rpartition(":")
    return listener, address.strip("[]"), 0 if port == "auto" else _port(port, text, expected)


def parse_dns(text: str, upstreams: tuple[str, ...]) -> DnsParameters | None:
    """``on``, ``off`` or a port, and who is asked for other names: ``10.0.0.2``, ``10.0.0.2:53``, ``[fd00::1]:53``."""
    found = f"found '{text}'"
    if text in ("off", "false", "no"):
        if upstreams:
            raise OptionValueError(f"{found}, and resolvers for other names", "dns on or a port, or no resolvers")
        return None
    port = 0 if text in ("on", "true", "yes") else _port(text, text, "on, off or a port, such as 15053", SWITCH)
    for each in upstreams:
        try:
            parse_resolver(each)
        except ValueError:
            raise OptionValueError(f"found '{each}'", "an IP address and perhaps a port, such as 10.0.0.2:53") from None
    return DnsParameters(port, upstreams)


def parse_capture(text: str) -> CaptureParameters | None:
    """``on``, ``off``, ``seccomp``, ``strict``, ``rules``, or a port, which is for rules."""
    if text in ("off", "false", "no"):
        return None
    if text in ("on", "true", "yes"):
        return CaptureParameters()
    if text in ("seccomp", "strict"):
        return CaptureParameters(how="strict" if text == "strict" else "seccomp")
    expected = "on, off, seccomp, strict, rules or a port, such as 15001"
    return CaptureParameters(0 if text == "rules" else _port(text, text, expected, CAPTURE), "rules")


def parse_inbound_capture(text: str) -> InboundCaptureParameters | None:
    """``on``, ``off``, a port, ``tproxy`` or ``tproxy:PORT``."""
    if text in ("off", "false", "no"):
        return None
    kind, _, digits = text.partition(":") if text.startswith("tproxy") else ("", "", text)
    chosen = digits not in ("on", "true", "yes") and (not kind or bool(digits))
    expected = "on, off, a port (15006), tproxy or tproxy:PORT"
    port = _port(digits, text, expected, INBOUND_CAPTURE) if chosen else 0
    if kind not in ("", "tproxy"):
        raise OptionValueError(f"found '{text}'", expected, text, INBOUND_CAPTURE)
    return InboundCaptureParameters(port, kind == "tproxy")


def is_metrics_path(text: str) -> bool:
    """Whether it is a path that can be asked for: it begins with a slash, and has no space."""
    return re.fullmatch(r"/[!-~]*", text) is not None


def parse_labels(texts: tuple[str, ...]) -> Labels:
    """``app=reviews,version=v2``, given once or several times."""
    found: dict[str, str] = {}
    for pair in (pair for text in texts for pair in text.split(",") if pair):
        key, equals, value = pair.partition("=")
        if not equals or not key:
            raise OptionValueError(f"found '{pair}'", "KEY=VALUE[,KEY=VALUE...], such as app=reviews,version=v2")
        found[key.strip()] = value.strip()
    return labels_from_mapping(found)


def parse_locality(text: str) -> Locality:
    """``region``, ``region/zone`` or ``region/zone/subzone``; empty: nobody says."""
    try:
        return locality_from_text(text)
    except ValueError as error:
        raise OptionValueError(f"found '{text}'", LOCALITY) from error


def parse_health(text: str, interval: float, timeout: float) -> HealthParameters:
    """``tcp``, ``none``, ``http:/health`` or ``/health``."""
    if text in ("tcp", "none"):
        return HealthParameters(text, interval=interval, timeout=timeout)
    path = text.removeprefix("http:")
    if not path.startswith("/"):
        raise OptionValueError(
            f"found '{text}'", "tcp, none or http:/PATH, such as http:/health", text, ("tcp", "none")
        )
    return HealthParameters("http", path, interval, timeout)


def _port(text: str, whole: str, expected: str, choices: tuple[str, ...] = ()) -> int:
    if text.isascii() and text.isdigit() and 1 <= int(text[:9]) <= 65535:
        return int(text)
    raise OptionValueError(f"found '{whole}'", expected, whole, choices)
