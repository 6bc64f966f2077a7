"""Balancing: latencies of calls to three instances, one of which is slow: ``python -m bench.balancing``."""

from __future__ import annotations

import asyncio
import sys
import tempfile
import time
from pathlib import Path

import aiohttp

from weft.testing.processes import MeshProcesses

_APP = """
import asyncio, os
from aiohttp import web

async def answer(_):
    await asyncio.sleep(float(os.environ["DELAY"]))
    return web.Response()

app = web.Application()
app.router.add_get("/{tail:.*}", answer)
web.run_app(app, host=os.environ["WEFT_HOST"], port=int(os.environ["PORT"]), print=None, access_log=None)
"""
_SERVICE = """
apiVersion: v1
kind: Service
metadata: {name: shop}
spec: {selector: {app: shop}, ports: [{name: http, port: 80, targetPort: 8080}]}
"""
_RULE = """
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: shop}
spec: {host: shop, trafficPolicy: {loadBalancer: {simple: %s}}}
"""
_DELAYS = (0.005, 0.005, 0.1)
_ALGORITHMS = ("LEAST_REQUEST", "ROUND_ROBIN", "RANDOM")
_ROUNDS = 3


async def measure(proxy: str, rate: float, seconds: float) -> list[float]:
    """The latencies of calls at a steady rate, whether earlier ones were answered or not; sorted, in seconds."""
    found: list[float] = []
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session, asyncio.TaskGroup() as group:

        async def call() -> None:
            started = time.monotonic()
            async with session.get("http://shop/", proxy=proxy) as answer:
                await answer.read()
            found.append(time.monotonic() - started)

        start = time.monotonic()
        for number in range(int(rate * seconds)):
            await asyncio.sleep(max(0.0, start + number / rate - time.monotonic()))
            group.create_task(call())
    return sorted(found)


def main(rate: float = 250, seconds: float = 8) -> None:
    """Print a row for each algorithm: of the mean and of each percentile the median of the rounds, in milliseconds."""
    with tempfile.TemporaryDirectory() as directory:
        mesh = MeshProcesses(Path(directory) / "home", Path(directory) / "logs")
        try:
            mesh.serve("--xds-port", "0", "--agent-port", "0", "--admin-port", "0")
            mesh.apply(_SERVICE)
            mesh.run("client", ["sleep", "3600"], port="", wait=False)
            for number, delay in enumerate(_DELAYS):
                name, env = f"shop-{number}", {"DELAY": str(delay)}
                mesh.run(name, [sys.executable, "-c", _APP], app="shop", health="tcp", env=env, wait=False)
            mesh.wait_healthy("client", *[f"shop-{number}" for number in range(len(_DELAYS))])
            proxy = "http://{}:{}".format(*mesh.proxy_of("client"))
            rows: dict[str, list[tuple[float, ...]]] = {name: [] for name in _ALGORITHMS}
            for _ in range(_ROUNDS):
                for name in _ALGORITHMS:
                    mesh.apply(_RULE % name)
                    found = asyncio.run(measure(proxy, rate, seconds))
                    parts = [found[int(len(found) * part)] for part in (0.5, 0.9, 0.99)]
                    rows[name].append(tuple(1000 * each for each in (sum(found) / len(found), *parts)))
        finally:
            mesh.stop()
    for name, measured in rows.items():
        percentiles = [sorted(values)[len(values) // 2] for values in zip(*measured, strict=True)]
        print(f"{name:14}", *(f"{value:7.1f}" for value in percentiles))


if __name__ == "__main__":
    main()
