"""The application's own metrics: asked for on loopback, read strictly, and without a word under the mesh's names."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import cast

from weft.agent.errors import AgentError
from weft.agent.http import HttpError, Server, ask
from weft.agent.metrics.families import Family, Kind, Labels, Sample
from weft.model.labels import Labels as WorkloadLabels
from weft.model.workload import SocketAddress, WorkloadPort

MAX_BYTES = 4 << 20
MAX_SAMPLES = 20_000
_LONGEST_LINE = 16 * 1024
"""To match a line takes many times its length in memory."""
_TIMEOUT = 5.0
_RESERVED = ("istio_", "envoy_", "weft_")
"""Names that an application may not use: whoever reads them shall know that a proxy has counted."""
_KINDS = {"counter": "counter", "gauge": "gauge"}
_LINE = re.compile(
    r"([a-zA-Z_:][a-zA-Z0-9_:]{0,199})(?:\{((?:[^\"}]|\"(?:[^\"\\]|\\.)*\")*)\})?[ \t]+([^ \t]+)(?:[ \t]+-?[0-9]+)?\s*"
)
_LABEL = re.compile(r"\s*([a-zA-Z_][a-zA-Z0-9_]{0,199})\s*=\s*\"((?:[^\"\\]|\\.)*)\"\s*(?:,|$)")
_ESCAPE = re.compile(r"\\(.)")
_TYPE = re.compile(r"#\s*TYPE\s+([a-zA-Z_:][a-zA-Z0-9_:]*)\s+([a-z]+)\s*")
_SCRAPE, _PORT, _PATH = "prometheus.io/scrape", "prometheus.io/port", "prometheus.io/path"
DEFAULT_PATH = "/metrics"


@dataclass(frozen=True, slots=True)
class Application:
    """Where the application tells its metrics, on its own host, or in the network namespace whose file `namespace`
    is."""

    address: SocketAddress
    path: str
    namespace: str = ""


def application_of(
    labels: WorkloadLabels, ports: tuple[WorkloadPort, ...], port: int, path: str, namespace: str = ""
) -> Application | None:
    """Where they are: as asked for (`port`, `path`), else as the labels ``prometheus.io/...`` say, else nowhere. A port
    of the workload means where the application really listens. (A label's value has no slash, so its path begins with
    one anyway.)"""
    said = dict(labels)
    if not port and said.get(_SCRAPE) == "true":
        port = int(said[_PORT]) if said.get(_PORT, "").isdigit() else (ports[0].port if ports else 0)
        path = path or said.get(_PATH, "")
    if not 0 < port < 1 << 16:
        return None
    found = next((one.application for one in ports if one.port == port), SocketAddress("127.0.0.1", port))
    return Application(found, "/" + (path or DEFAULT_PATH).removeprefix("/"), namespace)


async def scrape(application: Application) -> tuple[Family, ...]:
    """What it tells now. AgentError when it does not, or not in Prometheus' text format."""
    server = Server(host=application.address.host, port=application.address.port, namespace=application.namespace)
    headers = {"Accept": "text/plain;version=0.0.4"}
    try:
        answer = await ask(server, "GET", application.path, headers=headers, timeout=_TIMEOUT)
    except (TimeoutError, OSError, HttpError) as error:
        raise AgentError(f"no metrics at {application.address}{application.path}: {error or 'no answer'}") from error
    if answer.status != 200:
        raise AgentError(f"no metrics at {application.address}{application.path}: status {answer.status}")
    if len(answer.body) > MAX_BYTES:
        raise AgentError(f"the metrics at {application.address} are larger than {MAX_BYTES} bytes")
    return parse_text(answer.body.decode(errors="replace"))


def parse_text(text: str) -> tuple[Family, ...]:
    """The samples of a text in format 0.0.4 or OpenMetrics, by their names. What is not well formed is left out, and so
    are names of the mesh. The parts of histograms and summaries are families of their own, as Prometheus keeps them."""
    kinds: dict[str, str] = {}
    found: dict[str, list[Sample]] = {}
    count = 0
    for line in text.split("\n"):  # not at other ends of lines, which may be in a label
        if len(line) > _LONGEST_LINE:
            continue
        if line.startswith("#"):
            if typed := _TYPE.fullmatch(line):
                kinds[typed[1]] = typed[2]
            continue
        parsed = _sample(line)
        if parsed is None or parsed[0].startswith(_RESERVED):
            continue
        count += 1
        if count > MAX_SAMPLES:
            break
        found.setdefault(parsed[0], []).append(parsed[1])
    return tuple(_families(found, kinds))


def _families(found: dict[str, list[Sample]], kinds: dict[str, str]) -> Iterator[Family]:
    for name, samples in found.items():
        kind = kinds.get(name) or kinds.get(name.removesuffix("_total"), "")
        yield Family(name, cast("Kind", _KINDS.get(kind, "unknown")), "", tuple(samples))


def _sample(line: str) -> tuple[str, Sample] | None:
    match = _LINE.fullmatch(line.partition(" # ")[0] if " # {" in line else line)
    if match is None:
        return None
    labels = _labels(match[2] or "")
    try:
        value = float(match[3])
    except ValueError:
        return None
    return None if labels is None else (match[1], Sample(labels, value))


def _labels(text: str) -> Labels | None:
    found: list[tuple[str, str]] = []
    at = 0
    text = text.strip()
    while at < len(text):
        match = _LABEL.match(text, at)
        if match is None:
            return None
        found.append((match[1], _ESCAPE.sub(_unescaped, match[2])))
        at = match.end()
    return tuple(found) if len(dict(found)) == len(found) else None


def _unescaped(match: re.Match[str]) -> str:
    return "\n" if match[1] == "n" else match[1]
