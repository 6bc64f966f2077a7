"""Calls a URL so many times a second, each by itself, until it is told to stop; prints a line of JSON for each.

caller.py URL RATE SECONDS_AT_MOST; HTTP_PROXY leads the calls, as it leads those of any client.
"""

from __future__ import annotations

import asyncio
import json
import signal
import sys
import time

import aiohttp

LONGEST = 600.0


async def call(session: aiohttp.ClientSession, url: str, timeout: float) -> None:
    """One call, and what came of it: when it began, how long it took, and who answered or what went wrong."""
    began, clock = time.time(), time.monotonic()
    status, answered = 0, ""
    try:
        async with session.get(url, timeout=aiohttp.ClientTimeout(timeout)) as response:
            status, body = response.status, await response.text()
            answered = json.loads(body)["workload"] if status == 200 else body[:80]
    except (aiohttp.ClientError, TimeoutError) as error:
        answered = repr(error)
    took = round(time.monotonic() - clock, 4)
    print(json.dumps({"began": began, "took": took, "status": status, "who": answered}), flush=True)


async def main(url: str, rate: float, timeout: float) -> None:
    """Calls at a fixed rate, whatever becomes of those before."""
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    began = time.monotonic()
    calls: set[asyncio.Task[None]] = set()
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(connector=connector, trust_env=True) as session, asyncio.TaskGroup() as group:
        for number in range(int(LONGEST * rate)):
            if stop.is_set():
                break
            task = group.create_task(call(session, url, timeout))
            calls.add(task)
            task.add_done_callback(calls.discard)
            await asyncio.sleep(max(0.0, began + (number + 1) / rate - time.monotonic()))


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], float(sys.argv[2]), float(sys.argv[3])))
