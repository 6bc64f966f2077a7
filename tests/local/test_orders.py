"""Orders to `weft up` over its socket."""

from __future__ import annotations

import asyncio
from pathlib import Path

import msgspec
import pytest

from weft.local.orders import Order, Received, taking_orders
from weft.settings.home import Home


def test_orders_that_nobody_carries_out_any_more_end_without_a_traceback(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    home = Home(tmp_path)

    async def live() -> None:
        received: asyncio.Queue[Received] = asyncio.Queue()
        async with taking_orders(home, received.put_nowait):
            writers = [(await asyncio.open_unix_connection(home.up_socket))[1] for _ in range(3)]
            writers[0].write(msgspec.json.encode(Order("restart")) + b"\n")
            writers[1].write(b"no order\n")
            assert (await received.get()).order.do == "restart"
            assert home.up_socket.stat().st_mode & 0o777 == 0o600
        for writer in writers:
            writer.close()

    asyncio.run(live())
    assert caplog.records == []
