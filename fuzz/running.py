"""One target in this process, for so long: ``python -m fuzz.running TARGET SECONDS SEED``."""

from __future__ import annotations

import hashlib
import random
import signal
import sys
import time
import traceback
from types import FrameType

from fuzz.mutation import mutated
from fuzz.targets import CORPUS, Target, named

_SLOW_SECONDS = 0.1
_HANGS_SECONDS = 10
_TRIES = 3


class HangError(Exception):
    """An input that is still being worked on after a time that nothing needs."""


def broken(target: Target, data: bytes) -> str:
    """What `data` does to a target that it may not; empty if nothing."""
    took = []
    for _ in range(_TRIES):
        before = time.thread_time()
        signal.alarm(_HANGS_SECONDS)
        try:
            target.run(data)
        except target.allowed:
            pass
        except Exception:  # whatever it is, it is what is looked for
            return traceback.format_exc(limit=-4)
        finally:
            signal.alarm(0)
        took.append(time.thread_time() - before)
        if took[-1] <= _SLOW_SECONDS:
            return ""
    return f"takes {min(took) * 1000:.0f} ms"


def keep(target: Target, data: bytes, why: str) -> None:
    """Write an input that broke a target into the corpus."""
    directory = CORPUS / target.name
    directory.mkdir(parents=True, exist_ok=True)
    path = directory / hashlib.sha256(data).hexdigest()[:16]
    path.write_bytes(data)
    print(f"fuzz: {target.name}: {why.strip()}\nfuzz: kept as {path.relative_to(CORPUS.parent.parent)}", flush=True)


def run_mutations(target: Target, seconds: float, seed: int) -> int:
    """Mutations of seeds for so long; 1 if one broke it."""
    choose, end, count = random.Random(seed), time.monotonic() + seconds, 0
    pool = [*target.seeds, *target.past_crashes()]
    while time.monotonic() < end:
        data = mutated(choose.choice(pool), choose)
        count += 1
        if why := broken(target, data):
            keep(target, data, why)
            return 1
    print(f"fuzz: {target.name}: {count} inputs", flush=True)
    return 0


def watch_for_hangs() -> None:
    """From now on an input that takes too long raises."""

    def hangs(_number: int, _frame: FrameType | None) -> None:
        raise HangError(f"nothing after {_HANGS_SECONDS} s")

    signal.signal(signal.SIGALRM, hangs)


if __name__ == "__main__":
    watch_for_hangs()
    sys.exit(run_mutations(named([sys.argv[1]])[0], float(sys.argv[2]), int(sys.argv[3])))
