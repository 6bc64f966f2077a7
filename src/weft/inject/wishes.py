"""What the labels and annotations of one pod want of its sidecar."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from weft.inject import vocabulary as keys
from weft.inject.findings import Findings
from weft.inject.names import Json, member, texts_of
from weft.inject.proxyconfig import read_proxy_config
from weft.inject.quantities import quantity
from weft.inject.vocabulary import WORDS, Meaning, word_of

_TRUE = frozenset(("true", "yes", "y", "on"))
_FALSE = frozenset(("false", "no", "n", "off"))
ALL = "*"
_MOST_VALUES = 500
"""Of one list: each becomes a rule of capture."""


@dataclass(frozen=True, slots=True)
class Wishes:
    """`capture` are options of ``weft pod init``. None: the pod does not say. `drain` in seconds."""

    capture: tuple[str, ...] = ()
    probes: bool = True
    native: bool | None = None
    hold: bool | None = None
    drain: float | None = None
    image: str = ""
    cpu: str = ""
    memory: str = ""
    cpu_limit: str = ""
    memory_limit: str = ""
    readiness: tuple[tuple[str, int], ...] = ()
    """Fields of the proxy's readiness probe."""


def true_or_false(text: str) -> bool | None:
    """A truth value in any of YAML's spellings, as Istio takes them; None if it is none."""
    word = text.strip().lower()
    return True if word in _TRUE else False if word in _FALSE else None


def wishes_of(pod: Json, findings: Findings) -> Wishes:
    """What the pod wants; what weft does not do, or cannot understand, goes to `findings`."""
    annotations = texts_of(member(pod, "metadata", "annotations"))
    for kind in ("labels", "annotations"):
        for key, text in sorted(texts_of(member(pod, "metadata", kind)).items()):
            _tell_of_others(kind, key, text, findings)
    reader = _Reader(annotations, findings)
    config = read_proxy_config(annotations.get(keys.PROXY_CONFIG, ""), findings)
    fields = (
        ("initialDelaySeconds", keys.INITIAL_DELAY, 0),
        ("periodSeconds", keys.PERIOD, 1),
        ("failureThreshold", keys.FAILURES, 1),
    )
    numbers = ((name, reader.number(key, least)) for name, key, least in fields)
    return Wishes(
        capture=_capture(reader),
        probes=reader.truth(keys.REWRITE_PROBES) is not False,
        native=reader.truth(keys.NATIVE),
        hold=config.hold,
        drain=config.drain,
        image=annotations.get(keys.IMAGE, "").strip(),
        cpu=reader.quantity(keys.CPU),
        memory=reader.quantity(keys.MEMORY),
        cpu_limit=reader.quantity(keys.CPU_LIMIT),
        memory_limit=reader.quantity(keys.MEMORY_LIMIT),
        readiness=tuple((name, value) for name, value in numbers if value is not None),
    )


def _tell_of_others(kind: str, key: str, text: str, findings: Findings) -> None:
    word = word_of(key)
    if word is None or word.meaning is Meaning.DONE or text.strip() in word.fitting:
        return
    message = f"'{key}: {text[:100]}' is not done: {word.text}"
    expected = " or ".join(word.fitting)
    near = findings.nearest(key, WORDS, 0.8) if key not in WORDS else ""
    tell = findings.refuse if word.meaning is Meaning.REFUSED else findings.warn
    tell(message, "metadata", kind, key, expected=expected, nearest=near)


class _Reader:
    """Values of annotations. One that cannot be read is told: how traffic goes refuses the pod, all else warns."""

    def __init__(self, annotations: Mapping[str, str], findings: Findings) -> None:
        self._annotations = annotations
        self._findings = findings

    def text(self, key: str) -> str | None:
        return self._annotations.get(key)

    def truth(self, key: str) -> bool | None:
        text = self._annotations.get(key)
        value = true_or_false(text) if text is not None else None
        if text is not None and value is None:
            self._warn(key, "true or false")
        return value

    def quantity(self, key: str) -> str:
        text = self._annotations.get(key, "").strip()
        if text and quantity(text) is None:
            self._warn(key, "a quantity such as 100m or 128Mi; what is usual counts")
            return ""
        return text

    def number(self, key: str, least: int) -> int | None:
        text = self._annotations.get(key)
        if text is None:
            return None
        if not (text.isascii() and text.isdecimal() and len(text) < 7 and int(text) >= least):
            self._warn(key, f"a number of at least {least}")
            return None
        return int(text)

    def _warn(self, key: str, expected: str) -> None:
        message = f"'{key}: {self._annotations[key][:100]}' cannot be read and does nothing"
        self._findings.warn(message, "metadata", "annotations", key, expected=expected)

    def several(self, key: str, normal: Callable[[str], str | None], expected: str) -> list[str] | None:
        """The values of a list with commas, each in its normal form; None if the key is not there, or says all."""
        text = self._annotations.get(key)
        if text is None or text.strip() == ALL:
            return None
        parts = text.split(",")
        if len(parts) > _MOST_VALUES:
            self.refuse(key, f"it has {len(parts)} values", f"at most {_MOST_VALUES}")
            return None
        found = []
        for part in (part.strip() for part in parts):
            value = normal(part) if part else ""
            if value is None:
                self.refuse(key, f"'{part[:100]}' is none", f"{expected}, with commas between them")
            elif value and value not in found:
                found.append(value)
        return found

    def refuse(self, key: str, message: str, expected: str) -> None:
        self._findings.refuse(f"{key}: {message}", "metadata", "annotations", key, expected=expected)


def _port(text: str) -> str | None:
    good = text.isascii() and text.isdecimal() and len(text) < 6 and 1 <= int(text) <= 65535
    return str(int(text)) if good else None


def _network(text: str) -> str | None:
    try:
        return str(ipaddress.ip_network(text, strict=False))
    except ValueError:
        return None


def _interface(text: str) -> str | None:
    good = 0 < len(text) < 16 and text.isprintable() and not set(text) & set(" /\"'")
    return text if good and not text.startswith("-") else None


def _options(name: str, values: list[str] | None) -> list[str]:
    return [f"--{name}={value}" for value in values or ()]


def _capture(reader: _Reader) -> tuple[str, ...]:
    """The options of ``weft pod init``."""
    interfaces = reader.several(keys.EXCLUDE_INTERFACES, _interface, "names of interfaces")
    return (*_outbound(reader), *_inbound(reader), *_options("exclude-interface", interfaces))


def _outbound(reader: _Reader) -> list[str]:
    ranges = reader.several(keys.INCLUDE_RANGES, _network, "ranges such as 10.0.0.0/8")
    away = reader.several(keys.EXCLUDE_RANGES, _network, "ranges such as 10.0.0.0/8")
    ports = reader.several(keys.INCLUDE_OUTBOUND, _port, "ports")
    no_ports = reader.several(keys.EXCLUDE_OUTBOUND, _port, "ports")
    if ranges == []:
        if ports:
            message = "no range and these ports cannot be said together"
            reader.refuse(keys.INCLUDE_OUTBOUND, message, f"ranges in {keys.INCLUDE_RANGES}")
        return ["--no-outbound"]
    return [
        *_options("include-outbound-address", ranges),
        *_options("exclude-outbound-address", away),
        *_options("include-outbound-port", ports),
        *_options("exclude-outbound-port", no_ports),
    ]


def _inbound(reader: _Reader) -> list[str]:
    """Ports that are both included and excluded are excluded."""
    ports = reader.several(keys.INCLUDE_INBOUND, _port, "ports")
    away = reader.several(keys.EXCLUDE_INBOUND, _port, "ports") or []
    if ports is None:
        return _options("exclude-inbound-port", away)
    left = [port for port in ports if port not in away]
    return _options("include-inbound-port", left) or ["--no-inbound"]
