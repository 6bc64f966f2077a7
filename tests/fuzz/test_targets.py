"""Every reader of what others wrote answers or refuses, whatever it is given; and soon."""

from __future__ import annotations

import contextlib
import random
import time

import pytest
from fuzz.mutation import mutated
from fuzz.targets import CORPUS, Target, all_targets
from hypothesis import given, settings
from hypothesis import strategies as st

from support.examples import examples

TARGETS = all_targets()
LONGEST_SECONDS = 0.1
"""CPU time of one input. What took longer is tried again: the collector of garbage may have had its turn."""


def check(target: Target, data: bytes) -> None:
    """One input: it is answered or refused, within the time."""
    took = _once(target, data)
    for _ in range(4):
        if took <= LONGEST_SECONDS:
            return
        took = min(took, _once(target, data))
    raise AssertionError(f"{target.name} takes {took * 1000:.0f} ms for {len(data)} bytes: {data[:200]!r}")


def _once(target: Target, data: bytes) -> float:
    before = time.thread_time()
    with contextlib.suppress(*target.allowed):
        target.run(data)
    return time.thread_time() - before


def test_there_are_at_least_twenty_targets_with_names_of_their_own() -> None:
    names = [target.name for target in TARGETS]
    assert len(names) == len(set(names)) >= 37
    assert {path.name for path in CORPUS.iterdir() if path.is_dir()} <= set(names)


@pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.name)
def test_past_crashes_and_seeds(target: Target) -> None:
    for data in (
        *target.past_crashes(),
        *target.seeds,
        b"",
        b"\0",
        b"\xff" * 100,
        b"[" * 10000,
        b"{" * 10000,
        b"a" * 60000,
    ):
        check(target, data)


@pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.name)
@settings(max_examples=examples(30), deadline=None)
@given(data=st.binary(max_size=400), seed=st.integers(0, 2**32))
def test_anything(target: Target, data: bytes, seed: int) -> None:
    check(target, data)
    choose = random.Random(seed)
    check(target, mutated(choose.choice(target.seeds), choose))
