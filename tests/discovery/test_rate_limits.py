"""The rate-limit service: who may use up what, and what it says when nobody counts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from envoy.service.ratelimit.v3.rls_pb2 import RateLimitRequest, RateLimitResponse

from support.meshdocs import gateway_workload, workload
from weft.counters.counters import CountersAwayError, Taken, Wanted
from weft.counters.memory import MemoryCounters
from weft.discovery.rate_limits import RateLimitService, shared_limits
from weft.mesh.access.limits import Limit, LimitPolicy
from weft.model.document import ObjectKey
from weft.model.origin import Origin

OK, OVER = RateLimitResponse.OK, RateLimitResponse.OVER_LIMIT


def policy(name: str = "api", **changes: Any) -> LimitPolicy:
    key = ObjectKey("weft.dev", "RateLimitPolicy", "default", name)
    limits = (Limit("calls", 2, 3600, 2), Limit("writes", 1, 60, 1))
    return LimitPolicy(key, Origin("limits.yaml", 1), limits, shared=True, **changes)


class Away:
    """Counters that nobody reaches."""

    async def take(self, wanted: Sequence[Wanted]) -> list[Taken]:
        raise CountersAwayError("gone")

    async def close(self) -> None:
        pass


def service(
    *policies: LimitPolicy, counters: Any = None, served: tuple[LimitPolicy, ...] = ()
) -> tuple[RateLimitService, list[tuple[str, ...]]]:
    decided: list[tuple[str, ...]] = []
    limits = shared_limits(policies)
    made = RateLimitService(
        counters or MemoryCounters(),
        lambda: limits,
        lambda _: None,
        "cluster.local",
        lambda _: "",
        lambda *words: decided.append(words),
        lambda _: {each.object for each in served},
    )
    return made, decided


def question(*descriptors: tuple[str, ...], domain: str = "weft") -> RateLimitRequest:
    message = RateLimitRequest(domain=domain)
    for name, *values in descriptors:
        descriptor = message.descriptors.add()
        descriptor.entries.add(key="limit", value=name)
        for number, value in enumerate(values):
            descriptor.entries.add(key=str(number), value=value)
    return message


async def test_counts_and_says_what_is_left() -> None:
    asked, decided = service(policy())
    own = workload("reviews-v1")
    codes = []
    for _ in range(3):
        answer = await asked.answer(question(("default/api/calls", "a")), own)
        codes.append(answer.overall_code)
    assert codes == [OK, OK, OVER]
    [status] = answer.statuses
    assert (status.code, status.limit_remaining, status.current_limit.requests_per_unit) == (OVER, 0, 2)
    assert 0 < status.duration_until_reset.seconds <= 1800
    assert (await asked.answer(question(("default/api/calls", "b")), own)).overall_code == OK
    assert decided[0] == ("default/api", "calls", "allowed", "enforced")
    assert decided[2] == ("default/api", "calls", "limited", "enforced")


async def test_what_callers_say_costs_no_memory_and_is_told_apart_to_its_end() -> None:
    kept: list[str] = []

    class Keys(Away):
        counters = MemoryCounters()

        async def take(self, wanted: Sequence[Wanted]) -> list[Taken]:
            kept.extend(each.key for each in wanted)
            return await self.counters.take(wanted)

    asked, _ = service(policy(), counters=Keys())
    own = workload("reviews-v1")
    for end in "ab":
        found = question(("default/api/writes", "\U0001f300" * 4000 + end, "x"))
        codes = [(await asked.answer(found, own)).overall_code for _ in range(2)]
        assert codes == [OK, OVER]
    assert max(map(len, kept)) < 256


async def test_a_proxy_uses_up_limits_of_its_own_namespace_only() -> None:
    asked, decided = service(policy())
    stranger = workload("thief", namespace="other")
    for _ in range(9):
        assert (await asked.answer(question(("default/api/writes",)), stranger)).overall_code == OK
    assert decided == [], "nothing was counted"
    assert (await asked.answer(question(("default/api/writes",)), workload("reviews-v1"))).overall_code == OK


async def test_a_gateway_uses_up_limits_of_what_it_serves_only() -> None:
    edge = gateway_workload("edge", namespace="other")
    for served, counted in (((), 0), ((policy(),), 1)):
        asked, decided = service(policy(), served=served)
        assert (await asked.answer(question(("default/api/writes",)), edge)).overall_code == OK
        assert len(decided) == counted


@pytest.mark.parametrize(
    "asks",
    [
        question(("default/nothing/calls",)),
        question(("default/api/calls",), domain="other"),
        question(("",)),
        RateLimitRequest(domain="weft"),
    ],
)
async def test_what_is_no_limit_limits_nothing(asks: RateLimitRequest) -> None:
    asked, decided = service(policy())
    for _ in range(3):
        answer = await asked.answer(asks, workload("reviews-v1"))
        assert (answer.overall_code, len(answer.statuses)) == (OK, 0)
    assert decided == []


async def test_a_dry_run_counts_and_lets_pass() -> None:
    asked, decided = service(policy(dry_run=True))
    for _ in range(3):
        answer = await asked.answer(question(("default/api/writes",)), workload("reviews-v1"))
        assert (answer.overall_code, len(answer.statuses)) == (OK, 0)
    assert [words[2:] for words in decided] == [("allowed", "dry_run"), ("limited", "dry_run"), ("limited", "dry_run")]


async def test_nobody_counts() -> None:
    asked, decided = service(policy(), counters=Away())
    with pytest.raises(CountersAwayError):
        await asked.answer(question(("default/api/writes",)), workload("reviews-v1"))
    assert decided == [("default/api", "writes", "failed", "enforced")]


async def test_endless_questions_are_cut() -> None:
    counters = MemoryCounters()
    asked, decided = service(policy(), counters=counters)
    many = question(*[("default/api/calls", "x" * 100_000, str(number)) for number in range(500)])
    assert (await asked.answer(many, workload("reviews-v1"))).overall_code == OK
    assert len(decided) == 64
    assert all(len(key) <= 2048 for key in counters._full_at)
