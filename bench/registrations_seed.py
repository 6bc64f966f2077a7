"""Fills the store of a control plane that does not run yet with registrations whose leases do not end; prints where."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path

from bench.synthetic import backend
from weft.settings.home import Home
from weft.sources.workloads import put_workload, workload_key
from weft.store.sqlite import open_sqlite

NAMESPACE = "load"
FOREVER = 4e9
"""Epoch seconds."""


async def seed(home: Home, count: int) -> None:
    """Write them, and close the store as a control plane does."""
    for directory in (home.root, home.control_plane):
        directory.mkdir(mode=0o700)
    store = await open_sqlite(home.database)
    try:
        workloads = [backend(f"backend-{number}", NAMESPACE, "echo", number) for number in range(count)]
        for first in range(0, count, 1000):
            batch = workloads[first : first + 1000]
            await store.write([put_workload(workload) for workload in batch])
            await store.extend({workload_key(NAMESPACE, workload.name): FOREVER for workload in batch})
    finally:
        await store.close()


if __name__ == "__main__":
    place = Home(Path(sys.argv[1]))
    asyncio.run(seed(place, int(sys.argv[2])))
    print(json.dumps({"socket": str(place.agent_socket)}))
