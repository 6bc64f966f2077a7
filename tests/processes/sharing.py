"""Runs the command of its arguments with the terminal shared, and says what happens: the host of test_terminal.py."""

import asyncio
import os
import signal
import sys

from weft.processes.terminal import Terminal, has_terminal
from weft.processes.watch import start_process


async def main() -> None:
    watch = start_process(sys.argv[1:], None, os.environ, terminal=has_terminal())
    loop = asyncio.get_running_loop()

    def interrupted() -> None:
        print("host: interrupted", flush=True)
        watch.send(signal.SIGTERM)

    loop.add_signal_handler(signal.SIGINT, interrupted)
    with Terminal(watch).shared():
        print(f"host: {os.getpid()} application: {watch.name.pid}", flush=True)
        code = await watch.wait()
    print("host: ended with", code, flush=True)


asyncio.run(main())
