"""The state of control planes in Secrets of a real API server: cost of a write, until others know it, and a start."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Callable
from pathlib import Path

from tools.kubernetes_cluster import ApiCluster

from bench.arms import Samples
from bench.figures import series
from bench.machine import Cores
from bench.streams import yardstick
from weft.sources.kubernetes.access import Credentials
from weft.sources.kubernetes.client import ApiClient
from weft.sources.kubernetes.kubeconfig import KubeconfigFile
from weft.sources.kubernetes.shared.repository import SecretRepository
from weft.store.protocol import Put
from weft.store.shared.store import SharedStore

ENTRIES, VALUE_BYTES = 10_000, 300


async def _measure(client: ApiClient, writes: int, note: Callable[[str, float], None]) -> None:
    first, second = (SharedStore(SecretRepository(client, "default"), name) for name in ("first", "second"))
    await first.open()
    await second.open()
    try:
        for start in range(0, ENTRIES, 1000):
            await first.write([Put("seed", f"{start + number:06}", _value(number)) for number in range(1000)])
        for number in range(writes):
            begun = time.monotonic()
            waiting = asyncio.create_task(second.changes((await second.list("none"))[0], 60))
            revision = await first.write([Put("bench", f"{number}", _value(number))])
            note("one write: ms", (time.monotonic() - begun) * 1000)
            while (await waiting)[0] < revision:
                waiting = asyncio.create_task(second.changes((await second.list("none"))[0], 60))
            note("until the other replica knows: ms", (time.monotonic() - begun) * 1000)
        begun = time.monotonic()
        puts = ([Put("bench", f"{number}", _value(number + 1))] for number in range(writes))
        await asyncio.gather(*(first.write(put) for put in puts))
        note("writes that come together, a second", writes / (time.monotonic() - begun))
        begun = time.monotonic()
        each = ((store, number) for store in (first, second) for number in range(writes // 2))
        await asyncio.gather(*(store.write([Put("both", f"{number}", _value(begun))]) for store, number in each))
        note("the same of two replicas at once, a second", writes / (time.monotonic() - begun))
        begun = time.monotonic()
        late = SharedStore(SecretRepository(client, "default"), "late")
        await late.open()
        note("a start, with 10,000 entries: ms", (time.monotonic() - begun) * 1000)
        await late.close()
    finally:
        await first.close()
        await second.close()


def _value(number: float) -> bytes:
    return f"{number:012}".encode().ljust(VALUE_BYTES, b".")


def measure_state(directory: Path, _cores: Cores, *, quick: bool) -> dict[str, object]:
    """The section of the report."""
    samples: Samples = {}
    cluster = ApiCluster(directory / "cluster")
    cluster.start()

    async def run() -> None:
        credentials = Credentials(KubeconfigFile(str(cluster.kubeconfig("admin"))).access)
        async with ApiClient(credentials) as client:
            await _measure(client, 50 if quick else 500, lambda name, value: samples.setdefault(name, []).append(value))

    try:
        print("bench: state: writing", file=sys.stderr, flush=True)
        asyncio.run(run())
    finally:
        cluster.stop()
    figures = {name: series(values) for name, values in samples.items()}
    return {"entries": ENTRIES, **figures, "yardstick": {"ms for 10,000 SHA-256 of 1 KB": yardstick()}}
