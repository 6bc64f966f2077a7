"""Outcomes: which proxies a revision changed, and when each of them had confirmed it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from statistics import median

from weft.admin.history.record import Outcome
from weft.discovery.status import WaitResult

Wait = Callable[[int, float], Awaitable[WaitResult]]
STEPS = (1.0, 4.0, 25.0, 120.0, 450.0)
"""Seconds. After each what is known is written; after the last nobody is waited for any more."""
_NAMES = 500


async def follow_outcome(
    revision: int,
    begun: float,
    first: Awaitable[WaitResult],
    wait: Wait,
    write: Callable[[Outcome], Awaitable[None]],
    steps: tuple[float, ...] = STEPS,
) -> None:
    """Wait for the proxies that a revision of the snapshot concerns. `first` waits since its publication, for the first
    of the `steps`; times count from `begun` (monotonic seconds)."""
    when: dict[str, float] = {}
    for index, seconds in enumerate(steps):
        result = await (wait(revision, seconds) if index else first)
        for proxy, moment in result.when.items():
            when.setdefault(proxy, moment)
        final = index == len(steps) - 1 or (result.published and not result.pending)
        await write(outcome_of(result, when, begun, final=final))
        if final:
            return


def outcome_of(result: WaitResult, when: Mapping[str, float], begun: float, *, final: bool) -> Outcome:
    """What a result of waiting comes to."""
    refused = sorted({nack.proxy for nack in result.nacked})
    took = sorted((round(max(0.0, when[name] - begun) * 1000, 1), name) for name in result.confirmed if name in when)
    changed = {*result.confirmed, *result.pending, *result.gone, *result.stuck, *refused}
    return Outcome(
        changed=len(changed),
        confirmed_count=len(result.confirmed),
        confirmed=tuple((name, each) for each, name in took[:_NAMES]),
        median_ms=round(median(each for each, _ in took), 1) if took else None,
        last_ms=took[-1][0] if took else None,
        pending=result.pending[:_NAMES],
        refused=tuple(refused[:_NAMES]),
        stuck=result.stuck[:_NAMES],
        final=final,
    )
