"""JSON lines between a benchmark and its server process: a command with arguments in, figures out, with deadlines."""

from __future__ import annotations

import asyncio
import contextlib
import json
import select
import subprocess
import sys
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from pathlib import Path

import weft
from bench.arms import Arm
from bench.machine import pin
from bench.processes import BenchError, stop

Figures = dict[str, float]
Action = Callable[..., Awaitable[object]]
DEADLINE = 300.0
"""Seconds for one answer."""


class Server:
    """The side that asks. `ready` is what the process said first."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._process = process
        self.ready = self._answer()
        self.weft = str(self.ready.pop("weft"))

    def ask(self, command: str, *arguments: object) -> Figures:
        """Figures of one command."""
        answer: Figures = self._ask(command, *arguments)
        return answer

    def text(self, command: str, *arguments: object) -> str:
        """A command whose answer is a text."""
        return str(self._ask(command, *arguments))

    def _ask(self, command: str, *arguments: object) -> Figures:
        if self._process.stdin is None:
            raise BenchError("the server has no standard input")
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.write(json.dumps([command, *arguments]).encode() + b"\n")
            self._process.stdin.flush()
        return self._answer()

    def _answer(self) -> Figures:
        output = self._process.stdout
        if output is None:
            raise BenchError("the server has no standard output")
        if not select.select([output], [], [], DEADLINE)[0]:
            raise BenchError(f"the server did not answer within {DEADLINE:g} s")
        line = output.readline()
        if not line:
            raise BenchError("the server process ended; its errors are on standard error")
        figures: Figures = json.loads(line)
        return figures


@contextlib.contextmanager
def serving(arm: Arm, module: str, arguments: Sequence[object], core: int) -> Iterator[Server]:
    """A server process with the arm's code. It ends with its standard input, so also with the benchmark."""
    command = [sys.executable, "-m", module, *map(str, arguments)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True, env=arm.environment()
    ) as process:
        try:
            pin(process.pid, core)
            server = Server(process)
            if not Path(server.weft).is_relative_to(arm.source):
                raise BenchError(f"{server.weft} was imported, which is not in {arm.source}")
            yield server
        finally:
            stop(process, 5)


async def answer_commands(actions: Mapping[str, Action], ready: Mapping[str, object]) -> None:
    """The side that answers: say that it is ready, then run one command after the other until stdin ends."""
    commands = asyncio.StreamReader()
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(commands), sys.stdin)
    print(json.dumps({**ready, "weft": weft.__file__}), flush=True)
    while line := await commands.readline():
        name, *arguments = json.loads(line)
        print(json.dumps(await actions[name](*arguments)), flush=True)
