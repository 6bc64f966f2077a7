"""A real Prometheus: started on a configuration, asked, and stopped; and the queries of dashboards and alerts."""

from __future__ import annotations

import contextlib
import json
import re
import subprocess
import tempfile
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from support.envoy import free_port
from weft.testing.polling import until

EXAMPLES = Path(__file__).parents[2] / "examples" / "observability"
_BOUND = re.compile(r"\s*(?:>|<|>=|<=|==|!=)\s*[\d.]+\s*$")
"""The comparison at the end of an alert, without which its expression tells the value."""


@dataclass(frozen=True)
class Prometheus:
    """One that runs."""

    url: str
    log: Path

    def get(self, path: str, **query: str) -> Any:
        """The data of an answer of its API; AssertionError with its words if it refuses."""
        address = f"{self.url}/api/v1/{path}?{urllib.parse.urlencode(query)}"
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            with opener.open(address, timeout=20) as answer:
                return json.loads(answer.read())["data"]
        except urllib.error.HTTPError as error:
            raise AssertionError(f"{query}: {error.read().decode()}") from error

    def ask(self, query: str) -> list[dict[str, Any]]:
        """What an instant query gives, without what is not a number."""
        found: list[dict[str, Any]] = self.get("query", query=query)["result"]
        return [one for one in found if one["value"][1] != "NaN"]

    def labels(self, query: str) -> list[dict[str, str]]:
        """The labels of what a query gives."""
        return [one["metric"] for one in self.ask(query)]

    def targets(self) -> list[dict[str, Any]]:
        """What it scrapes."""
        found: list[dict[str, Any]] = self.get("targets", state="active")["activeTargets"]
        return found


@contextlib.contextmanager
def running_prometheus(
    configuration: Mapping[str, Any], files: Mapping[str, bytes], *flags: str
) -> Iterator[Prometheus]:
    """Prometheus on a configuration, with `files` beside it."""
    with tempfile.TemporaryDirectory(prefix="weft-prometheus-") as text:
        directory = Path(text)
        for name, content in files.items():
            (directory / name).write_bytes(content)
            (directory / name).chmod(0o600)
        (directory / "prometheus.yml").write_text(yaml.safe_dump(dict(configuration)))
        port, log = free_port(), directory / "log"
        words = [
            f"--config.file={directory / 'prometheus.yml'}",
            f"--storage.tsdb.path={directory / 'data'}",
            f"--web.listen-address=127.0.0.1:{port}",
            *flags,
        ]
        with log.open("wb") as output:
            process = subprocess.Popen(["prometheus", *words], stdout=output, stderr=output, cwd=directory)
        try:
            found = Prometheus(f"http://127.0.0.1:{port}", log)
            until("Prometheus answers", lambda: _answers(process, found))
            yield found
        finally:
            process.terminate()
            process.wait(20)


def _answers(process: subprocess.Popen[bytes], found: Prometheus) -> bool:
    if process.poll() is not None:
        raise RuntimeError(found.log.read_text(errors="replace"))
    with contextlib.suppress(OSError):
        return found.get("status/buildinfo") is not None
    return False


def example_configuration(discovery: str, interval: str) -> dict[str, Any]:
    """The example's, with where the targets are listed and how often they are scraped."""
    found: dict[str, Any] = yaml.safe_load((EXAMPLES / "prometheus.yml").read_text())
    found["global"] = {"scrape_interval": interval, "evaluation_interval": interval}
    for job in found["scrape_configs"]:
        job["http_sd_configs"][0] |= {"url": discovery, "refresh_interval": interval}
    return found


def dashboard_queries(values: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """Each query of each dashboard, with where it stands; `values` are those of the dashboards' variables."""
    for path in sorted((EXAMPLES / "grafana").glob("*.json")):
        board = json.loads(path.read_text())
        for one in board["templating"]["list"]:
            if one["type"] == "query":
                yield f"{path.name}: variable {one['name']}", _filled(_series_of(one["query"]["query"]), values)
        for panel in board["panels"]:
            for target in panel.get("targets", ()):
                yield f"{path.name}: {panel['title']} {target['refId']}", _filled(target["expr"], values)


def alert_queries() -> Iterator[tuple[str, str]]:
    """The value that each alert looks at, without its bound."""
    for group in yaml.safe_load((EXAMPLES / "alerts.yml").read_text())["groups"]:
        for rule in group["rules"]:
            value = rule["expr"].partition(" or absent(")[0]
            assert _BOUND.search(value), f"{rule['alert']} compares nothing at its end"
            yield f"alerts.yml: {rule['alert']}", _BOUND.sub("", value)


def _series_of(query: str) -> str:
    """The series that a variable takes its values from: of ``label_values(SERIES, LABEL)``."""
    found = re.fullmatch(r"label_values\((.+), (\w+)\)", query)
    assert found is not None, query
    return f"count by ({found[2]}) ({found[1]})"


def _filled(query: str, values: Mapping[str, str]) -> str:
    for name, value in values.items():
        query = query.replace(f"${name}", value)
    assert "$" not in query.replace('$"', ""), query
    return query
