"""One target, led by coverage of weft's own code: ``python -m fuzz.guided TARGET SECONDS SEED``. Needs atheris.

https://github.com/google/atheris
"""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

import atheris  # type: ignore[import-not-found, import-untyped, unused-ignore]

with atheris.instrument_imports(include=["weft"]):
    from fuzz.running import broken, keep, watch_for_hangs
    from fuzz.targets import Target, named

_MOST_BYTES = 4096


def run_guided(target: Target, seconds: float, seed: int) -> None:
    """Inputs for so long; exit code 1 if one broke it."""

    def one(data: bytes) -> None:
        if why := broken(target, data):
            keep(target, data, why)
            os._exit(1)  # libFuzzer would write a crash of its own

    pool = [*target.seeds, *target.past_crashes()]
    for data in pool:
        one(data)
    with tempfile.TemporaryDirectory() as directory:
        for number, data in enumerate(pool):
            (Path(directory) / str(number)).write_bytes(data)
        options = [
            f"-max_total_time={max(1, int(seconds))}",
            f"-seed={seed + 1}",
            "-verbosity=0",
            f"-max_len={_MOST_BYTES}",
        ]
        atheris.Setup([sys.argv[0], *options, directory], one)
        atheris.Fuzz()


if __name__ == "__main__":
    watch_for_hangs()
    run_guided(named([sys.argv[1]])[0], float(sys.argv[2]), int(sys.argv[3]))
