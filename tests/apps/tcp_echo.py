"""A TCP server for tests: sends back what it receives. Listens on WEFT_HOST:PORT from the environment."""

from __future__ import annotations

import asyncio
import os


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """One connection."""
    while data := await reader.read(65536):
        writer.write(data)
        await writer.drain()
    writer.close()


async def main() -> None:
    """Serve for ever."""
    server = await asyncio.start_server(echo, os.environ.get("WEFT_HOST", "127.0.0.1"), int(os.environ["PORT"]))
    await server.serve_forever()


asyncio.run(main())
