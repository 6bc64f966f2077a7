"""The journal of a run: what was done and when, which requests failed, and both side by side."""

from __future__ import annotations

import contextlib
import re
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

BEFORE, AFTER = 3.0, 1.0
"""Seconds around a failed request that are told."""
_ENVOY_TIME = re.compile(r"^\[(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3})\]")
_LONGEST_LINE = 300
_STREAM_ENDED = "gRPC config stream to weft-control-plane closed"
"""Every Envoy says so whenever the control plane is killed, which the acts tell."""


@dataclass
class Act:
    """Something that was done. Times are those of `time.time`; `ended` is 0 while it goes on."""

    text: str
    begun: float
    ended: float = 0.0
    outcome: str = ""

    def overlaps(self, begin: float, end: float) -> bool:
        """Whether it went on at any time between `begin` and `end`."""
        return self.begun <= end and (not self.ended or self.ended >= begin)


@dataclass
class Failure:
    """A request that failed, or a page that was not whole. `told` is what Envoys said around it."""

    sent: float
    failed: float
    what: str
    text: str
    told: list[str] = field(default_factory=list)


@dataclass
class Journal:
    """What happened in one run."""

    begun: float = field(default_factory=time.time)
    acts: list[Act] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)
    answers: Counter[str] = field(default_factory=Counter)
    done: Counter[str] = field(default_factory=Counter)
    slowest: float = 0.0

    @contextlib.contextmanager
    def act(self, kind: str, text: str) -> Iterator[Act]:
        """Write down what is being done; what is raised in the block ends it and goes on."""
        act = Act(f"{kind}: {text}", time.time())
        self.acts.append(act)
        try:
            yield act
            self.done[kind] += 1
        except BaseException as error:
            act.outcome = f"did not work: {error}"
            raise
        finally:
            act.ended = time.time()

    def judge(self, act: Act) -> None:
        """An act that has ended is a failure if its outcome says anything: a change that proxies did not confirm."""
        if act.outcome:
            self.failures.append(Failure(act.begun, act.ended, act.text, act.outcome))

    def progress(self) -> str:
        """One line: how long, how many requests, what was done, what failed."""
        done = ", ".join(f"{count} {kind}" for kind, count in sorted(self.done.items()))
        return (
            f"{time.time() - self.begun:5.0f} s  {sum(self.answers.values())} requests, {len(self.failures)} failed, "
            f"slowest {self.slowest:.2f} s  ({done})"
        )

    def told(self, failure: Failure) -> str:
        """A failed request, with what was going on around it."""
        begin, end = failure.sent - BEFORE, failure.failed + AFTER
        seconds = failure.failed - failure.sent
        lines = [f"{_clock(failure.sent)}  {failure.what}, failed after {seconds:.3f} s: {failure.text}"]
        for act in self.acts:
            if act.overlaps(begin, end):
                until = f"{act.ended - failure.sent:+.3f} s" if act.ended else "now"
                lines.append(f"    {act.begun - failure.sent:+.3f} s to {until}  {act.text} {act.outcome}".rstrip())
        return "\n".join([*lines, *(f"    {line}" for line in failure.told)])


def said_around(log: Path, failure: Failure) -> list[str]:
    """The lines of an Envoy's log from shortly before a failed request until shortly after it."""
    try:
        lines = log.read_text(errors="replace").splitlines()
    except OSError:
        return []
    found = []
    for line in lines:
        when = _ENVOY_TIME.match(line)
        if when and _STREAM_ENDED not in line:
            moment = datetime.strptime(when.group(1), "%Y-%m-%d %H:%M:%S.%f").timestamp()
            if failure.sent - BEFORE <= moment <= failure.failed + AFTER:
                found.append(f"{log.parent.name}: {line[:_LONGEST_LINE]}")
    return found


def _clock(moment: float) -> str:
    return datetime.fromtimestamp(moment).strftime("%H:%M:%S.%f")[:-3]
