"""A collector of access logs as an application: writes whose records and requests came, with their paths, to a file."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

from support.log_collector import log_collector


async def main(told: Path) -> None:
    """Serve on PORT for ever."""
    async with log_collector(int(os.environ["PORT"])) as found:
        while True:
            records = [(about["service.instance.id"], body) for body, _, about in found.records]
            requests = [entry.request.path for _, entry in found.requests]
            fresh = told.with_suffix(".new")
            fresh.write_text(json.dumps({"records": records, "requests": requests}))
            fresh.replace(told)
            await asyncio.sleep(0.1)


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1])))
