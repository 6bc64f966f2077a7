"""The same questions to a real Prometheus that scrapes a real mesh: by the commands, and by the control plane."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from e2e.test_window import FAULT, SERVE, SERVICES, send
from support.envoy import free_port
from support.http import Client
from support.mesh import Mesh, until

CONFIG = """
global: {scrape_interval: 1s}
scrape_configs:
  - job_name: weft
    http_sd_configs:
      - url: ADMIN/v1/prometheus/targets
        refresh_interval: 1s
        authorization: {type: Bearer, credentials_file: TOKEN}
"""


@contextmanager
def prometheus(mesh: Mesh, directory: Path) -> Iterator[str]:
    """Debian's Prometheus, told of its targets by the control plane."""
    directory.mkdir()
    config = CONFIG.replace("ADMIN", mesh.endpoints()["admin"])
    token = mesh.home / "control-plane" / "prometheus.token"
    (directory / "prometheus.yml").write_text(config.replace("TOKEN", str(token)))
    port = free_port()
    command = [
        "prometheus",
        f"--config.file={directory / 'prometheus.yml'}",
        f"--storage.tsdb.path={directory / 'data'}",
        f"--web.listen-address=127.0.0.1:{port}",
        "--enable-feature=native-histograms",
    ]
    with (directory / "log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(30)


def test_a_prometheus_answers_what_the_window_answers(mesh: Mesh, tmp_path: Path) -> None:
    mesh.serve(*SERVE)
    mesh.apply(SERVICES + "---" + FAULT)
    mesh.echo("echo-v1", app="echo", wait=False)
    mesh.echo("client", wait=False)
    mesh.wait_healthy("echo-v1", "client")
    client = Client(mesh.proxy_of("client"))
    with prometheus(mesh, tmp_path / "prometheus") as url:

        def edges() -> list[dict[str, Any]]:
            send(client, 60)
            send(client, 20, "http://echo/fault")
            done = mesh.weft("stat", "-o", "json", "--prometheus", url, "--window", "30s", check=False)
            assert done.returncode in (0, 3), done.stderr
            found: list[dict[str, Any]] = json.loads(done.stdout) if done.stdout else []
            seen = [edge for edge in found if edge["source"] == "default/client" and edge["requests"] > 60]
            return [edge for edge in seen if edge["codes"].get("503", 0) > 10]  # it may have scraped between the two

        (edge,) = until("it has scraped a few times", edges, every=0.5)
        assert edge["destination"] == "default/echo"
        assert 0.6 < edge["success_rate"] < 0.9
        assert edge["p50_ms"] <= edge["p95_ms"] <= edge["p99_ms"]
        assert edge["codes"]["503"] > 0
        assert edge["bytes_received"] > 0
        window = json.loads(mesh.weft("stat", "-o", "json", "--window", "1h").stdout)
        assert {name for one in window for name in one} - {"route"} <= set(edge)
        assert "echo" in mesh.weft("edges", "--prometheus", url).stdout
        mesh.processes["control-plane"].stop()
        mesh.serve(*SERVE, "--prometheus", url)
        answer = mesh.api("traffic?window=600&name=echo&by=pair")
        assert any(edge["source"] == "default/client" and edge["requests"] > 10 for edge in answer["edges"]), answer

        def series() -> bool:
            points = mesh.api("traffic/series?window=600&step=10&destination=default/echo")["points"]
            requests, errors = (sum(each[name] for each in points) for name in ("requests", "errors"))
            return bool(requests > 10 and errors > 2)

        until("ten seconds that are over are in the series", series, 60)
    refused = mesh.weft("stat", "--prometheus", url, check=False)
    assert refused.returncode == 3
    assert f"no Prometheus answers at {url}" in refused.stderr
    failed = mesh.weft("stat", check=False)
    assert failed.returncode == 1
    assert "no Prometheus answers" in failed.stderr
    client.close()
    wrong = mesh.weft("serve", "--prometheus", "ftp://x", check=False)
    assert wrong.returncode == 1
