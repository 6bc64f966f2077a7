"""Prometheus runs in a mesh of two hosts and scrapes the control plane and proxies over mutual TLS."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from support.hosts import Host, healthy, two_hosts
from support.mesh import APPS, WEFT, until
from support.prometheus import EXAMPLES
from weft.settings.home import Home

ECHO = (sys.executable, str(APPS / "http_echo.py"))


@pytest.fixture
def hosts(tmp_path: Path) -> Iterator[tuple[Host, Host]]:
    with two_hosts(tmp_path) as hosts:
        yield hosts


def configuration(host: Host, directory: Path) -> Path:
    """The example's, filled in as its first lines say."""
    certificates = Home(host.home).workload("default", "prometheus") / "certs" / "..data"
    text = (EXAMPLES / "prometheus-hosts.yml").read_text()
    text = text.replace("certs/", f"{certificates}/").replace("control.example.com", host.address).replace("15s", "1s")
    (directory / "alerts.yml").write_bytes((EXAMPLES / "alerts.yml").read_bytes())
    (directory / "prometheus-hosts.yml").write_text(text)
    return directory / "prometheus-hosts.yml"


def targets(host: Host) -> dict[str, Any]:
    answer = host.call("curl", "-sS", "-m", "5", "http://127.0.0.1:9090/api/v1/targets?state=active").stdout
    return {one["labels"]["workload"]: one for one in json.loads(answer)["data"]["activeTargets"]}


def test_prometheus_in_the_mesh_reads_both_hosts_and_a_stranger_reads_nothing(
    hosts: tuple[Host, Host], tmp_path: Path
) -> None:
    one, two = hosts
    control = one.spawn(*WEFT, "serve", "--bind", one.address)
    until("the control plane answers", lambda: "ready: " in control.output())
    own = ("--service-account", "echo", "--name", "echo", "--labels", "app=echo", "--port", "8080:auto")
    printed = one.weft("token", "create", *own, "--", *ECHO).stdout
    two.spawn("sh", "-c", printed, WORKLOAD="echo")
    healthy(one, "echo")
    config = configuration(one, tmp_path)
    words = (
        f"--config.file={config}",
        f"--storage.tsdb.path={tmp_path / 'data'}",
        "--web.listen-address=127.0.0.1:9090",
    )
    prometheus = ("--name", "prometheus", "--service-account", "prometheus", "--inbound-address", one.address)
    one.spawn(*WEFT, "run", *prometheus, "--", "prometheus", *words)

    def all_up() -> dict[str, Any]:
        found = targets(one)
        assert found.keys() == {"weft-control-plane", "echo", "prometheus"}
        assert {name: each["lastError"] for name, each in found.items() if each["health"] != "up"} == {}
        return found

    found = until("all are scraped", all_up)
    urls = {name: each["scrapeUrl"] for name, each in found.items()}
    assert urls["weft-control-plane"] == f"https://{one.address}:15014/metrics"
    assert urls["echo"].startswith(f"https://{two.address}:")
    bundle = Home(one.home).trust_bundle
    for url in (urls["weft-control-plane"], f"https://{one.address}:15014/v1/prometheus/targets"):
        done = two.call("curl", "-sS", "-m", "5", "--cacert", str(bundle), "-w", "\n%{http_code}", url)
        assert done.stdout.endswith("\n401"), done
        plain = two.call("curl", "-sS", "-m", "5", url.replace("https", "http"))
        assert plain.returncode != 0
    stranger = two.call("curl", "-ksS", "-m", "5", urls["echo"])
    assert stranger.returncode != 0 or not stranger.stdout
