"""One-time join tokens: one use, an end, and nothing readable in the store."""

import asyncio

import pytest

from weft.ca.tokens import (
    BUCKET,
    TokenGrant,
    TokenParametersError,
    TokenRefusedError,
    UnknownTokenError,
    create_token,
    list_tokens,
    read_token,
    revoke_token,
)
from weft.store.memory import MemoryStore
from weft.store.protocol import ConflictError


class Clock:
    def __init__(self, now: float = 1_800_000_000.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


async def use_token(store: MemoryStore, text: str, clock: Clock) -> TokenGrant:
    grant = await read_token(store, text, clock)
    await asyncio.sleep(0)
    await store.write([grant.use], grant.expect)
    return grant


async def refusal(store: MemoryStore, text: str, clock: Clock) -> TokenRefusedError:
    with pytest.raises(TokenRefusedError) as caught:
        await use_token(store, text, clock)
    return caught.value


async def test_a_token_works_once() -> None:
    store, clock = MemoryStore(), Clock()
    token = await create_token(store, "prod", "reviews", 600, clock)
    assert token.text.startswith("weft-")
    assert len(token.text) > 40
    assert token.text not in repr(token)
    assert token.expires == clock.now + 600
    grant = await use_token(store, token.text, clock)
    assert (grant.namespace, grant.service_account) == ("prod", "reviews")
    assert (await refusal(store, token.text, clock)).code == "token-reused"


async def test_looking_at_a_token_does_not_use_it_up() -> None:
    store, clock = MemoryStore(), Clock()
    token = await create_token(store, "prod", "reviews", 600, clock)
    await read_token(store, token.text, clock)
    await use_token(store, token.text, clock)


async def test_reasons_differ_for_the_record_only() -> None:
    store, clock = MemoryStore(), Clock()
    used = await create_token(store, "prod", "reviews", 600, clock)
    await use_token(store, used.text, clock)
    expired = await create_token(store, "prod", "reviews", 5, clock)
    clock.now += 5
    refusals = [await refusal(store, text, clock) for text in (used.text, expired.text, "weft-guess", "", "\ud800")]
    assert [one.code for one in refusals] == [
        "token-reused", "token-expired", "token-unknown", "token-unknown", "token-unknown",
    ]  # fmt: skip
    assert len({str(one) for one in refusals}) == 1
    assert len({one.detail for one in refusals}) == 3


async def test_tokens_are_listed_and_revoked() -> None:
    store, clock = MemoryStore(), Clock()
    used, expired, revoked, named, valid = [
        await create_token(store, "prod", name, ttl, clock)
        for name, ttl in (("a", 600), ("b", 5), ("c", 600), ("d", 600), ("e", 600))
    ]
    await use_token(store, used.text, clock)
    clock.now += 5
    assert (await revoke_token(store, revoked.id, clock)).state == "revoked"
    assert (await revoke_token(store, named.text, clock)).service_account == "d"
    found = await list_tokens(store, clock)
    assert {one.service_account: one.state for one in found} == {
        "a": "used", "b": "expired", "c": "revoked", "d": "revoked", "e": "valid",
    }  # fmt: skip
    assert {one.id for one in found} == {one.id for one in (used, expired, revoked, named, valid)}
    assert not any(one.id in valid.text or valid.text in repr(one) for one in found)
    assert (await refusal(store, revoked.text, clock)).code == "token-revoked"
    for wanted, words in ((revoked.id, "not valid any more: revoked"), ("nothing", "no join token 'nothing'")):
        with pytest.raises(UnknownTokenError, match=words):
            await revoke_token(store, wanted, clock)
    await use_token(store, valid.text, clock)


async def test_of_many_at_once_one_succeeds() -> None:
    store, clock = MemoryStore(), Clock()
    token = await create_token(store, "prod", "reviews", 600, clock)
    results = await asyncio.gather(*(use_token(store, token.text, clock) for _ in range(20)), return_exceptions=True)
    assert sum(not isinstance(one, BaseException) for one in results) == 1
    assert sum(isinstance(one, ConflictError) for one in results) == 19
    assert (await refusal(store, token.text, clock)).code == "token-reused"


async def test_the_store_holds_no_token() -> None:
    store, clock = MemoryStore(), Clock()
    token = await create_token(store, "prod", "reviews", 600, clock)
    _, entries = await store.list(BUCKET)
    assert len(entries) == 1
    secret = token.text.removeprefix("weft-")
    assert secret not in entries[0].key
    assert secret.encode() not in entries[0].value


async def test_old_tokens_are_forgotten() -> None:
    store, clock = MemoryStore(), Clock()
    for _ in range(3):
        await create_token(store, "prod", "reviews", 600, clock)
    clock.now += 8 * 86400
    await create_token(store, "prod", "reviews", 600, clock)
    assert len((await store.list(BUCKET))[1]) == 1


@pytest.mark.parametrize(
    ("namespace", "account", "ttl"),
    [("Prod", "reviews", 60), ("prod", "*", 60), ("prod", "", 60), ("prod", "reviews", 0), ("prod", "reviews", 1e9)],
)
async def test_impossible_tokens_are_not_made(namespace: str, account: str, ttl: float) -> None:
    with pytest.raises(TokenParametersError):
        await create_token(MemoryStore(), namespace, account, ttl)


async def test_a_token_of_a_group_works_as_often_as_it_says() -> None:
    store, clock = MemoryStore(), Clock()
    token = await create_token(store, "prod", "web", 600, clock, group="web", uses=3)
    for left in (2, 1, 0):
        grant = await read_token(store, token.text, clock)
        assert (grant.group, grant.shared) == ("web", left > 0)
        await store.write([grant.use], grant.expect)
        with pytest.raises(ConflictError):
            await store.write([grant.use], grant.expect)
    assert (await refusal(store, token.text, clock)).detail == "the join token for prod/web has been used 3 times"
    [told] = await list_tokens(store, clock)
    assert (told.state, told.group, told.uses, told.joined) == ("used", "web", 3, 3)
    other = await create_token(store, "prod", "web", 600, clock, group="web", uses=3)
    await use_token(store, other.text, clock)
    assert (await revoke_token(store, other.id, clock)).state == "revoked"
    assert (await refusal(store, other.text, clock)).code == "token-revoked"


@pytest.mark.parametrize(("group", "uses"), [("", 2), ("web", 0), ("web", 10_001), ("We b", 1)])
async def test_only_tokens_of_groups_work_more_than_once(group: str, uses: int) -> None:
    with pytest.raises(TokenParametersError):
        await create_token(MemoryStore(), "prod", "web", 600, group=group, uses=uses)
