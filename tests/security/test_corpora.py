"""A hundred thousand mutated requests against real servers behind the mesh: of what a policy in the recommended shape
does not allow, no body comes back; and what one that denies by name cannot see is as docs/security.md tells it."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from support.corpora import attack, attack_all, gaps, running_doors
from support.servers import DENIED, OPEN, SERVERS, plainly
from support.spellings import SECRET, Mutator

REQUESTS = 100_000
SECURITY = Path(__file__).parents[2] / "docs" / "security.md"


@pytest.mark.parametrize("seed", [8])
async def test_what_the_recommended_shape_does_not_allow_never_comes_back(seed: int, tmp_path: Path) -> None:
    async with running_doors(tmp_path) as doors:
        for door in doors.values():  # the servers have it, and the policy lets readers in
            assert DENIED in await plainly(door.without, SECRET)
            assert OPEN in await plainly(door.allow, "/open/page.txt", "x-role: reader")
            assert b" 403 " in await plainly(door.allow, SECRET, "x-role: reader")
            assert b" 403 " in await plainly(door.allow, "/open/page.txt", "x-role: admin")
        found = await attack_all(doors, REQUESTS, seed)
    for server, outcome in found.items():
        told = [(one.wire, answer[-200:]) for one, answer in outcome.leaks[:3]]
        assert not told, f"{server}: {told}"
        assert outcome.sent == REQUESTS // len(SERVERS)
        assert outcome.answered["none"] < outcome.sent / 100
        assert outcome.opened > outcome.sent / 50  # what is allowed is not rare


async def test_without_a_policy_the_corpus_finds_what_is_denied(tmp_path: Path) -> None:
    async with running_doors(tmp_path, ("aiohttp", "nginx")) as doors:
        found = await asyncio.gather(*(attack(door.without, 400, 8) for door in doors.values()))
    assert all(len(outcome.leaks) > 20 for outcome in found)


def test_the_same_seed_makes_the_same_requests() -> None:
    assert Mutator(8).requests(1000) == Mutator(8).requests(1000) != Mutator(9).requests(1000)


async def test_the_table_of_gaps_in_the_docs_is_true(tmp_path: Path) -> None:
    async with running_doors(tmp_path) as doors:
        table = "\n".join(await gaps(doors))
    written = SECURITY.read_text().partition("<!-- corpora:begin -->\n")[2].partition("\n<!-- corpora:end -->")[0]
    assert written == table, f"put this into docs/security.md (./run corpora --gaps prints it):\n{table}"


@pytest.mark.parametrize(
    "target", ["/open/%2e%2e;/admin/secret.txt", "/open/%2E.;x=1/admin/secret.txt", "/open/..%3b/x"]
)
async def test_a_dot_segment_with_parameters_does_not_lead_out_of_what_is_allowed(target: str, tmp_path: Path) -> None:
    """Envoy forwards ``..;``, and Tomcat goes up."""
    async with running_doors(tmp_path, ("Tomcat",)) as doors:
        assert b" 403 " in await plainly(doors["Tomcat"].allow, target, "x-role: reader")
        if "3b" not in target:
            assert DENIED in await plainly(doors["Tomcat"].without, target)


async def test_a_right_value_of_a_header_beside_a_wrong_one_lets_nobody_in(tmp_path: Path) -> None:
    async with running_doors(tmp_path, ("nginx",)) as doors:
        for roles in (("reader", "admin"), ("admin", "reader")):
            answer = await plainly(doors["nginx"].allow, "/open/page.txt", *(f"x-role: {role}" for role in roles))
            assert b" 403 " in answer
