"""Jaeger and the OpenTelemetry collector, real ones, on loopback ports of their own for the length of a test."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlencode
from urllib.request import urlopen

import pytest
from tools.observability import NotBuiltError, program

from support.envoy import free_port
from weft.testing import until

EXAMPLE = Path(__file__).parents[2] / "examples" / "observability"


def built(name: str) -> Path:
    """A program that was built from Go modules. Without it the test fails, and says how to build it."""
    try:
        return program(name)
    except NotBuiltError as error:
        pytest.fail(str(error))


@contextlib.contextmanager
def running(name: str, config: Path, environment: Mapping[str, str], log: Path) -> Iterator[int]:
    """A program that was built from Go modules. Gives its process id, and stops it at the end."""
    path = built(name)
    with log.open("wb") as output:
        process = subprocess.Popen(
            [path, "--config", str(config)], env={**os.environ, **environment}, stdout=output, stderr=output
        )
    try:
        yield process.pid
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@dataclass(frozen=True)
class JaegerSpan:
    """One span as Jaeger shows it; `parent` is the id of another."""

    id: str
    parent: str
    service: str
    name: str
    kind: str
    tags: Mapping[str, Any]

    @property
    def failed(self) -> bool:
        """Its status."""
        return bool(self.tags.get("error"))


@dataclass(frozen=True)
class Jaeger:
    """A running Jaeger; ports by what they take."""

    pages: int
    otlp: int
    otlp_http: int
    zipkin: int

    def traces(self, service: str, **tags: str) -> dict[str, list[JaegerSpan]]:
        """The traces in which a service has a part, and spans with these tags, by id."""
        query = urlencode({"service": service, "limit": 200, "tags": json.dumps(tags)})
        with urlopen(f"http://127.0.0.1:{self.pages}/api/traces?{query}", timeout=10) as answer:
            found = json.load(answer)["data"]
        return {trace["traceID"]: [_span(each, trace) for each in trace["spans"]] for trace in found}


def _span(span: dict[str, Any], trace: dict[str, Any]) -> JaegerSpan:
    tags = {tag["key"]: tag["value"] for tag in span["tags"]}
    return JaegerSpan(
        id=span["spanID"],
        parent=next((each["spanID"] for each in span["references"]), ""),
        service=trace["processes"][span["processID"]]["serviceName"],
        name=span["operationName"],
        kind=tags.get("span.kind", ""),
        tags=tags,
    )


def planned_jaeger() -> tuple[Jaeger, dict[str, str]]:
    """A Jaeger on free ports, and the environment in which the example's configuration gives it these."""
    jaeger = Jaeger(*(free_port() for _ in range(4)))
    ports = {
        "JAEGER_PAGES": jaeger.pages, "JAEGER_QUERY": free_port(), "JAEGER_OTLP": jaeger.otlp,
        "JAEGER_OTLP_HTTP": jaeger.otlp_http, "JAEGER_ZIPKIN": jaeger.zipkin,
    }  # fmt: skip
    return jaeger, {name: f"127.0.0.1:{port}" for name, port in ports.items()}


@contextlib.contextmanager
def running_jaeger(directory: Path) -> Iterator[Jaeger]:
    """Jaeger as the example configures it."""
    jaeger, environment = planned_jaeger()
    with running("jaeger", EXAMPLE / "jaeger.yaml", environment, directory / "jaeger.log"):
        until("Jaeger answers", lambda: _answers(f"http://127.0.0.1:{jaeger.pages}/api/services"))
        yield jaeger


@dataclass(frozen=True)
class CollectorFiles:
    """A running collector that writes into `directory`."""

    otlp: int
    otlp_http: int
    directory: Path

    def spans(self) -> list[dict[str, Any]]:
        """What it has written of traces so far."""
        found = _lines(self.directory / "traces.jsonl")
        return [
            span
            for line in found
            for resource in line["resourceSpans"]
            for scope in resource["scopeSpans"]
            for span in scope["spans"]
        ]

    def metrics(self) -> list[dict[str, Any]]:
        """What it has written of metrics so far: each metric with its resource's attributes."""
        found = _lines(self.directory / "metrics.jsonl")
        return [
            {**metric, "resource": attributes(resource["resource"])}
            for line in found
            for resource in line["resourceMetrics"]
            for scope in resource["scopeMetrics"]
            for metric in scope["metrics"]
        ]

    def records(self) -> list[dict[str, Any]]:
        """What it has written of access logs so far: each record with its resource's attributes."""
        found = _lines(self.directory / "logs.jsonl")
        return [
            {**record, "resource": attributes(resource["resource"])}
            for line in found
            for resource in line["resourceLogs"]
            for scope in resource["scopeLogs"]
            for record in scope["logRecords"]
        ]


def attributes(of: Mapping[str, Any]) -> dict[str, str]:
    """OTLP's list of attributes as a mapping of texts."""
    return {each["key"]: next(iter(each["value"].values()), "") for each in of.get("attributes", ())}


@contextlib.contextmanager
def running_collector(directory: Path, jaeger: Jaeger, **settings: str) -> Iterator[CollectorFiles]:
    """The collector as the example configures it, before `jaeger`."""
    files = CollectorFiles(free_port(), free_port(), directory)
    environment = {
        "COLLECTOR_OTLP": f"127.0.0.1:{files.otlp}",
        "COLLECTOR_OTLP_HTTP": f"127.0.0.1:{files.otlp_http}",
        "COLLECTOR_FILES": str(directory),
        "JAEGER_OTLP": f"127.0.0.1:{jaeger.otlp}",
        **settings,
    }
    with running("collector", EXAMPLE / "collector.yaml", environment, directory / "collector.log"):
        until("the collector listens", lambda: _listens(files.otlp))
        yield files


def _lines(path: Path) -> list[dict[str, Any]]:
    """Whole lines only: the last may be half-written, and there is no file before the first."""
    if not path.exists():
        return []
    return [json.loads(line) for line in path.read_text().splitlines(keepends=True) if line.endswith("\n")]


def _listens(port: int) -> bool:
    with socket.create_connection(("127.0.0.1", port), timeout=5):
        return True


def _answers(url: str) -> bool:
    with urlopen(url, timeout=5) as answer:
        return bool(answer.status == 200)
