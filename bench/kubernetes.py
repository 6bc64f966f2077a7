"""A cluster of many Pods behind a real API server: start and memory of `weft serve`, and the cost of one change."""

from __future__ import annotations

import asyncio
import json
import re
import subprocess
import sys
import time
import urllib.request
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from tools.kubernetes_cluster import ApiCluster

from bench.arms import Samples
from bench.figures import series
from bench.kubernetes_seed import NAMESPACES, Crowd, fill, namespace_of, pod_path, status_of
from bench.machine import Cores, cpu_seconds, peak_bytes, resident_bytes
from bench.processes import WEFT, started, wait_until
from bench.streams import yardstick
from weft.sources.kubernetes.access import Credentials
from weft.sources.kubernetes.client import ApiClient
from weft.sources.kubernetes.kubeconfig import KubeconfigFile
from weft.testing.polling import eventually

FULL, QUICK = Crowd(1000, 2000, 10_000), Crowd(50, 100, 500)
PAUSE = 0.5
"""Seconds between two changes, more than the control plane holds off."""
_GAUGE = re.compile(r"^(weft_snapshot_revision|weft_compiled_revision|weft_services) (\d+)", re.MULTILINE)
_EVERY = 0.002
_PATIENCE = 300.0


class Round:
    """One control plane at a cluster that is full."""

    def __init__(
        self, directory: Path, cores: Cores, cluster: ApiCluster, crowd: Crowd, seen: Sequence[str] = ()
    ) -> None:
        self._cores = cores
        self._cluster = cluster
        self._crowd = crowd
        self._directory = directory
        self._seen = seen
        self.samples: Samples = {}

    def run(self, changes: int, rest: float) -> Samples:
        """Start, rest, and changes of one Pod after the other."""
        home = self._directory / "home"
        ports = ["--xds-port", "0", "--agent-port", "0", "--admin-port", "0"]
        options = ["--kubeconfig", str(self._cluster.kubeconfig("admin")), "--context", "test"]
        if self._seen:
            options.append(f"--discovery-selector=kubernetes.io/metadata.name in ({','.join(self._seen)})")
        environment = {"WEFT_HOME": str(home)}
        begun = time.monotonic()
        with started(
            "serve", [*WEFT, "serve", *ports, *options], self._directory, core=self._cores.proxies, env=environment
        ) as process:
            file = home / "control-plane" / "endpoints.json"
            wait_until("it is ready", lambda: self._gauges(file), _PATIENCE, process=process)
            wait_until("all is compiled", lambda: self._is_whole(file), _PATIENCE, process=process)
            self._note("start: seconds until all is compiled", time.monotonic() - begun)
            self._note("start: CPU s", cpu_seconds(process.pid))
            self._note("memory: peak of the start, MB", peak_bytes(process.pid) / 1e6)
            time.sleep(rest)
            if not changes:
                self._note("memory: at rest, MB", resident_bytes(process.pid) / 1e6)
                return self.samples
            asyncio.run(self._change(process, file, changes))
            self._note("memory: after changes, MB", resident_bytes(process.pid) / 1e6)
        return self.samples

    async def _change(self, process: subprocess.Popen[bytes], file: Path, changes: int) -> None:
        share = await self._rest(process)
        self._note("rest: % of a core", 100 * share)
        self._note("memory: at rest, MB", resident_bytes(process.pid) / 1e6)
        credentials = Credentials(KubeconfigFile(str(self._cluster.kubeconfig("admin"))).access)
        async with ApiClient(credentials) as client:
            for number in range(changes):
                before = self._gauges(file)["weft_snapshot_revision"]
                written = await self._flip(client, number, ready=False)
                for gauge, figure in (("snapshot", "until the snapshot"), ("compiled", "until it is compiled")):
                    later = partial(self._is_later, file, f"weft_{gauge}_revision", before)
                    await eventually(figure, later, every=_EVERY)
                    self._note(f"change of a Pod: {figure}, ms", 1e3 * (time.monotonic() - written))
                await asyncio.sleep(PAUSE)
            for number in range(changes):
                begun, cpu = time.monotonic(), cpu_seconds(process.pid)
                await self._flip(client, number, ready=True)
                await asyncio.sleep(PAUSE)
                used = cpu_seconds(process.pid) - cpu - share * (time.monotonic() - begun)
                self._note("change of a Pod: CPU ms", 1e3 * max(0.0, used))

    async def _flip(self, client: ApiClient, number: int, *, ready: bool) -> float:
        """A Pod is not ready, or is again; when the API server was asked for that."""
        method, _, body, content = status_of(number, ready=ready)
        written = time.monotonic()
        await client.send(method, f"{pod_path(self._crowd, number)}/status", json.dumps(body).encode(), content)
        return written

    async def _rest(self, process: subprocess.Popen[bytes]) -> float:
        begun, cpu = time.monotonic(), cpu_seconds(process.pid)
        await asyncio.sleep(5)
        return (cpu_seconds(process.pid) - cpu) / (time.monotonic() - begun)

    def _is_later(self, file: Path, name: str, revision: int) -> bool:
        return self._gauges(file)[name] > revision

    def _is_whole(self, file: Path) -> bool:
        found = self._gauges(file)
        compiled = found["weft_compiled_revision"] >= found["weft_snapshot_revision"]
        share = len(self._seen) / NAMESPACES if self._seen else 1
        return compiled and found["weft_services"] >= self._crowd.services * share

    def _gauges(self, file: Path) -> dict[str, int]:
        """Some of the control plane's metrics."""
        url = json.loads(file.read_text())["metrics"]
        with urllib.request.urlopen(url, timeout=30) as answer:
            return {name: int(value) for name, value in _GAUGE.findall(answer.read().decode())}

    def _note(self, figure: str, value: float) -> None:
        self.samples.setdefault(figure, []).append(value)


def measure_kubernetes(directory: Path, cores: Cores, *, quick: bool) -> dict[str, object]:
    """The section of the report."""
    crowd, changes, rounds = (QUICK, 5, 1) if quick else (FULL, 10, 2)
    cluster = ApiCluster(directory / "cluster")
    cluster.start()
    samples: Samples = {}
    try:
        _say(f"writing {crowd.pods} Pods")
        begun = time.monotonic()
        asyncio.run(_fill(cluster, crowd))
        written = time.monotonic() - begun
        for number in range(rounds):
            _say(f"round {number + 1} of {rounds}")
            home = directory / f"round-{number}"
            home.mkdir()
            for figure, values in Round(home, cores, cluster, crowd).run(changes, 2.0).items():
                samples.setdefault(figure, []).extend(values)
        _say("a tenth of the namespaces in view")
        home, seen = directory / "in-view", [namespace_of(number) for number in range(NAMESPACES // 10)]
        home.mkdir()
        for figure, values in Round(home, cores, cluster, crowd, seen).run(0, 5.0).items():
            samples[f"a tenth in view: {figure}"] = values
    finally:
        cluster.stop()
    return {
        "nodes": crowd.nodes,
        "services": crowd.services,
        "pods": crowd.pods,
        "seconds to write them": written,
        **{figure: series(values) for figure, values in samples.items()},
        "yardstick": {"ms for 10,000 SHA-256 of 1 KB": yardstick()},
    }


async def _fill(cluster: ApiCluster, crowd: Crowd) -> None:
    credentials = Credentials(KubeconfigFile(str(cluster.kubeconfig("admin"))).access)
    async with ApiClient(credentials) as client:
        await fill(client, crowd)


def _say(what: str) -> None:
    print(f"bench: kubernetes: {what}", file=sys.stderr, flush=True)
