"""``./run chaos [SECONDS]``: runs the demo in trouble, prints how it goes and each failed request, and cleans up."""

from __future__ import annotations

import argparse
import asyncio
import math
import random
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import FrameType

from chaos.bookinfo import Bookinfo
from chaos.events import Trouble
from chaos.journal import AFTER, Failure, Journal, said_around
from chaos.load import Target, run_load

_PROGRESS = 10.0
_SETTLING = 3.0
"""Seconds of load before the first trouble and after the last."""
_TOLD = 20
"""Failures that are told whole."""
HELP = """\
The demo under an open-loop load, while routes flip, documents are reformatted, mutual-TLS modes change, certificates
are renewed, agents are restarted and killed, workloads are replaced, and the control plane is killed and comes back.
With --rotate the root of all certificates is replaced meanwhile, again and again, and taken back at times.
Every page is read whole. Exit code 1 when a single request failed, 0 when none did.
"""


def parse_arguments(arguments: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="./run chaos", description=HELP)
    parser.add_argument("seconds", nargs="?", type=_positive, default=60.0, help="how long [60]")
    parser.add_argument("--seed", type=int, default=None, help="repeats the choices of an earlier run")
    parser.add_argument(
        "--rate", type=_positive, default=40.0, help="requests per second, a quarter of them pages [40]"
    )
    parser.add_argument(
        "--rotate", action="store_true", help="rotate the root of all certificates too, again and again"
    )
    parser.add_argument("--logs", type=Path, help="copy the logs of all processes into this directory at the end")
    return parser.parse_args(arguments)


def _positive(text: str) -> float:
    value = float(text)
    if not 0 < value < math.inf:
        raise argparse.ArgumentTypeError(f"{text} is not a positive number")
    return value


async def trouble(
    bookinfo: Bookinfo,
    targets: tuple[Target, ...],
    journal: Journal,
    seed: int,
    seconds: float,
    rate: float,
    rotates: bool,
) -> None:
    """The load, and the trouble in the midst of it."""

    async def tell(failure: Failure) -> None:
        await asyncio.sleep(AFTER)
        failure.told = [line for log in bookinfo.envoy_logs() for line in said_around(log, failure)]

    async def during() -> None:
        await asyncio.sleep(_SETTLING)
        await Trouble(bookinfo, journal, seed, rotates=rotates).run(seconds)
        await asyncio.sleep(_SETTLING)

    reporting = asyncio.ensure_future(_report(journal))
    try:
        await run_load(targets, rate, journal, during(), tell)
    finally:
        reporting.cancel()


async def _report(journal: Journal) -> None:
    told = 0
    while True:
        await asyncio.sleep(_PROGRESS)
        print(f"chaos: {journal.progress()}", flush=True)
        for failure in journal.failures[told : told + _TOLD]:
            print(f"chaos: failed: {failure.what}: {failure.text[:200]}", flush=True)
        told = len(journal.failures)


def run(
    seconds: float, seed: int, rate: float, keep: Callable[[Path], None] | None = None, *, rotates: bool = False
) -> tuple[Journal, list[str]]:
    """One whole run in a directory of its own, of which nothing is left. The journal, and what else went wrong.

    `keep` is called with the directory before it is removed. A KeyboardInterrupt ends the run early, as if in time.
    """
    journal, wrong = Journal(), list[str]()
    with tempfile.TemporaryDirectory(prefix="weft-chaos-") as name:
        bookinfo = Bookinfo(Path(name))
        try:
            targets = bookinfo.start()
            journal.begun = time.time()
            asyncio.run(trouble(bookinfo, targets, journal, seed, seconds, rate, rotates))
        except KeyboardInterrupt:
            print("chaos: interrupted; stopping", flush=True)
        except Exception as error:
            wrong.append("".join(traceback.format_exception(error)))
        finally:
            wrong += bookinfo.stop()
            if keep is not None:
                keep(Path(name))
    return journal, wrong


def main() -> int:
    """Run, and print what came of it. The exit code."""
    arguments = parse_arguments()
    seed = random.randrange(1 << 31) if arguments.seed is None else arguments.seed
    print(f"chaos: {arguments.seconds:g} s, --seed {seed}", flush=True)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _interrupt)
    keep = partial(_copy_logs, arguments.logs)
    journal, wrong = run(arguments.seconds, seed, arguments.rate, keep, rotates=arguments.rotate)
    for failure in journal.failures[:_TOLD]:
        print(journal.told(failure))
    for text in wrong:
        print(f"chaos: {text}")
    print(f"chaos: {journal.progress()}, --seed {seed}")
    return 1 if journal.failures or wrong else 0


def _interrupt(_: int, __: FrameType | None) -> None:
    """As Ctrl-C, once; what is done then is done in order."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    raise KeyboardInterrupt


def _copy_logs(target: Path | None, directory: Path) -> None:
    if target is None:
        return
    target.mkdir(parents=True, exist_ok=True)
    for log in directory.glob("logs/*.log"):
        shutil.copy(log, target)
    for log in directory.glob("home/workloads/*/*/envoy.log*"):
        shutil.copy(log, target / f"{log.parent.name}-{log.name}")


if __name__ == "__main__":
    sys.exit(main())
